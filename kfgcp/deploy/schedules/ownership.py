"""Tell whose a schedule on a service is. Pure."""

from __future__ import annotations

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
