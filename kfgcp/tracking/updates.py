"""Follow a run: what happens in it, as a series of updates.

This is the only loop that follows a run, on this machine or on a service
(docs/decisions/0021-one-loop-follows-a-run.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from kfgcp.backends.base import Backend, LogFilter, LogTail, Pace, RunRef
from kfgcp.backends.run_values import read_spec
from kfgcp.errors import BackendError, RunTimeout, UsageError
from kfgcp.model import Run, RunState, Task
from kfgcp.tracking.choose import check_timeout
from kfgcp.tracking.engine_thread import EngineThread
from kfgcp.tracking.followed_logs import LATE_INTERVAL, FollowedLogs
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.poll import Poller
from kfgcp.tracking.run_update import LogWritten as LogWritten
from kfgcp.tracking.run_update import RunChanged as RunChanged
from kfgcp.tracking.run_update import RunEnded as RunEnded
from kfgcp.tracking.run_update import RunUpdate as RunUpdate
from kfgcp.tracking.run_update import TaskChanged as TaskChanged
from kfgcp.tracking.task_order import Dependencies, TaskOrder

# Seconds between two looks at the store.
INTERVAL: Final = 0.1

# The shortest time between two requests for the run, in seconds.
CHECK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Pause:
    """The sign that there are no more updates now.

    Attributes:
        seconds: when to look again.
    """

    seconds: float


class FollowedRun(Protocol):
    """What the updates need of a `RunHandle`."""

    @property
    def engine(self) -> EngineThread | None: ...

    @property
    def workspace(self) -> OpenProject: ...

    @property
    def backend(self) -> Backend: ...

    @property
    def ref(self) -> RunRef: ...

    @property
    def run_id(self) -> str: ...

    @property
    def state(self) -> RunState: ...

    @property
    def snapshot(self) -> Run: ...

    def refresh(self) -> object: ...

    def remember(self, run: Run) -> None: ...

    def cancel(self) -> object: ...

    def tail(self, log_filter: LogFilter | None = None) -> LogTail: ...


class RunUpdates:
    """The updates of one run until it has ended. It is an iterator for one thread.

    Updates have the order of what happened: a task starts after the tasks that it waits for have
    ended, and its lines come before its end. Only lines that a service delivers late can come
    later. A backend that cannot be reached for a while does not end the updates.

    Args:
        handle: the run.
        logs: which lines are read, False for none.
        refresh: ask the backend of the run. False reads only what is recorded on this machine, for
            a program that asks the backend elsewhere.
        timeout: seconds until the iteration ends with an error, None for no limit.
        notice: called with a line of text when the backend cannot be reached, and when it can be
            reached again.
        on_pause: called when all updates of a look were taken, before the pause that follows.
        clock: returns seconds that only increase.
        sleep: waits for a number of seconds.

    Attributes:
        have_ended: whether there will be no more updates.

    Raises:
        RunTimeout: the run has not ended after `timeout` seconds. It continues.
        UsageError: the run was deleted, or the timeout is not a number of seconds.
        BackendError: the sign-in is no longer valid, or nothing could be reached for an hour.

    Example:
        for update in kfgcp.submit("pipelines/churn.py").updates():
            match update:
                case kfgcp.TaskChanged(task):
                    print(task.path, task.state)
                case kfgcp.LogWritten(line):
                    print(line.task, line.text)
    """

    def __init__(
        self,
        handle: FollowedRun,
        *,
        logs: bool | LogFilter = True,
        refresh: bool = True,
        timeout: float | None = None,
        notice: Callable[[str], None] = lambda text: None,
        on_pause: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        check_timeout(timeout)
        self._handle = handle
        self._engine = handle.engine
        self._logs = logs
        self._refresh = refresh
        self._timeout = timeout
        self._notice = notice
        self._on_pause = on_pause
        self._clock = clock
        self._sleep = sleep
        self._deadline = None if timeout is None else clock() + timeout
        self._must_cancel = False
        self._must_cancel_again = False
        self._must_leave = False
        self._thread: threading.Thread | None = None
        self._pause_seconds = 0.0
        self._run_has_ended = False
        # Tasks with lines before their start was seen. The backend was asked again for each once.
        self._early_paths: set[str] = set()
        self.have_ended = False
        self._steps = self._follow()

    def __iter__(self) -> RunUpdates:
        return self

    def __next__(self) -> RunUpdate:
        while True:
            for update in self.available():
                return update
            if self.have_ended:
                raise StopIteration
            self._on_pause()
            self.pause()

    def available(self) -> Iterator[RunUpdate]:
        """Yield the updates that there are now, without waiting for more."""
        for step in self._steps:
            if isinstance(step, _Pause):
                self._pause_seconds = step.seconds
                return
            yield step
        self.have_ended = True

    def pause(self) -> None:
        """Wait until it is time for the next look.

        Raises:
            RunTimeout: the time is over, see `RunUpdates`.
        """
        seconds = self._pause_seconds
        if self._deadline is not None:
            left = max(self._deadline - self._clock(), 0.0)
            if left == 0 and not self._run_has_ended:
                self._raise_timeout()
            seconds = min(seconds, left)
        if self._engine is not None:
            self._engine.pause(seconds)
        else:
            self._sleep(seconds)

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end. It is safe in a signal handler and in any thread.

        A backend that cannot be reached is asked again until it answers.

        Args:
            force: for a run that this process executes, kill its tasks. For another run, end the
                iteration, also while it waits for an answer. The run may then continue.
        """
        if self._engine is not None:
            self._engine.cancel(force=force)
        elif not force:
            self._must_cancel = True
        else:
            self._must_leave = True
            if threading.current_thread() is self._thread:
                # This is a signal handler, and it may interrupt a request that hangs. Only an
                # exception ends the request.
                raise _LeftError

    # -- the loop

    def _follow(self) -> Iterator[RunUpdate | _Pause]:
        try:
            steps = self._looks()
            while not self._must_leave:
                # `cancel` raises only while this thread is in the loop below, not in the code of
                # the caller.
                self._thread = threading.current_thread()
                try:
                    step = next(steps)
                finally:
                    self._thread = None
                yield step
        except (_LeftError, StopIteration):
            # The caller does not follow the run any longer, or the run has ended.
            return

    def _looks(self) -> Iterator[RunUpdate | _Pause]:
        handle = self._handle
        store = handle.workspace.store
        if self._engine is not None:
            self._engine.execute_here(self._notice)
        poller = self._create_poller()
        order = TaskOrder(self._read_dependencies())
        lines = FollowedLogs(self._open_tail(), self._notice)
        last_facts: tuple[object, ...] = ()
        last_rev = -1
        run = handle.snapshot
        while True:
            # Before the store is read: what the engine records before its end is then read too.
            engine_has_ended = self._engine is not None and self._engine.has_ended
            # Before the request: what is recorded during it is read again at the next look.
            rev_before_request = self._read_rev(last_rev)
            latest = self._ask_backend(poller)
            tasks: Sequence[Task] = ()
            if latest is not None:
                run = latest
                tasks = latest.tasks
                last_rev = rev_before_request
            else:
                # One snapshot: a task that changes between two reads would be yielded now and
                # again at the next look.
                with store.snapshot():
                    rev = self._read_rev(last_rev)
                    if rev > last_rev:
                        tasks = store.tasks(handle.run_id, after_rev=last_rev)
                        run = store.get(handle.run_id, with_tasks=False)
                last_rev = rev
            facts = _read_facts(run)
            if facts != last_facts:
                last_facts = facts
                yield RunChanged(replace(run, tasks=(), artifacts=()))
            yield from self._read_lines(lines, order, order.add(tasks), poller)
            yield from map(TaskChanged, order.rest(run_ended=run.state.final))
            if run.state.final:
                break
            if engine_has_ended:
                self._after_engine()
                continue
            yield _Pause(INTERVAL)
        yield from self._last_updates(latest, lines, order)

    def _last_updates(
        self, whole: Run | None, lines: FollowedLogs, order: TaskOrder
    ) -> Iterator[RunUpdate | _Pause]:
        """Yield what is left when the run has ended.

        Args:
            whole: the run with its tasks, None when the backend was not asked in this look.
            lines: the logs of the run.
            order: the tasks that were yielded.
        """
        self._run_has_ended = True
        for _ in range(lines.late_looks):
            if self._has_no_time():
                break
            yield _Pause(LATE_INTERVAL)
            yield from map(LogWritten, lines.read(()))
        if self._engine is not None:
            # The engine still removes files that the run does not need any more.
            self._engine.finish()
        whole = whole or self._read_whole_run()
        order.add(whole.tasks)
        yield from map(TaskChanged, order.rest(run_ended=True))
        self._handle.remember(whole)
        yield RunEnded(whole)

    def _has_no_time(self) -> bool:
        """Return whether late lines are not waited for: the time is over, or the user cancels."""
        return self._must_cancel or (self._deadline is not None and self._clock() >= self._deadline)

    def _read_lines(
        self,
        lines: FollowedLogs,
        order: TaskOrder,
        changed_tasks: list[Task],
        poller: Poller | None,
    ) -> Iterator[RunUpdate]:
        """Yield the new lines, and before a line the changes of tasks that come before it.

        Args:
            lines: the logs of the run.
            order: the tasks that were seen, with those of this look.
            changed_tasks: the tasks that have changed since the last look.
            poller: see `_find_start`.
        """
        while True:
            newer_tasks: list[Task] = []
            for line in lines.read(changed_tasks):
                newer_tasks += self._find_start(line.task, order, poller)
                yield from map(TaskChanged, order.before_line(line.task))
                yield LogWritten(line)
            if not newer_tasks:
                return
            # A task that has ended since the lines were read has lines that come before its end.
            changed_tasks = newer_tasks

    def _find_start(self, path: str, order: TaskOrder, poller: Poller | None) -> list[Task]:
        """Ask the backend again when a line is of a task whose start was not seen.

        Some services are asked for the logs after they were asked for the tasks, so a task that
        started in between has a line before its start. The backend is asked once for each task: a
        service that is late with its tasks must not get a request for every line.

        Args:
            path: the task that has written a line.
            order: the tasks that were seen. Tasks that have changed are added to it.
            poller: asks the backend, None when the store has everything.

        Returns:
            The tasks that have changed.
        """
        if poller is None or path in self._early_paths or order.has_started(path):
            return []
        self._early_paths.add(path)
        latest = poller.request()
        if latest is None:
            return []
        # The next look reads from the store what else has changed in the run.
        self._handle.remember(latest)
        return order.add(latest.tasks)

    def _create_poller(self) -> Poller | None:
        """Return the poller of the backend. None when the store has all that happens."""
        if self._engine is not None or not self._refresh:
            return None
        backend = self._handle.backend
        pace = Pace(max(CHECK_SECONDS, backend.pace.shortest), backend.pace.longest)
        return Poller(backend, self._handle.ref, pace=pace, notice=self._notice, clock=self._clock)

    def _read_dependencies(self) -> Dependencies:
        document = self._handle.workspace.store.spec(self._handle.snapshot.version)
        return Dependencies(read_spec(document)[1])

    def _open_tail(self) -> LogTail | None:
        if isinstance(self._logs, LogFilter):
            return self._handle.tail(self._logs)
        return self._handle.tail() if self._logs else None

    def _read_rev(self, last_rev: int) -> int:
        """Return the number that grows with each change of the recorded run.

        Args:
            last_rev: the number at the last look, -1 before the first look.

        Returns:
            The number. -1 for a run that was never recorded, for example because the disk is full.

        Raises:
            UsageError: the run was deleted.
        """
        try:
            return self._handle.workspace.store.rev(self._handle.run_id)
        except UsageError:
            if last_rev >= 0:
                raise
            return -1

    def _ask_backend(self, poller: Poller | None) -> Run | None:
        """Return the run as the backend has it now, when it is time to ask it."""
        if self._must_cancel or self._must_cancel_again:
            # Before the request, because a signal handler may set it again during the request.
            self._must_cancel = False
            self._must_cancel_again = not self._request_cancel()
        latest = poller.poll() if poller is not None else None
        if latest is not None:
            self._handle.remember(latest)
        return latest

    def _request_cancel(self) -> bool:
        """Ask the backend to cancel the run. Return False when it cannot be reached."""
        handle = self._handle
        try:
            handle.cancel()
        except BackendError as error:
            if not error.passing:
                raise
            if not self._must_cancel_again:
                self._notice(
                    f"run {handle.run_id} could not be cancelled yet; kfgcp tries again:"
                    f" {error.message}"
                )
            return False
        if not handle.state.final:
            # The caller may stop following the run before its backend reports this state.
            handle.remember(replace(handle.snapshot, state=RunState.CANCELLING))
        return True

    def _after_engine(self) -> None:
        """Handle an engine that has ended before its run.

        It raises the error that ended the engine. Without an error, the local backend records the
        end of the run, as for every run whose engine is gone.
        """
        assert self._engine is not None
        self._engine.finish()
        self._handle.refresh()
        if not self._handle.state.final:
            raise _LeftError

    def _read_whole_run(self) -> Run:
        """Return the run with its tasks.

        The backend is asked, because the process that first saw the end of the run may have
        recorded it without tasks.
        """
        handle = self._handle
        if self._engine is None and self._refresh:
            try:
                return handle.backend.get(handle.ref)
            except BackendError as error:
                if not error.passing:
                    raise
        return handle.workspace.store.get(handle.run_id)

    def _raise_timeout(self) -> None:
        handle = self._handle
        if self._engine is not None:
            handle.refresh()
        run_id = handle.run_id
        raise RunTimeout(
            f"Run {run_id} is still {handle.state} after {self._timeout:g} s.",
            hint=(
                f"The run continues. To follow it: kfgcp watch {run_id}. To end it: kfgcp cancel"
                f" {run_id}"
            ),
        )


class _LeftError(BaseException):
    """The sign that the caller does not follow the run any longer.

    It is a BaseException, so that no `except Exception` of a library catches it.
    """


def _read_facts(run: Run) -> tuple[object, ...]:
    """Return the facts of a run whose change is a `RunChanged`."""
    return run.state, run.started_at, run.ended_at, run.name, run.url, run.error
