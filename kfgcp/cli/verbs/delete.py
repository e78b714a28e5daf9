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

# A cached file can have hundreds of users. Three names and a number fit into a line.
MAX_NAMES: Final = 3


@click.command(epilog="Example: kfgcp delete a1b2 c3d4 --yes")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.workspace
def command(workspace: Workspace, runs: tuple[str, ...], yes: bool) -> None:
    """Delete runs that have ended.

    Deletes their records and their files on this machine, and the runs on a remote backend.

    Files and logs that other runs use, because tasks of these runs came from the cache, stay until
    you delete the last of these runs. Artifacts in a bucket stay.
    """
    handles = _find_runs(workspace, runs)
    for handle in handles:
        if not handle.is_deletable:
            raise UsageError(
                f"Run {handle.run_id} is {handle.state}, and only a run that has ended can be"
                " deleted. Nothing was deleted.",
                hint=f"Cancel it first: kfgcp cancel {handle.run_id}",
            )
    run_ids = ", ".join(handle.run_id for handle in handles)
    if not yes and not output.confirm(f"Delete {run_ids}?"):
        return
    for handle in handles:
        deleted = workspace.delete(handle)
        click.echo(f"{handle.run_id}  deleted{_format_kept(deleted)}")


def _find_runs(workspace: Workspace, runs: tuple[str, ...]) -> list[RunHandle]:
    """Return the runs that are named, each once."""
    handle_by_id: dict[str, RunHandle] = {}
    for run in runs:
        handle = lookup.look(workspace, run)
        handle_by_id[handle.run_id] = handle
    return list(handle_by_id.values())


def _format_kept(deleted: Deleted) -> str:
    """Return the end of the line of a run: what was kept, and which runs use it."""
    count, word = deleted.kept_files, "file"
    if not count:
        count, word = deleted.kept_logs, "log"
    if not count or not deleted.used_by:
        return ""
    names = [output.plain(run_id) for run_id in deleted.used_by[:MAX_NAMES]]
    users = ", ".join(names)
    hidden = len(deleted.used_by) - len(names)
    if hidden:
        users += f" and {hidden} more"
    run_word = "runs" if len(deleted.used_by) > 1 else "run"
    if count > 1:
        word += "s"
    return f", {count} {word} kept: used by {run_word} {users}"
