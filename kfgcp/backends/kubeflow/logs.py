"""The logs of a run's tasks: of their pods, of what was kept of them, and of Cloud Logging.

`pod_logs` reads the log of one pod. GKE's entries in Cloud Logging carry the run's id as a label of
the pod (`k8s-pod/pipeline/runid`); they alone have times and severities.
"""

from __future__ import annotations

import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.failure_cause import CauseFinder
from kfgcp.backends.kubeflow.log_noise import without_noise
from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer
from kfgcp.backends.kubeflow.pod_attempts import read_pods
from kfgcp.backends.kubeflow.pod_logs import (
    BUCKET,
    Keeper,
    NotKept,
    Pod,
    PodLogs,
    RunOfPods,
    Streams,
)
from kfgcp.backends.kubeflow.pod_names import WorkflowPods, pods_of_run
from kfgcp.backends.kubeflow.states import execution_state, node_state, run_state
from kfgcp.backends.kubeflow.times import read_time
from kfgcp.backends.kubeflow.tree import place_tasks
from kfgcp.errors import BackendError, NotFound, NotWhole, Unreachable, Unsupported
from kfgcp.log_lines import LineSplitter
from kfgcp.model import Task, TaskKind, TaskState
from kfgcp.services.cloud_logging import CloudLogging, quoted

PAUSE: Final = 3.0
"""Seconds between two looks of a tail while no task changes."""
MOST_OF_A_LINE: Final = 2000
"""Characters of a line in the end of a log, as of runs on this machine."""
_OF_ATTEMPT: Final = re.compile(r".*/executor-logs-(?P<number>\d{1,6})")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a task.

    Attributes:
        task: its path.
        number: from 1.
        pod: its pod; that of the driver when the driver failed, as then there is no other.
        is_last: whether no other attempt comes after it.
    """

    task: str
    number: int
    pod: Pod
    is_last: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where logs are read.

    Attributes:
        ui: the UI server.
        logging: Cloud Logging, None when it is not to be read.
        namespace: where the pods run, empty when none is set.
        env: the name of the environment.
    """

    ui: Streams
    logging: CloudLogging | None
    namespace: str
    env: str


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How the log of a failed task ends.

    Attributes:
        cause: why the task failed, on one line; empty when the log does not tell.
        lines: the last lines, without those of the launcher and of Argo.
    """

    cause: str = ""
    lines: tuple[str, ...] = ()


class RunLogs:
    """The logs of a run as it was read. Threads may share them."""

    def __init__(self, place: Place, run: RunAnswer, executions: Sequence[Execution]) -> None:
        self._place = place
        self._run_id = str(run.get("run_id"))
        self._since = read_time(run.get("created_at")) or ""
        pods = pods_of_run(run)
        self.attempts = list(_attempts(run, executions, pods))
        self._unnamed = list(_tasks_without_pod(run, executions)) if "tasks" in run else []
        root_driver = pods.failed_driver("") if pods else ""
        self._start = (
            Attempt("", 1, Pod(root_driver, has_ended=True), is_last=True) if root_driver else None
        )
        run_of_pods = RunOfPods(
            self._run_id,
            self._since[:10],
            pods.workflow if pods else "",
            place.namespace,
            _bucket_of(executions),
        )
        self._pods = PodLogs(place.ui, run_of_pods, raises_outages=place.logging is None)
        self._answered: Keeper | None = None

    def read(self, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield lines by task in the order they started, by attempt, as they were written.

        Earlier attempts whose logs are gone are left out unless one is asked for. The warning
        `NotWhole` names a task whose pod is not known.

        Raises:
            NotFound: a log was not kept anywhere; the other logs came first.
        """
        self._warn_of_unnamed(log_filter)
        lost: list[NotFound] = []
        for attempt in self.chosen(log_filter):
            try:
                yield from self.lines(attempt, log_filter)
            except NotFound as error:
                if attempt.is_last or log_filter.attempt is not None:
                    lost.append(error)
        if lost:
            raise lost[0]

    def end_of(self, task: str | None, most: int) -> LogEnd:
        """Return the end of a task's log: of its last attempt.

        Args:
            task: its path; None for the driver of the whole run, which has a log when it failed.
            most: how many lines.
        """
        attempts = [attempt for attempt in self.attempts if attempt.task == task]
        if task is None and self._start is not None:
            attempts = [self._start]
        if not attempts:
            return LogEnd()
        finder = CauseFinder()
        lines = self.lines(attempts[-1], LogFilter(all_lines=True))
        last = deque(without_noise(_fed_to(finder, lines)), most)
        return LogEnd(finder.cause, tuple(line[-MOST_OF_A_LINE:] for line in last))

    def cause_of(self, task: str) -> str:
        """Return why a task failed, on one line; empty when its log does not say it, or when it has
        no log.

        Raises:
            NotFound: the log is nowhere.
        """
        return self.end_of(task, 0).cause

    def chosen(self, log_filter: LogFilter) -> Iterator[Attempt]:
        """Yield the attempts that a filter wants."""
        for attempt in self.attempts:
            if log_filter.task in (None, attempt.task) and log_filter.attempt in (
                None,
                attempt.number,
            ):
                yield attempt

    def lines(self, attempt: Attempt, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the lines of one attempt. While it is running, yield only complete lines.

        Raises:
            NotFound: they are nowhere.
        """
        if log_filter.since or log_filter.severity:
            entries = self._of_cloud_logging(attempt, log_filter)
            yield from _without_noise(entries, log_filter)
            return
        reasons: list[str] = []
        for keeper in self._keepers(all_lines=log_filter.all_lines):
            try:
                if keeper is None:
                    lines = self._peeked(self._of_cloud_logging(attempt, log_filter))
                else:
                    chunks = self._pods.read(keeper, attempt.pod)
                    lines = _log_lines(attempt, chunks)
            except NotKept as error:
                reasons.append(str(error))
                continue
            if attempt.pod.has_ended:
                self._answered = keeper
            yield from _without_noise(lines, log_filter)
            return
        raise self._lost(attempt, [reason for reason in reasons if reason])

    # -- helpers

    def _warn_of_unnamed(self, log_filter: LogFilter) -> None:
        for task, has_ended in self._unnamed:
            if log_filter.task not in (None, task):
                continue
            note = (
                f"{task} has no log yet: Kubeflow Pipelines 3.0 names the pod of a task when its"
                " program has ended"
            )
            if has_ended:
                note = f"{task} has no log: Kubeflow Pipelines 3.0 did not name its pod"
            warnings.warn(note, NotWhole, stacklevel=2)

    def _keepers(self, *, all_lines: bool) -> list[Keeper | None]:
        """Return who is asked for a log, in this order; None is Cloud Logging.

        Who had the last log has most likely the next one, too. The launcher's copy lacks what
        others wrote.
        """
        keepers: list[Keeper | None] = [Keeper.POD, Keeper.COPY, Keeper.ARCHIVE]
        if self._place.logging is not None:
            keepers.insert(2, None)
        if all_lines:
            keepers.remove(Keeper.COPY)
            keepers.append(Keeper.COPY)
        answered = self._answered
        if answered is not None and not (all_lines and answered is Keeper.COPY):
            keepers.remove(answered)
            keepers.insert(0, answered)
        return keepers

    def _peeked(self, lines: Iterator[LogLine]) -> Iterator[LogLine]:
        """Return the lines, of which there is at least one.

        Raises:
            NotKept: there is none.
        """
        first = next(lines, None)
        if first is None:
            raise NotKept("Cloud Logging has no lines for it")
        return _chained(first, lines)

    def _of_cloud_logging(self, attempt: Attempt, log_filter: LogFilter) -> Iterator[LogLine]:
        if self._place.logging is None:
            raise Unsupported(
                "The pods of Kubeflow keep no times and severities.",
                hint=(
                    f"Set project in [env.{self._place.env}] to read Cloud Logging. Or leave out"
                    " these options."
                ),
            )
        if not attempt.pod.name:
            return
        clauses = [
            'resource.type="k8s_container"',
            f'labels."k8s-pod/pipeline/runid"={quoted(self._run_id)}',
            f"resource.labels.pod_name={quoted(attempt.pod.name)}",
            f"timestamp>={quoted(max(log_filter.since or '', self._since))}",
        ]
        if log_filter.severity:
            clauses.append(f"severity>={log_filter.severity}")
        for entry in self._place.logging.entries(clauses):
            yield LogLine(
                attempt.task, attempt.number, entry.text, read_time(entry.at) or "", entry.severity
            )

    def _lost(self, attempt: Attempt, reasons: Sequence[str]) -> NotFound:
        which = f" attempt {attempt.number} of" if not attempt.is_last else ""
        ways = [
            "let Kubeflow archive logs: archiveLogs of Argo, ARGO_ARCHIVE_LOGS of ml-pipeline-ui"
        ]
        if self._place.logging is None:
            ways.insert(0, f"set project in [env.{self._place.env}] to read Cloud Logging on GKE")
        hint = ", or ".join(ways)
        return NotFound(
            f"The log of{which} {attempt.task} is not there any more: {'; '.join(reasons)}.",
            hint=f"For later runs {hint}.",
            status=404,
            reason="NOT_FOUND",
        )


class RunTail:
    """The logs of a run that goes on: of each attempt what it has more than at the last look."""

    late = 0.0

    def __init__(self, logs: Callable[[], RunLogs], wanted: LogFilter) -> None:
        self._logs = logs
        self._wanted = wanted
        self._shown: dict[tuple[str, int], int] = {}
        self._read: set[tuple[str, int]] = set()
        self._next = 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        now = time.monotonic()
        if not tasks and now < self._next:
            return
        self._next = now + PAUSE
        logs = self._logs()
        lost: BackendError | None = None
        for attempt in logs.chosen(self._wanted):
            key = (attempt.task, attempt.number)
            if key in self._read:
                continue
            try:
                for line in islice(
                    logs.lines(attempt, self._wanted), self._shown.get(key, 0), None
                ):
                    self._shown[key] = self._shown.get(key, 0) + 1
                    yield line
            except (
                NotFound,
                Unreachable,
            ) as error:  # its pod may be starting; of one that has ended nothing will come
                if not attempt.pod.has_ended:
                    continue
                lost = error
            if attempt.pod.has_ended:
                self._read.add(key)
        if lost is not None and not self._shown:
            raise lost


def _attempts(
    run: RunAnswer, executions: Sequence[Execution], pods_by_name: WorkflowPods | None
) -> Iterator[Attempt]:
    """Yield the attempts by task in the order they started."""
    pods = read_pods(run, executions)
    is_over = run_state(run).final
    for placed in place_tasks(run, executions):
        if placed.driver_pod:
            yield Attempt(placed.path, 1, Pod(placed.driver_pod, has_ended=True), is_last=True)
            continue
        execution, node = placed.execution, placed.node or NodeAnswer()
        if execution is not None and execution.cached:
            # Among its outputs are the logs of the run that it took them from; in this run nothing
            # was written.
            continue
        if execution is not None:
            state = execution_state(execution.state)
        else:
            state = node_state(node)
        names = pods.get(placed.path, [])
        # An execution of an importer has no pod. Of one that succeeded, the log has nothing to
        # tell.
        is_unnamed = execution is not None and placed.kind is TaskKind.IMPORTER and not state.ok
        if not names and pods_by_name is not None and (is_unnamed or not executions):
            names = pods_by_name.executors(placed.path)
        copies = execution.logs if execution is not None else ()
        count = max(len(names), len(copies))
        # The pods that ran before a retry of the run are not among its nodes, but their logs were
        # kept.
        names = [""] * (count - len(names)) + list(names)
        by_number = _copies_by_number(copies, count)
        for number, name in enumerate(names, 1):
            is_last = number == count
            pod = Pod(name, is_over or state.final or not is_last, by_number.get(number, ""))
            yield Attempt(placed.path, number, pod, is_last)


def _tasks_without_pod(
    run: RunAnswer, executions: Sequence[Execution]
) -> Iterator[tuple[str, bool]]:
    """Yield the tasks of a 3.0 server that run or ran in a pod that it does not name, and whether
    they have ended.

    The launcher names the pod when the program has ended, so a program that is running or was
    killed has none (recorded: api-3.0-branch/run-get-running-full.json,
    run-get-terminated-ended.json).
    """
    is_over = run_state(run).final
    for placed in place_tasks(run, executions):
        execution = placed.execution
        if (
            execution is None
            or placed.kind is not TaskKind.CONTAINER
            or execution.pod
            or execution.logs
        ):
            continue
        state = execution_state(execution.state)
        if state in (TaskState.RUNNING, TaskState.FAILED, TaskState.CANCELLED):
            yield placed.path, is_over or state.final


def _copies_by_number(copies: Sequence[str], count: int) -> dict[int, str]:
    """Return the launcher's copies of the logs of a task by the number of the attempt.

    Args:
        copies: their URIs, oldest first.
        count: of the attempts.
    """
    by_number = dict(enumerate(copies, 1))
    if len(copies) < count:
        # An attempt without a copy was killed. A URI without a number is of the last attempt:
        # before 2.16, each attempt wrote over the log of the one before it.
        by_number = {}
        for uri in copies:
            numbered = _OF_ATTEMPT.fullmatch(uri)
            by_number[int(numbered["number"]) + 1 if numbered else count] = uri
    # A retry of the run writes over the logs that it kept.
    last_number = {uri: number for number, uri in by_number.items()}
    return {number: uri for uri, number in last_number.items()}


def _bucket_of(executions: Sequence[Execution]) -> str:
    """Return the bucket of the server's own store, where Argo archives logs, too."""
    for execution in executions:
        for uri in execution.logs:
            url = urlsplit(uri)
            if url.scheme == "minio":
                return url.netloc
    return BUCKET


def _log_lines(attempt: Attempt, chunks: Iterator[bytes]) -> Iterator[LogLine]:
    lines = LineSplitter()
    for chunk in chunks:
        for text in lines.feed(chunk):
            yield LogLine(attempt.task, attempt.number, text)
    if attempt.pod.has_ended:
        for text in lines.end():
            yield LogLine(attempt.task, attempt.number, text)


def _without_noise(lines: Iterator[LogLine], log_filter: LogFilter) -> Iterator[LogLine]:
    return lines if log_filter.all_lines else without_noise(lines, text=lambda line: line.text)


def _fed_to(finder: CauseFinder, lines: Iterator[LogLine]) -> Iterator[str]:
    for line in lines:
        finder.feed(line.text)
        yield line.text


def _chained(first: LogLine, others: Iterator[LogLine]) -> Iterator[LogLine]:
    yield first
    yield from others
