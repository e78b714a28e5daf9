"""The labels of the runs that a schedule starts, on all backends. Pure.

    kfgcp-project    the name of the project, because several projects can share a state folder
    kfgcp-schedule   the name of the schedule
    kfgcp-due        the due time of the run in UTC, such as 20261130t060000z

A due time of a schedule has one run. `tick` and `backfill` find it by these labels, so neither
starts a second one.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final

from kfgcp.labels import DUE, MAX_LENGTH, PROJECT, SCHEDULE, label_value

UNKNOWN_DUE: Final = "unknown"
"""The label `kfgcp-due` of a run that a schedule may have started for a due time. Nothing says for
certain that it is the run of this schedule."""

_DIGEST_DIGITS: Final = 8


def schedule_labels(project: str, schedule: str) -> dict[str, str]:
    """Return the labels that all runs of a schedule have.

    Args:
        project: the name of the project.
        schedule: the name of the schedule.

    Example:
        >>> schedule_labels("churn", "daily")
        {'kfgcp-project': 'churn', 'kfgcp-schedule': 'daily'}
    """
    return {PROJECT: project_label(project), SCHEDULE: schedule}


def run_labels(project: str, schedule: str, due: datetime) -> dict[str, str]:
    """Return the labels of the run of a due time.

    Args:
        project: the name of the project.
        schedule: the name of the schedule.
        due: the due time, with a zone.

    Example:
        >>> run_labels("churn", "daily", datetime(2026, 11, 30, 6, tzinfo=UTC))["kfgcp-due"]
        '20261130t060000z'
    """
    return {**schedule_labels(project, schedule), DUE: due_label(due)}


def project_label(project: str) -> str:
    """Return the name of a project as the value of a label. Different names have different values.

    Example:
        >>> project_label("churn"), project_label("Churn")
        ('churn', 'churn-2b58f510')
    """
    value = label_value(project)
    if value and value == project:
        return value
    digest = hashlib.sha256(project.encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{value[: MAX_LENGTH - _DIGEST_DIGITS - 1]}-{digest}".lstrip("-")


def due_label(due: datetime) -> str:
    """Return a due time as the value of a label, which cannot have capitals and colons."""
    return due.astimezone(UTC).strftime("%Y%m%dt%H%M%Sz")
