"""Whether the clock of this machine is right, by that of a server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from kfgcp.diagnosis.checks import Aside
from kfgcp.errors import BackendError

TOLERATED: Final = 30.0
"""Seconds that nobody minds: the time in an answer has no fractions, and answers take a while."""
WRONG: Final = 300.0
"""Seconds from which on sign-ins are refused: a token is made for a time that has not come, or has
gone."""


def clock_skew(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> str | Aside:
    """By the Date header of an answer that came just now.

    Raises:
        BackendError: it is so wrong that sign-ins fail.
    """
    try:
        there = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Aside("the server does not tell the time")
    skew = now() - there
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of the server"
    if abs(skew) <= TOLERATED:
        return "right"
    command = (
        "sudo sntp -sS time.apple.com"
        if sys.platform == "darwin"
        else "sudo timedatectl set-ntp true"
    )
    if abs(skew) <= WRONG:
        return Aside(f"The clock of this machine is {text}.", f"Set it: {command}")
    raise BackendError(
        f"The clock of this machine is {text}: sign-ins fail.", hint=f"Set it: {command}"
    )
