"""Tell which project a schedule on a service belongs to. Pure."""

from __future__ import annotations

from kfgcp.backends.schedules import LiveSchedule
from kfgcp.deploy.schedules.labels import project_label


def is_marker_of(marker: str, project: str) -> bool:
    """Return whether the marker of a schedule is that of a project.

    Args:
        marker: the name of the project, or this name as the value of a label.
        project: the name of the project.

    Example:
        >>> is_marker_of("churn-2b58f510", "Churn"), is_marker_of("", "Churn")
        (True, False)
    """
    return bool(marker) and project_label(marker) == project_label(project)


def is_own(live: LiveSchedule, project: str) -> bool:
    """Return whether a schedule is one that `apply` wrote for a project.

    A copy that somebody made on the service has the markers of the original too. `apply` writes the
    name of a schedule as its display name, and a copy has another display name.

    Args:
        live: the schedule.
        project: the name of the project.
    """
    has_markers = bool(live.name) and is_marker_of(live.project, project)
    return has_markers and live.display_name == live.name
