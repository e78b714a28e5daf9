"""Record and read the events of runs, in the order in which they were recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kfgcp.event import Event
from kfgcp.store.rows import event_row, read_event, sql_values
from kfgcp.store.writer import Writer

# The column `fact` is the key of an event, and unique for a run. An event that is recorded again is
# updated, because its time may have become more exact: a service first reports whole seconds, or
# the start of a task moves behind the installation of its packages.
#
# The last condition is about a task that failed and whose run was continued. Its record has a new
# start, after the failure. The event `task.started` keeps the start of the first attempt.
#
# The fact of a failure is `task.failed/PATH/TIME`. "0" is the character after "/", so all failures
# are one range, which the index UNIQUE (run_id, fact) finds quickly.
_ADD_EVENT: Final = """
    INSERT INTO events (run_id, fact, kind, at, task, attempt, artifact, metric)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (run_id, fact) DO UPDATE SET at = excluded.at, attempt = excluded.attempt
    WHERE excluded.at IS NOT NULL
      AND (excluded.at IS NOT at OR excluded.attempt IS NOT attempt)
      AND NOT (
        kind = 'task.started'
        AND EXISTS (
          SELECT 1 FROM events AS failed
          WHERE failed.run_id = events.run_id
            AND failed.fact >= 'task.failed/' AND failed.fact < 'task.failed0'
            AND failed.task = events.task
            AND failed.at < excluded.at
        )
      )
"""
_SELECT_FAILURES: Final = (
    "SELECT * FROM events WHERE run_id = ? AND fact >= 'task.failed/' AND fact < 'task.failed0'"
    " ORDER BY seq"
)


class RunEvents(Writer):
    """The part of the index that has the events of runs. They are deleted with their run."""

    def events(self, run_id: str) -> list[Event]:
        """Return the events of a run in the order in which they were recorded.

        Events of one task, and of tasks that depend on each other, are in the order in which they
        happened. Events of tasks that ran at the same time may be in any order.
        """
        with self._convert_errors():
            rows = self._db.execute(
                "SELECT * FROM events WHERE run_id = ? ORDER BY seq", sql_values(run_id)
            ).fetchall()
            return [read_event(row) for row in rows]

    def _last_failures(self, run_id: str) -> dict[str, Event]:
        """Return the last recorded failure of each task of a run, by the path of the task."""
        failures: dict[str, Event] = {}
        for row in self._db.execute(_SELECT_FAILURES, sql_values(run_id)):
            failure = read_event(row)
            if failure.task is not None:
                failures[failure.task] = failure
        return failures

    def _add_events(self, events: Iterable[Event]) -> None:
        self._db.executemany(_ADD_EVENT, [event_row(event) for event in events])
