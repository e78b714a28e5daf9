"""The schedules of a project on the services of its environments: show, pause, resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from kfgcp.backends.locks import HeldLock
from kfgcp.backends.registry import runs_here
from kfgcp.backends.schedules import LiveSchedule, SupportsSchedules
from kfgcp.config import Project
from kfgcp.deploy.plan.commands import apply_command
from kfgcp.deploy.schedules.applied import was_changed_by_hand
from kfgcp.deploy.schedules.ownership import is_own
from kfgcp.deploy.schedules.properties import with_prefix
from kfgcp.errors import BadAnswer, ConfigError, Unsupported, UsageError
from kfgcp.model import JsonValue
from kfgcp.settings import did_you_mean


@dataclass(frozen=True, slots=True)
class DeployedSchedule:
    """A schedule as its service has it.

    Attributes:
        name: its name.
        env: the name of its environment.
        ref: its identity on the service.
        enabled: whether it starts runs.
        changed_by_hand: whether its properties differ from what apply wrote last.
        fields: its properties.
        next_due: its next due time, None when it is disabled or cannot be told.
        last_due: the due time of the last run that it started, None when it is not known.
        updated_at: when it was changed last.
        count: how many schedules have this name. More than one is an apply that is not finished.
    """

    name: str
    env: str
    ref: str
    enabled: bool
    changed_by_hand: bool
    fields: Mapping[str, JsonValue]
    next_due: datetime | None
    last_due: datetime | None
    updated_at: datetime
    count: int = 1

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the schedule as JSON, in the form that `kfgcp schedule show --json` prints."""
        return {
            "name": self.name,
            "env": self.env,
            "ref": self.ref,
            "enabled": self.enabled,
            "changed_by_hand": self.changed_by_hand,
            "fields": _json_fields(self.fields),
            "next_due": _time_text(self.next_due),
            "last_due": _time_text(self.last_due),
            "updated_at": self.updated_at.isoformat(),
            "count": self.count,
        }


def _json_fields(fields: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the properties with the prefix of digests. Services keep the digits only."""
    values = dict(fields)
    for name in ("version", "text"):
        value = values.get(name)
        if isinstance(value, str):
            values[name] = with_prefix(value)
    return values


def _time_text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


@dataclass(frozen=True, slots=True)
class Services:
    """How to reach the services of the environments.

    Attributes:
        open: returns the schedules of an environment, None when its service has none.
        hold_lock: returns the lock of an environment.
    """

    open: Callable[[str], SupportsSchedules | None]
    hold_lock: Callable[[str], AbstractContextManager[HeldLock]]


class ServiceSchedules:
    """The schedules of a project on the services.

    Args:
        project: the project.
        services: how to reach the services.
        now: returns the current time, with a zone.
    """

    def __init__(self, project: Project, services: Services, now: Callable[[], datetime]) -> None:
        self._project = project
        self._services = services
        self._now = now

    def of_env(self, env: str) -> dict[str, DeployedSchedule]:
        """Return the schedules with the marker of the project by their names.

        The result is empty when the service has no schedules.
        """
        service = self._services.open(env)
        if service is None:
            return {}
        deployed = {}
        for name, live in self._ours(service).items():
            deployed[name] = self._describe(env, live)
        return deployed

    def require(self, name: str, env: str) -> DeployedSchedule | None:
        """Return a schedule of kfgcp.toml as its service has it.

        Args:
            name: its name.
            env: its environment.

        Returns:
            None when the environment has no schedules on a service.

        Raises:
            UsageError: the service does not have the schedule.
        """
        if self._services.open(env) is None:
            return None
        deployed = self.of_env(env).get(name)
        if deployed is None:
            raise UsageError(
                f"The schedule '{name}' is in kfgcp.toml, but the service of '{env}' does not have"
                " it yet. Nothing was started.",
                hint=f"Deploy it first: {apply_command(env, [name])}",
            )
        return deployed

    def show(self, name: str, env: str | None) -> DeployedSchedule:
        """Return a schedule.

        Args:
            name: its name.
            env: its environment. None for the one in kfgcp.toml.

        Raises:
            UsageError: the service has no schedule of this name with the marker of the project.
            Unsupported: the environment has no schedules on a service.
        """
        env = self._find_env(name, env)
        return self._describe(env, self._find(self._open(env), name, env))

    def set_enabled(self, name: str, env: str | None, *, enabled: bool) -> DeployedSchedule:
        """Pause or resume a schedule, and return it as the service has it afterwards.

        Args:
            name: its name.
            env: its environment. None for the one in kfgcp.toml.
            enabled: whether it starts runs.

        Raises:
            UsageError: the service has no schedule of this name with the marker of the project, or
                several that are disabled, because an apply is not finished.
            BadAnswer: the service did not keep the change.
        """
        env = self._find_env(name, env)
        service = self._open(env)
        if self._find_one(service, name, env).enabled is enabled:
            return self.show(name, env)
        with self._services.hold_lock(env):
            live = self._find_one(service, name, env)
            if enabled:
                declared = self._project.schedules.get(name)
                catch_up = declared is not None and declared.catch_up
                service.enable_schedule(live, catch_up=catch_up)
            else:
                service.disable_schedule(live)
            after = service.read_schedule(live.ref)
        if after is None or after.enabled is not enabled:
            verb = "resumed" if enabled else "paused"
            raise BadAnswer(
                f"The service answered that the schedule {name} is {verb}, but it is not.",
                hint=f"See what it has: kfgcp schedule show {name}",
            )
        return self._describe(env, [after])

    def _find_env(self, name: str, env: str | None) -> str:
        if env is not None:
            return self._project.env(env).name
        project = self._project
        if name in project.invalid_schedules:
            envs = project.invalid_schedules[name].envs
            if len(envs) == 1:
                # A pause must be possible also while the table is wrong.
                return project.env(envs[0]).name
        if name in project.schedules or name in project.invalid_schedules:
            return project.schedule(name).env
        names = sorted(project.schedules)
        raise ConfigError(
            f"kfgcp.toml has no schedule '{name}', so its environment is not known.",
            hint=f"{did_you_mean(name, names)}If a service still has it, name the environment with"
            f" --env NAME.{self._list_services()}",
        )

    def _list_services(self) -> str:
        """Return the environments that can have schedules on a service, for a hint."""
        names: list[str] = []
        for name, environment in self._project.environments.items():
            if not runs_here(environment.backend):
                names.append(name)
        return f" Environments of services: {', '.join(names)}." if names else ""

    def _open(self, env: str) -> SupportsSchedules:
        service = self._services.open(env)
        if service is None:
            raise Unsupported(
                f"The environment '{env}' has no schedules on a service.",
                hint="`kfgcp schedule tick` starts the runs of its schedules. To pause one, write"
                " paused = true in kfgcp.toml.",
            )
        return service

    def _ours(self, service: SupportsSchedules) -> dict[str, list[LiveSchedule]]:
        by_name: dict[str, list[LiveSchedule]] = {}
        for live in service.list_schedules():
            if is_own(live, self._project.name):
                by_name.setdefault(live.name, []).append(live)
        return by_name

    def _find(self, service: SupportsSchedules, name: str, env: str) -> list[LiveSchedule]:
        ours = self._ours(service)
        if name in ours:
            return ours[name]
        names = sorted(ours)
        listing = f"Its schedules: {', '.join(names)}." if names else "It has none."
        raise UsageError(
            f"The environment '{env}' has no schedule '{name}' of this project.",
            hint=f"{did_you_mean(name, names)}{listing} To create '{name}', declare it in"
            f" kfgcp.toml, then: {apply_command(env, [])}",
        )

    def _find_one(self, service: SupportsSchedules, name: str, env: str) -> LiveSchedule:
        live = self._find(service, name, env)
        enabled = [schedule for schedule in live if schedule.enabled]
        if len(enabled) == 1:
            # The others are disabled, and a later apply deletes them.
            return enabled[0]
        if len(live) > 1:
            raise UsageError(
                f"The environment '{env}' has {len(live)} schedules '{name}', because an apply is"
                " not finished.",
                hint=f"Finish it: kfgcp apply {name} --env {env}",
            )
        return live[0]

    def _describe(self, env: str, live: list[LiveSchedule]) -> DeployedSchedule:
        # During a replacement, the enabled one starts the runs.
        shown = sorted(live, key=lambda item: (not item.enabled, item.created_at))[0]
        next_due = None
        if shown.enabled and shown.timetable is not None:
            next_due = shown.timetable.next(max(self._now(), shown.starts_at))
        return DeployedSchedule(
            name=shown.name,
            env=env,
            ref=shown.ref,
            enabled=shown.enabled,
            changed_by_hand=was_changed_by_hand(shown),
            fields=shown.fields,
            next_due=next_due,
            last_due=shown.last_due,
            updated_at=shown.updated_at,
            count=len(live),
        )
