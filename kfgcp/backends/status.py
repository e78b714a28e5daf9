"""The message `google.rpc.Status`, in which both remote services describe an error."""

from __future__ import annotations

from typing import Final, TypedDict

from kfgcp.model import ErrorInfo, ErrorKind
from kfgcp.services.fields import message, text


class Status(TypedDict, total=False):
    """Why a run or a task failed."""

    message: str


STATUS: Final = message({"message": text})
"""The check of a `Status` in an answer."""


def error_info(
    status: Status | None,
    default_message: str,
    task: str | None = None,
    *,
    kind: ErrorKind | None = None,
) -> ErrorInfo:
    """Return the error of a run or a task, with the message of the service in one line.

    Args:
        status: the field of the answer, None when the answer does not have it.
        default_message: the message of an error that the service does not explain.
        task: the path of the task, None for a run.
        kind: the kind of an error that the service does not explain.

    Example:
        >>> error_info({"message": "no\\nquota"}, "no reason").message
        'no quota'
    """
    service_message = status.get("message") if status is not None else None
    if not service_message:
        return ErrorInfo(default_message, task, kind=kind)
    return ErrorInfo(" ".join(service_message.split()), task)
