"""Compare the clock of this machine with the clock of a service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from kfgcp.services.client import ServiceClient
from kfgcp.services.transport import QueryParams

# The header `Date` has whole seconds, and the rest is cut off.
_HALF_SECOND: Final = timedelta(seconds=0.5)


def read_server_time(header: str | None) -> datetime | None:
    """Return the time of the header `Date` of an answer, None without a readable one."""
    try:
        moment = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def measure_offset(
    http: ServiceClient, path: str, params: QueryParams, now: Callable[[], datetime]
) -> timedelta:
    """Return how far the clock of a service is ahead of the clock of this machine.

    It sends one request. The result is exact to a second, and 0 for an answer without a time.

    Args:
        http: the client of the service.
        path: the path of a request that reads.
        params: its parameters.
        now: returns the time of this machine in UTC.
    """
    before = now()
    response = http.exchange("GET", path, params=params)
    after = now()
    server_time = read_server_time(response.headers.get("date"))
    if server_time is None:
        return timedelta(0)
    return server_time + _HALF_SECOND - before - (after - before) / 2
