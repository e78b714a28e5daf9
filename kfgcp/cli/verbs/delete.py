"""Delete runs that have ended."""

from __future__ import annotations

from typing import Final

import click

from kfgcp.backends.base import Deleted
from kfgcp.cli import options, output
from kfgcp.errors import UsageError
from kfgcp.tracking import lookup
from kfgcp.tracking.handle import RunHandle
from kfgcp.workspace import Workspace

# The most run ids in the line about files that are kept. Hundreds of runs can use a cached file.
MAX_NAMES: Final = 3


@click.command(epilog="Example: kfgcp delete a1b2 c3d4 --yes")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@options.workspace
def command(workspace: Workspace, runs: tuple[str, ...], yes: bool) -> None:
    """Delete runs that have ended.

    RUN is an id, the beginning of an id, a name, or `latest`.

    Deletes the records and files that this machine has of the runs. A run of a remote backend is
    deleted there too. Artifacts in a bucket stay.

    If a later run took the results of a task from the cache, the files and logs of this task stay
    until you delete the last run that uses them.
    """
    handles = _find_runs(workspace, runs)
    for handle in handles:
        if not handle.is_deletable:
            raise UsageError(
                f"Run {handle.run_id} is {handle.state}. Only a run that has ended can be deleted."
                " Nothing was deleted.",
                hint=f"Cancel the run first: kfgcp cancel {handle.run_id}",
            )
    run_ids = ", ".join(handle.run_id for handle in handles)
    if not yes and not output.confirm(f"Delete {run_ids}?"):
        return
    for handle in handles:
        deleted = workspace.delete(handle)
        click.echo(f"{handle.run_id}  deleted{_format_kept(deleted)}")


def _find_runs(workspace: Workspace, runs: tuple[str, ...]) -> list[RunHandle]:
    """Return the runs with these ids or names. A run that is named twice is returned once."""
    handle_by_id: dict[str, RunHandle] = {}
    for run in runs:
        handle = lookup.find_without_logs(workspace, run)
        handle_by_id[handle.run_id] = handle
    return list(handle_by_id.values())


def _format_kept(deleted: Deleted) -> str:
    """Return a phrase on the files that were kept and the runs that use them, "" without files."""
    count, noun = deleted.kept_files, "file"
    if not count:
        count, noun = deleted.kept_logs, "log"
    if not count or not deleted.used_by:
        return ""
    shown_ids = [output.plain(run_id) for run_id in deleted.used_by[:MAX_NAMES]]
    users = ", ".join(shown_ids)
    hidden_count = len(deleted.used_by) - len(shown_ids)
    if hidden_count:
        users += f" and {hidden_count} more"
    run_noun = "runs" if len(deleted.used_by) > 1 else "run"
    if count > 1:
        noun += "s"
    return f", {count} {noun} kept: used by {run_noun} {users}"
