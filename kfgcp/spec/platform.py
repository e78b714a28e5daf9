"""The second document of a compiled pipeline, which only a Kubernetes cluster honours: what it asks
for.

The fields are those of `KubernetesExecutorConfig` (kfp-kubernetes) and of KFP's `PipelineConfig`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Variables:
    """Environment variables that the cluster gives a task. source: `secret 'db'`."""

    source: str
    names: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder that the cluster gives a task. source: `volume claim 'data'`. scratch: empty when
    the task starts."""

    source: str
    path: str
    optional: bool = False
    scratch: bool = False


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What a task is given by the cluster.

    timeout: seconds an attempt may take, None without end. placement: the names of settings that
    say where and as whom it runs, and so cannot change what it computes.
    """

    variables: tuple[Variables, ...] = ()
    mounts: tuple[Mount, ...] = ()
    timeout: float | None = None
    placement: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Each thing it asks for, as people call it."""
        return [
            *(f"{each.source} as {', '.join(each.names)}" for each in self.variables),
            *(f"{each.source} at {each.path}" for each in self.mounts),
            *([f"timeout of {self.timeout:g} s"] if self.timeout is not None else []),
            *self.placement,
        ]


NO_CLUSTER_CONFIG = ClusterConfig()

_PLACEMENT = {
    "nodeSelector": "node selector",
    "tolerations": "tolerations",
    "nodeAffinity": "node affinity",
    "podAffinity": "pod affinity",
    "podMetadata": "pod labels and annotations",
    "imagePullPolicy": "image pull policy",
    "imagePullSecret": "image pull secrets",
    "enabledSharedMemory": "shared memory",
    "securityContext": "security context",
}
WORKSPACE: Final = "workspace"
"""The field of `pipelineConfig` that asks for a volume which all tasks share."""
_PIPELINE = {
    "semaphoreKey": "semaphore",
    "mutexName": "mutex",
    "resourceTtl": "time to live",
    "resourceTtlOnCompletion": "time to live",
    WORKSPACE: "workspace volume",
}


def executor_configs(platform_spec: Mapping[str, Any] | None) -> dict[str, ClusterConfig]:
    """What each executor of a pipeline asks of the cluster, by its label; those that ask for
    nothing are left out."""
    found = {}
    for _, platform in _platforms(platform_spec):
        for label, body in ((platform.get("deploymentSpec") or {}).get("executors") or {}).items():
            config = _config(body or {})
            if config.words():
                found[label] = config
    return found


def pipeline_settings(platform_spec: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what the pipeline as a whole asks of the cluster: fields of `pipelineConfig`, as
    people call them."""
    settings = {}
    for _, platform in _platforms(platform_spec):
        for key, value in (platform.get("pipelineConfig") or {}).items():
            if value:
                settings[key] = _PIPELINE.get(key, key)
    return settings


def _platforms(platform_spec: Mapping[str, Any] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, platform in ((platform_spec or {}).get("platforms") or {}).items():
        yield name, platform or {}


def _config(body: Mapping[str, Any]) -> ClusterConfig:
    known = {
        "secretAsEnv",
        "configMapAsEnv",
        "fieldPathAsEnv",
        "secretAsVolume",
        "configMapAsVolume",
        "pvcMount",
    }
    known |= {"emptyDirMounts", "genericEphemeralVolume", "activeDeadlineSeconds"}
    deadline = float(body.get("activeDeadlineSeconds") or 0)
    return ClusterConfig(
        variables=tuple(_variables(body)),
        mounts=tuple(_mounts(body)),
        timeout=deadline or None,
        placement=tuple(
            _PLACEMENT.get(key, key)
            for key in sorted(body, key=_order)
            if key not in known and body[key]
        ),
    )


def _order(key: str) -> tuple[int, str]:
    """The known settings in the order above, others behind them by name: a proto map has no
    order."""
    return ([*_PLACEMENT].index(key) if key in _PLACEMENT else len(_PLACEMENT), key)


def _variables(body: Mapping[str, Any]) -> Iterator[Variables]:
    for field, what in (("secretAsEnv", "secret"), ("configMapAsEnv", "config map")):
        for item in body.get(field) or ():
            names = tuple(str(pair.get("envVar")) for pair in item.get("keyToEnv") or ())
            yield Variables(_named(what, item), names, bool(item.get("optional")))
    for item in body.get("fieldPathAsEnv") or ():
        yield Variables(f"pod field {item.get('fieldPath')}", (str(item.get("name")),))


def _mounts(body: Mapping[str, Any]) -> Iterator[Mount]:
    for field, what in (
        ("secretAsVolume", "secret"),
        ("configMapAsVolume", "config map"),
        ("pvcMount", "volume claim"),
    ):
        for item in body.get(field) or ():
            yield Mount(_named(what, item), str(item.get("mountPath")), bool(item.get("optional")))
    for field, what in (
        ("emptyDirMounts", "empty folder"),
        ("genericEphemeralVolume", "ephemeral volume"),
    ):
        for item in body.get(field) or ():
            yield Mount(
                f"{what} '{item.get('volumeName')}'", str(item.get("mountPath")), scratch=True
            )


def _named(what: str, item: Mapping[str, Any]) -> str:
    """`secret 'db'`; without the name where only the run will tell it."""
    for prefix in ("secretName", "configMapName", "pvcName"):
        if isinstance(item.get(prefix), str) and item[prefix]:
            return f"{what} '{item[prefix]}'"
        constant = ((item.get(f"{prefix}Parameter") or {}).get("runtimeValue") or {}).get(
            "constant"
        )
        if constant:
            return f"{what} '{constant}'"
    return f"{what} '{item['constant']}'" if item.get("constant") else what
