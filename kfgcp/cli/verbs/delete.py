"""Delete runs that have ended."""

from __future__ import annotations

import click

from kfgcp.backends.base import Deleted
from kfgcp.cli import options, output
from kfgcp.errors import UsageError
from kfgcp.tracking import lookup
from kfgcp.tracking.handle import RunHandle
from kfgcp.workspace import Workspace

MOST_NAMES = 3
"""How many of the runs are named that use files of a deleted run."""


@click.command(epilog="Example: kfgcp delete a1b2 c3d4 --yes")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.workspace
def command(workspace: Workspace, runs: tuple[str, ...], yes: bool) -> None:
    """Delete runs that have ended: their record, and what the state folder or the backend keeps of
    them.

    Files and logs that other runs use are kept, and removed with the last of these runs: a cached
    task uses those of the task that ran. Artifacts in a bucket stay.
    """
    by_id: dict[str, RunHandle] = {}
    for run in runs:
        handle = lookup.look(workspace, run)
        by_id[handle.run_id] = handle
    handles = list(by_id.values())
    for handle in handles:
        if not handle.is_deletable:
            raise UsageError(
                f"Run {handle.run_id} is {handle.state}, and only a run that has ended can be"
                " deleted. Nothing was deleted.",
                hint=f"Cancel it first: kfgcp cancel {handle.run_id}",
            )
    named = ", ".join(handle.run_id for handle in handles)
    if not yes and not output.confirm(f"Delete {named}?"):
        return
    for handle in handles:
        deleted = workspace.delete(handle)
        click.echo(f"{handle.run_id}  deleted{_kept_text(deleted)}")


def _kept_text(deleted: Deleted) -> str:
    """What is kept of a deleted run, and for whom."""
    if not deleted.used_by:
        return ""
    count, word = (deleted.kept_files, "file") if deleted.kept_files else (deleted.kept_logs, "log")
    if not count:
        return ""
    shown = [output.plain(name) for name in deleted.used_by[:MOST_NAMES]]
    more = len(deleted.used_by) - len(shown)
    names = ", ".join(shown) + (f" and {more} more" if more else "")
    plural = "s" if count > 1 else ""
    runs = "runs" if len(deleted.used_by) > 1 else "run"
    return f", {count} {word}{plural} kept: used by {runs} {names}"
