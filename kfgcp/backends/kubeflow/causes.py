"""Read the logs of failed tasks to learn why they failed, for a limited time.

A log needs at least one request, and a loop may have a thousand failed tasks. So several threads
read logs until the time is over. The errors of the other tasks keep the kind LOG_UNREAD, and the
next reading of the run continues with these tasks.
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

# The time limit for reading the causes of one run, in seconds.
SECONDS: Final = 20.0

# How many logs are read at the same time.
READERS: Final = 8

# The kinds of errors that the end of a log may explain.
_UNEXPLAINED: Final = (ErrorKind.LOG_UNREAD, ErrorKind.LOG_SILENT)
NO_CAUSE: Final = "the task failed; its log does not say why"
LOST: Final = "the task failed; its log was not kept"


class Logs(Protocol):
    """The logs of a run. Threads may share them."""

    def read_cause(self, task: str) -> str:
        """Return why a task failed, "" when its log does not say why.

        Raises:
            NotFound: no service has the log.
            BackendError: the log cannot be read now.
        """


def is_unread(error: ErrorInfo | None) -> bool:
    """Return whether an error belongs to a failed task whose log was not read yet."""
    return error is not None and error.task is not None and error.kind is ErrorKind.LOG_UNREAD


def unread_tasks(run: Run) -> list[str]:
    """Return the paths of the failed tasks whose logs were not read, in the order of the tasks.

    A failed group has the error of a task inside it, and the error contains the path of that task.
    So the paths come from the errors.
    """
    # A dict, because several tasks may have the same error, and the order matters.
    paths: dict[str, None] = {}
    for task in run.tasks:
        error = task.error
        if error is not None and error.task is not None and is_unread(error):
            paths[error.task] = None
    return list(paths)


def error_from_log(cause: str, task: str | None) -> ErrorInfo:
    """Return the error of a task whose log was read.

    Args:
        cause: why the task failed, "" when the log does not say why.
        task: the path of the task, None for the whole run.
    """
    if not cause:
        return ErrorInfo(NO_CAUSE, task, kind=ErrorKind.LOG_SILENT)
    return ErrorInfo(cause, task)


def read_causes(
    logs: Logs, paths: Sequence[str], deadline: Deadline, *, message_without_log: str
) -> dict[str, ErrorInfo]:
    """Return why tasks failed, by their paths. Tasks whose logs were not read are left out.

    When a log cannot be read now, no further log is read, because each request could take as long.

    Args:
        logs: the logs of the run.
        paths: the paths of the failed tasks.
        deadline: when to stop.
        message_without_log: the message for a task whose log no service has, "" to leave the task
            out.
    """
    has_outage = threading.Event()

    def read_error(path: str) -> ErrorInfo | None:
        if has_outage.is_set() or deadline.has_passed:
            return None
        try:
            with obey(deadline):
                return error_from_log(logs.read_cause(path), path)
        except NotFound:
            return ErrorInfo(message_without_log, path) if message_without_log else None
        except BackendError:
            has_outage.set()
            return None

    with ThreadPoolExecutor(READERS, thread_name_prefix="kfgcp-causes") as pool:
        errors = list(pool.map(read_error, paths))
    return {path: error for path, error in zip(paths, errors, strict=True) if error is not None}


def add_log_end(run: Run, error: ErrorInfo, logs: RunLogs, line_count: int) -> Run:
    """Return a failed run whose error has the cause and the last lines of the log.

    The run stays unchanged when no service has the log.

    Args:
        run: a failed run.
        error: the error of the run.
        logs: the logs of the run.
        line_count: how many lines of the log the error gets.

    Raises:
        BackendError: the log cannot be read now.
    """
    try:
        log_end = logs.read_end(error.task, line_count)
    except NotFound:
        return run
    explained = replace(error, log_tail=log_end.lines, hint="")
    if is_unread(error) or (log_end.cause and error.kind in _UNEXPLAINED):
        from_log = error_from_log(log_end.cause, error.task)
        explained = replace(explained, message=from_log.message, kind=from_log.kind)
    return replace_error(run, explained)


def add_causes(run: Run, causes: Mapping[str, ErrorInfo]) -> Run:
    """Return a failed run with causes in its error and in the errors of its tasks.

    An error whose log was not read gets a hint: the command that shows the log.

    Args:
        run: a failed run.
        causes: the errors by the paths of tasks, from `read_causes`.
    """
    tasks = tuple(
        replace(task, error=_add_cause(task.error, causes, run.run_id)) for task in run.tasks
    )
    error = _add_cause(run.error, causes, run.run_id)
    return replace(run, tasks=tasks, error=error)


def _add_cause(
    error: ErrorInfo | None, causes: Mapping[str, ErrorInfo], run_id: str
) -> ErrorInfo | None:
    """Return an error with its cause, or with a hint when its log was not read."""
    if error is None or error.task is None or not is_unread(error):
        return error
    cause = causes.get(error.task)
    if cause is None:
        return replace(error, hint=f"kfgcp logs {shlex.quote(run_id)} {shlex.quote(error.task)}")
    return replace(error, message=cause.message, kind=cause.kind, hint="")
