"""A run that tests change between two looks, and its updates as short texts."""

import threading
from collections.abc import Callable, Iterator

from kfgcp import (
    LogFilter,
    LogLine,
    LogWritten,
    RunChanged,
    RunEnded,
    RunHandle,
    RunUpdate,
    TaskChanged,
    Workspace,
)
from kfgcp.backends.base import Pace, RunRef
from kfgcp.backends.local.logs import FileTail
from kfgcp.engine.layout import log_file
from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.rows import Changes
from kfgcp.tracking.updates import RunUpdates

RUN = "aaaa00000001"


class ScriptedBackend:
    """A backend with one run, which is in the store. It is for one thread.

    errors: raised by the next looks, one each; None is an answer. cancel_errors: the same of
    requests to end.
    """

    pace = Pace(1.0, 30.0)

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.tail_of_run: object = FileTail(workspace.project.home, RUN, LogFilter())
        self.errors: list[Exception | None] = []
        self.cancel_errors: list[Exception] = []
        self.ends_when_cancelled = True
        self.looks = 0
        self.threads: set[int] = set()

    def get(self, ref: RunRef) -> Run:
        self.looks += 1
        self.threads.add(threading.get_ident())
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return self._workspace.store.get(ref.run_id)

    def cancel(self, ref: RunRef) -> RunState:
        self.threads.add(threading.get_ident())
        if self.cancel_errors:
            raise self.cancel_errors.pop(0)
        if not self.ends_when_cancelled:
            return RunState.RUNNING
        self._workspace.store.apply(ref.run_id, Changes(state=RunState.CANCELLED))
        return RunState.CANCELLED

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        raise AssertionError("these tests follow the logs")

    def tail(self, ref: RunRef, log_filter: LogFilter) -> object:
        self.threads.add(threading.get_ident())
        return self.tail_of_run


class FollowedRun:
    """A run that tests change between two looks, by a clock of their own."""

    def __init__(self, workspace: Workspace, run: Run) -> None:
        self.store = workspace.store
        self.store.add_run(run)
        self.backend = ScriptedBackend(workspace)
        self.handle = RunHandle(workspace, RunRef("local", run.run_id), run)
        self.notices: list[str] = []
        self.now = 1000.0
        self._home = workspace.project.home
        self._steps: list[Callable[[], object]] = []

    def updates(
        self, *steps: Callable[[], object], logs: bool = True, timeout: float | None = None
    ) -> RunUpdates:
        """Updates whose pauses do the next thing that happens; without `steps` time just passes."""
        self._steps = list(steps)
        has_steps = bool(steps)

        def pause(seconds: float) -> None:
            self.now += seconds
            if has_steps:
                assert self._steps, "the run did not end"
                self._steps.pop(0)()

        return RunUpdates(
            self.handle,
            logs=logs,
            timeout=timeout,
            notice=self.notices.append,
            clock=lambda: self.now,
            sleep=pause,
        )

    def change(self, *tasks: Task, state: RunState | None = None) -> None:
        self.store.apply(RUN, Changes(tasks=tasks, state=state))

    def write(self, text: bytes, task: str = "t", attempt: int = 1) -> None:
        file = log_file(self._home, RUN, task, attempt)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as log:
            log.write(text)


def task(state: TaskState, attempts: int = 1, path: str = "t") -> Task:
    """Return a task of a container."""
    return Task(path, TaskKind.CONTAINER, state, attempts, started_at="2026-01-01T00:00:00.000Z")


def describe(updates: Iterator[RunUpdate]) -> list[str]:
    """Return a short text for each update."""
    texts = []
    for update in updates:
        match update:
            case RunChanged(run):
                texts.append(f"run {run.state}")
            case TaskChanged(changed):
                texts.append(f"{changed.path} {changed.state}")
            case LogWritten(line):
                texts.append(f"{line.task}.{line.attempt}: {line.text}")
            case RunEnded(run):
                texts.append(f"ended {run.state}")
    return texts
