"""Cloud Logging of a stand-in: what tasks wrote, what happened to jobs, and what clients write themselves.

`POST /v2/entries:list` and `POST /v2/entries:write`. Of the filter language: comparisons joined by AND, OR and NOT, on
the fields of an entry; text without a field, functions and the rest are refused, so that no filter is half obeyed.

Each line of an attempt's log is an entry of `resource.type="ml_job"`, whose `resource.labels.job_id` is the id of the
attempt's custom job. The engine keeps no time for a line: the first has the time the task started, each further one a
microsecond more. Not confirmed: which payload and severity the service gives to which line.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kfgcp.model import Task, TaskState
from kfgcp.testing.filters import Call, Compare, FilterError, Leaf, Predicate, compile_filter, ordered, time_predicate
from kfgcp.testing.google import (
    denied,
    invalid,
    json_body,
    micros,
    number_of,
    only_fields,
    page,
    time_text,
)
from kfgcp.testing.jobs import Job, Jobs
from kfgcp.testing.jobs_from_runs import Attempt, Place, attempts_of, custom_job, error_of
from kfgcp.testing.server import Request, Response, Route

Entry = dict[str, Any]

SEVERITIES: Final = {
    "DEFAULT": 0,
    "DEBUG": 100,
    "INFO": 200,
    "NOTICE": 300,
    "WARNING": 400,
    "ERROR": 500,
    "CRITICAL": 600,
    "ALERT": 700,
    "EMERGENCY": 800,
}
DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 1000
_TEXT: Final = ("logName", "insertId", "textPayload", "trace", "spanId", "resource", "labels", "jsonPayload")
_LEVEL: Final = re.compile(r"\W{0,2}(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
_LEVELS: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}
_TRACEBACK: Final = "Traceback (most recent call last):"
_JOB_IDS: Final = re.compile(r'resource\.labels\.job_id\s*=\s*("?\d+"?|\([^()]*\))')


class CloudLogging:
    """The log entries of a project.

    Args:
        project: its id.
        place: where the jobs are.
        jobs: whose logs are listed.

    `payload` is `json` for jsonPayload.message or `text` for textPayload, of plain lines of tasks.
    """

    def __init__(self, project: str, place: Place, jobs: Jobs) -> None:
        self.payload = "json"
        self._project = project
        self._place = place
        self._jobs = jobs
        self._written: list[Entry] = []
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        return [Route("POST", "/v2/entries:list", self.list_all), Route("POST", "/v2/entries:write", self.write)]

    def list_all(self, request: Request, **_: str) -> Response:
        body = json_body(request)
        only_fields(body, ("resourceNames", "filter", "orderBy", "pageSize", "pageToken", "projectIds"))
        self._check_resources(body.get("resourceNames") or [])
        text, order = body.get("filter") or "", (body.get("orderBy") or "timestamp asc").strip()
        if order not in ("timestamp", "timestamp asc", "timestamp desc"):
            raise invalid(f'Invalid order_by: "{order}" is not timestamp asc or timestamp desc.', "order_by")
        try:
            wanted = compile_filter(text, _leaf, alternatives=True)
        except FilterError as error:
            raise invalid(f"Unparseable filter: {error}.", "filter") from None
        sign = -1 if order.endswith("desc") else 1
        keyed = ((_key(entry, sign), entry) for entry in self._entries(text) if wanted(entry))
        found, token = page(
            sorted(keyed, key=lambda pair: pair[0]),
            lambda pair: pair[0],
            size=body.get("pageSize"),
            token=body.get("pageToken"),
            scope=f"{text}\n{order}",
            default=DEFAULT_PAGE,
            most=MAX_PAGE,
        )
        return Response(body={"entries": [entry for _, entry in found]} | ({"nextPageToken": token} if token else {}))

    def write(self, request: Request, **_: str) -> Response:
        body = json_body(request)
        only_fields(body, ("logName", "resource", "labels", "entries", "partialSuccess", "dryRun"))
        shared = {name: body[name] for name in ("logName", "resource") if name in body}
        made = [self._completed(shared | entry, body.get("labels") or {}) for entry in body.get("entries") or ()]
        if not body.get("dryRun"):
            with self._lock:
                self._written += made
        return Response()

    # -- entries

    def _entries(self, text: str) -> Iterator[Entry]:
        """All that a filter could want; when it names custom jobs, and only by =, of task logs no more than theirs."""
        yield from list(self._written)
        numbers = re.findall(r"\d+", " ".join(_JOB_IDS.findall(text)))
        others = _JOB_IDS.sub("", text)
        if numbers:
            found = [self._jobs.attempt(number) for number in dict.fromkeys(numbers)]
            for job, attempt in filter(None, found):
                yield from self._of_attempt(job, attempt)
        for job in self._jobs.all():
            yield from self._events(job)
            if not numbers or "NOT" in others or "OR" in others or "!=" in others:
                for attempt in attempts_of(job.id, job.run()):
                    if custom_job(attempt) not in numbers:
                        yield from self._of_attempt(job, attempt)

    def _of_attempt(self, job: Job, attempt: Attempt) -> Iterator[Entry]:
        task = next((task for task in job.run().tasks if task.path == attempt.path), None)
        if task is None:
            return
        number, failing = custom_job(attempt), False
        ended = task.state.final or attempt.number < task.attempts
        failed = attempt.number < task.attempts or task.state is TaskState.FAILED
        start = micros(task.started_at) + (attempt.number - 1) * 1_000_000
        for index, line in enumerate(job.execution.log(attempt.path, attempt.number, ended=ended)):
            failing = failing or (failed and line.startswith(_TRACEBACK))
            severity = "ERROR" if failing else _severity(line)
            yield {
                "insertId": f"{number}-{index}",
                "logName": f"projects/{self._project}/logs/workerpool0-0",
                "resource": {"type": "ml_job", "labels": self._labels(job_id=number, task_name="workerpool0-0")},
                "timestamp": time_text((start + index) / 1_000_000),
                "severity": severity,
                "labels": {"ml.googleapis.com/job_id/log_area": "root"},
                **self._payload(line, severity),
            }

    def _events(self, job: Job) -> Iterator[Entry]:
        """What happened to a job and its tasks, in the words of their states."""
        run = job.run()
        steps: list[tuple[str | None, str, str, Mapping[str, Any]]] = [(run.started_at, "RUNNING", "", {})]
        steps += [(task.ended_at, task.state, task.path, _reason(task)) for task in run.tasks if task.state.final]
        if run.state.final:
            steps.append((run.ended_at, run.state, "", error_of(run) or {}))
        labels = {"pipeline_job_id": job.id, "location": self._place.location}
        for index, (at, state, path, error) in enumerate(steps):
            if at is None:
                continue
            message = f"{'Task ' + path if path else 'Pipeline job'} is {state}."
            payload = {"message": message, "state": str(state), **({"taskName": path} if path else {})}
            yield {
                "insertId": f"{job.id}-{index}",
                "logName": f"projects/{self._project}/logs/aiplatform.googleapis.com%2Fpipeline_job_task_events",
                "resource": {
                    "type": "aiplatform.googleapis.com/PipelineJob",
                    "labels": {"resource_container": f"projects/{self._place.project}", **labels},
                },
                "timestamp": time_text((micros(at) + index) / 1_000_000),
                "severity": "ERROR" if error else "INFO",
                "labels": {},
                "jsonPayload": payload | ({"error": dict(error)} if error else {}),
            }

    def _payload(self, line: str, severity: str) -> dict[str, Any]:
        if line.startswith("{"):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict) and isinstance(value.get("message"), str):
                level = value.get("severity", severity)
                return {"jsonPayload": value, "severity": level if level in SEVERITIES else severity}
        if self.payload == "text":
            return {"textPayload": line}
        return {"jsonPayload": {"message": line, "levelname": severity}}

    def _labels(self, **more: str) -> dict[str, str]:
        return {"project_id": self._project, **more}

    def _completed(self, entry: Mapping[str, Any], labels: Mapping[str, str]) -> Entry:
        with self._lock:
            number = len(self._written)
        now = time.time()
        defaults = {"timestamp": time_text(now), "severity": "DEFAULT", "receiveTimestamp": time_text(now)}
        return {
            "insertId": str(number_of("entry", number, now)),
            "resource": {"type": "global", "labels": self._labels()},
            **defaults,
            **entry,
            "labels": {**labels, **(entry.get("labels") or {})},
        }

    def _check_resources(self, names: list[str]) -> None:
        if not names:
            raise invalid("resource_names is required.", "resource_names")
        for name in names:
            if name.split("/")[:2] not in (["projects", self._project], ["projects", str(self._place.project)]):
                raise denied(f"Permission denied for {name} (or it may not exist).")


def _key(entry: Entry, sign: int) -> tuple[Any, ...]:
    return sign * micros(entry["timestamp"]), entry["insertId"]


def _severity(line: str) -> str:
    match = _LEVEL.match(line)
    return _LEVELS.get(match[1], match[1]) if match else "INFO"


def _reason(task: Task) -> Mapping[str, Any]:
    return {"message": task.error.message} if task.error is not None and task.state is TaskState.FAILED else {}


def _leaf(node: Leaf) -> Predicate[Entry]:
    if isinstance(node, Call) or len(node.values) > 1:
        raise FilterError("functions and lists of values are not supported by the stand-in")
    if node.field == ("timestamp",) or node.field == ("receiveTimestamp",):
        name = node.field[0]
        return time_predicate(lambda entry: entry.get(name), node)
    if node.field == ("severity",):
        if node.value.upper() not in SEVERITIES:
            raise FilterError(f"there is no severity {node.value}")
        compare, level = ordered(node.op), SEVERITIES[node.value.upper()]
        return lambda entry: compare(SEVERITIES.get(entry["severity"], 0), level)
    if node.field[0] not in _TEXT or (len(node.field) == 1 and node.field[0] in ("resource", "labels", "jsonPayload")):
        raise FilterError(f"the field {'.'.join(node.field)} is not supported by the stand-in")
    return _text(_getter(node.field), node)


def _getter(path: tuple[str, ...]) -> Callable[[Entry], Any]:
    def get(entry: Entry) -> Any:
        found: Any = entry
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return get


def _text(get: Callable[[Entry], Any], node: Compare) -> Predicate[Entry]:
    """Text is compared without regard to case, `:` looks for a part, `:*` for any value."""
    value = node.value.lower()
    if node.op == ":" and value == "*":
        return lambda entry: get(entry) is not None
    if node.op == ":":
        return lambda entry: value in str(get(entry) or "").lower()
    if node.op == "=":
        return lambda entry: get(entry) is not None and str(get(entry)).lower() == value
    if node.op == "!=":
        return lambda entry: str(get(entry)).lower() != value
    if node.op in ("=~", "!~"):
        try:
            pattern, wanted = re.compile(node.value), node.op == "=~"
        except re.error:
            raise FilterError(f"{node.value} is no regular expression") from None
        return lambda entry: bool(pattern.search(str(get(entry) or ""))) is wanted
    raise FilterError(f"{'.'.join(node.field)} does not support {node.op}")
