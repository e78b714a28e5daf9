"""The schedules of a project: `Workspace.schedules`."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

from kfgcp.backends.registry import runs_here
from kfgcp.config import Project
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.config_tables import InvalidTable, warn_invalid
from kfgcp.deploy.schedules.backfill import BackfillStep, plan_backfill, run_backfill
from kfgcp.deploy.schedules.listing import ScheduleInfo, list_schedules
from kfgcp.deploy.schedules.on_service import DeployedSchedule, Services, ServiceSchedules
from kfgcp.deploy.schedules.state import hold_schedules, states_folder
from kfgcp.deploy.schedules.tick import Runs, TickAction, TickResult, tick_schedule
from kfgcp.errors import KfgcpError, Unsupported, UsageError
from kfgcp.model import Run

# The most due times that `next` computes.
MAX_NEXT: Final = 1000

# The seconds between two looks of a backfill at its active runs.
_POLL_SECONDS: Final = 1.0


class AllRuns(Runs, Protocol):
    """Starts and lists the runs of schedules: those of due times, and those that users start."""

    def unclear(self, schedule: ProjectSchedule) -> list[Run]:
        """Return the runs that may belong to the schedule, but may also belong to another one."""

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
        ended: takes the ids of runs, and returns the ids of those that have ended.
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
        """Return the schedules of kfgcp.toml, and those of the project that only a service has.

        A service that cannot be reached is a warning, and so is a table that is not valid.

        Args:
            env: only the schedules of this environment. When None, those of all environments that a
                table [schedule.X] or [pipeline.X] names.

        Raises:
            ConfigError: there is no such environment.

        Example::

            [info.next_due for info in kfgcp.Workspace.default().schedules.list()]
        """
        return list_schedules(self._project(), self._on_service(), env, self._now())

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
            UsageError: the service does not have the schedule yet.
            BackendError: a service refuses or cannot be reached.

        Example::

            kfgcp.Workspace.default().schedules.run("churn-daily")
        """
        schedule = self._project().schedule(name)
        deployed = self._on_service().require(name, schedule.env)
        version = "" if deployed is None else str(deployed.fields.get("version", ""))
        return self._runs.start_now(schedule, self._now(), version)

    def next(self, name: str, count: int = 5) -> builtins.list[datetime]:
        """Return the next due times of a schedule, in its time zone, also when it is paused.

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
            notice: called with each due time as soon as it has a run: first with those whose run
                existed, then with each run that was started.

        Returns:
            The due times in order, with their runs and the states of these.

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
        is_deployed = not runs_here(project.env(schedule.env).backend)
        runs = list(self._runs.of(schedule))
        if is_deployed:
            runs += self._runs.unclear(schedule)
        now = self._now()
        steps = plan_backfill(schedule, start, end, runs, now, is_deployed=is_deployed)
        if dry_run:
            return _with_states(steps, runs)
        for step in _with_states(steps, runs):
            if step.existed:
                notice(step)
        done = run_backfill(
            schedule,
            steps,
            self._runs,
            parallel=parallel,
            hold=lambda: hold_schedules(project.home, wait=True),
            wait_for_one=self._wait_for_one,
            notice=notice,
        )
        return _with_states(done, self._runs.of(schedule))

    def _wait_for_one(self, run_ids: set[str]) -> set[str]:
        while True:
            ended = self._ended(run_ids)
            if ended:
                return ended
            self._sleep(_POLL_SECONDS)

    def _on_service(self) -> ServiceSchedules:
        return ServiceSchedules(self._project(), self._services, self._now)

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


def _with_states(steps: Sequence[BackfillStep], runs: Iterable[Run]) -> list[BackfillStep]:
    """Return the steps of a backfill with the states of their runs."""
    states = {run.run_id: run.state for run in runs}
    return [replace(step, state=states.get(step.run_id or "")) for step in steps]
