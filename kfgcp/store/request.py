"""The record of how a run was submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from kfgcp.model import JsonValue
from kfgcp.options import RunOptions
from kfgcp.spec.registered import RegisteredRef
from kfgcp.spec.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRequest:
    """How a run was submitted.

    It has all that is needed to repeat or resume the run, besides its pipeline and parameters.

    Attributes:
        options: all options, also the environment, experiment and labels of the run.
        submit_dir: the folder that relative paths start from. Empty when an earlier version of
            kfgcp recorded a remote run.
        repeats: the id of an earlier run. Unchanged tasks take their outputs from it. None when the
            run is not a rerun.
        from_task: the task of a rerun that runs again although it is unchanged, with all tasks that
            depend on it.
        source: where the pipeline comes from, None when that is not known.
        platform_spec: the second document of the pipeline, for Kubernetes.
        uses_docker: whether a local run starts containers.
        container_credentials: whether the containers of a local run get the Google credentials of
            this machine.
        container_folders: the absolute paths of folders that the containers of a local run may
            write to.
        container_network: the network of the containers of a local run. Empty for the default
            network of the Docker engine.
        project_root: the folder of kfgcp.toml of a local run. Empty when it is not known.
        pipeline_root: where a local run writes its outputs. Empty when that is the state folder.
        buckets: where the buckets of a local run are, in the form of `BucketSettings.to_dict`.
        translation: what was translated for the backend, in the form of
            `TranslatedRequest.to_dict` (see `kfgcp.spec.portable_requests`).
        registered: the entry of a registry that the pipeline comes from, None for others.
        secrets: where the secrets of a local run are: the name of a variable or a file for each.
            Their values are never stored.
    """

    options: RunOptions = field(default_factory=RunOptions)
    submit_dir: str = ""
    repeats: str | None = None
    from_task: str | None = None
    source: Source | None = None
    platform_spec: Mapping[str, Any] | None = None
    uses_docker: bool = False
    container_credentials: bool = False
    container_folders: Sequence[str] = ()
    container_network: str = ""
    project_root: str = ""
    pipeline_root: str = ""
    buckets: Mapping[str, Any] = field(default_factory=dict)
    translation: Sequence[Mapping[str, JsonValue]] = ()
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    registered: RegisteredRef | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON."""
        registered = None
        if self.registered is not None:
            registered = self.registered.to_dict()
        return {
            "options": self.options.to_dict(),
            "submit_dir": self.submit_dir,
            "repeats": self.repeats,
            "from_task": self.from_task,
            "source": self.source.to_dict() if self.source else None,
            "platform_spec": self.platform_spec,
            "uses_docker": self.uses_docker,
            "container_credentials": self.container_credentials,
            "container_folders": list(self.container_folders),
            "container_network": self.container_network,
            "project_root": self.project_root,
            "pipeline_root": self.pipeline_root,
            "buckets": dict(self.buckets),
            "translation": [dict(change) for change in self.translation],
            "secrets": {name: dict(places) for name, places in self.secrets.items()},
            "registered": registered,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the request that `to_dict` wrote. An older version of kfgcp may have written it.

        Raises:
            StateError: a newer version of kfgcp wrote it in another form, or it is damaged.
        """
        source = stored.get("source")
        registered = None
        if stored.get("registered"):
            registered = RegisteredRef.from_dict(stored["registered"])
        if stored.get("options") is None:
            options = _read_options_without_version(stored)
        else:
            options = RunOptions.from_dict(stored["options"])
        # Each key has a default, because older versions did not write it.
        return cls(
            options=options,
            submit_dir=stored.get("submit_dir", ""),
            repeats=stored.get("repeats"),
            from_task=stored.get("from_task"),
            source=Source.from_dict(source) if source else None,
            platform_spec=stored.get("platform_spec"),
            uses_docker=stored.get("uses_docker", False),
            container_credentials=stored.get("container_credentials", False),
            container_folders=tuple(stored.get("container_folders") or ()),
            container_network=stored.get("container_network", ""),
            project_root=stored.get("project_root", ""),
            pipeline_root=stored.get("pipeline_root", ""),
            buckets=stored.get("buckets", {}),
            translation=tuple(stored.get("translation") or ()),
            secrets=stored.get("secrets", {}),
            registered=registered,
        )


def _read_options_without_version(stored: Mapping[str, Any]) -> RunOptions:
    """Return the options of a request that was stored before options had a version.

    Such a request has the options as fields of its own, and `cache` has the name `caching`. A
    remote run has only `caching` and `fail_fast`. The request does not have the environment,
    experiment, name and labels: they are in the record of the run.
    """
    return RunOptions(
        cache=stored.get("caching"),
        max_parallel=stored.get("max_parallel"),
        fail_fast=stored.get("fail_fast", False),
        executor=stored.get("executor", "auto"),
        strict_env=stored.get("strict_env", False),
    )
