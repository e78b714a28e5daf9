"""Find pipelines by files, runs, and versions that the store has, and compare two of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from kfgcp.config_pipelines import ProjectPipeline, is_pipeline_name
from kfgcp.deploy.images.pins import pin_images
from kfgcp.deploy.versions.names import is_version_name
from kfgcp.errors import UsageError
from kfgcp.model import JsonValue, Run
from kfgcp.spec.diff import Change
from kfgcp.spec.diff import diff as diff_specs
from kfgcp.spec.load import Component, Spec, from_documents, is_pipeline_file_name, load
from kfgcp.spec.registered import RegisteredRef
from kfgcp.store.store import Store
from kfgcp.tracking import lookup
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.named_pipelines import entry_of_file, load_named_pipeline
from kfgcp.tracking.open_project import OpenProject

PipelineLike = str | Path | Spec | Component
"""What can be compiled: a name in kfgcp.toml, a file, a version in a registry (`NAME@…`, or an
address in Artifact Registry), a loaded pipeline, or an object of KFP."""
Pipeline = PipelineLike | RunHandle | Run


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs in the second of two pipelines.

    Attributes:
        before: the first pipeline. Its `origin` is what the caller named.
        after: the second pipeline.
        changes: what differs.
    """

    before: Spec
    after: Spec
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the diff as JSON, in the form that `kfgcp diff --json` prints."""
        changes: list[JsonValue] = [change.to_dict() for change in self.changes]
        return {
            "before": _summarize(self.before),
            "after": _summarize(self.after),
            "changes": changes,
        }


def _summarize(spec: Spec) -> dict[str, JsonValue]:
    return {"origin": spec.origin, "pipeline": spec.name, "version": spec.version}


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A pipeline that was found.

    Attributes:
        spec: the pipeline.
        has_platform: whether its settings for Kubernetes are known.
    """

    spec: Spec
    has_platform: bool


def diff(workspace: OpenProject, before: Pipeline, after: Pipeline, env: str | None = None) -> Diff:
    """Return what differs between two pipelines.

    The settings for Kubernetes are compared only when those of both pipelines are known. A recorded
    version has no such settings, and a run has them only when it was submitted from this project.

    A registry has a pipeline as its environment runs it. So the other pipeline is translated for
    the environment before they are compared.

    Args:
        workspace: the project.
        before: the first pipeline.
        after: the second pipeline.
        env: the environment whose registry or sign-in is used.

    Raises:
        UsageError: one of them is not a file, run or version, or can mean several.
        SpecError: one of them does not compile or is not a valid spec.
    """
    first = _resolve(workspace, before, env)
    second = _resolve(workspace, after, env)
    if (first.spec.registered is None) != (second.spec.registered is None):
        first = _translate(workspace, first, env)
        second = _translate(workspace, second, env)
    before_platform = None
    after_platform = None
    if first.has_platform and second.has_platform:
        before_platform = first.spec.platform_spec
        after_platform = second.spec.platform_spec
    changes = diff_specs(
        first.spec.pipeline_spec, second.spec.pipeline_spec, before_platform, after_platform
    )
    return Diff(first.spec, second.spec, changes)


def spec_of(workspace: OpenProject, run: Run) -> Spec:
    """Return the pipeline of a run, as it was recorded.

    Raises:
        UsageError: its backend did not report it.
    """
    return _resolve_run(workspace, run).spec


def load_pipeline(workspace: OpenProject, pipeline: PipelineLike, env: str | None = None) -> Spec:
    """Load and check a pipeline, and pin its images.

    A recorded pipeline and one from a registry keep their images, and so their version.

    Args:
        workspace: the project.
        pipeline: what to load.
        env: the environment whose registry or sign-in is used.

    Raises:
        SpecError: it does not compile or is not a valid spec.
        BackendError: Artifact Registry refused it or cannot be reached.
    """
    # First, because an error in the configuration is more important than one in the pipeline.
    project = workspace.project
    if isinstance(pipeline, Spec):
        return pipeline
    # A pipeline of kfgcp.toml wins over a file or folder with the same name. Such a file could not
    # be a pipeline: it has no ending.
    if isinstance(pipeline, str) and is_pipeline_name(pipeline):
        return pin_images(load_named_pipeline(project, pipeline, env), lambda: project)
    if isinstance(pipeline, str) and "://" in pipeline:
        # Only addresses need the modules for requests, and start-up time counts.
        from kfgcp.backends.vertex.templates import is_template, load_template

        if is_template(pipeline):
            return load_template(pipeline, project.env(env))
    if is_version(pipeline):
        # Only names of versions need the modules of registries.
        from kfgcp.tracking.registries import load_version

        return load_version(workspace, pipeline, env)
    spec = load(pipeline)
    if isinstance(pipeline, (str, Path)):
        spec = replace(spec, entry=entry_of_file(project, str(pipeline)))
    return pin_images(spec, lambda: project)


def is_version(pipeline: PipelineLike) -> TypeGuard[str]:
    """Return whether it names a version in a registry, `NAME@…`, and not a file."""
    if not isinstance(pipeline, str) or not is_version_name(pipeline):
        return False
    return not is_pipeline_file_name(pipeline)


def is_declared_name(pipeline: PipelineLike) -> TypeGuard[str]:
    """Return whether it has the form of the name of a [pipeline.X], and not of a file."""
    return isinstance(pipeline, str) and is_pipeline_name(pipeline)


def find_entry(workspace: OpenProject, pipeline: PipelineLike) -> ProjectPipeline | None:
    """Return the table [pipeline.X] of a pipeline by its name or its file, None for others.

    Raises:
        ConfigError: kfgcp.toml has no pipeline with this name, or its table is not valid.
    """
    if isinstance(pipeline, Spec):
        return pipeline.entry
    if is_declared_name(pipeline):
        return workspace.project.pipeline(pipeline)
    if isinstance(pipeline, (str, Path)):
        return entry_of_file(workspace.project, str(pipeline))
    return None


def _translate(workspace: OpenProject, resolved: _Resolved, env: str | None) -> _Resolved:
    """Return a pipeline as an environment runs it. The pipeline of a registry is returned as it is.

    The version stays that of the pipeline before the translation.
    """
    spec = resolved.spec
    if spec.registered is not None:
        return resolved
    from kfgcp.tracking.registries import sent_spec

    sent = sent_spec(workspace.project.env(env), spec)
    own = RegisteredRef("", spec.version, "")
    return replace(resolved, spec=replace(sent, registered=own))


def _resolve(workspace: OpenProject, pipeline: Pipeline, env: str | None = None) -> _Resolved:
    if isinstance(pipeline, Run):
        return _resolve_named_run(workspace, pipeline)
    if isinstance(pipeline, RunHandle):
        return _resolve_named_run(pipeline.workspace, pipeline.snapshot)
    if not isinstance(pipeline, (str, Path)):
        return _Resolved(load_pipeline(workspace, pipeline, env), has_platform=True)
    text = str(pipeline)
    is_loadable = is_pipeline_file_name(text) or "://" in text or is_version(text)
    if is_loadable or _is_declared(workspace, text):
        return _Resolved(load_pipeline(workspace, text, env), has_platform=True)
    spec = _find_version(workspace, text)
    if spec is not None:
        return _Resolved(spec, has_platform=False)
    handle = lookup.handle(workspace, text)
    return _resolve_named_run(handle.workspace, handle.snapshot)


def _is_declared(workspace: OpenProject, name: str) -> bool:
    project = workspace.project
    return name in project.pipelines or name in project.invalid_pipelines


def _resolve_named_run(workspace: OpenProject, run: Run) -> _Resolved:
    resolved = _resolve_run(workspace, run)
    return replace(resolved, spec=replace(resolved.spec, origin=f"run {run.run_id}"))


def _resolve_run(workspace: OpenProject, run: Run) -> _Resolved:
    pipeline_spec = workspace.store.spec(run.version)
    request = workspace.store.request(run.run_id)
    if pipeline_spec is None:
        raise UsageError(
            f"The pipeline of run {run.run_id} cannot be read.", hint="Run its file: kfgcp run FILE"
        )
    documents = [pipeline_spec]
    if request is not None and request.platform_spec is not None:
        documents.append(dict(request.platform_spec))
    return _Resolved(from_documents(documents, run.pipeline), has_platform=request is not None)


def _find_version(workspace: OpenProject, text: str) -> Spec | None:
    """Return the recorded pipeline whose version begins with a text.

    Return None when the text is not a version, or when it can also mean a run.

    Raises:
        UsageError: the text begins with `sha256:` and is not a version here, or means several
            versions.
    """
    digits = text.removeprefix("sha256:")
    # With the prefix, the text can only be a version. Without it, 8 digits can also begin the id of
    # a run.
    must_be_version = digits != text
    if not re.fullmatch("[0-9a-f]{8,64}", digits):
        if must_be_version:
            raise UsageError(
                f"{text} is not a version.",
                hint=(
                    "Write sha256: and at least 8 digits. This command shows the version of a run:"
                    " kfgcp show RUN"
                ),
            )
        return None
    versions: list[str] = []
    pipeline_spec = None
    store = workspace.recorded_store
    if store is not None:
        if not must_be_version and _is_run(store, text):
            return None
        versions = store.versions(f"sha256:{digits}")
        pipeline_spec = store.spec(versions[0]) if versions else None
    if len(versions) > 1:
        raise UsageError(
            f"{text} means more than one version: {', '.join(versions)}.",
            hint="Write more digits of the version.",
        )
    if pipeline_spec is not None:
        return from_documents([pipeline_spec], versions[0])
    if must_be_version:
        raise UsageError(
            f"No run here has the version {text}.", hint="See the versions: kfgcp list --json"
        )
    return None


def _is_run(store: Store, text: str) -> bool:
    try:
        return bool(store.find(text))
    except UsageError:
        # The text can mean no run or several runs. With several runs, the version has priority.
        return False
