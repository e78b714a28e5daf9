"""`kfgcp delete`."""

from __future__ import annotations

import click

from kfgcp import api
from kfgcp.errors import UsageError


@click.command(epilog="Example: kfgcp delete a1b2 c3d4 --yes")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(runs: tuple[str, ...], yes: bool) -> None:
    """Delete runs that have ended: their record, and what the state folder or the backend keeps of them.

    Artifacts in a bucket stay.
    """
    handles = [*{handle.run_id: handle for handle in map(api.show, runs)}.values()]
    for handle in handles:
        if not handle.state.final:
            raise UsageError(
                f"Run {handle.run_id} is {handle.state}, and only a run that has ended can be deleted."
                " Nothing was deleted.",
                hint=f"Cancel it first: kfgcp cancel {handle.run_id}",
            )
    named = ", ".join(handle.run_id for handle in handles)
    if not yes and not click.confirm(f"Delete {named}?"):
        return
    for handle in handles:
        api.delete(handle)
        click.echo(f"{handle.run_id}  deleted")
