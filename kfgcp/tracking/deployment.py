"""Plan, apply and destroy what kfgcp.toml declares for an environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from kfgcp.backends.applied import applied_digest
from kfgcp.backends.base import capability
from kfgcp.backends.locks import HeldLock, LockOwner, SupportsLock
from kfgcp.backends.registry import runs_here
from kfgcp.backends.schedules import DesiredSchedule, SupportsSchedules
from kfgcp.deploy.plan.apply import Writer
from kfgcp.deploy.plan.commands import plan_command
from kfgcp.deploy.plan.fingerprint import (
    Fingerprint,
    describe_moves,
    live_text,
    pipeline_text,
    versions_text,
)
from kfgcp.deploy.plan.folder_lock import FolderLock
from kfgcp.deploy.plan.plan import Applied, Notice, Plan
from kfgcp.deploy.plan.plan_file import read_plan
from kfgcp.deploy.plan.steady_clock import SteadyClock
from kfgcp.deploy.schedules.converge import Clock
from kfgcp.deploy.schedules.on_service import Services
from kfgcp.errors import CheckFailed, UsageError
from kfgcp.model import JsonValue
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.plan_comparison import Draft, place_of
from kfgcp.tracking.planning import Planner


def make_plan(
    workspace: OpenProject,
    names: Sequence[str],
    env: str | None,
    *,
    is_fixed: bool = True,
    clock: Callable[[], Clock] = lambda: Clock(now=SteadyClock().now),
) -> Plan:
    """Return what `apply` would change in an environment.

    Args:
        workspace: the project.
        names: only the pipelines and schedules with these names; all when empty.
        env: the name of the environment, the default one when None.
        is_fixed: whether `Plan.apply` writes exactly this plan. Otherwise it makes a new plan when
            it holds the lock, and writes that one.
        clock: returns the clock for the writes of one apply.
    """
    planner = Planner(workspace, env, names)

    def apply_with(plan: Plan, notice: Notice) -> Applied:
        return _apply(workspace, planner, plan, notice, clock(), is_fixed=is_fixed)

    return _to_plan(workspace, planner.draft(), apply_with)


def make_plan_of_file(workspace: OpenProject, file: Path) -> Plan:
    """Return the plan of a file, computed again.

    Raises:
        UsageError: the file is not a plan of this project.
        CheckFailed: kfgcp.toml, a pipeline or a service has changed since the plan was made, or
            the file was changed.
    """
    saved = read_plan(file)
    project = workspace.project
    if saved.project != project.name:
        raise UsageError(
            f"{file} is a plan of the project '{saved.project}', and this is '{project.name}'.",
            hint=f"Make a new plan: {plan_command(saved.env, saved.names, file)}",
        )
    env = project.env(saved.env).name
    # Another service may not even have the objects that the plan is about.
    if saved.fingerprint.services.get("place", "") != place_of(workspace, env):
        raise _out_of_date([f"the place of {env}"], env, saved.names)
    plan = make_plan(workspace, saved.names, env)
    _refuse_moved(saved.fingerprint, plan.fingerprint, plan, has_changes=bool(plan.changes))
    if saved.changes != plan.to_dict()["changes"]:
        raise CheckFailed(
            f"{file} shows other changes than kfgcp would write now. Nothing was written.",
            hint=f"Make a new plan: {plan_command(saved.env, saved.names, file)}",
        )
    return plan


def make_destroy_plan(workspace: OpenProject, names: Sequence[str], env: str | None) -> Plan:
    """Return a plan that deletes the schedules of the project in an environment.

    Args:
        workspace: the project.
        names: only the schedules with these names; all when empty.
        env: the name of the environment, the default one when None.

    Raises:
        UsageError: the service has no schedule with one of the names.
    """
    planner = Planner(workspace, env, names, destroys=True)

    def apply_with(plan: Plan, notice: Notice) -> Applied:
        return _apply(workspace, planner, plan, notice, Clock(), is_fixed=False)

    return _to_plan(workspace, planner.draft(), apply_with)


def open_services(workspace: OpenProject) -> Services:
    """Return how to reach the schedules on the services of the environments."""

    def open_schedules(env: str) -> SupportsSchedules | None:
        if runs_here(workspace.project.env(env).backend):
            return None
        return capability(workspace.backend(env), SupportsSchedules)

    return Services(open_schedules, partial(hold_lock, workspace))


def _to_plan(
    workspace: OpenProject, draft: Draft, apply_with: Callable[[Plan, Notice], Applied]
) -> Plan:
    return Plan(
        project=workspace.project.name,
        env=draft.selection.env.name,
        names=draft.selection.names,
        changes=draft.changes,
        notes=draft.notes,
        fingerprint=_fingerprint(workspace, draft),
        apply_with=apply_with,
    )


def _fingerprint(workspace: OpenProject, draft: Draft) -> Fingerprint:
    declared: dict[str, str] = {}
    for schedule in draft.schedules:
        if schedule.desired is not None:
            declared[schedule.name] = _declared_text(schedule.desired, schedule.fields)
    versions = {name: versions_text(entries) for name, entries in draft.entries.items()}
    live = {plan.name: live_text(plan.live) for plan in draft.schedules}
    updated = {}
    for schedule in draft.schedules:
        times = [item.updated_at.isoformat() for item in schedule.live]
        if times:
            updated[schedule.name] = max(times)
    services = {"place": place_of(workspace, draft.selection.env.name)}
    if draft.registry is not None:
        services["registry"] = draft.registry.registry
    return Fingerprint(
        services=services,
        pipelines={plan.desired.name: pipeline_text(plan) for plan in draft.pipelines},
        declared=declared,
        versions=versions,
        live=live,
        updated=updated,
    )


def _declared_text(desired: DesiredSchedule, properties: Mapping[str, JsonValue]) -> str:
    """Return the value of a schedule of kfgcp.toml in a fingerprint."""
    # A service may keep these two elsewhere than in the properties of a schedule, or not at all.
    behaviour: dict[str, JsonValue] = {
        "catch_up of kfgcp.toml": desired.catch_up,
        "max_active of kfgcp.toml": desired.max_active,
    }
    fields = {**properties, **behaviour}
    for name in ("template", "entry"):
        # A version that is not pushed yet has no address. `versions` of a fingerprint shows when
        # the entry has changed.
        fields.pop(name, None)
    return applied_digest(fields, paused=desired.paused)


def _apply(
    workspace: OpenProject,
    planner: Planner,
    plan: Plan,
    notice: Notice,
    clock: Clock,
    *,
    is_fixed: bool,
) -> Applied:
    """Write the changes of a plan while this process holds the lock of the environment."""
    with hold_lock(workspace, plan.env) as lock:
        draft = planner.draft()
        if is_fixed:
            now = _fingerprint(workspace, draft)
            _refuse_moved(plan.fingerprint, now, plan, has_changes=bool(draft.changes))
        writer = Writer(
            env=plan.env,
            project=workspace.project.name,
            registry=draft.registry,
            service=draft.service,
            images=draft.images,
            lock=lock,
            clock=clock,
            notice=notice,
        )
        return writer.write(draft.pipelines, draft.schedules)


def hold_lock(workspace: OpenProject, env: str) -> AbstractContextManager[HeldLock]:
    """Return the lock of an environment: on its service, or in the state folder."""
    project = workspace.project
    owner = LockOwner.of_this_process()
    locks = capability(workspace.backend(env), SupportsLock)
    if locks is not None:
        return locks.hold_lock(project.name, owner)
    return FolderLock(project.home).hold_lock(f"{project.name} {env}", owner)


def _refuse_moved(before: Fingerprint, now: Fingerprint, plan: Plan, *, has_changes: bool) -> None:
    """Refuse a plan that is out of date.

    Args:
        before: what the plan was computed from.
        now: what a plan would be computed from now.
        plan: the plan.
        has_changes: whether a plan that is made now has changes.

    Raises:
        CheckFailed: the message names what has changed.
    """
    moves = describe_moves(before, now, plan.env)
    if moves and not has_changes and before.has_same_project(now):
        raise _already_there(plan.env, plan.names)
    if moves:
        raise _out_of_date(moves, plan.env, plan.names)


def _already_there(env: str, names: Sequence[str]) -> CheckFailed:
    """Return the error for a plan whose changes were made before, perhaps by the same plan."""
    return CheckFailed(
        f"The plan is out of date: {env} is already as kfgcp.toml says, so the plan was applied"
        " before, or somebody else made its changes. Nothing was written.",
        hint=f"Check the environment: {plan_command(env, names)}",
    )


def _out_of_date(moves: Sequence[str], env: str, names: Sequence[str]) -> CheckFailed:
    return CheckFailed(
        f"The plan is out of date. Changed since it was made: {', '.join(moves)}. Nothing was"
        " written.",
        hint=f"Make a new plan: {plan_command(env, names)}",
    )
