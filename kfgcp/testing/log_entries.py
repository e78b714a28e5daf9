"""The lines of tasks as entries of Cloud Logging.

The engine does not record the times of lines. So the first line has the time when the attempt
starts, and each further line is a microsecond later. Nothing confirms which payload and severity
the real service gives a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from kfgcp.model import Task, TaskState
from kfgcp.testing.engine_runs import Execution
from kfgcp.testing.google import JsonBody, format_time, micros

Entry = JsonBody
"""A LogEntry of Cloud Logging as JSON."""

# LogSeverity of Cloud Logging. Filters compare the numbers.
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
# A level at the start of a line, such as `ERROR:root:` or `[WARN]`.
_LEVEL: Final = re.compile(r"\W{0,2}(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
# Levels of Python's logging that have another name in LogSeverity.
_LEVEL_ALIASES: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}
_TRACEBACK: Final = "Traceback (most recent call last):"


def read_attempt(execution: Execution, task: Task, attempt: int, payload: str) -> Iterator[Entry]:
    """Yield the time, the severity and the payload of each line that an attempt has written so far.

    Args:
        execution: the execution of the job.
        task: the task as it is now.
        attempt: the number of the attempt, from 1.
        payload: the field for a plain line: `json` means jsonPayload.message, `text` means
            textPayload.
    """
    # An attempt that was repeated has ended, and it has failed.
    was_repeated = attempt < task.attempts
    has_ended = was_repeated or task.state.final
    has_failed = was_repeated or task.state is TaskState.FAILED
    # The engine records one start for all attempts of a task. An extra second for each attempt
    # keeps their lines in order.
    start = micros(task.started_at) + (attempt - 1) * 1_000_000
    in_traceback = False
    for index, line in enumerate(execution.log(task.path, attempt, ended=has_ended)):
        if has_failed and line.startswith(_TRACEBACK):
            in_traceback = True
        severity = "ERROR" if in_traceback else _read_severity(line)
        yield {
            "timestamp": format_time((start + index) / 1_000_000),
            "severity": severity,
            **_build_payload(line, severity, payload),
        }


def _build_payload(line: str, severity: str, payload: str) -> Entry:
    """Return the payload of a line, and the severity of the entry if a structured line has one."""
    structured_line = _parse_structured(line)
    if structured_line is not None:
        level = structured_line.get("severity", severity)
        return {
            "jsonPayload": structured_line,
            "severity": level if level in SEVERITIES else severity,
        }
    if payload == "text":
        return {"textPayload": line}
    return {"jsonPayload": {"message": line, "levelname": severity}}


def _parse_structured(line: str) -> JsonBody | None:
    """Return the JSON object of a line with structured logging, None for a plain line."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        return value
    return None


def _read_severity(line: str) -> str:
    """Return the severity that the level at the start of a line stands for, INFO without one."""
    match = _LEVEL.match(line)
    if not match:
        return "INFO"
    level = match[1]
    return _LEVEL_ALIASES.get(level, level)
