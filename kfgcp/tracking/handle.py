"""A run as an object: what it was when it was last read, and what can be done with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Self

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

_ITERATION = re.compile(r"\[\d+\]")
_MOST_IN_HINT = 20
"""Tasks that a hint names; a loop can have thousands."""
_ENDED = {RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}


class RunHandle:
    """A run that was submitted or looked up. Its facts are those of the last `refresh`, `wait` or
    `cancel`.

    It belongs to its workspace, so it works whatever the current folder is, and in every thread.

    Attributes:
        notes: what the backend left out of the request or gave in another way, a line each.
        engine: what executes the run, if this process does.
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
        return self._ref

    @property
    def run_id(self) -> str:
        return self._ref.run_id

    @property
    def state(self) -> RunState:
        return self._run.state

    @property
    def url(self) -> str | None:
        """Where the backend's own console shows it, None for a local run."""
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
        """Scalars by `task/artifact/name`."""
        return {metric.key: metric.value for metric in self._run.metrics}

    @property
    def metric_list(self) -> Sequence[Metric]:
        return self._run.metrics

    @property
    def artifacts(self) -> Sequence[Artifact]:
        return self._run.artifacts

    @property
    def tasks(self) -> Sequence[TaskHandle]:
        return [TaskHandle(self, task) for task in self._run.tasks]

    @property
    def snapshot(self) -> Run:
        """The whole run as a frozen value."""
        return self._run

    def task(self, path: str) -> TaskHandle:
        """Return the task at a path.

        Raises:
            UsageError: the run has none there.
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
        """Take a newer state of the run, which was read elsewhere."""
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
        """Return what happens in the run until it has ended, as an iterator. What happened so far
        comes first.

        Args:
            logs: which lines of logs; False for none.
            refresh: ask the backend; otherwise take only what is recorded on this machine, because
                the program asks the backend elsewhere.
            timeout: seconds until the iteration ends with an error; None for no limit.
            notice: called with a line of text when the backend cannot be reached, and when it can
                again.
            on_pause: called each time when all updates so far were taken.

        Raises:
            RunTimeout: in the iteration: the run has not ended after `timeout` seconds. It
                continues.
            UsageError: the timeout is not a number of seconds; in the iteration: the run was
                deleted.
            BackendError: in the iteration: nothing could be reached for an hour, or the sign-in is
                not valid any longer.

        Example:
            >>> for update in kfgcp.submit("pipelines/churn.py").updates(logs=False):
            ...     if isinstance(update, kfgcp.TaskChanged):
            ...         print(update.task.path, update.task.state)
        """
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
            RunFailed: it ended FAILED or CANCELLED, and `check` is True.
            RunTimeout: it has not ended after `timeout` seconds. It continues.
            UsageError: the timeout is not a number of seconds.
        """
        for _ in self.updates(logs=False, timeout=timeout):
            pass
        return self.check() if check else self

    def check(self) -> Self:
        """Return this run, or raise an error when it failed or was cancelled. The service is not
        asked again.

        Raises:
            RunFailed: it ended FAILED or CANCELLED.
        """
        run = self._run
        if not run.state.final or run.state is RunState.SUCCEEDED:
            return self
        error = run.error or ErrorInfo("")
        where = f" in {error.task}" if error.task else ""
        reason = f": {error.message}" if error.message else "."
        raise RunFailed(
            f"Run {run.run_id} of {run.pipeline} {_ENDED[run.state]}{where}{reason}",
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
        """Continue a failed or cancelled run, and return at once. Tasks that succeeded do not run
        again.

        Raises:
            UsageError: the run has not ended, or it succeeded.
            Unsupported: the backend cannot continue runs.
        """
        retryable = capability(self.backend, SupportsRetry)
        if retryable is None:
            raise self._lacks(
                "cannot let a run go on that has ended",
                f"Run again what did not succeed: kfgcp rerun {self.run_id}",
            )
        retryable.retry(self._ref)
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
            raise UsageError(f"There is no attempt {attempt}.", hint="Attempts are counted from 1.")
        if severity is not None and severity.upper() not in SEVERITIES:
            raise UsageError(
                f"There is no severity '{severity}'.", hint=f"Severities: {', '.join(SEVERITIES)}."
            )
        log_filter = LogFilter(
            task,
            attempt,
            since=None if since is None else moment(since),
            severity=None if severity is None else severity.upper(),
            all_lines=all_lines,
        )
        return self._logs().logs(self._ref, log_filter)

    def check_attempt(self, task: str | None, attempt: int) -> None:
        """Raise an error when a task, or every task, has fewer attempts.

        A log can have more attempts than the task, because Kubeflow does not count them without ML
        Metadata. So ask this only when there are no lines.

        Raises:
            UsageError: there is no such attempt. The hint says how many there are.
        """
        if not self._run.state.final:
            # The attempt may have begun since the last look, and not have written anything yet.
            self.refresh()
        tasks = self._run.tasks if task is None else [self.task(task).snapshot]
        count = max((known.attempts for known in tasks), default=0)
        if attempt <= count:
            return
        if task is None:
            raise UsageError(
                f"No task of run {self.run_id} has an attempt {attempt}.",
                hint=f"See how many there are: kfgcp show {self.run_id}",
            )
        raise UsageError(f"Task '{task}' has no attempt {attempt}.", hint=_attempts_in_words(count))

    def events(self) -> list[Event]:
        """Return what happened to the run, as far as it was recorded until the run was last read.

        See `Workspace.events`.
        """
        return self._workspace.store.events(self.run_id)

    def tail(self, log_filter: LogFilter | None = None) -> LogTail:
        """Return what reads the new lines of its logs, look by look."""
        return self._logs().tail(self._ref, log_filter or LogFilter())

    @property
    def is_deletable(self) -> bool:
        """Whether `delete` removes the run as it was last read: it has ended, or its backend says
        that it never will.

        Raises:
            Unsupported: the backend cannot remove runs.
        """
        return self._remover().is_deletable(self._run)

    @property
    def artifact_store(self) -> SupportsArtifacts | None:
        """What reads artifacts that this machine cannot reach, None when nothing does; see
        `artifact_contents.text`.

        Kubeflow Pipelines has a store of its own inside of the cluster, `minio://`.
        """
        return capability(self.backend, SupportsArtifacts)

    def delete(self) -> Deleted:
        """Remove the run, on its backend and here. Files that other runs use are kept.

        Raises:
            UsageError: it has not ended.
        """
        return self._remover().delete(self._ref)

    def native(self) -> object:
        """Return the run as an object of the backend's official client, `aiplatform.PipelineJob`
        for example.

        Raises:
            Unsupported: the backend has no such client.
            MissingExtra: the client is not installed.
        """
        official = capability(self.backend, SupportsNative)
        if official is None:
            raise self._lacks("has no other client")
        return official.native(self._ref)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the run as JSON, in the form that `kfgcp show --json` prints."""
        return self._run.to_dict()

    def _hint_at_tasks(self, path: str) -> str:
        """Return what to name instead of a path: the same task inside groups and loops, or any
        task."""
        paths = [task.path for task in self._run.tasks]
        end = "/" + _ITERATION.sub("", path)
        same_name = [known for known in paths if ("/" + _ITERATION.sub("", known)).endswith(end)]
        title = "Tasks with that name" if same_name else "Its tasks"
        candidates = same_name or paths
        names = ", ".join(candidates[:_MOST_IN_HINT]) or "none yet"
        more = len(candidates) - _MOST_IN_HINT
        return f"{title}: {names}, and {more} more." if more > 0 else f"{title}: {names}."

    def _remover(self) -> SupportsDelete:
        remover = capability(self.backend, SupportsDelete)
        if remover is None:
            raise self._lacks("cannot remove runs")
        return remover

    def _logs(self) -> SupportsLogs:
        logs = capability(self.backend, SupportsLogs)
        if logs is None:
            raise self._lacks("keeps no logs")
        return logs

    def _lacks(self, what: str, hint: str = "") -> Unsupported:
        return Unsupported(f"The backend of environment '{self._ref.env}' {what}.", hint=hint)


def _attempts_in_words(count: int) -> str:
    if count == 0:
        return "It has none: it did not run."
    if count == 1:
        return "It has only attempt 1."
    return f"Its attempts: {', '.join(map(str, range(1, count)))} and {count}."


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
        """Where the task is in the run: `for-loop-1[2]/train`."""
        return self.snapshot.path

    @property
    def kind(self) -> TaskKind:
        return self.snapshot.kind

    @property
    def state(self) -> TaskState:
        return self.snapshot.state

    @property
    def attempts(self) -> int:
        """How often it was started."""
        return self.snapshot.attempts

    @property
    def cache(self) -> Cache | None:
        """Whether its outputs came from the cache, and why or why not."""
        return self.snapshot.cache

    @property
    def started_at(self) -> str | None:
        """RFC 3339 text in UTC, None before the start."""
        return self.snapshot.started_at

    @property
    def ended_at(self) -> str | None:
        """RFC 3339 text in UTC, None before the end."""
        return self.snapshot.ended_at

    @property
    def seconds(self) -> float | None:
        """How long it took, None before its end."""
        return self.snapshot.seconds

    @property
    def inputs(self) -> dict[str, JsonValue]:
        """Values of parameters, and URIs of artifacts."""
        return dict(self.snapshot.inputs)

    @property
    def outputs(self) -> dict[str, JsonValue]:
        """Values of parameters, and URIs of artifacts."""
        return dict(self.snapshot.outputs)

    @property
    def error(self) -> ErrorInfo | None:
        """Why it failed."""
        return self.snapshot.error

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the task as JSON, in the form that it has in a run."""
        return self.snapshot.to_dict()

    def logs(self, attempt: int | None = None, *, all_lines: bool = False) -> list[str]:
        """Return the lines it wrote so far, of all attempts or of one; see `RunHandle.logs`."""
        lines = self._handle.logs(self.snapshot.path, attempt, all_lines=all_lines)
        return [line.text for line in lines]
