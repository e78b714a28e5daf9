"""Read the logs of a run's tasks.

The log of a pod can be in four places: the pod itself, the launcher's copy, Argo's archive, and
Cloud Logging. `pod_logs` reads the first three, and `log_attempts` lists the pods of a run.

On GKE, each entry in Cloud Logging has the id of the run as the label `k8s-pod/pipeline/runid`.
Only the lines from Cloud Logging have times and severities.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final
from urllib.parse import urlsplit

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.failure_cause import CauseFinder
from kfgcp.backends.kubeflow.log_attempts import Attempt, read_attempts, tasks_without_pod
from kfgcp.backends.kubeflow.log_noise import without_noise
from kfgcp.backends.kubeflow.messages import RunAnswer
from kfgcp.backends.kubeflow.pod_logs import (
    BUCKET,
    LogSource,
    NotKept,
    Pod,
    PodLogs,
    RunInfo,
    Streams,
)
from kfgcp.backends.kubeflow.pod_names import read_workflow_pods
from kfgcp.backends.kubeflow.times import read_time
from kfgcp.errors import BackendError, NotFound, NotWhole, Unreachable, Unsupported
from kfgcp.log_lines import LineSplitter
from kfgcp.model import Task
from kfgcp.services.cloud_logging import CloudLogging, quoted

# Seconds between two readings of a tail while no task changes.
PAUSE: Final = 3.0

# Characters of a line in `LogEnd`. A longer line loses its beginning. The limit is the same as for
# runs on this machine.
MAX_LINE_LENGTH: Final = 2000


@dataclass(frozen=True, slots=True)
class LogServices:
    """The services that have logs, and the namespace of the pods.

    Attributes:
        ui: the client of the UI server.
        logging: the client of Cloud Logging, None when the environment does not use it.
        namespace: the namespace of the pods, "" when none is set.
        env: the name of the environment.
    """

    ui: Streams
    logging: CloudLogging | None
    namespace: str
    env: str


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of the log of a failed task.

    Attributes:
        cause: why the task failed, on one line. "" when the log does not say why.
        lines: the last lines of the log, without the lines of the launcher and of Argo.
    """

    cause: str = ""
    lines: tuple[str, ...] = ()


class RunLogs:
    """The logs of a run on Kubeflow Pipelines. Threads may share this object.

    It has the logs of the attempts that the answer of the server names. Later attempts are missing.

    Args:
        services: the services that have the logs.
        run: the run as the server returned it, with its pipeline spec.
        executions: the executions of the tasks.
    """

    def __init__(
        self, services: LogServices, run: RunAnswer, executions: Sequence[Execution]
    ) -> None:
        self._services = services
        self._run_id = run["run_id"]
        self._created_at = read_time(run.get("created_at")) or ""
        workflow_pods = read_workflow_pods(run)
        self.attempts = list(read_attempts(run, executions, workflow_pods))
        # Only servers of 3.0 answer with tasks.
        self._tasks_without_pod = list(tasks_without_pod(run, executions)) if "tasks" in run else []
        self._root_driver = workflow_pods.failed_driver("") if workflow_pods else ""
        run_info = RunInfo(
            self._run_id,
            self._created_at[: len("2026-01-02")],
            workflow_pods.workflow if workflow_pods else "",
            services.namespace,
            _archive_bucket(executions),
        )
        self._pods = PodLogs(services.ui, run_info, raises_outages=services.logging is None)
        # The source that had the last log. None for Cloud Logging, and before the first log.
        self._last_source: LogSource | None = None

    def read(self, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the lines of all attempts that match a filter.

        Tasks are in the order in which they started, and attempts in the order of their numbers.
        When the log of an attempt that is not the last one is missing, this is an error only if the
        filter names the attempt. The warning `NotWhole` names a task whose pod is not known.

        Raises:
            NotFound: a log does not exist any more. This is raised after the lines of the other
                logs.
        """
        self._warn_of_tasks_without_pod(log_filter)
        errors: list[NotFound] = []
        for attempt in self.matching_attempts(log_filter):
            try:
                yield from self.lines(attempt, log_filter)
            except NotFound as error:
                if attempt.is_last or log_filter.attempt is not None:
                    errors.append(error)
        if errors:
            raise errors[0]

    def read_end(self, task: str | None, line_count: int) -> LogEnd:
        """Return the cause and the last lines of the log of a task's last attempt.

        Args:
            task: the path of the task. None for the driver of the whole run, whose log is read only
                when the driver failed.
            line_count: the number of lines to return.
        """
        attempts = [attempt for attempt in self.attempts if attempt.task == task]
        if task is None and self._root_driver:
            attempts = [Attempt("", 1, Pod(self._root_driver, has_ended=True), is_last=True)]
        if not attempts:
            return LogEnd()
        finder = CauseFinder()
        lines = self.lines(attempts[-1], LogFilter(all_lines=True))
        last_lines = deque(without_noise(_feed(finder, lines)), line_count)
        return LogEnd(finder.cause, tuple(line[-MAX_LINE_LENGTH:] for line in last_lines))

    def read_cause(self, task: str) -> str:
        """Return why a task failed, on one line.

        Return "" when the log does not say why, or when the task has no log.

        Raises:
            NotFound: no service has the log.
        """
        return self.read_end(task, 0).cause

    def matching_attempts(self, log_filter: LogFilter) -> Iterator[Attempt]:
        """Yield the attempts that match a filter."""
        for attempt in self.attempts:
            task_matches = log_filter.task in (None, attempt.task)
            number_matches = log_filter.attempt in (None, attempt.number)
            if task_matches and number_matches:
                yield attempt

    def lines(self, attempt: Attempt, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the lines of one attempt. While its pod is running, yield only complete lines.

        Raises:
            NotFound: no service has the log of the attempt.
        """
        if log_filter.since or log_filter.severity:
            # Only Cloud Logging has times and severities.
            entries = self._read_cloud_logging(attempt, log_filter)
            yield from _filter_noise(entries, log_filter)
            return
        reasons: list[str] = []
        for source in self._sources_in_order(all_lines=log_filter.all_lines):
            try:
                if source is None:
                    lines = _require_lines(self._read_cloud_logging(attempt, log_filter))
                else:
                    chunks = self._pods.read(source, attempt.pod)
                    lines = _split_lines(attempt, chunks)
            except NotKept as error:
                reasons.append(str(error))
                continue
            if attempt.pod.has_ended:
                self._last_source = source
            yield from _filter_noise(lines, log_filter)
            return
        raise self._not_found(attempt, [reason for reason in reasons if reason])

    # -- helpers

    def _warn_of_tasks_without_pod(self, log_filter: LogFilter) -> None:
        for task, has_ended in self._tasks_without_pod:
            if log_filter.task not in (None, task):
                continue
            note = (
                f"{task} has no log yet: Kubeflow Pipelines 3.0 reports the pod of a task only"
                " when its program has ended"
            )
            if has_ended:
                note = f"{task} has no log: Kubeflow Pipelines 3.0 did not report its pod"
            warnings.warn(note, NotWhole, stacklevel=2)

    def _sources_in_order(self, *, all_lines: bool) -> list[LogSource | None]:
        """Return the sources of a log, in the order in which they are tried.

        None stands for Cloud Logging.

        Args:
            all_lines: prefer a source with all lines. The launcher's copy has only the lines of the
                program, so it comes last.
        """
        sources: list[LogSource | None] = [LogSource.POD, LogSource.COPY, LogSource.ARCHIVE]
        if self._services.logging is not None:
            sources.insert(2, None)
        if all_lines:
            sources.remove(LogSource.COPY)
            sources.append(LogSource.COPY)
        # The source that had the last log most likely has the next log.
        last_source = self._last_source
        if last_source is not None and not (all_lines and last_source is LogSource.COPY):
            sources.remove(last_source)
            sources.insert(0, last_source)
        return sources

    def _read_cloud_logging(self, attempt: Attempt, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the lines that Cloud Logging has for an attempt.

        Raises:
            Unsupported: the environment does not use Cloud Logging.
        """
        if self._services.logging is None:
            raise Unsupported(
                "The logs of pods on Kubeflow have no times and severities.",
                hint=(
                    f"Set project in [env.{self._services.env}] to read Cloud Logging, or leave out"
                    " --since and --severity."
                ),
            )
        if not attempt.pod.name:
            return
        # A pod writes nothing before its run is created, and a search from a time on is fast.
        since = max(log_filter.since or "", self._created_at)
        clauses = [
            'resource.type="k8s_container"',
            f'labels."k8s-pod/pipeline/runid"={quoted(self._run_id)}',
            f"resource.labels.pod_name={quoted(attempt.pod.name)}",
            f"timestamp>={quoted(since)}",
        ]
        if log_filter.severity:
            clauses.append(f"severity>={log_filter.severity}")
        for entry in self._services.logging.entries(clauses):
            written_at = read_time(entry.at) or ""
            yield LogLine(attempt.task, attempt.number, entry.text, written_at, entry.severity)

    def _not_found(self, attempt: Attempt, reasons: Sequence[str]) -> NotFound:
        """Return the error for an attempt whose log no source has.

        Args:
            attempt: the attempt.
            reasons: why each source does not have the log.
        """
        name = attempt.task
        if not attempt.is_last:
            name = f"attempt {attempt.number} of {attempt.task}"
        remedies = [
            "turn on archived logs: archiveLogs in Argo and ARGO_ARCHIVE_LOGS in ml-pipeline-ui"
        ]
        if self._services.logging is None:
            remedies.insert(
                0, f"on GKE, set project in [env.{self._services.env}] to read Cloud Logging"
            )
        return NotFound(
            f"The log of {name} does not exist any more: {'; '.join(reasons)}.",
            hint=f"To keep the logs of later runs: {'; or '.join(remedies)}.",
            status=404,
            reason="NOT_FOUND",
        )


class RunTail:
    """The logs of a run that has not ended: each reading returns the new lines of each attempt.

    Args:
        read_logs: reads the run and returns its logs.
        log_filter: which lines.
    """

    # No lines come after the end of the run: the logs of its pods are complete then.
    late_seconds = 0.0

    def __init__(self, read_logs: Callable[[], RunLogs], log_filter: LogFilter) -> None:
        self._read_logs = read_logs
        self._log_filter = log_filter
        # The number of lines that were yielded, by task and attempt.
        self._line_counts: dict[tuple[str, int], int] = {}
        self._completed_attempts: set[tuple[str, int]] = set()
        self._next_reading = 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        now = time.monotonic()
        if not tasks and now < self._next_reading:
            return
        self._next_reading = now + PAUSE
        logs = self._read_logs()
        last_error: BackendError | None = None
        for attempt in logs.matching_attempts(self._log_filter):
            key = (attempt.task, attempt.number)
            if key in self._completed_attempts:
                continue
            try:
                yield from self._new_lines(logs, attempt)
            except (NotFound, Unreachable) as error:
                # The pod may still be starting.
                if not attempt.pod.has_ended:
                    continue
                last_error = error
            if attempt.pod.has_ended:
                self._completed_attempts.add(key)
        if last_error is not None and not self._line_counts:
            raise last_error

    def _new_lines(self, logs: RunLogs, attempt: Attempt) -> Iterator[LogLine]:
        key = (attempt.task, attempt.number)
        start = self._line_counts.get(key, 0)
        for line in islice(logs.lines(attempt, self._log_filter), start, None):
            self._line_counts[key] = self._line_counts.get(key, 0) + 1
            yield line


def _archive_bucket(executions: Sequence[Execution]) -> str:
    """Return the bucket of the server's own store. Argo archives logs in the same bucket."""
    for execution in executions:
        for uri in execution.logs:
            url = urlsplit(uri)
            if url.scheme == "minio":
                return url.netloc
    return BUCKET


def _require_lines(lines: Iterator[LogLine]) -> Iterator[LogLine]:
    """Return the lines unchanged.

    Raises:
        NotKept: the iterator is empty.
    """
    first_line = next(lines, None)
    if first_line is None:
        raise NotKept("Cloud Logging has no lines of the task")
    return chain([first_line], lines)


def _split_lines(attempt: Attempt, chunks: Iterator[bytes]) -> Iterator[LogLine]:
    """Yield the lines in the pieces of a log."""
    splitter = LineSplitter()
    for chunk in chunks:
        for text in splitter.feed(chunk):
            yield LogLine(attempt.task, attempt.number, text)
    # While the pod is running, the last line may be incomplete.
    if attempt.pod.has_ended:
        for text in splitter.end():
            yield LogLine(attempt.task, attempt.number, text)


def _filter_noise(lines: Iterator[LogLine], log_filter: LogFilter) -> Iterator[LogLine]:
    """Return the lines of the program, or all lines when the filter asks for all lines."""
    if log_filter.all_lines:
        return lines
    return without_noise(lines, get_text=lambda line: line.text)


def _feed(finder: CauseFinder, lines: Iterator[LogLine]) -> Iterator[str]:
    """Yield the texts of lines, and pass each text to a finder."""
    for line in lines:
        finder.feed(line.text)
        yield line.text
