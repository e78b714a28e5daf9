"""Runs that the server calls ended before their tasks.

The server records the final state of a run first, and then the nodes of its workflow one by one.
Who reads in between gets a run that has SUCCEEDED with nodes that are RUNNING. Some seconds later
all of them have ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kfgcp.backends.kubeflow.messages import RunAnswer, workflow_nodes
from kfgcp.backends.kubeflow.progress import read_progress

# Seconds before each further reading. So a run is read at most three times.
PAUSES: Final = (1.0, 3.0)

# Seconds after the end of a run in which its nodes may be late. Later, RUNNING nodes stay so.
JUST_ENDED: Final = 60.0
_UNFINISHED: Final = ("PENDING", "RUNNING")


def read_with_late_tasks(
    read: Callable[[], RunAnswer],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RunAnswer:
    """Return a run. Read it again while its nodes are late.

    Args:
        read: asks the server for the run, as `messages.check_run` returns it.
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


def has_late_tasks(run: RunAnswer, now: float) -> bool:
    """Return whether a run has just ended and has nodes that have not ended.

    Args:
        run: as `messages.check_run` returns it.
        now: the time of day, in seconds since 1970.
    """
    progress = read_progress(run)
    if not progress.has_ended or progress.ended_at is None:
        return False
    ended_at = datetime.fromisoformat(progress.ended_at).timestamp()
    # The clock of the server may be ahead of ours.
    if abs(now - ended_at) > JUST_ENDED:
        return False
    for node in workflow_nodes(run):
        # Rows without a name are not nodes: the launcher of a task that may be reused adds them.
        if node.get("state") in _UNFINISHED and node.get("display_name"):
            return True
    return False
