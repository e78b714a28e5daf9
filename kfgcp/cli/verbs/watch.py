"""Follow a run until it ends."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.cli.live import Viewer
from kfgcp.errors import RunFailed
from kfgcp.model import RunState
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp watch a1b2")
@options.run_argument
@options.as_json
@options.workspace
def command(workspace: Workspace, run: str, as_json: bool) -> int:
    """Follow a run until it ends.

    RUN is an id, the beginning of an id, a name, or `latest` (the default).

    Ctrl-C stops watching, and the run continues. Exits with 6 when the run failed or was cancelled.
    """
    handle = workspace.show(run)
    with Viewer(handle.snapshot) as viewer:
        for update in handle.updates(notice=output.note, on_pause=viewer.flush):
            viewer.show(update)
    snapshot = handle.snapshot
    has_succeeded = snapshot.state is RunState.SUCCEEDED
    if not has_succeeded:
        output.print_failure(snapshot, tail=not viewer.has_shown_log_end(snapshot))
    if as_json:
        output.print_json(handle.to_dict())
    return 0 if has_succeeded else RunFailed.exit_code
