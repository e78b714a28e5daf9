"""The labels of the runs that a schedule starts, on all backends. Pure.

    kfgcp-schedule   the name of the schedule
    kfgcp-due        the due time of the run in UTC, such as 20261130t060000z

A due time of a schedule has one run. `tick` and `backfill` find it by these labels, so neither
starts a second one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from kfgcp.model import Run

SCHEDULE: Final = "kfgcp-schedule"
DUE: Final = "kfgcp-due"


def schedule_labels(schedule: str, due: datetime) -> dict[str, str]:
    """Return the labels of the run of a due time.

    Args:
        schedule: the name of the schedule.
        due: the due time, with a zone.

    Example:
        >>> schedule_labels("daily", datetime(2026, 11, 30, 6, tzinfo=UTC))
        {'kfgcp-schedule': 'daily', 'kfgcp-due': '20261130t060000z'}
    """
    return {SCHEDULE: schedule, DUE: due_label(due)}


def due_label(due: datetime) -> str:
    """Return a due time as the value of a label, which cannot have capitals and colons."""
    return due.astimezone(UTC).strftime("%Y%m%dt%H%M%Sz")


def runs_by_due(runs: Iterable[Run]) -> dict[str, Run]:
    """Return the runs of a schedule by the labels of their due times."""
    return {run.labels[DUE]: run for run in runs if DUE in run.labels}
