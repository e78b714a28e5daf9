"""Write notes about schedules that look like those of a project, but belong to others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from kfgcp.backends.schedules import LiveSchedule
from kfgcp.deploy.plan.commands import plan_command
from kfgcp.deploy.schedules.ownership import is_marker_of, is_own
from kfgcp.errors import UsageError


def describe_live(live: LiveSchedule) -> str:
    """Return a schedule for messages: its display name, its identity and its state."""
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
    own_names = _own_names(live, project)
    for schedule in live:
        if not schedule.name or not takes(schedule.name) or is_own(schedule, project):
            continue
        description = describe_live(schedule)
        if is_marker_of(schedule.project, project):
            kind = "copy of the schedule" if schedule.name in own_names else "renamed schedule"
            notes.append(
                f"{env} has a {kind} {schedule.name}: {description}. kfgcp does not change it,"
                " because it has another display name."
            )
        elif schedule.name in names:
            notes.append(
                f"{env} has a schedule {schedule.name} of the project"
                f" '{schedule.project}' too: {description}. If this project had that name earlier,"
                " delete that schedule."
            )
    return notes


def refuse_renamed(
    live: Sequence[LiveSchedule], project: str, env: str, names: Set[str], *, has_update: bool
) -> None:
    """Refuse a plan that would create a schedule beside the same one under another display name.

    Both would start the runs of their due times. A copy beside a schedule with the right display
    name is not refused, because the plan creates nothing.

    Args:
        live: all schedules of the service.
        project: the name of the project.
        env: the name of the environment.
        names: the names of the schedules that the environment must have.
        has_update: whether the service can rename a schedule.

    Raises:
        UsageError: there is such a schedule. The message names it.
    """
    own_names = _own_names(live, project)
    for schedule in live:
        is_renamed = is_marker_of(schedule.project, project) and not is_own(schedule, project)
        if not is_renamed or not schedule.enabled:
            continue
        if schedule.name not in names or schedule.name in own_names:
            continue
        rename = f"rename it back to {schedule.name}, or " if has_update else ""
        command = plan_command(env, [])
        raise UsageError(
            f"{env} has the schedule {schedule.name} under another display name:"
            f" {describe_live(schedule)}. A second one would start each run twice.",
            hint=f"On the service, {rename}pause or delete it. Then: {command}",
        )


def _own_names(live: Sequence[LiveSchedule], project: str) -> set[str]:
    return {schedule.name for schedule in live if is_own(schedule, project)}
