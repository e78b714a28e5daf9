"""Find the runs of a schedule by their labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kfgcp.backends.schedule_labels import (
    UNKNOWN_DUE,
    due_label,
    project_label,
    run_labels,
    schedule_labels,
)
from kfgcp.labels import DUE
from kfgcp.model import Run

__all__ = [
    "UNKNOWN_DUE",
    "due_label",
    "project_label",
    "run_labels",
    "runs_by_due",
    "schedule_labels",
]


def runs_by_due(runs: Iterable[Run]) -> dict[str, Run]:
    """Return the runs of a schedule by the labels of their due times."""
    return {run.labels[DUE]: run for run in runs if DUE in run.labels}
