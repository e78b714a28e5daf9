"""The logs of a run's tasks: from their pods while those last, from Cloud Logging after.

`/k8s/pod/logs` is the UI server's, which also finds logs that were archived. GKE's entries carry the run's id as a
label of the pod (`k8s-pod/pipeline/runid`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.backends.cloud_logging import CloudLogging, quoted
from kfgcp.backends.http import Http
from kfgcp.backends.kubeflow.metadata import Execution
from kfgcp.backends.kubeflow.runs import RUN_STATES, at, pods_of
from kfgcp.errors import BackendError, NotFound, Unreachable, Unsupported
from kfgcp.model import RunState, Task

PAUSE: Final = 3.0
"""Seconds between two looks of a tail while no task changes."""


class RunLogs:
    """The logs of a run as it was read. pods: task path -> the pods of its attempts, first to last."""

    def __init__(
        self,
        http: Http,
        logging: CloudLogging | None,
        run: Mapping[str, Any],
        executions: Sequence[Execution],
        namespace: str,
    ) -> None:
        self._http = http
        self._logging = logging
        self._run_id = str(run.get("run_id"))
        self._since = at(run.get("created_at")) or ""
        self._ended = RUN_STATES.get(str(run.get("state")), RunState.PENDING).final
        self._namespace = namespace or "kubeflow"
        self.pods = pods_of(run, executions)

    def read(self, wanted: LogFilter, *, so_far: bool = False) -> Iterator[LogLine]:
        """By task in the order they started, then by attempt, as they were written. Of an earlier attempt that nobody
        asked for by its number, only what is still kept.

        so_far: there will be another look, so of a run that goes on only whole lines; and nothing of a pod that has no
        log yet, or none any more.
        """
        for task, pods in self.pods.items():
            if wanted.task not in (None, task):
                continue
            for attempt, pod in enumerate(pods, 1):
                if wanted.attempt not in (None, attempt):
                    continue
                try:
                    yield from self._of_pod(task, attempt, pod, wanted, so_far=so_far and not self._ended)
                except BackendError as error:
                    absent = so_far and isinstance(error, (NotFound, Unreachable))
                    if not absent and (so_far or wanted.attempt is not None or attempt == len(pods)):
                        raise

    def last(self, task: str, lines: int) -> list[str]:
        """The last lines of a task's last attempt."""
        pods = self.pods.get(task, [])
        return [line.text for line in self.read(LogFilter(task, len(pods)))][-lines:]

    def _of_pod(
        self, task: str, attempt: int, pod: str, wanted: LogFilter, *, so_far: bool = False
    ) -> Iterator[LogLine]:
        """so_far: ask once only, as there will be another look, and leave out a line that is being written."""
        if not (wanted.since or wanted.severity):
            try:
                params = {"podname": pod, "podnamespace": self._namespace, "runid": self._run_id}
                found = self._http.exchange("GET", "k8s/pod/logs", params=params, retries=0 if so_far else None)
                text = found.body.decode(errors="replace")
                whole = text[: text.rfind("\n") + 1] if so_far else text
                yield from (LogLine(task, attempt, line) for line in whole.splitlines())
                return
            except BackendError:
                if self._logging is None:
                    raise
        if self._logging is None:
            raise Unsupported(
                "The pods of Kubeflow keep no times and severities.",
                hint="Set project in the environment to read Cloud Logging, or leave out --since and --severity.",
            )
        clauses = [
            'resource.type="k8s_container"',
            f'labels."k8s-pod/pipeline/runid"={quoted(self._run_id)}',
            f"resource.labels.pod_name={quoted(pod)}",
            f"timestamp>={quoted(max(wanted.since or '', self._since))}",
            *([f"severity>={wanted.severity}"] if wanted.severity else []),
        ]
        for entry in self._logging.entries(clauses):
            yield LogLine(task, attempt, entry.text, at(entry.at) or "", entry.severity)


class RunTail:
    """The logs of a run that goes on: of each pod what it has more than at the last look."""

    late = 0.0

    def __init__(self, logs: Callable[[], RunLogs], wanted: LogFilter) -> None:
        self._logs = logs
        self._wanted = wanted
        self._shown: dict[tuple[str, int], int] = {}
        self._next = 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        now = time.monotonic()
        if not tasks and now < self._next:
            return
        self._next = now + PAUSE
        seen: dict[tuple[str, int], int] = {}
        for line in self._logs().read(self._wanted, so_far=True):
            attempt = (line.task, line.attempt)
            seen[attempt] = seen.get(attempt, 0) + 1
            if seen[attempt] > self._shown.get(attempt, 0):
                self._shown[attempt] = seen[attempt]
                yield line
