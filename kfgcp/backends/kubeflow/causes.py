"""Why the tasks of a failed run failed, read from their logs for a limited time.

Each log is one request or more, and a loop may have a thousand failed tasks. So the logs are read
side by side until the time is over. The next reading of the run continues with the tasks that are
left: the kind of their errors is still LOG_UNREAD.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, Protocol

from kfgcp.backends.kubeflow.logs import RunLogs
from kfgcp.backends.run_values import replace_error
from kfgcp.deadlines import Deadline, obey
from kfgcp.errors import BackendError, NotFound
from kfgcp.model import ErrorInfo, ErrorKind, Run

# Seconds in which the causes of one run are read.
SECONDS: Final = 20.0

# Logs that are read at the same time.
READERS: Final = 8

# Kinds of errors that the end of a log may explain.
_UNEXPLAINED: Final = (ErrorKind.LOG_UNREAD, ErrorKind.LOG_SILENT)
NO_CAUSE: Final = "the task failed; its log does not say why"
LOST: Final = "the task failed; its log was not kept"


class Logs(Protocol):
    """The logs of a run. Threads may share them."""

    def cause_of(self, task: str) -> str:
        """Return why a task failed, empty when its log does not say it.

        Raises:
            NotFound: the log is nowhere.
            BackendError: it cannot be read now.
        """


def is_unread(error: ErrorInfo | None) -> bool:
    """Return whether the log of a failed task may say why it failed, and was not read."""
    return error is not None and error.task is not None and error.kind is ErrorKind.LOG_UNREAD


def unread_tasks(run: Run) -> list[str]:
    """Return the paths of the failed tasks whose logs were not read, in the order of the tasks.

    A group has the error of the first task that failed inside it, so the path is that of the error.
    """
    paths: dict[str, None] = {}
    for task in run.tasks:
        error = task.error
        if error is not None and error.task is not None and is_unread(error):
            paths[error.task] = None
    return list(paths)


def error_of(cause: str, task: str | None) -> ErrorInfo:
    """Return the error of a task whose log was read.

    Args:
        cause: why the task failed, empty when the log does not say it.
        task: the path of the task.
    """
    if not cause:
        return ErrorInfo(NO_CAUSE, task, kind=ErrorKind.LOG_SILENT)
    return ErrorInfo(cause, task)


def read_causes(
    logs: Logs, paths: Sequence[str], deadline: Deadline, *, lost: str
) -> dict[str, ErrorInfo]:
    """Return why tasks failed, by their paths. Tasks that were not reached in time are left out.

    After the first log that cannot be read now, no other log is read: each further request could
    take as long.

    Args:
        logs: of the run.
        paths: the failed tasks.
        deadline: when to stop.
        lost: the message of a task whose log is nowhere; empty to leave the task out.
    """
    has_failed = threading.Event()

    def read(path: str) -> ErrorInfo | None:
        if has_failed.is_set() or deadline.has_passed:
            return None
        try:
            with obey(deadline):
                return error_of(logs.cause_of(path), path)
        except NotFound:
            return ErrorInfo(lost, path) if lost else None
        except BackendError:
            has_failed.set()
            return None

    with ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-causes") as pool:
        errors = list(pool.map(read, paths))
    return {path: error for path, error in zip(paths, errors, strict=True) if error is not None}


def with_log_end(run: Run, error: ErrorInfo, logs: RunLogs, line_count: int) -> Run:
    """Return a failed run whose error has the end of its log, and the cause.

    Args:
        run: a failed run.
        error: its error.
        logs: of the run.
        line_count: how many lines of the log the error gets.

    Raises:
        BackendError: the log cannot be read now.
    """
    try:
        end = logs.end_of(error.task, line_count)
    except NotFound:
        return run
    message, kind = error.message, error.kind
    if is_unread(error) or (end.cause and kind in _UNEXPLAINED):
        read_error = error_of(end.cause, error.task)
        message, kind = read_error.message, read_error.kind
    explained = replace(error, log_tail=end.lines, message=message, kind=kind, hint="")
    return replace_error(run, explained)


def with_causes(run: Run, causes: Mapping[str, ErrorInfo]) -> Run:
    """Return a run whose errors have the causes.

    Errors without a cause get the command that shows the log as a hint.

    Args:
        run: a failed run.
        causes: as `read_causes` returns them.
    """
    tasks = tuple(
        replace(task, error=_with_cause(task.error, causes, run.run_id)) for task in run.tasks
    )
    error = _with_cause(run.error, causes, run.run_id)
    return replace(run, tasks=tasks, error=error)


def _with_cause(
    error: ErrorInfo | None, causes: Mapping[str, ErrorInfo], run_id: str
) -> ErrorInfo | None:
    if error is None or error.task is None or not is_unread(error):
        return error
    cause = causes.get(error.task)
    if cause is None:
        return replace(error, hint=f"kfgcp logs {shlex.quote(run_id)} {shlex.quote(error.task)}")
    return replace(error, message=cause.message, kind=cause.kind, hint="")
