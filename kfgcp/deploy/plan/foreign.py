"""Tell people about schedules that look like those of a project, and are somebody else's. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from kfgcp.backends.schedules import LiveSchedule
from kfgcp.deploy.schedules.ownership import is_marker_of, is_own


def describe_live(live: LiveSchedule) -> str:
    """Return which schedule it is: its name for people, its identity, and whether it is enabled."""
    state = "enabled" if live.enabled else "paused"
    return f"{live.display_name} ({live.ref}, {state})"


def foreign_notes(
    live: Sequence[LiveSchedule],
    project: str,
    env: str,
    takes: Callable[[str], bool],
    names: Set[str],
) -> list[str]:
    """Return a line for each schedule that `apply` leaves alone, and that could start runs twice.

    Args:
        live: all schedules of the service.
        project: the name of the project.
        env: the name of the environment.
        takes: returns whether the plan is about a name.
        names: the names of the schedules that the environment must have.
    """
    notes: list[str] = []
    for schedule in live:
        if not schedule.name or not takes(schedule.name) or is_own(schedule, project):
            continue
        what = describe_live(schedule)
        if is_marker_of(schedule.project, project):
            notes.append(
                f"{env} has a copy of the schedule {schedule.name}: {what}. kfgcp does not change"
                " it, because it has another display name."
            )
        elif schedule.name in names:
            notes.append(
                f"{env} has a schedule {schedule.name} of the project"
                f" '{schedule.project}' too: {what}. If it is an earlier name of this project,"
                " delete it."
            )
    return notes
