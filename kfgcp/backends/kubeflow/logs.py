"""The logs of a run's tasks: of their pods while those last, of what was kept of them, and of Cloud Logging.

- `/k8s/pod/logs` is the UI server's. It falls back to what Argo archived, where it is set up to; for that it is told
  the day of the run, which is part of the key (frontend/server/workflow-helper.ts).
- A launcher with PUBLISH_LOGS makes an artifact of the log of the last attempt, which `/artifacts/get` has.
- GKE's entries in Cloud Logging carry the run's id as a label of the pod (`k8s-pod/pipeline/runid`); they alone have
  times and severities.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.backends.cloud_logging import CloudLogging, quoted
from kfgcp.backends.http import Http
from kfgcp.backends.kubeflow.metadata import Execution
from kfgcp.backends.kubeflow.runs import EXECUTION_STATES, NODE_STATES, RUN_STATES, at, placed_tasks, pods_of
from kfgcp.engine.logs import Lines
from kfgcp.errors import BackendError, NotFound, Refused, Unreachable, Unsupported
from kfgcp.model import RunState, Task, TaskState

PAUSE: Final = 3.0
"""Seconds between two looks of a tail while no task changes."""
_NO_POD: Final = 500
"""What servers before 2.14 answer when there is no pod, and newer ones while it starts."""
_SOURCES: Final = {"gs": "gcs", "s3": "s3", "minio": "minio"}
"""Schemes of artifacts, and what the UI server calls them."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a task. last: whether none comes after it. kept: the artifact with its log, empty without one."""

    task: str
    number: int
    pod: str
    last: bool
    ended: bool
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where logs are read. ui: the host. logging: Cloud Logging, None when it is not to be read. env: its name."""

    ui: Http
    logging: CloudLogging | None
    namespace: str
    env: str


class RunLogs:
    """The logs of a run as it was read."""

    def __init__(self, place: Place, run: Mapping[str, Any], executions: Sequence[Execution]) -> None:
        self._place = place
        self._run_id = str(run.get("run_id"))
        self._since = at(run.get("created_at")) or ""
        self.attempts = [*_attempts(run, executions)]

    def read(self, wanted: LogFilter) -> Iterator[LogLine]:
        """By task in the order they started, by attempt, as they were written. Earlier attempts whose pods are gone are
        left out unless one is asked for.

        Raises:
            NotFound: what is wanted was not kept anywhere; the other logs came first.
        """
        lost: list[NotFound] = []
        for attempt in self.chosen(wanted):
            try:
                yield from self.lines(attempt, wanted)
            except NotFound as error:
                if attempt.last or wanted.attempt is not None:
                    lost.append(error)
        if lost:
            raise lost[0]

    def last(self, task: str, lines: int) -> list[str]:
        """The last lines of a task."""
        found = [attempt for attempt in self.attempts if attempt.task == task]
        return [line.text for attempt in found[-1:] for line in deque(self.lines(attempt, LogFilter()), lines)]

    def chosen(self, wanted: LogFilter) -> Iterator[Attempt]:
        for attempt in self.attempts:
            if wanted.task in (None, attempt.task) and wanted.attempt in (None, attempt.number):
                yield attempt

    def lines(self, attempt: Attempt, wanted: LogFilter) -> Iterator[LogLine]:
        """Of one attempt; of one that goes on only whole lines.

        Raises:
            NotFound: they are nowhere.
        """
        if wanted.since or wanted.severity:
            yield from self._of_cloud_logging(attempt, wanted)
            return
        reasons = []
        for read in (self._of_pod, self._of_artifact):
            try:
                for text in _texts(read(attempt), to_the_end=attempt.ended):
                    yield LogLine(attempt.task, attempt.number, text)
                return
            except _NotThere as error:
                reasons.append(str(error))
        found = False
        if self._place.logging is not None:
            for line in self._of_cloud_logging(attempt, wanted):
                found = True
                yield line
            reasons.append("Cloud Logging has no line of it")
        if not found:
            raise self._lost(attempt, [reason for reason in reasons if reason])

    # -- helpers

    def _of_pod(self, attempt: Attempt) -> Iterator[bytes]:
        params = {"podname": attempt.pod, "podnamespace": self._place.namespace, "runid": self._run_id}
        params["createdat"] = self._since[:10]
        try:
            return self._place.ui.stream("k8s/pod/logs", params=params, retries=int(attempt.ended))
        except (Refused, Unreachable) as error:
            if isinstance(error, Unreachable) and error.status != _NO_POD and self._place.logging is None:
                raise
            status = error.status or "no answer"
            raise _NotThere(f"its pod {attempt.pod} is gone, and so is its log in the archive ({status})") from error

    def _of_artifact(self, attempt: Attempt) -> Iterator[bytes]:
        url = urlsplit(attempt.kept)
        if url.scheme not in _SOURCES:
            raise _NotThere("")
        params = {"source": _SOURCES[url.scheme], "bucket": url.netloc, "key": url.path.lstrip("/")}
        try:
            return self._place.ui.stream(
                "artifacts/get", params={**params, "namespace": self._place.namespace}, retries=1
            )
        except (Refused, Unreachable) as error:
            raise _NotThere(f"{attempt.kept} cannot be read ({error.status or 'no answer'})") from error

    def _of_cloud_logging(self, attempt: Attempt, wanted: LogFilter) -> Iterator[LogLine]:
        if self._place.logging is None:
            raise Unsupported(
                "The pods of Kubeflow keep no times and severities.",
                hint=f"Set project in [env.{self._place.env}] to read Cloud Logging, or ask for neither.",
            )
        clauses = [
            'resource.type="k8s_container"',
            f'labels."k8s-pod/pipeline/runid"={quoted(self._run_id)}',
            f"resource.labels.pod_name={quoted(attempt.pod)}",
            f"timestamp>={quoted(max(wanted.since or '', self._since))}",
            *([f"severity>={wanted.severity}"] if wanted.severity else []),
        ]
        for entry in self._place.logging.entries(clauses):
            yield LogLine(attempt.task, attempt.number, entry.text, at(entry.at) or "", entry.severity)

    def _lost(self, attempt: Attempt, reasons: Sequence[str]) -> NotFound:
        which = f" attempt {attempt.number} of" if not attempt.last else ""
        ways = ["let Kubeflow archive logs: archiveLogs of Argo, ARGO_ARCHIVE_LOGS of ml-pipeline-ui"]
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
                for line in islice(logs.lines(attempt, self._wanted), self._shown.get(key, 0), None):
                    self._shown[key] = self._shown.get(key, 0) + 1
                    yield line
            except (NotFound, Unreachable) as error:  # its pod may be starting; of one that has ended nothing will come
                if not attempt.ended:
                    continue
                lost = error
            if attempt.ended:
                self._read.add(key)
        if lost is not None and not self._shown:
            raise lost


class _NotThere(Exception):
    """A place does not have a log, and why."""


def _attempts(run: Mapping[str, Any], executions: Sequence[Execution]) -> Iterator[Attempt]:
    """By task in the order they started."""
    pods = pods_of(run, executions)
    over = RUN_STATES.get(str(run.get("state")), RunState.PENDING).final
    for placed in placed_tasks(run, executions):
        execution, node = placed.execution, placed.node or {}
        if execution is not None:
            state = EXECUTION_STATES.get(execution.state, TaskState.PENDING)
        else:
            state = NODE_STATES.get(str(node.get("state")), TaskState.PENDING)
        names = pods.get(placed.path, ())
        for number, pod in enumerate(names, 1):
            last = number == len(names)
            kept = execution.log if execution is not None and last else ""
            yield Attempt(placed.path, number, pod, last, over or state.final or not last, kept)


def _texts(chunks: Iterator[bytes], *, to_the_end: bool) -> Iterator[str]:
    lines = Lines()
    for chunk in chunks:
        yield from lines.feed(chunk)
    if to_the_end:
        yield from lines.end()
