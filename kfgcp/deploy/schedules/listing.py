"""List schedules: those of kfgcp.toml, and those that only a service has."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kfgcp.backends.registry import runs_here
from kfgcp.config import Project
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.config_tables import warn_invalid
from kfgcp.deploy.schedules.on_service import DeployedSchedule, ServiceSchedules
from kfgcp.errors import KfgcpError, NotWhole
from kfgcp.model import JsonValue


class LiveState(StrEnum):
    """What the service of an environment has of a schedule."""

    ENABLED = "enabled"
    PAUSED = "paused"
    MISSING = "missing"
    UNKNOWN = "unknown"
    THIS_MACHINE = "this machine"


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as `kfgcp schedule list` shows it.

    Attributes:
        name: its name.
        env: the name of its environment.
        schedule: its table in kfgcp.toml, None when only the service has the schedule, or when the
            table is not valid.
        next_due: its next due time, None when it is paused.
        live: what the service has. On this machine, `kfgcp schedule tick` starts the runs.
        deployed: the schedule on the service. None when the service does not have it or cannot be
            read, or on this machine.
        has_invalid_table: whether kfgcp.toml has a table of this name that is not valid.
    """

    name: str
    env: str
    schedule: ProjectSchedule | None
    next_due: datetime | None
    live: LiveState
    deployed: DeployedSchedule | None = None
    has_invalid_table: bool = False

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the schedule as JSON, in the form that `kfgcp schedule list --json` prints."""
        data: dict[str, JsonValue] = {"name": self.name, "env": self.env}
        for key in ("pipeline", "cron", "every_seconds", "time_zone", "paused"):
            data[key] = getattr(self.schedule, key, None)
        data["next_due"] = None if self.next_due is None else self.next_due.isoformat()
        data["declared"] = self.schedule is not None or self.has_invalid_table
        data["live"] = self.live.value
        data["deployed"] = None if self.deployed is None else self.deployed.to_dict()
        return data


def list_schedules(
    project: Project, services: ServiceSchedules, env: str | None, now: datetime
) -> list[ScheduleInfo]:
    """Return the schedules of kfgcp.toml, and then those of the project that only a service has.

    A service that cannot be reached is a warning. So is a table that is not valid.

    Args:
        project: the project.
        services: the schedules on the services.
        env: only the schedules of this environment. When None, those of all environments that a
            table [schedule.X] or [pipeline.X] names.
        now: the time, with a zone.

    Raises:
        ConfigError: there is no such environment.
    """
    if env is not None:
        # This raises the error of an environment that does not exist.
        project.env(env)
    for invalid in project.invalid_schedules.values():
        if env is None or invalid.may_belong_to(env):
            warn_invalid(invalid)
    deployed: dict[str, Mapping[str, DeployedSchedule] | None] = {}
    for name in _environments(project, env):
        deployed[name] = _read_service(services, name)
    infos = [
        _describe(project, schedule, deployed[schedule.env], now)
        for schedule in project.schedules.values()
        if env in (None, schedule.env)
    ]
    on_services: list[DeployedSchedule] = []
    for of_env in deployed.values():
        on_services += (of_env or {}).values()
    infos += [
        _describe_undeclared(project, schedule)
        for schedule in on_services
        if not _is_declared(project, schedule, services, deployed)
    ]
    return infos


def _environments(project: Project, env: str | None) -> Sequence[str]:
    """Return the environments whose schedules are listed."""
    if env is not None:
        return [env]
    names = [schedule.env for schedule in project.schedules.values()]
    for pipeline in project.pipelines.values():
        names += pipeline.envs
    for invalid in project.invalid_schedules.values():
        names += invalid.envs
    return list(dict.fromkeys(names))


def _read_service(services: ServiceSchedules, env: str) -> Mapping[str, DeployedSchedule] | None:
    """Return the schedules of the service of an environment, None after a warning."""
    try:
        return services.of_env(env)
    except KfgcpError as error:
        message = f"The schedules of '{env}' cannot be read: {error.message}"
        warnings.warn(message, NotWhole, stacklevel=4)
        return None


def _is_declared(
    project: Project,
    deployed: DeployedSchedule,
    services: ServiceSchedules,
    read: dict[str, Mapping[str, DeployedSchedule] | None],
) -> bool:
    """Return whether kfgcp.toml has a schedule of a service.

    Two environments can be the same place of the same service. Then both list the same schedule,
    and kfgcp.toml declares it for only one of them.
    """
    name = deployed.name
    if name not in project.schedules:
        return False
    env = project.schedules[name].env
    if env == deployed.env:
        return True
    if env not in read:
        read[env] = _read_service(services, env)
    same_name = (read[env] or {}).get(name)
    return same_name is not None and same_name.ref == deployed.ref


def _describe(
    project: Project,
    schedule: ProjectSchedule,
    of_env: Mapping[str, DeployedSchedule] | None,
    now: datetime,
) -> ScheduleInfo:
    deployed = (of_env or {}).get(schedule.name)
    environment = project.environments.get(schedule.env)
    if deployed is not None:
        live = _live_state(deployed)
    elif environment is not None and runs_here(environment.backend):
        live = LiveState.THIS_MACHINE
    else:
        live = LiveState.UNKNOWN if of_env is None else LiveState.MISSING
    next_due = None if schedule.paused else schedule.timetable.next(now)
    return ScheduleInfo(schedule.name, schedule.env, schedule, next_due, live, deployed)


def _describe_undeclared(project: Project, deployed: DeployedSchedule) -> ScheduleInfo:
    return ScheduleInfo(
        name=deployed.name,
        env=deployed.env,
        schedule=None,
        next_due=deployed.next_due,
        live=_live_state(deployed),
        deployed=deployed,
        has_invalid_table=deployed.name in project.invalid_schedules,
    )


def _live_state(deployed: DeployedSchedule) -> LiveState:
    return LiveState.ENABLED if deployed.enabled else LiveState.PAUSED
