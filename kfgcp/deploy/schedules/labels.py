"""Find the runs of a schedule by their labels, and tell their due times. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from kfgcp.backends.applied import APPLIED_MARKER
from kfgcp.backends.schedule_labels import (
    UNKNOWN_DUE,
    due_label,
    project_label,
    run_labels,
    schedule_labels,
)
from kfgcp.cron import Timetable
from kfgcp.labels import DUE
from kfgcp.model import Run

__all__ = [
    "UNKNOWN_DUE",
    "due_label",
    "due_text",
    "project_label",
    "run_labels",
    "runs_by_due",
    "runs_without_due",
    "schedule_labels",
]

PROMPT: Final = timedelta(minutes=1)
"""A run that a schedule of a service started within this time belongs to the last due time.

A later run may have waited for active runs, or is one of several that the schedule catches up.
"""


def due_text(due: datetime) -> str:
    """Return a due time as the value of `time_param`. It is the same on all backends.

    Vertex AI has only UTC (PipelineJob.create_time and `pipeline_job_schedule_time_utc`).

    Example:
        >>> due_text(datetime(2026, 11, 30, 0, 30, tzinfo=UTC))
        '2026-11-30T00:30:00Z'
    """
    return due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def runs_by_due(runs: Iterable[Run], timetable: Timetable | None = None) -> dict[str, Run]:
    """Return the runs of a schedule by the labels of their due times.

    Vertex AI cannot put the due time into a label of the jobs that a schedule starts. With a
    timetable, such a run belongs to the last due time before its creation.

    Args:
        runs: the runs.
        timetable: when the schedule is due, None to leave out runs without the label.
    """
    all_runs = list(runs)
    by_due: dict[str, Run] = {}
    for run in all_runs:
        due = None if timetable is None else _last_due(run, timetable)
        if due is not None and _created(run) - due <= PROMPT:
            by_due[due_label(due)] = run
    by_due |= {run.labels[DUE]: run for run in all_runs if DUE in run.labels}
    return by_due


def runs_without_due(
    runs: Iterable[Run], timetable: Timetable, start: datetime, end: datetime
) -> list[Run]:
    """Return the runs that a schedule started in a range, and whose due times cannot be told.

    Args:
        runs: the runs of the schedule.
        timetable: when it is due.
        start: the first due time of the range.
        end: the time after the last one.
    """
    unclear = []
    for run in runs:
        due = _last_due(run, timetable)
        if due is None or _created(run) - due <= PROMPT:
            continue
        if start <= _created(run) and due < end:
            unclear.append(run)
    return unclear


def _last_due(run: Run, timetable: Timetable) -> datetime | None:
    """Return the last due time before the creation of a run without a label for it.

    None for a run that no schedule of the service has started. Only the jobs that a schedule starts
    have the marker of what `apply` wrote: kfgcp removes it when it reads a clone of such a job.
    """
    if DUE in run.labels or APPLIED_MARKER not in run.labels or run.created_at is None:
        return None
    return timetable.previous(_created(run))


def _created(run: Run) -> datetime:
    return datetime.fromisoformat(str(run.created_at)).astimezone(UTC)
