"""Execute one run: the loop between the scheduler, the executors and the store.

One thread does all of this. Executors and transfers run in other threads and put events into a
queue. The order of the steps makes the run safe against a crash at any moment; each step whose
place matters says why.
"""

from __future__ import annotations

import itertools
import math
import os
import queue
import signal
import time
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from kfgcp.engine import bucket_copies, files, importer, orphans
from kfgcp.engine.attempts import Attempts
from kfgcp.engine.cache import TaskCache
from kfgcp.engine.cache_key import note_inputs
from kfgcp.engine.cancel_requests import POLL_SECONDS, CancelRequests
from kfgcp.engine.clock import Clock
from kfgcp.engine.executors.base import Attempt, AttemptEnded, Containers, PackagesInstalled
from kfgcp.engine.executors.router import Router
from kfgcp.engine.file_states import FileStates
from kfgcp.engine.layout import Layout
from kfgcp.engine.libraries import common_libraries, python_functions
from kfgcp.engine.lock import FileUse
from kfgcp.engine.log_times import LogTimes
from kfgcp.engine.logs import log_tail
from kfgcp.engine.record import Recorder
from kfgcp.engine.reuse import EarlierResult, EarlierResults, build_outcome
from kfgcp.engine.settings import EngineSettings
from kfgcp.engine.task_run import TaskRun
from kfgcp.engine.timers import Alarm, Alarms, Retries, Step
from kfgcp.engine.transfers import InputsCopied, OutputsCopied, Transfers
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

LOSSES: Final = 3
"""How often a task is started again because the process that ran it ended."""

_RUN_STATES: Final = {
    TaskState.SUCCEEDED: RunState.SUCCEEDED,
    TaskState.FAILED: RunState.FAILED,
    TaskState.CANCELLED: RunState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class _Cancel:
    """The event that somebody asked the run to end."""

    force: bool


_Event = AttemptEnded | PackagesInstalled | InputsCopied | OutputsCopied | _Cancel


class _Running(NamedTuple):
    """An attempt that runs, or whose files are being copied."""

    node: TaskRun
    executor_input: dict[str, Any]


class Engine:
    """Runs one pipeline. `kfgcp.backends.local` makes it, and holds the run's lock meanwhile.

    Args:
        store: where the run is recorded.
        layout: where the run keeps its files.
        graph: the pipeline.
        inputs: the values of its parameters, and its input artifacts.
        options: the user's options.
        settings: the settings of the backend.
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
        # Not a `Queue`: `SimpleQueue.put` may be called by a signal handler that interrupts another
        # `put` or `get` of the same thread (Python documentation, `queue.SimpleQueue.put`).
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._running: dict[int, _Running] = {}
        self._stopping: set[int] = set()  # attempts that were asked to end
        self._overdue: set[int] = set()  # attempts that took longer than their timeout
        # Attempts that have ended and whose working folders are still there.
        self._working_folders: list[int] = []
        self._retries = Retries()
        self._alarms = Alarms()
        self._cancel_requests = CancelRequests(store, layout.run_id)
        self._log_times = LogTimes()
        self._ids = itertools.count(1)
        self._recorder = Recorder(store, layout.run_id, self._clock.now)
        self._file_use = FileUse(layout.home)
        self._attempts = Attempts(layout, options, settings, self._clock.now())
        self._earlier = EarlierResults(
            store, layout.run_id, settings.repeats, settings.from_task, settings.buckets
        )
        self._file_states = FileStates(settings.submit_dir, layout.output_folders)
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
        self._executor.warm_up(python_functions(graph), options)

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end; may be called from a signal handler and from any thread.

        Args:
            force: kill the tasks that run at once instead of asking them to end first.
        """
        self._events.put(_Cancel(force))

    def execute(self) -> RunState:
        """Execute the run to its end.

        Returns:
            The final state, which is recorded in the store before it is returned.
        """
        run_id = self._layout.run_id
        try:
            # Tasks of a killed engine may still write to the scratch folder. `prepare` waits for
            # them, so nothing is recorded as running before.
            self._layout.prepare()
            self._store.apply(run_id, Changes(state=RunState.RUNNING, started_at=self._clock.now()))
            self._scheduler.start()
            while not self._scheduler.done:
                # Under the lock, nobody can remove the files of earlier runs between the moment
                # when they are found and the record that this run uses them.
                with self._file_use.shared():
                    launched = self._take_ready()
                    self._recorder.write(self._scheduler.take_changed())
                # Attempts are recorded before they start. After a crash, the record then has every
                # attempt that may have left files, and no later attempt gets the same number.
                for node in launched:
                    self._launch(node)
                # Removing folders takes time, which the attempts just launched use.
                self._remove_working_folders()
                if self._running or self._retries:
                    self._wait()
            return self._finish()
        finally:
            # First the servers end, and with them the tasks. `orphans` kills what tasks started in
            # sessions of their own. Nothing writes to the scratch folder after that.
            self._executor.close()
            orphans.kill(run_id)
            self._layout.remove_scratch()

    # -- starting tasks

    def _take_ready(self) -> list[TaskRun]:
        """Return the tasks to launch now.

        Importers and cached tasks do not run. They end here, and make further tasks ready.
        """
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
        """Return whether a task ends now because its outputs are there already."""
        self._earlier.mark(node)
        if node.kind is TaskKind.IMPORTER:
            self._import(node)
            return True
        if node.failures or node.losses:
            return False
        # The key needs the inputs as they are before the task runs, so they are noted also when no
        # earlier result is used: a later run compares with them.
        note_inputs(node, self._file_states)
        result = self._earlier.recall(node)
        if result is not None:
            self._use_earlier(node, result)
            return True
        outputs = self._cache.look_up(node, self._earlier.reuse_problem(node))
        if outputs is None:
            return False
        self._use_outputs(node, outputs, node.cache)
        return True

    def _use_earlier(self, node: TaskRun, result: EarlierResult) -> None:
        node.origin = result.origin
        if result.error is not None:
            self._scheduler.record_earlier_failure(node, result.error)
        else:
            self._use_outputs(node, result.outputs, result.cache)

    def _use_outputs(self, node: TaskRun, outputs: Values, cached: Cache | None) -> None:
        if node.ended_at is None:
            now = self._clock.now()
            node.started_at = now
            node.ended_at = now
        node.outputs = outputs
        self._recorder.keep(build_outcome(node))
        self._scheduler.record_success(node, outputs, cached)

    def _import(self, node: TaskRun) -> None:
        node.attempts = 1
        node.started_at = self._clock.now()
        try:
            outputs = importer.run(node, self._settings.submit_dir, self._attempts.constants(node))
        except ValueProblem as problem:
            self._fail(node, str(problem))
        else:
            self._use_outputs(node, outputs, None)

    def _launch(self, node: TaskRun) -> None:
        """Start an attempt. Whatever is wrong with its task fails only the task."""
        attempt_id = next(self._ids)
        try:
            inputs = add_defaults(node.inputs, node.component)
            executor_input = files.executor_input(node, inputs, self._layout)
            # Before the start, because the executor may emit the end at any time after it.
            self._running[attempt_id] = _Running(node, executor_input)
            attempt = self._attempts.make(attempt_id, node, executor_input)
            bucket_copies.make_output_folders(executor_input, self._layout.remote)
            self._set_alarm(attempt_id, node)
            artifacts = itertools.chain(*inputs.artifacts.values())
            uris = bucket_copies.uris_to_download(artifacts, self._layout.remote)
            if uris:
                self._transfers.fetch(attempt, uris)
            else:
                self._executor.start(attempt)
        except OSError as error:
            self._running.pop(attempt_id, None)
            place = "" if error.filename is None else f": {error.filename}"
            self._fail(node, f"cannot prepare the task: {error.strerror or error}{place}")
        except (ValueProblem, KfgcpError, ValueError, RecursionError) as error:
            self._running.pop(attempt_id, None)
            self._fail(node, str(error) or type(error).__name__)

    def _set_alarm(self, attempt_id: int, node: TaskRun) -> None:
        timeout = _timeout(node)
        if timeout is not None:
            self._alarms.add(time.monotonic() + timeout, attempt_id, Step.TERMINATE)

    def _remove_working_folders(self) -> None:
        """Remove the working folders of the attempts that have ended."""
        for attempt_id in self._working_folders:
            self._layout.remove_working_folder(attempt_id)
        self._working_folders.clear()

    # -- waiting for events

    def _wait(self) -> None:
        """Handle the events that have come; wait for the first one when there is none."""
        try:
            event = self._events.get(timeout=self._seconds_to_wait())
            # All events that are there go into the same transaction.
            while True:
                self._handle(event)
                event = self._events.get_nowait()
        except queue.Empty:
            pass
        now = time.monotonic()
        # A run that stops does not wait for its retries: each of them ends its task now.
        retries = self._retries.pop_due(math.inf if self._scheduler.stopping else now)
        for node in retries:
            self._scheduler.requeue(node)
        while (alarm := self._alarms.pop_due(now)) is not None:
            self._handle_alarm(now, alarm)
        requests = self._cancel_requests.read_new(now)
        if requests:
            # A second request means that the tasks are killed at once.
            self._cancel(force=self._scheduler.cancelled or requests > 1)
        if self._log_times.is_due(now):
            self._note_log_times(now)

    def _seconds_to_wait(self) -> float:
        next_time = min(self._retries.next_time(), self._alarms.next_time())
        return max(min(POLL_SECONDS, next_time - time.monotonic()), 0)

    def _note_log_times(self, now: float) -> None:
        logs = {}
        for attempt_id, running in self._running.items():
            logs[attempt_id] = self._layout.log(running.node.path, running.node.attempts)
        self._log_times.note(now, logs)

    def _handle(self, event: _Event) -> None:
        if isinstance(event, _Cancel):
            self._cancel(event.force)
        elif isinstance(event, InputsCopied):
            self._handle_inputs_copied(event.attempt, event.problem)
        elif isinstance(event, OutputsCopied):
            self._handle_outputs_copied(event)
        elif isinstance(event, PackagesInstalled):
            self._handle_installed(event.id)
        else:
            self._handle_end(event)

    def _handle_inputs_copied(self, attempt: Attempt, problem: str | None) -> None:
        if attempt.id in self._stopping or attempt.id in self._overdue:
            problem = "stopped before it started"
        if problem is not None:
            self._events.put(AttemptEnded(attempt.id, problem))
            return
        try:
            self._executor.start(attempt)
        except (OSError, KfgcpError) as error:
            problem = f"cannot prepare the task: {error}"
            self._events.put(AttemptEnded(attempt.id, problem))

    def _handle_outputs_copied(self, event: OutputsCopied) -> None:
        node = self._running.pop(event.attempt_id).node
        if event.problem is not None:
            self._fail(node, event.problem)
        else:
            self._succeed(node, event.outputs)

    def _handle_installed(self, attempt_id: int) -> None:
        """Let the time of a task begin now: it does not include the installation."""
        if attempt_id not in self._running:
            return
        node = self._running[attempt_id].node
        if node.attempts == 1:
            node.started_at = self._clock.now()
            self._scheduler.changed[node] = None

    def _handle_end(self, event: AttemptEnded) -> None:
        if event.id not in self._running:
            # Its start failed, and the task has failed already.
            return
        running = self._running.pop(event.id)
        node = running.node
        # Files may have changed, so earlier looks at them do not count for tasks that become ready
        # from now on.
        self._scheduler.ended_attempts += 1
        self._executor.forget(event.id)
        self._working_folders.append(event.id)
        self._layout.close_attempt(node.path, node.attempts)
        if event.id in self._stopping and event.message is not None:
            node.ended_at = self._clock.now()
            self._scheduler.record_cancellation(node)
        elif event.id in self._overdue:
            self._fail(node, f"took longer than its timeout of {_timeout(node):g} s")
        elif event.lost and node.losses < LOSSES:
            node.losses += 1
            self._scheduler.requeue(node)
        elif event.message is not None:
            self._fail(node, event.message, self._attempts.hint(node, event.exception))
        else:
            self._read_outputs(event.id, running)

    def _read_outputs(self, attempt_id: int, running: _Running) -> None:
        """Read the outputs of an attempt that exited with 0, and copy those for buckets there."""
        node, executor_input = running
        try:
            outputs = files.read_outputs(node.component, executor_input, self._layout.remote)
        except (ValueProblem, OSError) as problem:
            self._fail(node, str(problem))
            return
        uris = files.uris_to_upload(outputs, executor_input, self._layout.remote)
        if uris:
            # The attempt counts as running, so that a signal can end the transfer.
            self._running[attempt_id] = running
            self._transfers.store(attempt_id, outputs, uris)
        else:
            self._succeed(node, outputs)

    def _succeed(self, node: TaskRun, outputs: Values) -> None:
        node.ended_at = self._clock.now()
        node.outputs = outputs
        # The outcome and the entry of the cache go into the same transaction as the state. A crash
        # never leaves one without the other.
        self._recorder.keep(build_outcome(node), self._cache.entry(node, node.ended_at))
        self._scheduler.record_success(node, outputs)

    def _fail(self, node: TaskRun, message: str, hint: str = "") -> None:
        node.ended_at = self._clock.now()
        tail = log_tail(self._layout.log(node.path, node.attempts))
        delay = self._scheduler.record_failure(node, ErrorInfo(message, node.path, tail, hint))
        if delay is not None:
            self._retries.add(time.monotonic() + delay, node)

    # -- ending tasks

    def _handle_alarm(self, now: float, alarm: Alarm) -> None:
        """Take the next step to end an attempt, and set the alarm for the step after it."""
        attempt_id = alarm.attempt_id
        if attempt_id not in self._running:
            return
        if alarm.step is Step.TERMINATE:
            self._stop(attempt_id, signal.SIGTERM)
            self._overdue.add(attempt_id)
            self._alarms.add(now + self._settings.grace, attempt_id, Step.KILL)
        elif alarm.step is Step.KILL:
            self._stop(attempt_id, signal.SIGKILL)
            # A fork server that was stopped (SIGSTOP) does not pass SIGKILL on.
            self._alarms.add(now + self._settings.grace, attempt_id, Step.KILL_RUNNER)
        else:
            self._executor.kill(attempt_id)

    def _stop(self, attempt_id: int, number: int) -> None:
        """Send a signal to an attempt. SIGKILL also ends the copying of its files."""
        self._executor.signal(attempt_id, number)
        if number == signal.SIGKILL and self._transfers.abandon(attempt_id):
            self._events.put(AttemptEnded(attempt_id, "stopped while its files were copied"))

    def _cancel(self, force: bool) -> None:
        """Stop the tasks that run.

        Args:
            force: kill them, and start no exit tasks. Otherwise exit tasks start afterwards.
        """
        is_first = not self._scheduler.cancelled
        if is_first:
            # Before any task ends: when the engine is killed now, the run is recorded as cancelled
            # and not as failed.
            self._store.apply(self._layout.run_id, Changes(state=RunState.CANCELLING))
            for node in self._retries.pop_due(math.inf):
                self._scheduler.requeue(node)
        if is_first or force:
            for attempt_id, running in self._running.items():
                if force or not is_in_exit_task(running.node):
                    self._stopping.add(attempt_id)
            self._scheduler.cancel(force=force)
        if force:
            self._stop_all(signal.SIGKILL)
            # No task may run any more, so the process that runs them can be killed too. If it is
            # stopped (SIGSTOP), it does not see the signal.
            for attempt_id in self._stopping & set(self._running):
                self._executor.kill(attempt_id)
        elif is_first:
            deadline = time.monotonic() + self._settings.grace
            for attempt_id in self._stopping:
                self._alarms.add(deadline, attempt_id, Step.KILL)
            self._stop_all(signal.SIGTERM)

    def _stop_all(self, number: int) -> None:
        for attempt_id in self._stopping & set(self._running):
            self._stop(attempt_id, number)

    # -- the end of the run

    def _finish(self) -> RunState:
        """Record the end of the run and return its state."""
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
        # A run that is not recorded as ended can be resumed, and then its tasks need the workspace.
        self._layout.remove_workspace()
        return state


def _timeout(node: TaskRun) -> float | None:
    """Return how many seconds an attempt of a task may take, None for no limit."""
    container = node.component.executor
    return container.cluster.timeout if isinstance(container, Container) else None
