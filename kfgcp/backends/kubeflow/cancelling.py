"""Recognize runs that are being cancelled and will never end.

When the Workflow of a run has disappeared from the cluster, nobody reports the end of the run to
the server. So the run stays CANCELING for ever (recorded: run-terminate-workflow-gone.json,
run-get-canceling-forever.json). Only the answer to the first request to terminate the run says that
the Workflow is gone, after 10 s. The server refuses a second request, because the run is not
running. The server does not say since when a run is CANCELING, because state_history has no entry
for this state. So kfgcp remembers the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from kfgcp.backends.service import ServiceRecords
from kfgcp.model import RunState, timestamp

# After a run has been CANCELLING for this many seconds, kfgcp expects that it never ends.
# Kubernetes gives pods 30 s to end.
PATIENCE: Final = 120.0

# The kind of `ServiceRecords.names` with the times since which runs are CANCELLING, by run id.
_SINCE: Final = "cancelling since"

# The kind of `ServiceRecords.names` with the ids of runs whose Workflow is gone, as the server
# said. The names are empty.
_WITHOUT_WORKFLOW: Final = "without workflow"


class CancellingRuns:
    """The runs that are CANCELLING, and when each was first CANCELLING.

    The times are kept between commands, because a command usually reads a run only once.

    Args:
        records: keeps the times.
        place: the place of the service.
        clock: returns the time of day, in seconds since 1970.
    """

    def __init__(
        self, records: ServiceRecords, place: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._records = records
        self._place = place
        self._clock = clock
        self._since = records.names(place, _SINCE)
        self._without_workflow = set(records.names(place, _WITHOUT_WORKFLOW))

    def record_missing_workflow(self, server_id: str) -> None:
        """Remember that the server did not find the Workflow of a run that it had to stop."""
        self._without_workflow.add(server_id)
        self._records.remember_names(self._place, _WITHOUT_WORKFLOW, {server_id: ""})

    def observe(self, server_id: str, state: RunState) -> None:
        """Remember when a run was first CANCELLING. Forget a run with another state."""
        if state is RunState.CANCELLING:
            if server_id not in self._since:
                now = timestamp(self._clock())
                self._since[server_id] = now
                self._records.remember_names(self._place, _SINCE, {server_id: now})
        elif server_id in self._since or server_id in self._without_workflow:
            self.forget(server_id)

    def never_ends(self, server_id: str) -> bool:
        """Return whether a run is CANCELLING and will probably never end."""
        if server_id in self._without_workflow:
            return True
        since = self._since.get(server_id)
        if since is None:
            return False
        return self._clock() - datetime.fromisoformat(since).timestamp() >= PATIENCE

    def note(self, run_id: str, server_id: str) -> str:
        """Return a note about a run that will probably never end, "" for other runs."""
        if not self.never_ends(server_id):
            return ""
        advice = f"The run will not end. Delete it: kfgcp delete {run_id}"
        if server_id in self._without_workflow:
            return f"The workflow of run {run_id} does not exist in the cluster any more. {advice}"
        minutes = f"{PATIENCE / 60:.0f}"
        return (
            f"Run {run_id} has been CANCELLING for more than {minutes} minutes: its workflow"
            f" probably does not exist in the cluster any more. {advice}"
        )

    def forget(self, server_id: str) -> None:
        """Forget a run."""
        self._since.pop(server_id, None)
        self._without_workflow.discard(server_id)
        self._records.remember_names(self._place, _SINCE, {}, gone=[server_id])
        self._records.remember_names(self._place, _WITHOUT_WORKFLOW, {}, gone=[server_id])
