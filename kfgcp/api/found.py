"""Runs by what people call them."""

from __future__ import annotations

from pathlib import Path

from kfgcp import config
from kfgcp.model import Run
from kfgcp.store.store import Store
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


def deleted_artifacts(run: RunHandle) -> set[str]:
    """Return the URIs of the artifacts of a run that were files of this machine and were deleted since."""
    from kfgcp.engine.cache import deleted_files

    with Store(config.load().home) as store:
        outcomes = store.outcomes(run.run_id)
    return {Path(path).as_uri() for outcome in outcomes.values() for path in deleted_files(outcome.outputs)}
