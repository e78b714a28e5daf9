"""The events of runs: what happened to them, in the order in which it was recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kfgcp.event import Event
from kfgcp.store.rows import bound, event, event_row
from kfgcp.store.writer import Writer

# A fact is recorded once. Its time may become more exact: a service first tells it in whole
# seconds, or the start of a task moves behind the installation of its packages. When a task has
# failed and its run was continued, its record has a new start, which is not that of the first
# attempt: it is after the failure.
_ADD: Final = (
    "INSERT INTO events (run_id, fact, kind, at, task, attempt, artifact, metric) VALUES (?, ?, ?,"
    " ?, ?, ?, ?, ?) ON CONFLICT (run_id, fact) DO UPDATE SET at = excluded.at, attempt ="
    " excluded.attempt WHERE excluded.at IS NOT NULL AND (excluded.at IS NOT at OR excluded.attempt"
    " IS NOT attempt) AND NOT (kind = 'task.started' AND EXISTS (SELECT 1 FROM events AS failed"
    " WHERE failed.run_id = events.run_id AND failed.fact >= 'task.failed/' AND failed.fact <"
    " 'task.failed0' AND failed.task = events.task AND failed.at < excluded.at))"
)


class RunEvents(Writer):
    """The part of the index that is the events of runs. They are deleted with their run."""

    def events(self, run_id: str) -> list[Event]:
        """Return the events of a run in the order of the facts.

        Within a task, and between a task and those that depend on it, this is the order in which
        they happened. Tasks that ran at the same time may be in any order.
        """
        with self._failures():
            rows = self._db.execute(
                "SELECT * FROM events WHERE run_id = ? ORDER BY seq", bound(run_id)
            ).fetchall()
            return [event(row) for row in rows]

    def _last_failures(self, run_id: str) -> dict[str, Event]:
        """Return the last recorded failure of each task of a run, by the path of the task."""
        rows = self._db.execute(
            "SELECT * FROM events WHERE run_id = ? AND fact >= 'task.failed/' AND fact <"
            " 'task.failed0' ORDER BY seq",
            bound(run_id),
        ).fetchall()
        return {failure.task: failure for failure in map(event, rows) if failure.task is not None}

    def _add_events(self, events: Iterable[Event]) -> None:
        self._db.executemany(_ADD, [event_row(new) for new in events])
