"""Start runs: from a pipeline and options to a request, and from a request to a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kfgcp import labels
from kfgcp.backends.base import (
    Backend,
    ForegroundRun,
    RunRef,
    SubmitRequest,
    SupportsForeground,
    capability,
)
from kfgcp.config import Environment
from kfgcp.deploy.images.pins import stand_in_notes
from kfgcp.errors import Unsupported, UsageError
from kfgcp.machine import current_folder
from kfgcp.model import Run
from kfgcp.options import RunOptions
from kfgcp.spec import params as spec_params
from kfgcp.spec.load import Spec
from kfgcp.spec.source import Source, display_path
from kfgcp.store.request import StoredRequest
from kfgcp.tracking import lookup, named_pipelines, pipelines
from kfgcp.tracking.engine_thread import EngineThread, cancelled_on_interrupt
from kfgcp.tracking.environment_options import with_environment_options
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.lookup import RunLike
from kfgcp.tracking.notices import NotHeeded, RecordedCode, warn_caller
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.pipelines import PipelineLike
from kfgcp.tracking.run_check import check_before_run, with_ignored_findings
from kfgcp.tracking.translation import translate_for

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords

# The largest number of edited files that a warning names.
_MAX_FILES: Final = 3


@dataclass(frozen=True, slots=True)
class Preview:
    """What `submit` would do.

    Attributes:
        request: the run to start.
        notes: what rules warn of, and what the backend leaves out of the request or does in another
            way, a line for each.
    """

    request: SubmitRequest
    notes: Sequence[str]


def combine(options: RunOptions | None, changes: OptionKeywords) -> RunOptions:
    """Return the options that a caller gave as a value, as keywords, or both. Keywords win.

    Raises:
        UsageError: an option does not exist or has a wrong value.
    """
    if options is not None and not isinstance(options, RunOptions):
        raise UsageError(f"The options must be a RunOptions, not {options!r}.")
    return (options or RunOptions()).changed(**changes)


def prepare(
    workspace: OpenProject,
    pipeline: PipelineLike,
    params: Mapping[str, object] | None,
    options: RunOptions,
    *,
    smoke: bool = False,
) -> tuple[Backend, SubmitRequest]:
    """Return the run to start for a pipeline, parameters and options, and its backend.

    Args:
        workspace: the project.
        pipeline: the pipeline.
        params: values of parameters. They override those of kfgcp.toml.
        options: how to run it.
        smoke: use the parameters of the smoke run in kfgcp.toml.

    Raises:
        ConfigError: the pipeline is declared in kfgcp.toml, and is not for this environment.
        UsageError: `params` is not a dict of values by name, or the run cannot have this name.
        SpecError: the pipeline does not compile or is not a valid spec.
        ParamError: a parameter is unknown, missing or of the wrong type.
        BackendError: Artifact Registry refused the pipeline or cannot be reached.
    """
    values = _check_params(params)
    folder = current_folder()
    environment = workspace.project.env(options.env)
    if options.name == "latest":
        raise UsageError(
            "A run cannot be named 'latest': that word means the newest run.",
            hint="Choose another name.",
        )
    # The command line has loaded the pipeline already, because it reads its parameters first.
    if isinstance(pipeline, Spec):
        spec = pipeline
    else:
        spec = pipelines.load_pipeline(workspace, pipeline, environment.name)
    if spec.entry is not None:
        named_pipelines.check_environment(spec.entry, environment)
        folder = spec.entry.folder
    if spec.registered is not None and spec.registered.env not in ("", environment.name):
        raise UsageError(
            f"{spec.origin} comes from the registry of '{spec.registered.env}', so it cannot run in"
            f" '{environment.name}'.",
            hint=f"Push the pipeline there: kfgcp push PIPELINE --env {environment.name}",
        )
    values = named_pipelines.collect_values(spec, environment.name, values, smoke=smoke)
    request = SubmitRequest(
        spec=spec,
        params=spec_params.resolve(spec.params, values),
        options=replace(
            with_environment_options(options, environment),
            env=environment.name,
            experiment=options.experiment or workspace.project.experiment,
            labels=_collect_labels(spec, environment, options.labels),
        ),
        submit_dir=str(folder),
        source=_find_source(spec, folder),
        translated=translate_for(environment, spec),
    )
    request = with_ignored_findings(workspace.project, request, workspace.recorded_store)
    return workspace.backend(environment.name), request


def _find_source(spec: Spec, folder: Path) -> Source | None:
    """Return where a pipeline comes from, None when it was not made from files.

    Args:
        spec: the pipeline.
        folder: the folder that relative paths start from.
    """
    if not spec.files:
        return None
    pipeline = spec.origin if spec.entry is None else spec.entry.name
    return Source(pipeline, str(folder), spec.files)


def _check_params(params: Mapping[str, object] | None) -> Mapping[str, object]:
    """Return the parameters that a caller gave. None means no parameters.

    Raises:
        UsageError: they are not a dict of values by the names of parameters.
    """
    if params is None:
        return {}
    is_valid = isinstance(params, Mapping) and all(isinstance(name, str) for name in params)
    if not is_valid:
        raise UsageError(
            f"The option `params` must be a dict from parameter names to values, not {params!r}."
        )
    return params


def _collect_labels(
    spec: Spec, environment: Environment, own_labels: Mapping[str, str]
) -> dict[str, str]:
    """Return the labels of a run: the automatic ones, those of the environment, and its own.

    A later label replaces an earlier label with the same name.
    """
    automatic = labels.automatic_labels(
        pipeline=spec.name,
        version=spec.version,
        env=environment.name,
        folder=_find_folder(spec.origin),
    )
    return {**automatic, **(environment.get("labels") or {}), **own_labels}


def _find_folder(origin: str) -> Path:
    """Return the folder of the file that a pipeline comes from, else the current folder."""
    # The origin can be `file.py:function`.
    name = origin.rpartition(":")[0]
    file = Path(name if name.endswith(".py") else origin)
    return file.parent if file.is_file() else current_folder()


def prepare_repetition(
    workspace: OpenProject,
    run: RunLike,
    from_task: str | None,
    params: Mapping[str, object] | None,
    changes: OptionKeywords,
) -> tuple[Backend, SubmitRequest]:
    """Return the run that repeats another one, and the backend that can start it.

    Args:
        workspace: where the run is recorded.
        run: the run to repeat.
        from_task: the path of a task. This task and all tasks that depend on it run again.
        params: parameters that change.
        changes: options that change; the others are those of the run.

    Raises:
        UsageError: the run has no task `from_task`, or a parameter or an option has a wrong value.
    """
    new_params = _check_params(params)
    # This call only checks the options, so that a wrong one is reported without a request.
    RunOptions().changed(**changes)
    handle = lookup.show(workspace, run)
    before = handle.snapshot
    if from_task is not None:
        handle.task(from_task)
    stored = workspace.store.request(before.run_id) or StoredRequest()
    spec = replace(pipelines.spec_of(workspace, before), registered=stored.registered)
    if spec.registered is not None and spec.registered.address.startswith("https://"):
        # Most repetitions need no registry, and the module takes time to import.
        from kfgcp.tracking.registries import with_template

        spec = with_template(workspace, spec, before.env)
    params_before = {name: value for name, value in before.params.items() if value is not None}
    changed_params = spec_params.with_absolute_paths(spec.params, new_params)
    options = _repeat_options(before, stored.options).changed(**changes)
    backend, request = prepare(workspace, spec, {**params_before, **changed_params}, options)
    if stored.source is not None:
        _warn_of_edits(stored.source, before.run_id)
    request = replace(
        request,
        submit_dir=stored.submit_dir or request.submit_dir,
        repeats=before.run_id,
        from_task=from_task,
        source=stored.source,
    )
    return backend, request


def _repeat_options(run: Run, options: RunOptions) -> RunOptions:
    """Return the options for a repetition of a run.

    The environment, the experiment and the labels come from the run itself, because `options` is
    empty for a run that was not submitted from here. The name is not repeated.
    """
    return replace(
        options,
        env=run.env,
        experiment=run.experiment,
        labels=labels.repeated_labels(run.labels),
        name="",
    )


def _warn_of_edits(source: Source, run_id: str) -> None:
    """Warn of files of the pipeline that were edited after a run: a rerun ignores the edits."""
    files = source.changed_files()
    if not files:
        return
    names = ", ".join(str(display_path(file)) for file in files[:_MAX_FILES])
    if len(files) > _MAX_FILES:
        names += f" and {len(files) - _MAX_FILES} more files"
    verb = "was" if len(files) == 1 else "were"
    warn_caller(
        f"{names} {verb} edited after run {run_id}. The rerun uses the code that was recorded"
        f" with that run. To run the new code: {source.run_command()}",
        RecordedCode,
    )


def notes_of(workspace: OpenProject, backend: Backend, request: SubmitRequest) -> list[str]:
    """Return what to say before a run: what the rules warn of, and what the backend leaves out.

    Raises:
        Unsupported: a rule says that the pipeline cannot run.
        UsageError: an image of the pipeline is not pinned, and the run is for a real service.
    """
    project = workspace.project
    image_notes = stand_in_notes(request.spec, project, project.env(request.options.env))
    rule_notes = check_before_run(project, request)
    return image_notes + list(rule_notes) + list(backend.notes(request))


def start(
    workspace: OpenProject, backend: Backend, request: SubmitRequest, *, in_process: bool = False
) -> RunHandle:
    """Start a run. Warn with `NotHeeded` of each note about the request.

    Args:
        workspace: where it is recorded.
        backend: where it runs.
        request: the run.
        in_process: execute a run on this machine in a thread of this process. Otherwise it
            continues when this process ends, as remote runs always do.

    Raises:
        Unsupported: a rule says that the pipeline cannot run.
        BackendError: the backend refused the run or cannot be reached.
    """
    notes = notes_of(workspace, backend, request)
    for note in notes:
        warn_caller(note, NotHeeded)
    engine = capability(backend, SupportsForeground)
    if in_process and engine is not None:
        foreground = engine.open(request)
        ref = RunRef(request.options.env, foreground.run_id)
        return _create_handle(workspace, ref, notes, foreground)
    return _create_handle(workspace, backend.submit(request), notes)


def resume(workspace: OpenProject, handle: RunHandle, *, in_process: bool = False) -> RunHandle:
    """Continue an interrupted run.

    Raises:
        UsageError: the run has ended, or another process executes it.
        Unsupported: the backend cannot resume runs.
    """
    engine = capability(handle.backend, SupportsForeground)
    if engine is None:
        raise Unsupported("The backend of this environment cannot resume runs.")
    if in_process:
        return _create_handle(workspace, handle.ref, (), engine.reopen(handle.ref))
    return _create_handle(workspace, engine.resume(handle.ref))


def _create_handle(
    workspace: OpenProject,
    ref: RunRef,
    notes: Sequence[str] = (),
    foreground: ForegroundRun | None = None,
) -> RunHandle:
    """Return the handle of a run that was started.

    The run is read from the store. A request to the backend could fail, and then the caller would
    not learn the id of a run that has started.
    """
    if foreground is None:
        return RunHandle(workspace, ref, workspace.store.get(ref.run_id), notes)
    engine = EngineThread(foreground)
    # From here on, Ctrl-C must not leave an engine that nobody sees.
    with cancelled_on_interrupt(engine):
        return RunHandle(workspace, ref, workspace.store.get(ref.run_id), notes, engine)
