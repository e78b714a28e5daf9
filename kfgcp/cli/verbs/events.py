"""Show what happened to a run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kfgcp.cli import options, output
from kfgcp.event import Event, EventKind
from kfgcp.workspace import Workspace

_NONE = "This run has no events: an earlier version of kfgcp recorded it."
_LATER_ONLY = (
    "The first events of this run are missing: an earlier version of kfgcp recorded its start."
)


@click.command(epilog="Example: kfgcp events a1b2 --json")
@options.run_argument
@options.as_json
@options.workspace
def command(workspace: Workspace, run: str, as_json: bool) -> None:
    """Show what happened to a run, in the order in which it happened.

    An event says that a run or a task started, ended or was retried, or that a metric was recorded.
    The time is the one that the record of the run has. It is empty when nobody knows it, as for a
    task that was skipped. Tasks that ran at the same time may be in any order.

    Each event has a key, which --json shows. The same event always has the same key.
    """
    handle = workspace.show(run)
    events = handle.events()
    if as_json:
        as_dicts = [event.to_dict() for event in events]
        output.print_json({"run_id": handle.run_id, "events": as_dicts})
        return
    if events:
        rows = [(event.at or "", event.kind.value, _subject(event)) for event in events]
        table = output.table(("TIME", "EVENT", "WHAT"), rows)
        for column in table.columns[:2]:
            # Only long paths are folded in a narrow terminal.
            column.no_wrap = True
        output.print_table(table)
    _note_missing(events)


def _subject(event: Event) -> str:
    """Return what an event happened to: nothing for the run itself."""
    if event.metric is not None:
        return f"{event.task}/{event.artifact}/{event.metric}"
    if event.attempt is not None and event.attempt > 1:
        return f"{event.task} (attempt {event.attempt})"
    return event.task or ""


def _note_missing(events: Sequence[Event]) -> None:
    if not events:
        output.note(_NONE)
    elif events[0].kind is not EventKind.RUN_CREATED:
        output.note(_LATER_ONLY)
