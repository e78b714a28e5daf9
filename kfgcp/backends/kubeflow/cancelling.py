"""Runs that are being cancelled and may never end.

When the Workflow of a run is not in the cluster any more, nobody reports its end to the server, so
it stays CANCELING for ever (recorded: run-terminate-workflow-gone.json,
run-get-canceling-forever.json). The first terminate says so, after 10 s; a second one is refused
because the run is not running. The server does not say since when a run is CANCELING:
state_history has no entry for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kfgcp.backends.service import ServiceRecords
from kfgcp.model import RunState, timestamp

# Seconds that a run may be CANCELLING before it counts as one that never ends. Pods have 30 s to
# end.
PATIENCE: Final = 120.0

# The kind of `names` in the store that has the times by the ids of runs.
_SINCE: Final = "cancelling since"

# The kind for runs of which the server said that their Workflow is gone. The names are empty.
_WITHOUT_WORKFLOW: Final = "without workflow"


class CancellingRuns:
    """When runs of a place were first seen CANCELLING.

    It is remembered between commands, because each command reads a run once.

    Args:
        records: remembers the times.
        place: that of the service.
        clock: the time of day, in seconds since 1970.
    """

    def __init__(
        self, records: ServiceRecords, place: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._records = records
        self._place = place
        self._clock = clock
        self._since = records.names(place, _SINCE)
        self._without_workflow = set(records.names(place, _WITHOUT_WORKFLOW))

    def workflow_is_gone(self, server_id: str) -> None:
        """Remember that the server could not stop the Workflow of a run because there is none."""
        self._without_workflow.add(server_id)
        self._records.remember_names(self._place, _WITHOUT_WORKFLOW, {server_id: ""})

    def see(self, server_id: str, state: RunState) -> None:
        """Remember when a run was first CANCELLING, and forget it when it has another state."""
        if state is RunState.CANCELLING:
            if server_id not in self._since:
                now = timestamp(self._clock())
                self._since[server_id] = now
                self._records.remember_names(self._place, _SINCE, {server_id: now})
        elif server_id in self._since or server_id in self._without_workflow:
            self.forget(server_id)

    def never_ends(self, server_id: str) -> bool:
        """Return whether a run that is CANCELLING is not expected to end any more."""
        if server_id in self._without_workflow:
            return True
        since = self._since.get(server_id)
        if since is None:
            return False
        return self._clock() - datetime.fromisoformat(since).timestamp() >= PATIENCE

    def note(self, run_id: str, server_id: str) -> str:
        """Return a note about a run that is not expected to end, empty for other runs."""
        if not self.never_ends(server_id):
            return ""
        advice = f"It will not end. Delete it: kfgcp delete {run_id}"
        if server_id in self._without_workflow:
            return f"The workflow of run {run_id} is not in the cluster any more. {advice}"
        minutes = f"{PATIENCE / 60:.0f}"
        return (
            f"Run {run_id} has been CANCELLING for more than {minutes} minutes: its workflow is"
            f" probably not in the cluster any more. {advice}"
        )

    def forget(self, server_id: str) -> None:
        """Forget a run."""
        self._since.pop(server_id, None)
        self._without_workflow.discard(server_id)
        self._records.remember_names(self._place, _SINCE, {}, gone=[server_id])
        self._records.remember_names(self._place, _WITHOUT_WORKFLOW, {}, gone=[server_id])
