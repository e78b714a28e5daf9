"""Lines that tasks wrote, as entries of Cloud Logging have them.

The engine keeps no time for a line: the first has the time the task started, each further one a
microsecond more. Not confirmed: which payload and severity the service gives to which line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from kfgcp.model import Task, TaskState
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import format_time, micros

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
_LEVEL: Final = re.compile(r"\W{0,2}(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
_LEVELS: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}
_TRACEBACK: Final = "Traceback (most recent call last):"


def read_attempt(execution: Execution, task: Task, attempt: int, form: str) -> Iterator[Entry]:
    """An entry for each line of an attempt, from 1, so far: its time, its severity and its payload.

    Args:
        execution: what writes the log.
        task: as it is now.
        attempt: which one.
        form: `json` for jsonPayload.message or `text` for textPayload, of plain lines.
    """
    failing = False
    ended = task.state.final or attempt < task.attempts
    failed = attempt < task.attempts or task.state is TaskState.FAILED
    start = micros(task.started_at) + (attempt - 1) * 1_000_000
    for index, line in enumerate(execution.log(task.path, attempt, ended=ended)):
        failing = failing or (failed and line.startswith(_TRACEBACK))
        severity = "ERROR" if failing else _severity(line)
        yield {
            "timestamp": format_time((start + index) / 1_000_000),
            "severity": severity,
            **_payload(line, severity, form),
        }


def _payload(line: str, severity: str, form: str) -> Entry:
    if line.startswith("{"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            level = value.get("severity", severity)
            return {"jsonPayload": value, "severity": level if level in SEVERITIES else severity}
    if form == "text":
        return {"textPayload": line}
    return {"jsonPayload": {"message": line, "levelname": severity}}


def _severity(line: str) -> str:
    match = _LEVEL.match(line)
    return _LEVELS.get(match[1], match[1]) if match else "INFO"
