"""Repeats failed requests to a store, as long as their time lasts.

The retries of the client libraries are off, because they do not know how much time is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from kfgcp.deadlines import Deadline, DeadlineError, MovingDeadline, call_within, obey
from kfgcp.services.storage.client_errors import is_transient

Result = TypeVar("Result")

# The progress that a transfer has to make within the time for one request.
PIECE_BYTES: Final = 256 << 10

# How often a request may fail in a row.
MAX_FAILURES: Final = 5

# Seconds before a failed request is sent again. The pause doubles each time.
FIRST_PAUSE: Final = 0.25


def call_with_retries(seconds: float, request: Callable[[], Result]) -> Result:
    """Return the result of a request that may be repeated: it changes nothing.

    Args:
        seconds: how long the request may take with all repeats.
        request: sends the request.

    Raises:
        DeadlineError: the time is over.
        Exception: an error of the client library.
    """
    deadline = Deadline(seconds)
    # Some steps do not obey deadlines, such as a program that boto3 calls for credentials. So the
    # request runs in a thread that can be abandoned.
    return call_within(seconds, lambda: repeat(deadline, request))


def transfer_deadline(seconds: float) -> MovingDeadline:
    """Return a deadline that moves when a piece of a transfer arrives within `seconds`."""
    return MovingDeadline(seconds, PIECE_BYTES)


def repeat(
    deadline: Deadline, step: Callable[[], Result], position: Callable[[], int] = lambda: 0
) -> Result:
    """Return the result of a step, which is repeated after temporary errors.

    Args:
        deadline: for the step and its repeats. A moving one moves only while there is progress.
        step: does what is left to do.
        position: how many bytes were transferred. After progress the count of failures starts
            again.

    Raises:
        DeadlineError: the deadline has passed.
        Exception: an error of the step that is not temporary, or that occurred too often.
    """
    failures = 0
    while True:
        start = position()
        try:
            with obey(deadline):
                return step()
        except DeadlineError:
            raise
        except Exception as error:
            # The client libraries turn the error of a socket at its deadline into their own errors.
            if deadline.has_passed:
                raise DeadlineError(_describe_timeout(deadline)) from None
            if position() - start >= PIECE_BYTES:
                failures = 0
            failures += 1
            if failures >= MAX_FAILURES or not is_transient(error):
                raise
        pause = FIRST_PAUSE * 2 ** (failures - 1)
        time.sleep(max(0.0, min(pause, deadline.seconds_left)))


def _describe_timeout(deadline: Deadline) -> str:
    if isinstance(deadline, MovingDeadline):
        return f"less than {PIECE_BYTES >> 10} KiB were transferred within {deadline.seconds:g} s"
    return f"no answer within {deadline.seconds:g} s"
