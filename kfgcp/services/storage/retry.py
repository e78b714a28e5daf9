"""Repeat a failed request to a store until its deadline.

kfgcp turns off the retries of the client libraries, because they do not know the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from kfgcp.deadlines import Deadline, DeadlineError, MovingDeadline, call_within, obey
from kfgcp.services.storage.client_errors import is_transient

Result = TypeVar("Result")

# A transfer must transfer this many bytes within the time for one request.
PIECE_BYTES: Final = 256 << 10

# The number of failures in a row after which a request is not repeated.
MAX_FAILURES: Final = 5

# The pause before the first repeat, in seconds. Each later pause is twice as long.
FIRST_PAUSE: Final = 0.25


def call_with_retries(seconds: float, request: Callable[[], Result]) -> Result:
    """Send a request, repeat it after temporary errors, and return its result.

    Args:
        seconds: how long the request may take, with all repeats.
        request: sends the request. It must be safe to send it twice.

    Raises:
        DeadlineError: the request took too long.
        Exception: an error of the client library that is not temporary, or that came too often.
    """
    deadline = Deadline(seconds)
    # Some steps do not obey deadlines, for example a program that boto3 starts to get credentials.
    # So the request runs in a thread, and this function does not wait for the thread after the
    # deadline.
    return call_within(seconds, lambda: repeat(deadline, request))


def transfer_deadline(seconds: float) -> MovingDeadline:
    """Return the deadline for a transfer, which gives each piece of PIECE_BYTES `seconds`."""
    return MovingDeadline(seconds, PIECE_BYTES)


def repeat(
    deadline: Deadline, step: Callable[[], Result], position: Callable[[], int] = lambda: 0
) -> Result:
    """Call a step, call it again after temporary errors, and return its result.

    Args:
        deadline: the deadline for the step and all its repeats.
        step: does the work that is not done yet.
        position: returns the number of transferred bytes. After a try that transferred PIECE_BYTES
            or more, the count of failures starts again from 0.

    Raises:
        DeadlineError: the deadline has passed.
        Exception: an error of the step that is not temporary, or that came too often.
    """
    failures = 0
    while True:
        position_before = position()
        try:
            with obey(deadline):
                return step()
        except DeadlineError:
            raise
        except Exception as error:
            # At the deadline, a socket raises DeadlineError. But the client libraries convert it to
            # an error of their own.
            if deadline.has_passed:
                raise DeadlineError(_describe_timeout(deadline)) from None
            if position() - position_before >= PIECE_BYTES:
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
