"""Runs by what people call them."""

from __future__ import annotations

from kfgcp import config
from kfgcp.model import Run
from kfgcp.tracking import lookup
from kfgcp.tracking.handle import RunHandle

RunLike = str | RunHandle | Run


def show(run: RunLike = "latest") -> RunHandle:
    """A run, looked up. The warning `NotWhole` says when something of it cannot be read now.

    Raises:
        UsageError: there is none that `run` means, or more than one.
    """
    if isinstance(run, RunHandle):
        return run.refresh()
    return lookup.handle(config.load(), run.run_id if isinstance(run, Run) else run)
