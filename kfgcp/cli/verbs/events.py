"""Show what happened to a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from kfgcp.cli import options, output
from kfgcp.event import Event, EventKind
from kfgcp.workspace import Workspace

_NO_EVENTS: Final = "This run has no events: an earlier version of kfgcp recorded it."
_NO_FIRST_EVENTS: Final = (
    "The first events of this run are missing: an earlier version of kfgcp recorded its start."
)


@click.command(epilog="Example: kfgcp events a1b2 --json")
@options.run_argument
@options.as_json
@options.workspace
def command(workspace: Workspace, run: str, as_json: bool) -> None:
    """Show what happened to a run.

    RUN is an id, the beginning of an id, a name, or `latest` (the default).

    An event says that the run or a task started, ended or was retried, or that a task recorded a
    metric. The events are in the order of time. Events of tasks that ran at the same time may be in
    any order.

    An event has no time when the backend recorded none, for example for a skipped task. Each event
    has a key, which --json shows. The same event always has the same key.
    """
    handle = workspace.show(run)
    events = handle.events()
    if as_json:
        events_json = [event.to_dict() for event in events]
        output.print_json({"run_id": handle.run_id, "events": events_json})
        return
    if events:
        _print_events(events)
    _note_missing(events)


def _print_events(events: Sequence[Event]) -> None:
    rows = [(event.at or "", event.kind.value, _format_subject(event)) for event in events]
    table = output.table(("TIME", "EVENT", "WHAT"), rows)
    # In a narrow terminal, only long paths are folded.
    for column in table.columns[:2]:
        column.no_wrap = True
    output.print_table(table)


def _format_subject(event: Event) -> str:
    """Return what an event happened to; "" for the run itself."""
    if event.metric is not None:
        return f"{event.task}/{event.artifact}/{event.metric}"
    if event.attempt is not None and event.attempt > 1:
        return f"{event.task} (attempt {event.attempt})"
    return event.task or ""


def _note_missing(events: Sequence[Event]) -> None:
    if not events:
        output.note(_NO_EVENTS)
    elif events[0].kind is not EventKind.RUN_CREATED:
        output.note(_NO_FIRST_EVENTS)
