"""Pipelines, whatever names them: files, runs, versions that the store knows; and what differs
between two."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from kfgcp.errors import UsageError
from kfgcp.model import JsonValue, Run
from kfgcp.spec.diff import Change
from kfgcp.spec.diff import diff as diff_specs
from kfgcp.spec.load import Component, Spec, from_documents, is_pipeline_file_name, load
from kfgcp.store.store import Store
from kfgcp.tracking import lookup
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.open_project import OpenProject

PipelineLike = str | Path | Spec | Component
"""What can be compiled: a file, an address in Artifact Registry, a loaded pipeline, or an object of
KFP."""
Pipeline = PipelineLike | RunHandle | Run


@dataclass(frozen=True, slots=True)
class Diff:
    """What is different in the second of two pipelines; their `origin` is what named them."""

    before: Spec
    after: Spec
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        changes: list[JsonValue] = [change.to_dict() for change in self.changes]
        return {"before": _facts(self.before), "after": _facts(self.after), "changes": changes}


def _facts(spec: Spec) -> dict[str, JsonValue]:
    return {"origin": spec.origin, "pipeline": spec.name, "version": spec.version}


def diff(workspace: OpenProject, before: Pipeline, after: Pipeline) -> Diff:
    """What differs between two pipelines.

    What they ask of a cluster is compared where both tell it: a version does not, and a run only if
    it was submitted from here.

    Raises:
        UsageError: one of them is no file, run or version, or could be several.
        SpecError: one of them does not compile or is not a valid spec.
    """
    (one, told), (other, also_told) = (_resolve(workspace, each) for each in (before, after))
    platforms = (one.platform_spec, other.platform_spec) if told and also_told else (None, None)
    return Diff(one, other, diff_specs(one.pipeline_spec, other.pipeline_spec, *platforms))


def spec_of(workspace: OpenProject, run: Run) -> Spec:
    """The pipeline of a run, as it was recorded.

    Raises:
        UsageError: its backend did not tell it.
    """
    return _of_run(workspace, run)[0]


def load_pipeline(workspace: OpenProject, pipeline: PipelineLike, env: str | None = None) -> Spec:
    """Load and check a pipeline. Artifact Registry is read with the sign-in of the environment
    `env`.

    Raises:
        SpecError: it does not compile or is not a valid spec.
        BackendError: Artifact Registry refused it or cannot be reached.
    """
    project = workspace.project  # a configuration that is not valid is the first error
    if isinstance(pipeline, Spec):
        return pipeline
    if (
        isinstance(pipeline, str) and "://" in pipeline
    ):  # only then are the modules for requests needed
        from kfgcp.backends.vertex.templates import is_template, load_template

        if is_template(pipeline):
            return load_template(pipeline, project.env(env))
    return load(pipeline)


def _resolve(workspace: OpenProject, named: Pipeline) -> tuple[Spec, bool]:
    """The pipeline, and whether it is known what it asks of a cluster."""
    if not isinstance(named, (str, Path, RunHandle, Run)):
        return load_pipeline(workspace, named), True
    if isinstance(named, (str, Path)):
        text = str(named)
        if is_pipeline_file_name(text) or "://" in text:
            return load_pipeline(workspace, text), True
        version = _of_version(workspace, text)
        if version is not None:
            return version, False
        named = lookup.handle(workspace, text)
    run = named.snapshot if isinstance(named, RunHandle) else named
    spec, told = _of_run(lookup.workspace_of(workspace, named), run)
    return replace(spec, origin=f"run {run.run_id}"), told


def _of_version(workspace: OpenProject, text: str) -> Spec | None:
    """The recorded pipeline whose version begins so; None when it is none, or when it may be a run
    as well."""
    digits = text.removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{8,64}", digits):
        if digits != text:
            raise UsageError(
                f"{text} is not a version.",
                hint="sha256: and 8 digits or more; see: kfgcp show RUN --json",
            )
        return None
    found: list[str] = []
    spec = None
    store = workspace.recorded_store
    if store is not None:
        if digits == text and _is_run(store, text):
            return None
        found = store.versions(f"sha256:{digits}")
        spec = store.spec(found[0]) if found else None
    if len(found) > 1:
        raise UsageError(
            f"{text} means more than one version: {', '.join(found)}.",
            hint="Write more of its digits.",
        )
    if spec is not None:
        return from_documents([spec], found[0])
    if digits != text:
        raise UsageError(
            f"No run here has the version {text}.", hint="See the versions: kfgcp list --json"
        )
    return None


def _is_run(store: Store, text: str) -> bool:
    try:
        return bool(store.find(text))
    except UsageError:
        return False


def _of_run(workspace: OpenProject, run: Run) -> tuple[Spec, bool]:
    spec, request = workspace.store.spec(run.version), workspace.store.request(run.run_id)
    if spec is None:
        raise UsageError(
            f"The pipeline of run {run.run_id} cannot be read.", hint="Run its file: kfgcp run FILE"
        )
    platform_spec = request.platform_spec if request is not None else None
    documents = [document for document in (spec, platform_spec) if document is not None]
    return from_documents(documents, run.pipeline), request is not None
