"""The schedules of a project: `Workspace.schedules`."""

from __future__ import annotations

import builtins
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from kfgcp.backends.registry import runs_here
from kfgcp.config import Project
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.config_tables import InvalidTable, warn_invalid
from kfgcp.deploy.schedules.backfill import BackfillStep, plan_backfill, run_backfill
from kfgcp.deploy.schedules.on_service import DeployedSchedule, Services, ServiceSchedules
from kfgcp.deploy.schedules.state import hold_schedules, states_folder
from kfgcp.deploy.schedules.tick import Runs, TickAction, TickResult, tick_schedule
from kfgcp.errors import KfgcpError, NotWhole, Unsupported, UsageError
from kfgcp.model import JsonValue

# The most due times that `next` computes.
MAX_NEXT: Final = 1000

# How long a backfill waits between two looks at its active runs.
_POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as `kfgcp schedule list` shows it.

    Attributes:
        schedule: its table in kfgcp.toml.
        next_due: its next due time, None when it is paused.
        deployed: the schedule on the service. None when the service does not have it, or on this
            machine.
    """

    schedule: ProjectSchedule
    next_due: datetime | None
    deployed: DeployedSchedule | None = None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the schedule as JSON, in the form that `kfgcp schedule list --json` prints."""
        schedule = self.schedule
        deployed = None if self.deployed is None else self.deployed.to_dict()
        return {
            "name": schedule.name,
            "pipeline": schedule.pipeline,
            "env": schedule.env,
            "cron": schedule.cron,
            "every_seconds": schedule.every_seconds,
            "time_zone": schedule.time_zone,
            "paused": schedule.paused,
            "next_due": None if self.next_due is None else self.next_due.isoformat(),
            "deployed": deployed,
        }


class AllRuns(Runs, Protocol):
    """Starts runs for due times and others."""

    def start_now(self, schedule: ProjectSchedule, now: datetime, version: str) -> str:
        """Start a run that is not for a due time, and return its id.

        Args:
            schedule: the schedule.
            now: the time, with a zone.
            version: the version to run: `sha256:` and digits, or only digits. "" for the version
                that kfgcp.toml names.
        """


class Schedules:
    """The schedules that kfgcp.toml declares.

    Args:
        project: returns the configuration.
        runs: starts and lists the runs of schedules.
        ended: returns which of some runs have ended, by their ids.
        services: how to reach the services of the environments.
        now: returns the current time, with a zone.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        project: Callable[[], Project],
        runs: AllRuns,
        ended: Callable[[set[str]], set[str]],
        services: Services,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._project = project
        self._runs = runs
        self._ended = ended
        self._services = services
        self._now = now
        self._sleep = sleep

    def list(self, env: str | None = None) -> builtins.list[ScheduleInfo]:
        """Return the schedules of kfgcp.toml with their next due times and their live states.

        A service that cannot be reached is a warning, and its schedules have no live state.

        Args:
            env: only the schedules of this environment; all when None.

        Raises:
            ConfigError: a table is not valid, or there is no such environment.

        Example::

            [info.next_due for info in kfgcp.Workspace.default().schedules.list()]
        """
        declared = self._declared(env)
        deployed: dict[str, Mapping[str, DeployedSchedule]] = {}
        for name in dict.fromkeys(schedule.env for schedule in declared):
            deployed[name] = self._read_service(name)
        return [
            self._describe(schedule, deployed[schedule.env].get(schedule.name))
            for schedule in declared
        ]

    def show(self, name: str, env: str | None = None) -> DeployedSchedule:
        """Return a schedule as its service has it.

        Args:
            name: the name of the schedule.
            env: its environment. None for the one in kfgcp.toml.

        Raises:
            UsageError: the service has no schedule with this name and the marker of the project.
            Unsupported: the schedules of the environment are on this machine.
            BackendError: the service refuses or cannot be reached.

        Example::

            kfgcp.Workspace.default().schedules.show("churn-daily").enabled
        """
        return self._on_service().show(name, env)

    def pause(self, name: str, env: str | None = None) -> DeployedSchedule:
        """Pause a schedule on its service, and return it.

        The next apply starts it again, unless kfgcp.toml has `paused = true`.

        Args:
            name: the name of the schedule.
            env: its environment. None for the one in kfgcp.toml.

        Raises:
            UsageError: the service has no schedule with this name and the marker of the project.
            Unsupported: the schedules of the environment are on this machine.
            Locked: an apply is at work.

        Example::

            kfgcp.Workspace.default().schedules.pause("churn-daily").enabled
            # False
        """
        return self._on_service().set_enabled(name, env, enabled=False)

    def resume(self, name: str, env: str | None = None) -> DeployedSchedule:
        """Let a paused schedule start runs again, and return it.

        Args:
            name: the name of the schedule.
            env: its environment. None for the one in kfgcp.toml.

        Raises:
            UsageError: the service has no schedule with this name and the marker of the project.
            Unsupported: the schedules of the environment are on this machine.
            Locked: an apply is at work.

        Example::

            kfgcp.Workspace.default().schedules.resume("churn-daily").enabled
            # True
        """
        return self._on_service().set_enabled(name, env, enabled=True)

    def run(self, name: str) -> str:
        """Start a run of a schedule now, with its parameters and labels, and return its id.

        A schedule on a service starts the version that the service has, also when the file of the
        pipeline has changed since.

        Args:
            name: the name of the schedule.

        Raises:
            ConfigError: there is no such schedule, or its table is not valid.
            BackendError: a service refuses or cannot be reached.

        Example::

            kfgcp.Workspace.default().schedules.run("churn-daily")
        """
        schedule = self._project().schedule(name)
        deployed = self._on_service().of_env(schedule.env).get(name)
        version = "" if deployed is None else str(deployed.fields.get("version", ""))
        return self._runs.start_now(schedule, self._now(), version)

    def next(self, name: str, count: int = 5) -> builtins.list[datetime]:
        """Return the next due times of a schedule, in its time zone. A pause changes nothing.

        Args:
            name: the name of the schedule.
            count: how many times, from 1 to 1000.

        Raises:
            ConfigError: there is no such schedule, or its table is not valid.
            UsageError: `count` is outside its limits.

        Example::

            kfgcp.Workspace.default().schedules.next("churn-daily", 3)
        """
        if not 1 <= count <= MAX_NEXT:
            raise UsageError(f"The number of due times is {count}, not 1 to {MAX_NEXT}.")
        timetable = self._project().schedule(name).timetable
        times: builtins.list[datetime] = []
        after = self._now()
        while len(times) < count:
            due = timetable.next(after)
            if due is None:
                break
            times.append(due)
            after = due
        return times

    def tick(self, env: str | None = None) -> builtins.list[TickResult]:
        """Start the due runs of schedules on this machine. cron or systemd calls it each minute.

        Args:
            env: only the schedules of this environment. When None, those of all environments on
                this machine.

        Returns:
            What was done. A schedule that fails, or whose table is not valid, has a result with the
            error, and does not prevent the others. Empty when another tick is at work.

        Raises:
            ConfigError: there is no such environment.
            Unsupported: the runs of the environment are not on this machine.

        Example::

            kfgcp.Workspace.default().schedules.tick()
        """
        project = self._project()
        if env is not None:
            self._check_local(env)
        results: builtins.list[TickResult] = []
        with hold_schedules(project.home) as is_ours:
            if not is_ours:
                return []
            for schedule in project.schedules.values():
                if env in (None, schedule.env):
                    results += self._tick_one(schedule)
        for name, invalid in project.invalid_schedules.items():
            if self._may_start(invalid, env):
                results.append(TickResult(name, TickAction.FAILED, note=invalid.error.message))
            else:
                warn_invalid(invalid)
        return results

    def backfill(
        self,
        name: str,
        start: datetime,
        end: datetime,
        *,
        parallel: int = 1,
        dry_run: bool = False,
        notice: Callable[[BackfillStep], None] = lambda step: None,
    ) -> builtins.list[BackfillStep]:
        """Start a run for each due time in a range that has none, and wait for the end of all.

        Calling it again continues an interrupted backfill, and its interrupted runs.

        Args:
            name: the name of the schedule.
            start: the first time, with a zone.
            end: the time after the last one, with a zone, not later than now.
            parallel: how many of its runs in the range may be active at the same time.
            dry_run: start nothing.
            notice: called with each run that was started.

        Returns:
            The due times in order, with their runs.

        Raises:
            ConfigError: there is no such schedule, or its table is not valid.
            UsageError: the range is empty or too large or ends in the future, or `parallel` is less
                than 1. Or a service has a run in the range whose due time cannot be told.

        Example::

            backfill = kfgcp.Workspace.default().schedules.backfill
            backfill("daily", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC))
        """
        if parallel < 1:
            raise UsageError(f"A backfill needs at least 1 run at a time, not {parallel}.")
        project = self._project()
        schedule = project.schedule(name)
        steps = plan_backfill(
            schedule,
            start,
            end,
            self._runs.of(schedule),
            self._now(),
            is_deployed=not runs_here(project.env(schedule.env).backend),
        )
        if dry_run:
            return steps
        return run_backfill(
            schedule,
            steps,
            self._runs,
            parallel=parallel,
            hold=lambda: hold_schedules(project.home, wait=True),
            wait_for_one=self._wait_for_one,
            notice=notice,
        )

    def _wait_for_one(self, run_ids: set[str]) -> set[str]:
        while True:
            ended = self._ended(run_ids)
            if ended:
                return ended
            self._sleep(_POLL_SECONDS)

    def _declared(self, env: str | None) -> Sequence[ProjectSchedule]:
        project = self._project()
        if env is not None:
            # This raises the error of an environment that does not exist.
            project.env(env)
        for invalid in project.invalid_schedules.values():
            if env is None or invalid.may_belong_to(env):
                warn_invalid(invalid)
        schedules = project.schedules.values()
        return [schedule for schedule in schedules if env in (None, schedule.env)]

    def _describe(
        self, schedule: ProjectSchedule, deployed: DeployedSchedule | None
    ) -> ScheduleInfo:
        next_due = None if schedule.paused else schedule.timetable.next(self._now())
        return ScheduleInfo(schedule, next_due, deployed)

    def _on_service(self) -> ServiceSchedules:
        return ServiceSchedules(self._project(), self._services, self._now)

    def _read_service(self, env: str) -> Mapping[str, DeployedSchedule]:
        """Return the schedules of the service of an environment. An error is a warning."""
        try:
            return self._on_service().of_env(env)
        except KfgcpError as error:
            message = f"The schedules of '{env}' cannot be read: {error.message}"
            warnings.warn(message, NotWhole, stacklevel=3)
            return {}

    def _check_local(self, env: str) -> None:
        environment = self._project().env(env)
        if not runs_here(environment.backend):
            raise Unsupported(
                f"The environment '{env}' runs pipelines on {environment.backend}, which keeps its"
                " schedules itself.",
                hint="`tick` is for environments on this machine. Leave out --env, or name one.",
            )

    def _may_start(self, invalid: InvalidTable, env: str | None) -> bool:
        """Return whether a schedule that is not valid may be one that a tick has to start."""
        environments = self._project().environments
        for name in invalid.envs:
            if env not in (None, name):
                continue
            environment = environments.get(name)
            if environment is None or runs_here(environment.backend):
                return True
        return not invalid.envs

    def _tick_one(self, schedule: ProjectSchedule) -> builtins.list[TickResult]:
        project = self._project()
        try:
            if not runs_here(project.env(schedule.env).backend):
                return []
            folder = states_folder(project.home, project.name)
            return tick_schedule(folder, schedule, self._runs, self._now())
        except KfgcpError as error:
            return [TickResult(schedule.name, TickAction.FAILED, note=error.message)]
