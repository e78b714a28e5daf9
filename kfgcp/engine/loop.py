"""Execute one run: the loop between the scheduler, the executors and the store.

One thread executes the run. Executors and transfers work in other threads and put events into a
queue. The engine can crash at any moment, so the order of its steps matters. Where it does, a
comment says why.
"""

from __future__ import annotations

import itertools
import math
import os
import queue
import signal
import time
from typing import Any, Final, NamedTuple

from kfgcp.engine import bucket_copies, files, importer, orphans
from kfgcp.engine.attempts import Attempts
from kfgcp.engine.cache import TaskCache
from kfgcp.engine.cache_key import digest_code_and_inputs
from kfgcp.engine.cancel_requests import POLL_SECONDS, CancelRequested, CancelRequests
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
from kfgcp.spec.graph import Graph
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store

MAX_LOST_ATTEMPTS: Final = 3
"""How many attempts of a task may be lost, because the process that ran them ended, until the next
lost attempt counts as a failure. A task may kill that process in every attempt."""

_RUN_STATES: Final = {
    TaskState.SUCCEEDED: RunState.SUCCEEDED,
    TaskState.FAILED: RunState.FAILED,
    TaskState.CANCELLED: RunState.CANCELLED,
}

_Event = AttemptEnded | PackagesInstalled | InputsCopied | OutputsCopied | CancelRequested


class _RunningAttempt(NamedTuple):
    """An attempt that runs, or whose files are being copied."""

    node: TaskRun
    executor_input: dict[str, Any]


class Engine:
    """The engine of one run.

    `kfgcp.backends.local` creates it, and holds the lock of the run until the engine has ended.

    Args:
        store: where the run is recorded.
        layout: where the run keeps its files.
        graph: the pipeline.
        inputs: the values of the pipeline's parameters, and its input artifacts.
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
        # These four contain the ids of attempts.
        self._running: dict[int, _RunningAttempt] = {}
        # Attempts that were asked to end because the run is cancelled.
        self._stopping: set[int] = set()
        # Attempts that took longer than their timeout.
        self._overdue: set[int] = set()
        # Attempts that have ended and whose working folders still exist.
        self._to_clean_up: list[int] = []
        self._retries = Retries()
        self._alarms = Alarms()
        self._cancel_requests = CancelRequests(store, layout.run_id)
        self._log_times = LogTimes()
        self._attempt_ids = itertools.count(1)
        self._recorder = Recorder(store, layout.run_id, self._clock.now)
        self._file_use = FileUse(layout.home)
        self._attempts = Attempts(layout, options, settings, self._clock.now())
        self._earlier_results = EarlierResults(
            store, layout.run_id, settings.repeats, settings.from_task, settings.buckets
        )
        self._file_states = FileStates(settings.submit_dir, layout.output_folders)
        self._cache = TaskCache(
            store, layout.pipeline, layout.run_id, options.cache, settings.buckets
        )
        self._scheduler = Scheduler(
            graph, TaskRun, inputs, constants=self._attempts.constants, fail_fast=options.fail_fast
        )
        self._transfers = Transfers(self._events.put, layout.copies_folder, settings.buckets)
        self._executor = Router(
            self._events.put,
            layout.environments,
            libraries=common_libraries(graph),
            containers=Containers(
                layout.workspace,
                settings.container_credentials,
                layout.home,
                folders=tuple(settings.container_folders),
                network=settings.container_network,
                project_root=settings.project_root,
            ),
            submit_dir=settings.submit_dir,
            run_id=layout.run_id,
        )
        self._executor.warm_up(python_functions(graph), options)

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end; may be called from a signal handler and from any thread.

        Args:
            force: kill running tasks at once, instead of asking them to end first.
        """
        self._events.put(CancelRequested(force))

    def execute(self) -> RunState:
        """Execute the run to its end.

        Returns:
            The final state, which is recorded in the store before it is returned.
        """
        run_id = self._layout.run_id
        try:
            # Tasks of a killed engine may still write to the scratch folder. `prepare` waits until
            # they have ended. So the run is recorded as running only after `prepare`.
            self._layout.prepare()
            self._store.apply(run_id, Changes(state=RunState.RUNNING, started_at=self._clock.now()))
            self._scheduler.start()
            while not self._scheduler.done:
                # The lock keeps the files of earlier runs in place: first this run finds them, then
                # the store records that it uses them. Nobody can remove them in between.
                with self._file_use.shared():
                    nodes_to_launch = self._take_ready_tasks()
                    self._recorder.write(self._scheduler.take_changed())
                # Attempts are recorded before they start. So after a crash, the record has every
                # attempt that may have left files, and no later attempt gets the same number.
                for node in nodes_to_launch:
                    self._launch(node)
                # This comes after the launch, because removing folders takes time. The new attempts
                # already run meanwhile.
                self._remove_working_folders()
                if self._running or self._retries:
                    self._wait_for_events()
            return self._finish()
        finally:
            # The servers end first, and their tasks end with them. `orphans` then kills processes
            # that tasks started in sessions of their own. After both steps, nothing writes to the
            # scratch folder any more.
            self._executor.close()
            orphans.kill(run_id)
            self._layout.remove_scratch()

    # -- starting tasks

    def _take_ready_tasks(self) -> list[TaskRun]:
        """Return the tasks to launch now.

        Importers and cached tasks need no attempt. They end in this method, so more tasks may
        become ready meanwhile.
        """
        nodes_to_launch: list[TaskRun] = []
        self._file_states.ended_attempts = self._scheduler.ended_attempts
        while self._scheduler.ready:
            if len(self._running) + len(nodes_to_launch) >= self._max_parallel:
                break
            node = self._scheduler.ready.popleft()
            if self._end_without_attempt(node):
                continue
            node.attempts += 1
            node.state = TaskState.RUNNING
            node.attempt_started_at = self._clock.now()
            node.started_at = node.started_at or node.attempt_started_at
            self._scheduler.changed[node] = None
            nodes_to_launch.append(node)
        return nodes_to_launch

    def _end_without_attempt(self, node: TaskRun) -> bool:
        """End an importer, or a task with an earlier result; return False for any other task."""
        self._earlier_results.mark_reruns(node)
        if node.kind is TaskKind.IMPORTER:
            self._run_importer(node)
            return True
        if node.failures or node.lost_attempts:
            return False
        # Later runs compare the digests of their tasks with these. So they are computed before the
        # task runs, and also when it uses no earlier result.
        digest_code_and_inputs(node, self._file_states)
        result = self._earlier_results.find_result(node)
        if result is not None:
            self._use_earlier_result(node, result)
            return True
        outputs = self._cache.look_up(node, self._earlier_results.reuse_problem(node))
        if outputs is None:
            return False
        self._use_outputs(node, outputs, node.cache)
        return True

    def _use_earlier_result(self, node: TaskRun, result: EarlierResult) -> None:
        node.origin = result.origin
        if result.error is not None:
            self._scheduler.record_earlier_failure(node, result.error)
        else:
            self._use_outputs(node, result.outputs, result.cache)

    def _use_outputs(self, node: TaskRun, outputs: Values, cache: Cache | None) -> None:
        """Record that a task has succeeded without an attempt."""
        if node.ended_at is None:
            now = self._clock.now()
            node.started_at = now
            node.ended_at = now
        node.outputs = outputs
        self._recorder.add_outcome(build_outcome(node))
        self._scheduler.record_success(node, outputs, cache)

    def _run_importer(self, node: TaskRun) -> None:
        node.attempts = 1
        node.started_at = self._clock.now()
        try:
            outputs = importer.run(node, self._settings.submit_dir, self._attempts.constants(node))
        except ValueProblem as problem:
            self._fail(node, str(problem))
        else:
            self._use_outputs(node, outputs, None)

    def _launch(self, node: TaskRun) -> None:
        """Start an attempt of a task. If that is not possible, only this task fails."""
        attempt_id = next(self._attempt_ids)
        try:
            inputs = add_defaults(node.inputs, node.component)
            executor_input = files.executor_input(node, inputs, self._layout)
            # This comes before the start: after it, the executor may emit the end at any time.
            self._running[attempt_id] = _RunningAttempt(node, executor_input)
            attempt = self._attempts.make(attempt_id, node, executor_input)
            bucket_copies.make_output_folders(executor_input, self._layout.copies_folder)
            self._set_alarm(attempt_id, node)
            artifacts = list(itertools.chain.from_iterable(inputs.artifacts.values()))
            uris = bucket_copies.uris_to_download(artifacts, self._layout.copies_folder)
            if uris:
                self._transfers.fetch(attempt, uris, bucket_copies.uris_without_files(artifacts))
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
        timeout = node.timeout
        if timeout is not None:
            self._alarms.add(time.monotonic() + timeout, attempt_id, Step.TERMINATE)

    def _remove_working_folders(self) -> None:
        """Remove the working folders of the attempts that have ended."""
        for attempt_id in self._to_clean_up:
            self._layout.remove_working_folder(attempt_id)
        self._to_clean_up.clear()

    # -- waiting for events

    def _wait_for_events(self) -> None:
        """Wait for an event or for the next time to do something, then do all that is due."""
        try:
            event = self._events.get(timeout=self._seconds_to_wait())
            # All events that wait are handled now, so their changes go into one transaction.
            while True:
                self._handle(event)
                event = self._events.get_nowait()
        except queue.Empty:
            pass
        now = time.monotonic()
        # A run that stops does not wait for retries. `requeue` then ends the tasks instead.
        latest_retry = math.inf if self._scheduler.stopping else now
        for node in self._retries.pop_due(latest_retry):
            self._scheduler.requeue(node)
        while (alarm := self._alarms.pop_due(now)) is not None:
            self._handle_alarm(now, alarm)
        requests = self._cancel_requests.count_if_changed(now)
        if requests:
            # From the second request on, the tasks are killed at once.
            self._cancel(force=self._scheduler.cancelled or requests > 1)
        if self._log_times.is_due(now):
            self._write_log_times(now)

    def _seconds_to_wait(self) -> float:
        next_time = min(self._retries.next_time(), self._alarms.next_time())
        seconds = next_time - time.monotonic()
        return max(min(POLL_SECONDS, seconds), 0)

    def _write_log_times(self, now: float) -> None:
        logs = {}
        for attempt_id, running in self._running.items():
            logs[attempt_id] = self._layout.log(running.node.path, running.node.attempts)
        self._log_times.write(now, logs)

    def _handle(self, event: _Event) -> None:
        if isinstance(event, CancelRequested):
            self._cancel(event.force)
        elif isinstance(event, InputsCopied):
            self._handle_inputs_copied(event.attempt, event.problem)
        elif isinstance(event, OutputsCopied):
            self._handle_outputs_copied(event)
        elif isinstance(event, PackagesInstalled):
            self._restart_clock(event.id)
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

    def _restart_clock(self, attempt_id: int) -> None:
        """Set the start of a task to now, so its time does not include installing packages."""
        if attempt_id not in self._running:
            return
        node = self._running[attempt_id].node
        if node.attempts == 1:
            node.started_at = self._clock.now()
            self._scheduler.changed[node] = None

    def _handle_end(self, event: AttemptEnded) -> None:
        if event.id not in self._running:
            # The start of the attempt failed, so the task has failed already.
            return
        running = self._running.pop(event.id)
        node = running.node
        # The attempt may have changed files. Tasks that become ready now must read file states
        # again, instead of using earlier ones.
        self._scheduler.ended_attempts += 1
        self._executor.forget(event.id)
        self._to_clean_up.append(event.id)
        self._layout.close_attempt(node.path, node.attempts)
        if event.id in self._stopping and event.message is not None:
            node.ended_at = self._clock.now()
            self._scheduler.record_cancellation(node)
        elif event.id in self._overdue:
            self._fail(node, f"took longer than its timeout of {node.timeout:g} s")
        elif event.lost and node.lost_attempts < MAX_LOST_ATTEMPTS:
            node.lost_attempts += 1
            self._scheduler.requeue(node)
        elif event.message is not None:
            self._fail(node, event.message, self._attempts.hint(node, event.exception))
        else:
            self._read_outputs(event.id, running)

    def _read_outputs(self, attempt_id: int, running: _RunningAttempt) -> None:
        """Read the outputs of an attempt that exited with 0, and upload outputs for buckets."""
        node, executor_input = running
        try:
            outputs = files.read_outputs(node.component, executor_input, self._layout.copies_folder)
        except (ValueProblem, OSError) as problem:
            self._fail(node, str(problem))
            return
        uris = files.uris_to_upload(outputs, executor_input, self._layout.copies_folder)
        if uris:
            # The attempt counts as running until the upload ends, so that a cancel can end it.
            self._running[attempt_id] = running
            self._transfers.store(attempt_id, outputs, uris)
        else:
            self._succeed(node, outputs)

    def _succeed(self, node: TaskRun, outputs: Values) -> None:
        node.ended_at = self._clock.now()
        node.outputs = outputs
        # The outcome, the cache entry and the state go into one transaction. So a crash never
        # leaves one of them without the others.
        cache_entry = self._cache.build_entry(node, node.ended_at)
        self._recorder.add_outcome(build_outcome(node), cache_entry)
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
            # A fork server that is stopped (SIGSTOP) does not forward SIGKILL to its tasks.
            self._alarms.add(now + self._settings.grace, attempt_id, Step.KILL_RUNNER)
        else:
            self._executor.kill(attempt_id)

    def _stop(self, attempt_id: int, signal_number: int) -> None:
        """Send a signal to an attempt. SIGKILL also ends the copying of its files."""
        self._executor.signal(attempt_id, signal_number)
        if signal_number == signal.SIGKILL and self._transfers.abandon(attempt_id):
            self._events.put(AttemptEnded(attempt_id, "stopped while its files were copied"))

    def _cancel(self, force: bool) -> None:
        """Stop the running tasks.

        Args:
            force: kill the tasks, and start no exit tasks. Otherwise the tasks are asked to end,
                and exit tasks start afterwards.
        """
        is_first = not self._scheduler.cancelled
        if is_first:
            # This comes before any task ends. After it, a run whose engine is killed is cancelled.
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
            # No task may run any more, so the fork server that runs them can be killed too. If the
            # server is stopped (SIGSTOP), it does not forward the signal.
            for attempt_id in self._stopping & set(self._running):
                self._executor.kill(attempt_id)
        elif is_first:
            deadline = time.monotonic() + self._settings.grace
            for attempt_id in self._stopping:
                self._alarms.add(deadline, attempt_id, Step.KILL)
            self._stop_all(signal.SIGTERM)

    def _stop_all(self, signal_number: int) -> None:
        for attempt_id in self._stopping & set(self._running):
            self._stop(attempt_id, signal_number)

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
        # The workspace is removed last. Until the end is recorded, the run can be resumed, and then
        # its tasks need the workspace.
        self._layout.remove_workspace()
        return state
