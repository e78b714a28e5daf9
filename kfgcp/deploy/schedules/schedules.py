"""The schedules of a project: `Workspace.schedules`."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kfgcp.backends.registry import runs_here
from kfgcp.config import Project
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.schedules.backfill import BackfillStep, plan_backfill, run_backfill
from kfgcp.deploy.schedules.state import hold_schedules, states_folder
from kfgcp.deploy.schedules.tick import Runs, TickAction, TickResult, tick_schedule
from kfgcp.errors import KfgcpError, Unsupported, UsageError
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
    """

    schedule: ProjectSchedule
    next_due: datetime | None

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the schedule as JSON, in the form that `kfgcp schedule list --json` prints."""
        schedule = self.schedule
        return {
            "name": schedule.name,
            "pipeline": schedule.pipeline,
            "env": schedule.env,
            "cron": schedule.cron,
            "every_seconds": schedule.every_seconds,
            "time_zone": schedule.time_zone,
            "paused": schedule.paused,
            "next_due": None if self.next_due is None else self.next_due.isoformat(),
        }


class Schedules:
    """The schedules that kfgcp.toml declares.

    Args:
        project: returns the configuration.
        runs: starts and lists the runs of schedules.
        ended: returns which of some runs have ended, by their ids.
        now: returns the current time, with a zone.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        project: Callable[[], Project],
        runs: Runs,
        ended: Callable[[set[str]], set[str]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._project = project
        self._runs = runs
        self._ended = ended
        self._now = now
        self._sleep = sleep

    def list(self, env: str | None = None) -> builtins.list[ScheduleInfo]:
        """Return the schedules of kfgcp.toml with their next due times.

        Args:
            env: only the schedules of this environment; all when None.

        Raises:
            ConfigError: a table is not valid, or there is no such environment.

        Example::

            [info.next_due for info in kfgcp.Workspace.default().schedules.list()]
        """
        return [self._describe(schedule) for schedule in self._declared(env)]

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
        # The environment of such a table is not reliable, so `env` leaves out none.
        for name, invalid in project.invalid_schedules.items():
            results.append(TickResult(name, TickAction.FAILED, note=invalid.message))
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
                than 1.

        Example::

            backfill = kfgcp.Workspace.default().schedules.backfill
            backfill("daily", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC))
        """
        if parallel < 1:
            raise UsageError(f"A backfill needs at least 1 run at a time, not {parallel}.")
        project = self._project()
        schedule = project.schedule(name)
        steps = plan_backfill(schedule, start, end, self._runs.of(schedule), self._now())
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
        for name in project.invalid_schedules:
            # This raises the error of the table.
            project.schedule(name)
        schedules = project.schedules.values()
        return [schedule for schedule in schedules if env in (None, schedule.env)]

    def _describe(self, schedule: ProjectSchedule) -> ScheduleInfo:
        next_due = None if schedule.paused else schedule.timetable.next(self._now())
        return ScheduleInfo(schedule, next_due)

    def _check_local(self, env: str) -> None:
        environment = self._project().env(env)
        if not runs_here(environment.backend):
            raise Unsupported(
                f"The environment '{env}' runs pipelines on {environment.backend}, which keeps its"
                " schedules itself.",
                hint="`tick` is for environments on this machine. Leave out --env, or name one.",
            )

    def _tick_one(self, schedule: ProjectSchedule) -> builtins.list[TickResult]:
        project = self._project()
        try:
            if not runs_here(project.env(schedule.env).backend):
                return []
            folder = states_folder(project.home, project.name)
            return tick_schedule(folder, schedule, self._runs, self._now())
        except KfgcpError as error:
            return [TickResult(schedule.name, TickAction.FAILED, note=error.message)]
