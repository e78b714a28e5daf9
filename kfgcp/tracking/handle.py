"""Handles: objects with the last known values of a run or task, and methods to act on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Self

from kfgcp.backends.base import (
    SEVERITIES,
    Backend,
    Deleted,
    LogFilter,
    LogLine,
    LogTail,
    RunRef,
    SupportsArtifacts,
    SupportsDelete,
    SupportsLogs,
    SupportsNative,
    SupportsRetry,
    capability,
)
from kfgcp.errors import RunFailed, Unsupported, UsageError
from kfgcp.event import Event
from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    JsonValue,
    Metric,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
)
from kfgcp.tracking.choose import moment
from kfgcp.tracking.open_project import OpenProject

if TYPE_CHECKING:
    from kfgcp.tracking.engine_thread import EngineThread
    from kfgcp.tracking.updates import RunUpdates

_ITERATION: Final = re.compile(r"\[\d+\]")

# The largest number of tasks in a hint. A loop can have thousands.
_MAX_TASKS: Final = 20

_END_PHRASES: Final = {RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}


class RunHandle:
    """A run that was submitted or found, as it was at the last `refresh`, `wait` or `cancel`.

    It belongs to its workspace, so it works in every current folder and in every thread.

    Attributes:
        notes: what the backend left out of the request or did in another way, a line for each.
        engine: the thread that executes the run, None when another process or a service does.
    """

    def __init__(
        self,
        workspace: OpenProject,
        ref: RunRef,
        run: Run,
        notes: Sequence[str] = (),
        engine: EngineThread | None = None,
    ) -> None:
        self.notes = notes
        self.engine = engine
        self._workspace = workspace
        self._env = workspace.environment_of(ref.env, run.backend).name
        self._ref = ref
        self._run = run

    def __repr__(self) -> str:
        return f"<run {self.run_id} of {self._run.pipeline}: {self.state}>"

    @property
    def workspace(self) -> OpenProject:
        """The workspace that the run belongs to."""
        return self._workspace

    @property
    def backend(self) -> Backend:
        """The backend of the run, which belongs to the calling thread."""
        return self._workspace.backend(self._env)

    @property
    def ref(self) -> RunRef:
        """The environment and the id of the run."""
        return self._ref

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._ref.run_id

    @property
    def state(self) -> RunState:
        """The state of the run when it was last read."""
        return self._run.state

    @property
    def url(self) -> str | None:
        """The address of the run in the backend's own console, None for a local run."""
        return self._run.url

    @property
    def params(self) -> dict[str, JsonValue]:
        """The values of the pipeline's parameters."""
        return dict(self._run.params)

    @property
    def outputs(self) -> dict[str, JsonValue]:
        """The outputs of the pipeline, by their names."""
        return dict(self._run.outputs)

    @property
    def metrics(self) -> dict[str, float | int]:
        """The values of the metrics, by `task/artifact/name`."""
        return {metric.key: metric.value for metric in self._run.metrics}

    @property
    def metric_list(self) -> Sequence[Metric]:
        """The metrics with their tasks and artifacts."""
        return self._run.metrics

    @property
    def artifacts(self) -> Sequence[Artifact]:
        """The output artifacts of the tasks."""
        return self._run.artifacts

    @property
    def tasks(self) -> Sequence[TaskHandle]:
        """The tasks in the order in which they started."""
        return [TaskHandle(self, task) for task in self._run.tasks]

    @property
    def translation(self) -> Sequence[Mapping[str, JsonValue]]:
        """What kfgcp translated in the pipeline when it started the run, see the guide portable.md.

        Each item has `component`, `kind` (accelerator, secret), `before`, `after` and `variable`.
        It is empty for a run that was started elsewhere.
        """
        request = self._workspace.store.request(self.run_id)
        return request.translation if request is not None else ()

    @property
    def snapshot(self) -> Run:
        """The whole run as a frozen value."""
        return self._run

    def task(self, path: str) -> TaskHandle:
        """Return the task at a path.

        Raises:
            UsageError: the run has no task at this path.
        """
        for task in self._run.tasks:
            if task.path == path:
                return TaskHandle(self, task)
        raise UsageError(f"Run {self.run_id} has no task '{path}'.", hint=self._hint_at_tasks(path))

    def refresh(self) -> Self:
        """Read the run again."""
        self._run = self.backend.get(self._ref)
        return self

    def remember(self, run: Run) -> None:
        """Keep a newer value of the run, which the caller has read."""
        self._run = run

    def updates(
        self,
        *,
        logs: bool | LogFilter = True,
        refresh: bool = True,
        timeout: float | None = None,
        notice: Callable[[str], None] = lambda text: None,
        on_pause: Callable[[], None] = lambda: None,
    ) -> RunUpdates:
        """Return an iterator over what happened in the run and what happens until its end.

        Args:
            logs: which lines of logs, False for none.
            refresh: ask the backend. False reads only what is recorded on this machine, for a
                program that asks the backend elsewhere.
            timeout: seconds until the iteration ends with an error, None for no limit.
            notice: called with a line of text when the backend cannot be reached, and when it can
                be reached again.
            on_pause: called each time when there are no more updates at the moment.

        Raises:
            RunTimeout: in the iteration: the run has not ended after `timeout` seconds. It
                continues.
            UsageError: the timeout is not a number of seconds; in the iteration: the run was
                deleted.
            BackendError: in the iteration: the backend could not be reached for an hour, or the
                sign-in is not valid any longer.

        Example:
            for update in kfgcp.submit("pipelines/churn.py").updates(logs=False):
                if isinstance(update, kfgcp.TaskChanged):
                    print(update.task.path, update.task.state)
        """
        # Most commands follow no run, and start-up time counts.
        from kfgcp.tracking.updates import RunUpdates

        return RunUpdates(
            self, logs=logs, refresh=refresh, timeout=timeout, notice=notice, on_pause=on_pause
        )

    def wait(self, timeout: float | None = None, *, check: bool = True) -> Self:
        """Wait until the run has ended.

        Args:
            timeout: seconds; None waits for ever.
            check: raise an error unless the run succeeded.

        Raises:
            RunFailed: the run ended FAILED or CANCELLED, and `check` is True.
            RunTimeout: the run has not ended after `timeout` seconds. It continues.
            UsageError: the timeout is not a number of seconds.
        """
        for _ in self.updates(logs=False, timeout=timeout):
            pass
        return self.check() if check else self

    def check(self) -> Self:
        """Return this handle, or raise an error when the run failed. This makes no request.

        Raises:
            RunFailed: the run ended FAILED or CANCELLED.
        """
        run = self._run
        if not run.state.final or run.state is RunState.SUCCEEDED:
            return self
        error = run.error or ErrorInfo("")
        where = f" in {error.task}" if error.task else ""
        reason = f": {error.message}" if error.message else "."
        raise RunFailed(
            f"Run {run.run_id} of {run.pipeline} {_END_PHRASES[run.state]}{where}{reason}",
            hint=error.hint or f"kfgcp show {run.run_id}",
            run_id=run.run_id,
            state=str(run.state),
            task=error.task or "",
            log_tail=error.log_tail,
        )

    def cancel(self) -> Self:
        """Ask the run to end. It is not an error when the run has already ended."""
        self.backend.cancel(self._ref)
        return self.refresh()

    def retry(self) -> Self:
        """Continue a failed or cancelled run, and return at once.

        Tasks that succeeded do not run again.

        Raises:
            UsageError: the run has not ended, or it succeeded.
            Unsupported: the backend cannot continue runs.
        """
        backend = capability(self.backend, SupportsRetry)
        if backend is None:
            raise self._missing_capability(
                "cannot continue a run that has ended",
                f"Run it again without the tasks that succeeded: kfgcp rerun {self.run_id}",
            )
        backend.retry(self._ref)
        return self.refresh()

    def logs(
        self,
        task: str | None = None,
        attempt: int | None = None,
        *,
        since: str | None = None,
        severity: str | None = None,
        all_lines: bool = False,
    ) -> Iterator[LogLine]:
        """Return the lines that the tasks of the run have written so far.

        Args:
            task: only of the task at this path.
            attempt: only of this attempt, from 1.
            since: only lines written at this time or later: an RFC 3339 text, or an age such as
                `10m`. For runs on this machine, times are known to a second.
            severity: only lines of this severity or a higher one, by its name in Cloud Logging. For
                runs on this machine, a line that is JSON with a key `severity` has that severity.
                Any other line has DEFAULT, which is below all others.
            all_lines: also what Kubeflow's launcher, kfp and Argo write into the logs of pods. Logs
                of runs on this machine and on Vertex AI have no such lines.

        Raises:
            Unsupported: the backend keeps no times or severities.
            UsageError: the time cannot be read, or there is no such task or severity.
        """
        if task is not None:
            self.task(task)
        if attempt is not None and attempt < 1:
            raise UsageError(
                f"Attempt {attempt} does not exist.", hint="The first attempt has the number 1."
            )
        if severity is not None and severity.upper() not in SEVERITIES:
            raise UsageError(
                f"There is no severity '{severity}'.", hint=f"Severities: {', '.join(SEVERITIES)}."
            )
        since_time = None if since is None else moment(since)
        severity_name = None if severity is None else severity.upper()
        log_filter = LogFilter(
            task, attempt, since=since_time, severity=severity_name, all_lines=all_lines
        )
        return self._find_log_reader().logs(self._ref, log_filter)

    def check_attempt(self, task: str | None, attempt: int) -> None:
        """Raise an error when a task has fewer attempts.

        A log can have more attempts than the task, because Kubeflow does not count them without ML
        Metadata. So call this only when a log has no lines.

        Args:
            task: the path of the task. None means that at least one task must have the attempt.
            attempt: the number of the attempt from 1.

        Raises:
            UsageError: there is no such attempt. The hint says how many there are.
        """
        if not self._run.state.final:
            # The attempt may have begun after the run was last read.
            self.refresh()
        tasks = self.tasks if task is None else [self.task(task)]
        count = max((handle.attempts for handle in tasks), default=0)
        if attempt <= count:
            return
        if task is None:
            raise UsageError(
                f"No task of run {self.run_id} has an attempt {attempt}.",
                hint=f"To see the attempts: kfgcp show {self.run_id}",
            )
        raise UsageError(f"Task '{task}' has no attempt {attempt}.", hint=_describe_attempts(count))

    def events(self) -> list[Event]:
        """Return the events up to the last reading of the run, see `Workspace.events`."""
        return self._workspace.store.events(self.run_id)

    def tail(self, log_filter: LogFilter | None = None) -> LogTail:
        """Return a reader of the logs. Each call of the reader returns only new lines."""
        return self._find_log_reader().tail(self._ref, log_filter or LogFilter())

    @property
    def is_deletable(self) -> bool:
        """Whether `delete` would remove the run: it has ended, or it can never end.

        Raises:
            Unsupported: the backend cannot remove runs.
        """
        return self._find_remover().is_deletable(self._run)

    @property
    def artifact_store(self) -> SupportsArtifacts | None:
        """The reader of artifacts that only the backend can reach, for `artifact_contents.text`.

        None when this machine can reach all artifacts. Kubeflow Pipelines, for example, keeps
        artifacts in a store inside the cluster, `minio://`.
        """
        return capability(self.backend, SupportsArtifacts)

    def delete(self) -> Deleted:
        """Delete the run on its backend and on this machine. Files that other runs use are kept.

        Raises:
            UsageError: the run has not ended.
            Unsupported: the backend cannot remove runs.
        """
        return self._find_remover().delete(self._ref)

    def native(self) -> object:
        """Return the run in the backend's official client, such as `aiplatform.PipelineJob`.

        Raises:
            Unsupported: the backend has no such client.
            MissingExtra: the client is not installed.
        """
        backend = capability(self.backend, SupportsNative)
        if backend is None:
            raise self._missing_capability("has no official client")
        return backend.native(self._ref)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the run as JSON, in the form that `kfgcp show --json` prints."""
        return self._run.to_dict()

    def _hint_at_tasks(self, path: str) -> str:
        """Return a hint that names tasks with this name in groups and loops, or all tasks."""
        paths = [task.path for task in self._run.tasks]
        end = f"/{_ITERATION.sub('', path)}"
        same_name = [path for path in paths if f"/{_ITERATION.sub('', path)}".endswith(end)]
        title = "Tasks with that name" if same_name else "The tasks of the run"
        candidates = same_name or paths
        names = ", ".join(candidates[:_MAX_TASKS]) or "none yet"
        more = len(candidates) - _MAX_TASKS
        return f"{title}: {names}, and {more} more." if more > 0 else f"{title}: {names}."

    def _find_remover(self) -> SupportsDelete:
        remover = capability(self.backend, SupportsDelete)
        if remover is None:
            raise self._missing_capability("cannot remove runs")
        return remover

    def _find_log_reader(self) -> SupportsLogs:
        logs = capability(self.backend, SupportsLogs)
        if logs is None:
            raise self._missing_capability("keeps no logs")
        return logs

    def _missing_capability(self, problem: str, hint: str = "") -> Unsupported:
        """Return the error for a method that the backend does not support."""
        return Unsupported(f"The backend of environment '{self._ref.env}' {problem}.", hint=hint)


def _describe_attempts(count: int) -> str:
    if count == 0:
        return "The task has no attempts: it did not run."
    if count == 1:
        return "The task has only attempt 1."
    return f"The attempts of the task: {', '.join(map(str, range(1, count)))} and {count}."


class TaskHandle:
    """A task of a run, as it was when the run was last read.

    Attributes:
        snapshot: the whole task as a frozen value.
    """

    def __init__(self, run: RunHandle, task: Task) -> None:
        self._handle = run
        self.snapshot = task

    def __repr__(self) -> str:
        return f"<task {self.path}: {self.state}>"

    @property
    def path(self) -> str:
        """The place of the task in the run: `for-loop-1[2]/train`."""
        return self.snapshot.path

    @property
    def kind(self) -> TaskKind:
        """Whether it is a container, a DAG, a loop or the like."""
        return self.snapshot.kind

    @property
    def state(self) -> TaskState:
        """The state of the task when its run was last read."""
        return self.snapshot.state

    @property
    def attempts(self) -> int:
        """How often the task was started."""
        return self.snapshot.attempts

    @property
    def cache(self) -> Cache | None:
        """Whether the outputs of the task came from the cache, and why or why not."""
        return self.snapshot.cache

    @property
    def started_at(self) -> str | None:
        """The time of the start as RFC 3339 text in UTC, None before the start."""
        return self.snapshot.started_at

    @property
    def ended_at(self) -> str | None:
        """The time of the end as RFC 3339 text in UTC, None before the end."""
        return self.snapshot.ended_at

    @property
    def seconds(self) -> float | None:
        """The duration of the task in seconds, None before its end."""
        return self.snapshot.seconds

    @property
    def inputs(self) -> dict[str, JsonValue]:
        """The inputs by name: values of parameters, and URIs of artifacts."""
        return dict(self.snapshot.inputs)

    @property
    def outputs(self) -> dict[str, JsonValue]:
        """The outputs by name: values of parameters, and URIs of artifacts."""
        return dict(self.snapshot.outputs)

    @property
    def error(self) -> ErrorInfo | None:
        """Why the task failed, None when it did not fail."""
        return self.snapshot.error

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the task as JSON, in the form that it has in a run."""
        return self.snapshot.to_dict()

    def logs(self, attempt: int | None = None, *, all_lines: bool = False) -> list[str]:
        """Return the lines that the task has written so far, see `RunHandle.logs`."""
        lines = self._handle.logs(self.snapshot.path, attempt, all_lines=all_lines)
        return [line.text for line in lines]
