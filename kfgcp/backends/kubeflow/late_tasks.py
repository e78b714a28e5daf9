"""Runs whose end the server tells before that of their tasks.

The server records the final state of a run, and then the nodes of its workflow one by one. Who
reads in between sees a run that has SUCCEEDED with nodes that are RUNNING. Some seconds later all
of them are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from kfgcp.backends.kubeflow.progress import progress_of

PAUSES: Final = (1.0, 3.0)
"""Seconds before each further look: so there are at most two."""
JUST_ENDED: Final = 60.0
"""Seconds after the end of a run in which its nodes may be late. Later, what is RUNNING will stay
so."""
_GOING_ON: Final = ("PENDING", "RUNNING")
Answer = TypeVar("Answer", bound=Mapping[str, Any])


def read_with_late_tasks(
    read: Callable[[], Answer],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Return a run, read again while its nodes are late.

    Args:
        read: asks the server for the run, as `messages.read_run` returns it.
        clock: the time of day, in seconds since 1970.
        sleep: waits for some seconds.
    """
    answer = read()
    for pause in PAUSES:
        if not has_late_tasks(answer, clock()):
            break
        sleep(pause)
        answer = read()
    return answer


def has_late_tasks(run: Mapping[str, Any], now: float) -> bool:
    """Return whether a run has just ended, and has nodes that go on.

    Args:
        run: as `messages.read_run` returns it.
        now: the time of day, in seconds since 1970.
    """
    progress = progress_of(run)
    if not progress.has_ended or progress.ended_at is None:
        return False
    if abs(now - datetime.fromisoformat(progress.ended_at).timestamp()) > JUST_ENDED:
        return False
    details = (run.get("run_details") or {}).get("task_details") or ()
    return any(
        detail.get("state") in _GOING_ON and detail.get("display_name") for detail in details
    )
