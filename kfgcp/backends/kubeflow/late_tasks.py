"""Read a run again when it has ended but the server has not yet recorded the end of its tasks.

The server records the final state of a run first, and then the nodes of its workflow one by one. An
answer in between has a run that has SUCCEEDED with nodes that are RUNNING. Some seconds later, all
nodes have ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kfgcp.backends.kubeflow.messages import RunAnswer, workflow_nodes
from kfgcp.backends.kubeflow.progress import read_progress

# The seconds before the second and the third reading of a run. A run is read at most three times.
PAUSES: Final = (1.0, 3.0)

# Nodes may be late for this many seconds after the end of a run. A node that is RUNNING after that
# stays RUNNING.
JUST_ENDED: Final = 60.0

# The states of nodes that may be late.
_UNFINISHED: Final = ("PENDING", "RUNNING")


def read_with_late_tasks(
    request_run: Callable[[], RunAnswer],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RunAnswer:
    """Return a run. Read it again while its nodes are late.

    Args:
        request_run: requests the run from the server, and returns it as `messages.check_run` does.
        clock: returns the time of day, in seconds since 1970.
        sleep: waits for a number of seconds.
    """
    answer = request_run()
    for pause in PAUSES:
        if not has_late_tasks(answer, clock()):
            break
        sleep(pause)
        answer = request_run()
    return answer


def has_late_tasks(run: RunAnswer, now: float) -> bool:
    """Return whether a run has just ended and has nodes that have not ended.

    Args:
        run: the run as `messages.check_run` returns it.
        now: the time of day, in seconds since 1970.
    """
    progress = read_progress(run)
    if not progress.has_ended or progress.ended_at is None:
        return False
    ended_at = datetime.fromisoformat(progress.ended_at).timestamp()
    # The clock of the server may be ahead of the clock of this machine.
    if abs(now - ended_at) > JUST_ENDED:
        return False
    for node in workflow_nodes(run):
        # An entry without a name is not a node. The launcher of a task whose result may be reused
        # adds such entries.
        if node.get("state") in _UNFINISHED and node.get("display_name"):
            return True
    return False
