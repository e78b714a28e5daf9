"""One run, from its first task to its final state: the loop between the scheduler, the executor and
the store."""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import signal
import time
from dataclasses import dataclass
from typing import Any

from kfgcp.engine import bucket_copies, cache, files, importer, orphans
from kfgcp.engine.attempts import Attempts
from kfgcp.engine.cache import TaskCache
from kfgcp.engine.clock import Clock
from kfgcp.engine.executors.base import Attempt, Containers, Ended, Installed
from kfgcp.engine.executors.router import Router
from kfgcp.engine.file_states import FileStates
from kfgcp.engine.layout import Layout
from kfgcp.engine.libraries import common_libraries, functions_of
from kfgcp.engine.lock import FileUse
from kfgcp.engine.log_times import LogTimes
from kfgcp.engine.logs import log_tail
from kfgcp.engine.record import Recorder
from kfgcp.engine.reuse import Done, EarlierResults, outcome_of
from kfgcp.engine.settings import EngineSettings
from kfgcp.engine.task_run import TaskRun
from kfgcp.engine.transfers import Fetched, Stored, Transfers
from kfgcp.errors import KfgcpError
from kfgcp.model import Cache, ErrorInfo, RunState, TaskKind, TaskState
from kfgcp.options import RunOptions
from kfgcp.semantics.inputs import add_defaults
from kfgcp.semantics.nodes import is_in_exit_task
from kfgcp.semantics.scheduler import Scheduler
from kfgcp.semantics.values import ValueProblem, Values, as_record
from kfgcp.spec.graph import Container, Graph
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store

POLL_SECONDS = 0.25
_KILL_RUNNER = -1
"""Stands for a signal in an alarm: SIGKILL did not end the attempt, so the process that runs it is
killed."""
LOSSES = 3
"""How often a task is started again because what ran it went down."""

_RUN_STATES = {
    TaskState.SUCCEEDED: RunState.SUCCEEDED,
    TaskState.FAILED: RunState.FAILED,
    TaskState.CANCELLED: RunState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class _Cancel:
    force: bool


_Event = Ended | Installed | Fetched | Stored | _Cancel


class Engine:
    """Runs one pipeline. `kfgcp.backends.local` makes it, and holds the run's lock meanwhile.

    Args:
        store: where the run is recorded.
        layout: where the run keeps its files.
        graph: the pipeline.
        inputs: the values of its parameters, and its input artifacts.
        options: the user's options.
        settings: what the backend tells the engine.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        graph: Graph,
        inputs: Values,
        options: RunOptions,
        settings: EngineSettings,
    ) -> None:
        self._store = store
        self._layout = layout
        self._settings = settings
        self._max_parallel = options.max_parallel or os.cpu_count() or 1
        self._clock = Clock()
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._running: dict[int, tuple[TaskRun, dict[str, Any]]] = {}
        self._stopping: set[int] = set()  # attempts that were asked to end
        self._cancel_requests = 0  # how often others have asked the run to end
        self._overdue: set[int] = set()  # attempts whose time is over
        self._left: list[
            int
        ] = []  # attempts that have ended, whose working folders are still there
        self._retries: list[tuple[float, int, TaskRun]] = []
        self._alarms: list[tuple[float, int, int]] = []  # when, which attempt, the signal it gets
        self._log_times = LogTimes()
        self._ids = itertools.count(1)
        self._recorder = Recorder(store, layout.run_id, self._clock.now)
        self._file_use = FileUse(layout.home)
        self._attempts = Attempts(layout, options, settings, self._clock.now())
        self._earlier = EarlierResults(
            store, layout.run_id, settings.repeats, settings.from_task, settings.buckets
        )
        output_folders = [
            folder for folder in (str(layout.home / "artifacts"), layout.root) if folder
        ]
        self._file_states = FileStates(settings.submit_dir, output_folders)
        self._cache = TaskCache(
            store, layout.pipeline, layout.run_id, options.cache, settings.buckets
        )
        self._scheduler = Scheduler(
            graph, TaskRun, inputs, constants=self._attempts.constants, fail_fast=options.fail_fast
        )
        self._transfers = Transfers(self._events.put, layout.remote, settings.buckets)
        self._executor = Router(
            self._events.put,
            layout.environments,
            libraries=common_libraries(graph),
            containers=Containers(layout.workspace, settings.container_credentials, layout.home),
            submit_dir=settings.submit_dir,
            run_id=layout.run_id,
        )
        self._executor.warm_up(functions_of(graph), options)

    def cancel(self, *, force: bool = False) -> None:
        """Asks the run to end; may be called from a signal handler and from any thread.

        Args:
            force: kill what runs at once instead of asking it to end first.
        """
        self._events.put(_Cancel(force))

    def execute(self) -> RunState:
        """Runs to the end. The final state, recorded in the store before it is returned."""
        run_id = self._layout.run_id
        try:
            self._layout.prepare()
            self._store.apply(run_id, Changes(state=RunState.RUNNING, started_at=self._clock.now()))
            self._scheduler.start()
            while not self._scheduler.done:
                with (
                    self._file_use.shared()
                ):  # what is taken from earlier runs is recorded before anybody removes it
                    launched = self._take_ready()
                    self._recorder.write(self._scheduler.take_changed())
                for node in launched:
                    self._launch(node)
                self._tidy()  # while those that were launched are at work
                if self._running or self._retries:
                    self._wait()
            return self._finish()
        finally:
            self._executor.close()
            orphans.kill(run_id)
            self._layout.remove_scratch()

    # -- one turn of the loop

    def _take_ready(self) -> list[TaskRun]:
        """The tasks to launch now; importers and cached tasks among those that wait are done at
        once."""
        launched: list[TaskRun] = []
        self._file_states.ended_attempts = self._scheduler.ended_attempts
        while self._scheduler.ready and len(self._running) + len(launched) < self._max_parallel:
            node = self._scheduler.ready.popleft()
            if self._done_without_running(node):
                continue
            node.attempts += 1
            node.state = TaskState.RUNNING
            node.attempt_started_at = self._clock.now()
            node.started_at = node.started_at or node.attempt_started_at
            self._scheduler.changed[node] = None
            launched.append(node)
        return launched

    def _done_without_running(self, node: TaskRun) -> bool:
        self._earlier.mark(node)
        if node.kind is TaskKind.IMPORTER:
            self._import(node)
            return True
        if node.failures or node.losses:
            return False
        cache.note_inputs(node, self._file_states)
        if (done := self._earlier.recall(node)) is not None:
            self._recalled(node, done)
            return True
        if (outputs := self._cache.look_up(node, self._earlier.lost(node))) is None:
            return False
        self._reused(node, outputs, node.cache)
        return True

    def _recalled(self, node: TaskRun, done: Done) -> None:
        node.origin = done.origin
        if done.error is not None:
            self._scheduler.record_earlier_failure(node, done.error)
        else:
            self._reused(node, done.outputs, done.cache)

    def _reused(self, node: TaskRun, outputs: Values, cache: Cache | None) -> None:
        if node.ended_at is None:
            node.started_at = node.ended_at = self._clock.now()
        node.outputs = outputs
        self._recorder.keep(outcome_of(node))
        self._scheduler.record_success(node, outputs, cache)

    def _import(self, node: TaskRun) -> None:
        node.attempts, node.started_at = 1, self._clock.now()
        try:
            outputs = importer.run(node, self._settings.submit_dir, self._attempts.constants(node))
        except ValueProblem as problem:
            self._failed(node, str(problem))
        else:
            self._reused(node, outputs, None)

    def _launch(self, node: TaskRun) -> None:
        attempt_id = next(self._ids)
        try:
            inputs = add_defaults(node.inputs, node.component)
            wire = files.executor_input(node, inputs, self._layout)
            self._running[attempt_id] = (node, wire)
            attempt = self._attempts.make(attempt_id, node, wire)
            bucket_copies.make_output_folders(wire, self._layout.remote)
            self._set_alarm(attempt_id, node)
            uris = bucket_copies.uris_to_download(
                itertools.chain(*inputs.artifacts.values()), self._layout.remote
            )
            if uris:
                self._transfers.fetch(attempt, uris)
            else:
                self._executor.start(attempt)
        except OSError as error:
            self._running.pop(attempt_id, None)
            place = "" if error.filename is None else f": {error.filename}"
            self._failed(node, f"cannot prepare the task: {error.strerror or error}{place}")
        except (
            ValueProblem,
            KfgcpError,
            ValueError,
            RecursionError,
        ) as error:  # of this task, not of the run
            self._running.pop(attempt_id, None)
            self._failed(node, str(error) or type(error).__name__)

    def _set_alarm(self, attempt_id: int, node: TaskRun) -> None:
        container = node.component.executor
        if isinstance(container, Container) and container.cluster.timeout is not None:
            heapq.heappush(
                self._alarms,
                (time.monotonic() + container.cluster.timeout, attempt_id, signal.SIGTERM),
            )

    def _wait(self) -> None:
        """Handles what has happened; waits for it when nothing has."""
        deadline = min([POLL_SECONDS, *(at - time.monotonic() for at in self._deadlines())])
        try:
            event = self._events.get(timeout=max(deadline, 0))
            while True:
                self._handle(event)
                event = self._events.get_nowait()
        except queue.Empty:
            pass
        now = time.monotonic()
        while self._retries and (self._scheduler.stopping or self._retries[0][0] <= now):
            self._scheduler.requeue(heapq.heappop(self._retries)[2])
        while self._alarms and self._alarms[0][0] <= now:
            self._time_over(now, *heapq.heappop(self._alarms)[1:])
        self._look_for_cancel(now)
        if self._log_times.is_due(now):
            running = {
                number: self._layout.log(node.path, node.attempts)
                for number, (node, _) in self._running.items()
            }
            self._log_times.note(now, running)

    def _deadlines(self) -> list[float]:
        return [heap[0][0] for heap in (self._retries, self._alarms) if heap]

    def _time_over(self, now: float, attempt_id: int, number: int) -> None:
        """Take the next step to end an attempt: SIGTERM, then SIGKILL, then kill the process that
        runs it."""
        if attempt_id not in self._running:
            return
        if number == _KILL_RUNNER:
            self._executor.kill(attempt_id)
            return
        self._stop(attempt_id, number)
        if number == signal.SIGTERM:
            self._overdue.add(attempt_id)
            self._kill_later(attempt_id, now)
        else:
            heapq.heappush(self._alarms, (now + self._settings.grace, attempt_id, _KILL_RUNNER))

    def _stop(self, attempt_id: int, number: int) -> None:
        """Sends a signal to an attempt; the one that kills also ends the copying of its files."""
        self._executor.signal(attempt_id, number)
        if number == signal.SIGKILL and self._transfers.abandon(attempt_id):
            self._events.put(Ended(attempt_id, "stopped while its files were copied"))

    def _kill_later(self, attempt_id: int, now: float) -> None:
        heapq.heappush(self._alarms, (now + self._settings.grace, attempt_id, signal.SIGKILL))

    def _look_for_cancel(self, now: float) -> None:
        """Cancel the run when somebody else asked for it. Who asks a second time wants it at
        once."""
        if now < self._clock.next_poll:
            return
        self._clock.next_poll = now + POLL_SECONDS
        requests = self._store.cancel_requests(self._layout.run_id)
        if requests > self._cancel_requests:
            self._cancel_requests = requests
            self._cancel(force=self._scheduler.cancelled or requests > 1)

    def _handle(self, event: _Event) -> None:
        if isinstance(event, _Cancel):
            return self._cancel(event.force)
        if isinstance(event, Fetched):
            return self._fetched(event.attempt, event.problem)
        if isinstance(event, Stored):
            return self._stored(event)
        if isinstance(event, Installed):
            return self._installed(event.id)
        if event.id not in self._running:  # its start had failed, and was handled
            return None
        node, wire = self._running.pop(event.id)
        self._scheduler.ended_attempts += 1
        self._executor.forget(event.id)
        self._left.append(event.id)
        self._layout.close_attempt(node.path, node.attempts)
        self._ended(node, wire, event)

    def _installed(self, attempt_id: int) -> None:
        """The time of a task does not include what was installed for it: it starts now."""
        if attempt_id not in self._running:
            return
        node, _ = self._running[attempt_id]
        if node.attempts == 1:
            node.started_at = self._clock.now()
            self._scheduler.changed[node] = None

    def _tidy(self) -> None:
        """Removes the working folders of the attempts that have ended."""
        for attempt_id in self._left:
            self._layout.remove_working_folder(attempt_id)
        self._left.clear()

    def _fetched(self, attempt: Attempt, problem: str | None) -> None:
        if attempt.id in self._stopping or attempt.id in self._overdue:
            problem = "stopped before it started"
        if problem is not None:
            self._events.put(Ended(attempt.id, problem))
            return
        try:
            self._executor.start(attempt)
        except (OSError, KfgcpError) as error:
            self._events.put(Ended(attempt.id, f"cannot prepare the task: {error}"))

    def _ended(self, node: TaskRun, wire: dict[str, Any], event: Ended) -> None:
        if event.id in self._stopping and event.message is not None:
            node.ended_at = self._clock.now()
            return self._scheduler.record_cancellation(node)
        if event.id in self._overdue:
            assert isinstance(node.component.executor, Container)
            return self._failed(
                node,
                f"took longer than its timeout of {node.component.executor.cluster.timeout:g} s",
            )
        if event.lost and node.losses < LOSSES:
            node.losses += 1
            return self._scheduler.requeue(node)
        if event.message is not None:
            return self._failed(node, event.message, self._attempts.hint(node, event.exception))
        try:
            outputs = files.read_outputs(node.component, wire, self._layout.remote)
        except (ValueProblem, OSError) as problem:
            return self._failed(node, str(problem))
        uris = bucket_copies.uris_to_upload(
            itertools.chain(*outputs.artifacts.values()), self._layout.remote
        )
        read = {
            item["uri"]
            for each in wire["inputs"]["artifacts"].values()
            for item in each["artifacts"]
        }
        if new := [uri for uri in uris if uri not in read]:
            self._running[event.id] = (node, wire)
            self._transfers.store(event.id, outputs, new)
        else:
            self._succeeded(node, outputs)

    def _stored(self, event: Stored) -> None:
        node, _ = self._running.pop(event.attempt_id)
        if event.problem is not None:
            self._failed(node, event.problem)
        else:
            self._succeeded(node, event.outputs)

    def _succeeded(self, node: TaskRun, outputs: Values) -> None:
        node.ended_at = self._clock.now()
        node.outputs = outputs
        self._recorder.keep(outcome_of(node), self._cache.entry(node, node.ended_at))
        self._scheduler.record_success(node, outputs)

    def _failed(self, node: TaskRun, message: str, hint: str = "") -> None:
        node.ended_at = self._clock.now()
        tail = log_tail(self._layout.log(node.path, node.attempts))
        wait = self._scheduler.record_failure(node, ErrorInfo(message, node.path, tail, hint))
        if wait is not None:
            heapq.heappush(self._retries, (time.monotonic() + wait, next(self._ids), node))

    # -- cancelling

    def _cancel(self, force: bool) -> None:
        """Stops what runs; exit tasks start afterwards, unless `force` says that nothing may any
        more."""
        first = not self._scheduler.cancelled
        if first:
            self._store.apply(self._layout.run_id, Changes(state=RunState.CANCELLING))
            for _, _, node in self._retries:
                self._scheduler.requeue(node)
            self._retries.clear()
        if first or force:
            self._stopping |= {
                attempt_id
                for attempt_id, (node, _) in self._running.items()
                if force or not is_in_exit_task(node)
            }
            self._scheduler.cancel(force=force)
        if force:
            self._signal(signal.SIGKILL)
            # No task may run any more, so the process that runs them can be killed too. If it is
            # stopped (SIGSTOP), it does not see the signal.
            for attempt_id in self._stopping & set(self._running):
                self._executor.kill(attempt_id)
        elif first:
            for attempt_id in self._stopping:
                self._kill_later(attempt_id, time.monotonic())
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for attempt_id in self._stopping & set(self._running):
            self._stop(attempt_id, number)

    # -- recording

    def _finish(self) -> RunState:
        root = self._scheduler.root
        state = _RUN_STATES[root.state]
        if self._scheduler.cancelled and state is not RunState.SUCCEEDED:
            state = RunState.CANCELLED
        error = self._scheduler.first_error if state is RunState.FAILED else None
        final = Changes(
            state=state, ended_at=self._clock.now(), outputs=as_record(root.outputs), error=error
        )
        with self._file_use.shared():
            self._recorder.write(self._scheduler.take_changed(), final)
        self._layout.remove_workspace()
        return state
