"""Compare the clock of this machine with the clock of a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from kfgcp.diagnosis.checks import Aside
from kfgcp.errors import BackendError

# A smaller difference is normal: the Date header has whole seconds, and an answer takes a while.
TOLERATED_SECONDS: Final = 30.0

# With a larger difference, services refuse sign-ins. For them, a token that this machine signs is
# not valid yet, or has expired.
SIGN_IN_FAILS_SECONDS: Final = 300.0


def clock_skew(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> str | Aside:
    """Compare the clock with the Date header of an answer (RFC 9110, section 6.6.1).

    Args:
        headers: the headers of an answer that has just arrived, with names in lower case.
        now: returns the time of this machine, in seconds since 1970.

    Returns:
        `right`, or an `Aside` when the clock is a little wrong or the answer has no time.

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
    if abs(skew) <= TOLERATED_SECONDS:
        return "right"
    direction = "ahead of" if skew > 0 else "behind"
    problem = f"The clock of this machine is {abs(skew):.0f} s {direction} the clock of the server"
    hint = f"Set the clock: {_set_clock_command()}"
    if abs(skew) <= SIGN_IN_FAILS_SECONDS:
        return Aside(f"{problem}.", hint)
    raise BackendError(f"{problem}, so sign-ins fail.", hint=hint)


def _set_clock_command() -> str:
    if sys.platform == "darwin":
        return "sudo sntp -sS time.apple.com"
    return "sudo timedatectl set-ntp true"
