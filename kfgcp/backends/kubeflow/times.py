"""Convert times of Kubeflow Pipelines to RFC 3339 text in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.run_values import parse_time
from kfgcp.model import timestamp

# The beginnings of times for events that have not happened. Nodes have the zero time of Go
# (recorded: `end_time`). Runs have the zero time of Unix (recorded: `finished_at` in
# api-2.14.3/run-create-of-pipeline.json).
_ZERO_TIMES: Final = ("0001-", "1970-01-01")


def read_time(text: str | None) -> str | None:
    """Return a time of the service as RFC 3339 text in UTC, None when the text is empty.

    Raises:
        BackendError: the text is not a time.
    """
    return parse_time(text, SERVICE)


def read_event_time(text: str | None) -> str | None:
    """Return when something happened, None when it has not happened.

    Raises:
        BackendError: the text is not a time.
    """
    if text is not None and text.startswith(_ZERO_TIMES):
        return None
    return read_time(text)


def read_moment(text: str) -> datetime:
    """Return a time of the service.

    Raises:
        ValueError: the text is not a time. The checks of `messages` refuse such an answer.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_seconds(text: str | None) -> float:
    """Return a time of the service in seconds since 1970, 0 for an event that has not happened."""
    if not text:
        return 0.0
    # The zero time of Go is in the year 1, so its number of seconds is negative.
    return max(read_moment(text).timestamp(), 0.0)


def format_seconds(seconds: float) -> str | None:
    """Return seconds since 1970 as RFC 3339 text, None for 0."""
    return timestamp(seconds) if seconds else None
