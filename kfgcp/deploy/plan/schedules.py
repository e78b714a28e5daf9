"""Compare a schedule of kfgcp.toml with what the service has under its name. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kfgcp.backends.schedules import DesiredSchedule, LiveSchedule
from kfgcp.backends.versions import RegisteredVersion
from kfgcp.deploy.plan.changes import PlanAction, PlannedChange, ResourceKind
from kfgcp.deploy.plan.foreign import describe_live
from kfgcp.deploy.plan.image_tags import ImageTagMove
from kfgcp.deploy.plan.use_tags import TagMove
from kfgcp.deploy.schedules.applied import was_changed_by_hand
from kfgcp.deploy.schedules.missed import MAX_MISSED
from kfgcp.deploy.schedules.ownership import is_own
from kfgcp.deploy.schedules.properties import (
    ADDRESSES,
    is_implied,
    property_lines,
    property_text,
)
from kfgcp.deploy.schedules.steps import Step, StepKind, changed_fields
from kfgcp.model import JsonValue


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """What happens to a schedule.

    Attributes:
        name: its name.
        pipeline: the name of its pipeline in kfgcp.toml, "" when it is deleted.
        desired: the schedule of kfgcp.toml, None when it is deleted.
        fields: the properties that it must have.
        entry: the version that it uses, None when it is deleted. The plan may push it first.
        live: the schedules with its name on the service.
        move: what happens to its tag, None for nothing.
        change: what is written, None for nothing.
        image_moves: what happens to its tag at images.
    """

    name: str
    pipeline: str
    desired: DesiredSchedule | None
    fields: Mapping[str, JsonValue]
    entry: RegisteredVersion | None
    live: tuple[LiveSchedule, ...]
    move: TagMove | None
    change: PlannedChange | None
    image_moves: tuple[ImageTagMove, ...] = ()


def our_schedules(
    live: Sequence[LiveSchedule], project: str
) -> dict[str, tuple[LiveSchedule, ...]]:
    """Return the schedules that `apply` wrote for a project by their names.

    Args:
        live: all schedules of a service.
        project: the name of the project.
    """
    by_name: dict[str, tuple[LiveSchedule, ...]] = {}
    for schedule in live:
        if is_own(schedule, project):
            by_name[schedule.name] = by_name.get(schedule.name, ()) + (schedule,)
    return by_name


def pipeline_of(live: LiveSchedule) -> str:
    """Return the name of the pipeline of a schedule in the registry, "" when it is not known."""
    name = live.fields.get("pipeline")
    if isinstance(name, str):
        return name
    template = live.fields.get("template")
    # Artifact Registry: https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/NAME/sha256:DIGEST
    segments = template.split("/") if isinstance(template, str) else []
    return segments[-2] if len(segments) > 1 else ""


def plan_schedule(
    env: str,
    desired: DesiredSchedule,
    fields: Mapping[str, JsonValue],
    live: Sequence[LiveSchedule],
    move: TagMove | None,
    step: Step | None,
    image_moves: Sequence[ImageTagMove] = (),
) -> PlannedChange | None:
    """Return how a schedule changes, None when the service has exactly this schedule.

    Args:
        env: the name of the environment.
        desired: the schedule of kfgcp.toml.
        fields: the properties that it must have, from `SupportsSchedules.fields_of`.
        live: the schedules with its name on the service.
        move: what happens to its tag.
        step: the first step of `apply`, None when nothing has to change. A killed apply can leave a
            schedule that has the right properties but a start time in the future.
        image_moves: what happens to its tag at images.
    """
    tag_lines = [] if move is None else [move.line]
    tag_lines += [image_move.line for image_move in image_moves]
    if not live:
        lines = property_lines(desired.name, fields, catch_up=desired.catch_up)
        if desired.paused:
            lines.append("paused: true")
        lines += tag_lines
        return _change(env, desired.name, PlanAction.CREATE, lines)
    current = _choose(fields, live)
    lines = _field_lines(current.fields, fields)
    if current.enabled is desired.paused:
        lines.append(_arrow("paused", not current.enabled, desired.paused))
    if not lines and step is not None and len(live) == 1:
        lines.append("start time: later -> now")
    # The marker does not cover the pause. `apply` pauses a schedule only when kfgcp.toml says so,
    # so any other pause is a change by hand.
    by_hand = was_changed_by_hand(current) or not (current.enabled or desired.paused)
    action = PlanAction.UPDATE
    is_busy = any(schedule.is_busy for schedule in live)
    if len(live) > 1 and (step is not None or is_busy):
        # A replacement has two schedules for some seconds, so nothing shows a change by hand.
        lines.append(f"schedules with this name: {len(live)} -> 1, of {_list_live(live)}")
    elif lines and by_hand:
        action = PlanAction.DRIFT
        lines.insert(0, "changed by hand, and set back by apply")
    lines += tag_lines
    return _change(env, desired.name, action, lines) if lines else None


def missed_note(desired: DesiredSchedule, step: Step | None) -> str | None:
    """Return a note about the runs that `apply` starts itself, None when it starts none.

    The number changes with the time, so it is not a line of the change: a plan in a file would be
    out of date soon.

    Args:
        desired: the schedule of kfgcp.toml.
        step: the first step of `apply`, None when nothing has to change.
    """
    dues = () if step is None else step.missed or step.waiting
    if step is None or not dues:
        return None
    times = "1 due time" if len(dues) == 1 else f"{len(dues)} due times"
    name, limit = desired.name, desired.max_active
    since = f"since {dues[0].isoformat()}"
    if len(dues) > MAX_MISSED:
        return (
            f"The schedule {name} has missed more than {MAX_MISSED} due times {since}, and apply"
            " does not start so many."
        )
    if step.kind is StepKind.DISABLE and len(dues) > limit:
        return (
            f"The schedule {name} has {times} {since} that wait for its active runs. apply refuses"
            f" to change it while more than max_active = {limit} wait."
        )
    return (
        f"The schedule {name} has {times} {since} without a run. apply starts at most max_active ="
        f" {limit} of them at once."
    )


def plan_deletion(
    env: str,
    name: str,
    live: Sequence[LiveSchedule],
    move: TagMove | None,
    image_moves: Sequence[ImageTagMove] = (),
) -> PlannedChange:
    """Return the deletion of a schedule.

    Args:
        env: the name of the environment.
        name: the name of the schedule.
        live: the schedules with this name on the service.
        move: what happens to its tag.
        image_moves: what happens to its tag at images.
    """
    lines = [f"deleted: {describe_live(schedule)}" for schedule in live]
    if move is not None:
        lines.append(move.line)
    lines += [image_move.line for image_move in image_moves]
    return _change(env, name, PlanAction.DELETE, lines)


def with_entry(desired: DesiredSchedule, entry: RegisteredVersion) -> DesiredSchedule:
    """Return a schedule with an entry that did not exist when the plan was made."""
    request = desired.request
    registered = request.spec.registered
    if registered is None:
        raise ValueError("the pipeline of a schedule comes from a registry")
    new_ref = replace(registered, ref=entry.ref, address=entry.address)
    spec = replace(request.spec, registered=new_ref, template=entry.template or None)
    return replace(desired, request=replace(request, spec=spec))


def drift_lines(
    desired: DesiredSchedule, fields: Mapping[str, JsonValue], live: LiveSchedule
) -> list[str]:
    """Return in words how a live schedule differs from kfgcp.toml."""
    lines = _field_lines(live.fields, fields)
    if live.enabled is desired.paused:
        lines.append(_arrow("paused", not live.enabled, desired.paused))
    return lines


def _change(env: str, name: str, action: PlanAction, lines: Sequence[str]) -> PlannedChange:
    return PlannedChange(ResourceKind.SCHEDULE, name, env, action, tuple(lines))


def _choose(fields: Mapping[str, JsonValue], live: Sequence[LiveSchedule]) -> LiveSchedule:
    """Return the schedule to compare with: one with the right properties, else the oldest."""
    in_order = sorted(live, key=lambda schedule: (schedule.created_at, schedule.ref))
    for schedule in in_order:
        if schedule.fields == fields:
            return schedule
    enabled = [schedule for schedule in in_order if schedule.enabled]
    return (enabled or in_order)[0]


def _list_live(live: Sequence[LiveSchedule]) -> str:
    return ", ".join(describe_live(schedule) for schedule in live)


def _field_lines(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> list[str]:
    changed = changed_fields(before, after)
    names: list[str] = []
    for name in changed:
        if name in ADDRESSES:
            # Without a new version, these addresses are the only sign of what changes.
            is_shown = "version" not in changed
        else:
            is_shown = not (is_implied(name, before) and is_implied(name, after))
        if is_shown:
            names.append(name)
    return [_arrow(name, before.get(name), after.get(name)) for name in names]


def _arrow(name: str, before: JsonValue, after: JsonValue) -> str:
    return f"{name}: {property_text(name, before)} -> {property_text(name, after)}"
