"""Compares the clock of this machine with that of a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from kfgcp.diagnosis.checks import Aside
from kfgcp.errors import BackendError

# Seconds that do not matter: the time in an answer has no fractions, and answers take a while.
TOLERATED: Final = 30.0

# Services refuse sign-ins when the clock is wrong by more seconds: a token is then valid only for a
# time in the future or in the past.
WRONG: Final = 300.0


def clock_skew(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> str | Aside:
    """Compare the clock with the Date header of an answer (RFC 9110, section 6.6.1).

    Args:
        headers: of an answer that has just arrived, with names in lower case.
        now: the clock of this machine, in seconds since 1970.

    Raises:
        BackendError: the clock is so wrong that sign-ins fail.

    Example:
        >>> clock_skew({"date": "Thu, 08 Jan 2026 12:00:00 GMT"}, lambda: 1767873607.0)
        'right'
    """
    try:
        server_time = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Aside("the server does not send the time")
    skew = now() - server_time
    if abs(skew) <= TOLERATED:
        return "right"
    direction = "ahead of" if skew > 0 else "behind"
    problem = f"The clock of this machine is {abs(skew):.0f} s {direction} the clock of the server"
    hint = f"Set it: {_set_clock_command()}"
    if abs(skew) <= WRONG:
        return Aside(f"{problem}.", hint)
    raise BackendError(f"{problem}, so sign-ins fail.", hint=hint)


def _set_clock_command() -> str:
    if sys.platform == "darwin":
        return "sudo sntp -sS time.apple.com"
    return "sudo timedatectl set-ntp true"
