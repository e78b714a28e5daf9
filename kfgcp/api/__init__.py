"""What can be done with kfgcp, a function a verb; `kfgcp.cli` prints what these return.

Each takes the project from the current folder (see `kfgcp.config`), and runs of any backend by their id, a beginning
of it, their name, or `latest`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from kfgcp import config, labels
from kfgcp.api.found import RunLike, deleted_artifacts, show
from kfgcp.api.project import dashboard, doctor, import_env, init
from kfgcp.api.submit_options import SubmitOptions, check_options
from kfgcp.api.tables import artifacts, compare, export, list, metrics, note, runs, tag, tasks, unread
from kfgcp.backends.base import (
    Backend,
    Deleted,
    ForegroundRun,
    LogFilter,
    LogLine,
    NotWhole,
    Pace,
    RunRef,
    SubmitRequest,
    SupportsForeground,
)
from kfgcp.errors import Unsupported, UsageError
from kfgcp.machine import current_folder
from kfgcp.model import Run, RunState
from kfgcp.spec import params as spec_params
from kfgcp.spec.graph import build
from kfgcp.spec.load import Spec, load
from kfgcp.spec.source import Source, from_here
from kfgcp.spec.whole_artifacts import refuse_whole_artifacts
from kfgcp.store.store import Store
from kfgcp.tracking import lookup, pipelines
from kfgcp.tracking.follow import Update
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.lookup import NotRefreshed
from kfgcp.tracking.pipelines import Diff, Pipeline, PipelineLike

_CHECK_SECONDS = 1.0
_NAMED_FILES = 3
"""The largest number of edited files that a note names."""


class NotHeeded(UserWarning):
    """The backend leaves out something that the pipeline asks for, or gives it in another way."""


class RecordedCode(UserWarning):
    """The pipeline's files were edited since a run that is repeated with the code as it was recorded."""


def compile(pipeline: PipelineLike, output: str | Path | None = None) -> Spec:
    """Compile and check a pipeline, and write it to a file when `output` is given.

    Args:
        pipeline: `file.py`, `file.py:function`, a compiled `.yaml` or `.json`, or a pipeline or component of KFP (a
            function with its decorator).
        output: a `.yaml` or `.json` file to write.

    Returns:
        The compiled pipeline, which `submit` takes too.

    Raises:
        SpecError: it does not compile or is not a valid spec.
    """
    spec = pipeline if isinstance(pipeline, Spec) else load(pipeline)
    if output is not None:
        from kfgcp.spec.write import write

        write(spec, Path(output))
    return spec


def load_pipeline(pipeline: str | Path, env: str | None = None) -> Spec:
    """Load and check a pipeline without starting it.

    Args:
        pipeline: a file, as in `compile`, or the address of a version in Artifact Registry.
        env: the environment whose sign-in is used for Artifact Registry; the default one of the project when None.

    Returns:
        The compiled pipeline.

    Raises:
        SpecError: it does not compile or is not a valid spec.
        BackendError: Artifact Registry refused it or cannot be reached.
    """
    return pipelines.load_pipeline(config.load(), pipeline, env)


def submit(pipeline: PipelineLike, **options: Unpack[SubmitOptions]) -> RunHandle:
    """Start a run, and return without waiting for its end. The run continues when this process ends.

    Args:
        pipeline: `file.py`, `file.py:function`, a compiled `.yaml` or `.json`, the address of a version in Artifact
            Registry, a pipeline or component of KFP (a function with its decorator), or what `compile` returned.
        options: fields of `SubmitOptions`.

    Returns:
        The run that was started.

    Raises:
        UsageError: an option does not exist or has a wrong value.
        SpecError: the pipeline does not compile or is not a valid spec.
        ParamError: a parameter is unknown, missing or of the wrong type.
        BackendError: the backend refused it or cannot be reached.
    """
    return _submit(*_prepare(pipeline, options))


@dataclass(frozen=True, slots=True)
class Plan:
    """What `submit` would send. notes: what the backend leaves out of it or gives in another way, a line each."""

    request: SubmitRequest
    notes: Sequence[str]


def plan(pipeline: PipelineLike, **options: Unpack[SubmitOptions]) -> Plan:
    """Return what `submit` would send with the same arguments. Nothing is started; the errors are the same."""
    backend, request = _prepare(pipeline, options)
    return Plan(request, backend.notes(request))


def run(
    pipeline: PipelineLike, *, timeout: float | None = None, check: bool = True, **options: Unpack[SubmitOptions]
) -> RunHandle:
    """Submit a pipeline and wait until its run has ended.

    Args:
        pipeline: as in `submit`.
        timeout: seconds to wait; None waits for ever.
        check: raise an error unless the run succeeded.
        options: fields of `SubmitOptions`.

    Returns:
        The run, which has ended.

    Raises:
        RunFailed: the run ended FAILED or CANCELLED, and `check` is True.
        RunTimeout: the run has not ended after `timeout` seconds. It continues.
        KfgcpError: the errors of `submit`.

    Example:
        >>> kfgcp.run("pipelines/churn.py", params={"learning_rate": 0.1}, timeout=3600)
    """
    return submit(pipeline, **options).wait(timeout, check=check)


def open_run(
    pipeline: PipelineLike, *, notice: Callable[[str], None] = lambda text: None, **options: Unpack[SubmitOptions]
) -> tuple[RunHandle, ForegroundRun]:
    """Open a run that the caller takes to its end: a local run is only recorded, a remote run is submitted.

    Args:
        pipeline: as in `submit`.
        notice: called with a line of text when a remote backend cannot be reached for a while, and when it can again.
        options: as in `submit`.

    Returns:
        The run, and the object whose `execute` takes it to its end.
    """
    return _open(*_prepare(pipeline, options), notice)


def resume(run: RunLike = "latest", *, check: bool = True) -> RunHandle:
    """Continue an interrupted run in this process, and wait for its end. Finished tasks do not run again.

    Args:
        run: the run to continue.
        check: raise an error unless the run succeeds.

    Returns:
        The run, which has ended.

    Raises:
        UsageError: it has ended, or is still running elsewhere.
        RunFailed: it ended FAILED or CANCELLED, and `check` is True.
    """
    handle, opened = open_resumed(run)
    opened.execute()
    handle.refresh()
    return handle.check() if check else handle


def open_resumed(run: RunLike = "latest") -> tuple[RunHandle, ForegroundRun]:
    """Open an interrupted run that the caller takes to its end, see `resume`."""
    handle = show(run)
    if not isinstance(handle.backend, SupportsForeground):
        raise Unsupported("Runs of this environment cannot be resumed from here.")
    return handle, handle.backend.resume(handle.ref)


def rerun(
    run: RunLike = "latest",
    *,
    from_task: str | None = None,
    timeout: float | None = None,
    check: bool = True,
    **options: Unpack[SubmitOptions],
) -> RunHandle:
    """Repeat a run as a new run, and wait for its end.

    Tasks whose code and inputs are the same take their outputs from the first run. The new run repeats the code that
    was recorded with the first run. The warning `RecordedCode` says so when the pipeline's files were edited since.

    Args:
        run: the run to repeat.
        from_task: the path of a task. This task and all tasks that depend on it run again.
        timeout: seconds to wait, see `RunHandle.wait`.
        check: raise an error unless the new run succeeds.
        options: fields of `SubmitOptions`. `params` changes single parameters; the other values are those of the run.

    Returns:
        The new run, which has ended.

    Raises:
        UsageError: the run has no such task, or an option does not exist or has a wrong value.
        RunFailed: the new run ended FAILED or CANCELLED, and `check` is True.
    """
    return submit_again(run, from_task=from_task, **options).wait(timeout, check=check)


def submit_again(
    run: RunLike = "latest", *, from_task: str | None = None, **options: Unpack[SubmitOptions]
) -> RunHandle:
    """Repeat a run as in `rerun`, without waiting for its end."""
    return _submit(*_repeat(run, from_task, options))


def open_rerun(
    run: RunLike = "latest",
    *,
    from_task: str | None = None,
    notice: Callable[[str], None] = lambda text: None,
    **options: Unpack[SubmitOptions],
) -> tuple[RunHandle, ForegroundRun]:
    """Open a repetition of a run that the caller takes to its end. Arguments as in `rerun` and `open_run`."""
    return _open(*_repeat(run, from_task, options), notice)


def retry(run: RunLike = "latest", *, timeout: float | None = None, check: bool = True) -> RunHandle:
    """Continue a failed or cancelled run, and wait for its end. Tasks that succeeded do not run again.

    It stays the same run; `rerun` starts a new one.

    Args:
        run: the run to continue.
        timeout: seconds to wait, see `RunHandle.wait`.
        check: raise an error unless the run succeeds this time.

    Returns:
        The run, which has ended.

    Raises:
        UsageError: the run has not ended, or it succeeded.
        Unsupported: the backend cannot continue runs.
        RunFailed: it ended FAILED or CANCELLED again, and `check` is True.
    """
    return show(run).retry().wait(timeout, check=check)


def open_retry(
    run: RunLike = "latest", *, notice: Callable[[str], None] = lambda text: None
) -> tuple[RunHandle, ForegroundRun]:
    """Continue a failed or cancelled run that the caller follows to its end, see `retry`; notice: as in `open_run`."""
    from kfgcp.tracking.watched import WatchedRun

    handle = show(run).retry()
    return handle, WatchedRun(handle, notice)


def spec_of(run: RunLike = "latest") -> Spec:
    """The pipeline of a run, as it was recorded."""
    return pipelines.spec_of(config.load(), run if isinstance(run, Run) else show(run).snapshot)


def logs(
    run: RunLike = "latest",
    task: str | None = None,
    attempt: int | None = None,
    *,
    since: str | None = None,
    severity: str | None = None,
    all_lines: bool = False,
) -> Iterator[LogLine]:
    """The lines that a run's tasks wrote so far; see `RunHandle.logs`."""
    return show(run).logs(task, attempt, since=since, severity=severity, all_lines=all_lines)


def watch(
    run: RunLike = "latest",
    *,
    logs: bool | LogFilter = True,
    notice: Callable[[str], None] = lambda text: None,
) -> Iterator[Update]:
    """A run as it goes on, until it has ended: changed tasks and new log lines.

    Goes on by itself when the backend cannot be reached for a while.

    Args:
        run: which run.
        logs: which lines; False for none.
        notice: takes a line when the backend cannot be reached, and one when it can again.
    """
    from kfgcp.tracking.follow import follow
    from kfgcp.tracking.poll import Poller

    handle = run if isinstance(run, RunHandle) else show(run)
    wanted = logs if isinstance(logs, LogFilter) else LogFilter()
    tail = handle.tail(wanted) if logs else None
    pace = Pace(max(_CHECK_SECONDS, handle.backend.pace.shortest), handle.backend.pace.longest)
    poller = Poller(handle.backend, handle.ref, pace=pace, notice=notice)
    with Store(config.load().home) as store:
        yield from follow(store, handle.run_id, tail, check=poller.look, notice=notice)


def cancel(run: RunLike = "latest") -> RunHandle:
    """Asks a run to end; no error when it has ended."""
    return show(run).cancel()


def delete(run: RunLike) -> Deleted:
    """Removes a run that has ended, on its backend and here, with its logs and artifacts in the state folder.

    Files that another run uses are kept until the last such run is deleted: a task that was CACHED has the files and
    the log of the task that ran.

    Raises:
        UsageError: it has not ended.
    """
    return show(run).delete()


def diff(before: Pipeline, after: Pipeline) -> Diff:
    """What differs between two pipelines: files, runs, or versions (`sha256:` and 8 digits or more).

    Raises:
        UsageError: one of them is no file, run or version, or could be several.
        SpecError: one of them does not compile or is not a valid spec.
    """
    return pipelines.diff(config.load(), before, after)


def _submit(backend: Backend, request: SubmitRequest) -> RunHandle:
    notes = backend.notes(request)
    for each in notes:
        warnings.warn(each, NotHeeded, stacklevel=3)
    return _submitted(backend, request, notes)


def _open(backend: Backend, request: SubmitRequest, notice: Callable[[str], None]) -> tuple[RunHandle, ForegroundRun]:
    notes = backend.notes(request)
    if not isinstance(backend, SupportsForeground):
        from kfgcp.tracking.watched import WatchedRun

        handle = _submitted(backend, request, notes)
        return handle, WatchedRun(handle, notice)
    opened = backend.open(request)
    return RunHandle(backend, RunRef(request.env, opened.run_id), notes=notes), opened


def _submitted(backend: Backend, request: SubmitRequest, notes: Sequence[str]) -> RunHandle:
    """The run as it was recorded: nothing that can fail is asked of its backend once it goes on."""
    ref = backend.submit(request)
    with Store(config.load().home) as store:
        return RunHandle(backend, ref, store.get(ref.run_id), notes)


def _repeat(run: RunLike, from_task: str | None, options: SubmitOptions) -> tuple[Backend, SubmitRequest]:
    check_options(options)
    handle = show(run)
    before = handle.snapshot
    if from_task is not None:
        handle.task(from_task)
    given = {name: value for name, value in before.params.items() if value is not None}
    with Store(config.load().home) as store:
        recorded = store.request(before.run_id)
    how = SubmitOptions(
        env=before.env,
        experiment=before.experiment,
        labels=labels.repeated(before.labels),
        cache=recorded.get("caching"),
        max_parallel=recorded.get("max_parallel"),
        fail_fast=recorded.get("fail_fast", False),
        executor=recorded.get("executor", "auto"),
        strict_env=recorded.get("strict_env", False),
    )
    how.update({name: value for name, value in options.items() if value is not None})  # type: ignore[typeddict-item]
    spec = spec_of(before)
    how["params"] = {**given, **spec_params.with_absolute_paths(spec.params, options.get("params") or {})}
    backend, request = _prepare(spec, how)
    submit_dir = recorded.get("submit_dir", request.submit_dir)
    source = Source.from_dict(recorded["source"]) if recorded.get("source") else None
    if source is not None:
        _warn_of_edits(source, before.run_id)
    request = replace(request, submit_dir=submit_dir, repeats=before.run_id, from_task=from_task, source=source)
    return backend, request


def _warn_of_edits(source: Source, run_id: str) -> None:
    """Warn that a rerun repeats the recorded code when the files of the pipeline were edited since."""
    changed = source.changed_files()
    if not changed:
        return
    names = ", ".join(str(from_here(file)) for file in changed[:_NAMED_FILES])
    more = f" and {len(changed) - _NAMED_FILES} more files" if len(changed) > _NAMED_FILES else ""
    was = "was" if len(changed) == 1 else "were"
    warnings.warn(
        f"{names}{more} {was} edited after run {run_id}. The rerun uses the code that was recorded with that run."
        f" To run the new code: {source.run_command()}",
        RecordedCode,
        stacklevel=4,
    )


def _prepare(pipeline: PipelineLike, options: SubmitOptions) -> tuple[Backend, SubmitRequest]:
    check_options(options)
    folder = current_folder()
    project = config.load()
    environment = project.env(options.get("env"))
    if options.get("name") == "latest":
        raise UsageError("A run cannot be named 'latest': that word means the newest run.", hint="Choose another name.")
    spec = pipelines.load_pipeline(project, pipeline, environment.name)
    refuse_whole_artifacts(build(spec.pipeline_spec))
    request = SubmitRequest(
        spec=spec,
        params=spec_params.resolve(spec.params, options.get("params") or {}),
        env=environment.name,
        experiment=options.get("experiment") or project.experiment,
        name=options.get("name") or "",
        labels={
            **labels.automatic(
                pipeline=spec.name, version=spec.version, env=environment.name, folder=_folder_of(spec.origin)
            ),
            **(environment.get("labels") or {}),
            **(options.get("labels") or {}),
        },
        submit_dir=str(folder),
        cache=options.get("cache"),
        max_parallel=options.get("max_parallel") or environment.get("max_parallel"),
        fail_fast=options.get("fail_fast") or False,
        executor=options.get("executor") or "auto",
        strict_env=options.get("strict_env") or False,
        source=Source(spec.origin, str(folder), spec.files) if spec.files else None,
    )
    return lookup.backend_of(project, environment), request


def _folder_of(origin: str) -> Path:
    """Where a pipeline comes from: the folder of its file, else the current one."""
    file = Path(origin.rpartition(":")[0] if origin.rpartition(":")[0].endswith(".py") else origin)
    return file.parent if file.is_file() else current_folder()


__all__ = [
    "NotRefreshed",
    "NotWhole",
    "RunLike",
    "RunState",
    "artifacts",
    "cancel",
    "compare",
    "compile",
    "dashboard",
    "delete",
    "deleted_artifacts",
    "diff",
    "doctor",
    "export",
    "import_env",
    "init",
    "list",
    "logs",
    "metrics",
    "note",
    "open_rerun",
    "open_resumed",
    "open_retry",
    "open_run",
    "plan",
    "rerun",
    "resume",
    "retry",
    "run",
    "runs",
    "show",
    "spec_of",
    "submit",
    "tag",
    "tasks",
    "unread",
    "watch",
]
