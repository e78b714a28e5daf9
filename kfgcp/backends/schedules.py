"""The interface of schedules: what a backend does to keep schedules on its service.

A schedule of kfgcp.toml is a `DesiredSchedule`. What the service has is a `LiveSchedule`.
`kfgcp.deploy.schedules.steps` compares the two, and says which single write comes next. A backend
only executes writes, and reads back what the service has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, runtime_checkable

from kfgcp.backends.base import SubmitRequest
from kfgcp.cron import Timetable
from kfgcp.model import JsonValue


@dataclass(frozen=True, slots=True)
class DesiredSchedule:
    """A schedule as kfgcp.toml declares it.

    Attributes:
        project: the name of the project, for the marker.
        name: the name of the schedule, `churn-daily` for [schedule.churn-daily].
        timetable: when it starts runs.
        request: the run that it starts. `request.spec.registered` names the version in the registry
            of the environment. The parameters have no value for `time_param`.
        time_param: the parameter that receives the due time, "" for none.
        catch_up: whether due times that were missed, for example during a pause, are started later.
        max_active: how many of its runs may be active at the same time.
        paused: whether it starts no runs.
    """

    project: str
    name: str
    timetable: Timetable
    request: SubmitRequest
    time_param: str = ""
    catch_up: bool = False
    max_active: int = 1
    paused: bool = False


@dataclass(frozen=True, slots=True)
class LiveSchedule:
    """A schedule as the service has it.

    Attributes:
        ref: the identity on the service. It never changes.
        project: the marker of the project, "" for a schedule that kfgcp did not make.
        name: the marker of the name, "" for a schedule that kfgcp did not make.
        display_name: the name that people see.
        enabled: whether it starts runs.
        fields: its properties, in the form of `SupportsSchedules.fields_of`: name of the property
            -> value. Properties that the service fills in by itself are left out.
        timetable: when it starts runs, None when kfgcp cannot read it.
        created_at: when it was created.
        updated_at: when it was changed last.
        starts_at: the time after which it may start runs. It is `created_at` without a start time.
        disabled_at: when it was disabled last, None when it is enabled or the time is not known.
        last_due: the due time of the last run that it started, None when it is not known.
        next_due: the first due time that it has not handled, None when it is disabled or the
            service does not say. In the past, due times wait for the end of active runs.
        handled_until: when it is disabled: the due times until then were started or will not be.
            None when it is not known.
        applied: the marker of what `apply` wrote last, see `kfgcp.backends.applied`. "" without
            one.
        is_busy: whether its active runs would end when it is deleted. It is deleted later.
    """

    ref: str
    project: str
    name: str
    display_name: str
    enabled: bool
    fields: Mapping[str, JsonValue]
    timetable: Timetable | None
    created_at: datetime
    updated_at: datetime
    starts_at: datetime
    disabled_at: datetime | None = None
    last_due: datetime | None = None
    next_due: datetime | None = None
    handled_until: datetime | None = None
    applied: str = ""
    is_busy: bool = False


class FiredRun(NamedTuple):
    """The run of a due time.

    Attributes:
        run_id: the id of the run.
        is_new: whether this call has started it.
        is_active: whether it has not ended.
    """

    run_id: str
    is_new: bool
    is_active: bool


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """Constant properties of the schedules of a service.

    Attributes:
        has_update: whether the properties of a schedule can be changed. A service may refuse to
            remove a property.
        creates_disabled: whether a schedule can be created disabled.
        fires_missed: whether a schedule starts the due times after its `starts_at` that passed
            before it was enabled: all of them with `catch_up`, else the last one.
        deletion_ends_runs: whether the deletion of a schedule ends its active runs. An enabled
            schedule is disabled first, and deleted when none of its runs is active.
    """

    has_update: bool = False
    creates_disabled: bool = False
    fires_missed: bool = False
    deletion_ends_runs: bool = False


@runtime_checkable
class SupportsSchedules(Protocol):
    """Keeps schedules on its service.

    Each method raises the errors of `kfgcp.errors`. When a method that writes raises an error with
    `unknown` set, the write may have happened. Then the caller reads the service again.
    """

    @property
    def schedule_facts(self) -> ScheduleFacts:
        """Constant properties of the service."""

    def clock_offset(self) -> timedelta:
        """Return how far the clock of the service is ahead of the clock of this machine.

        It is measured once. The first call may cost a request.
        """

    def list_schedules(self) -> Sequence[LiveSchedule]:
        """Return all schedules of the place, also those that kfgcp did not make.

        It costs one request for 100 schedules.
        """

    def read_schedule(self, ref: str) -> LiveSchedule | None:
        """Return a schedule, None when it does not exist."""

    def fields_of(self, desired: DesiredSchedule) -> Mapping[str, JsonValue]:
        """Return the properties that a schedule must have on this service.

        The names are those that users know, such as `cron`, `params.lr`, `version`, `max_active`.
        `enabled` is not among them.

        Raises:
            Unsupported: the service cannot do what the schedule asks for, or a name is over its
                limits. Nothing was sent.
        """

    def prepare_runs(self, desired: DesiredSchedule) -> None:
        """Create what the runs of a schedule need, such as their experiment.

        It may take long, so it happens before the service is asked whether a due time is near.
        """

    def create_schedule(
        self, desired: DesiredSchedule, *, enabled: bool, starts_at: datetime | None
    ) -> str:
        """Create a schedule with the markers, and return its identity.

        Args:
            desired: the schedule.
            enabled: whether it starts runs. Always True on a service that creates no disabled ones.
            starts_at: the time after which it may start runs, None for now.
        """

    def update_schedule(
        self, live: LiveSchedule, desired: DesiredSchedule, fields: Sequence[str]
    ) -> None:
        """Change exactly the named properties of a schedule."""

    def enable_schedule(self, live: LiveSchedule, *, catch_up: bool) -> None:
        """Let a schedule start runs again."""

    def disable_schedule(self, live: LiveSchedule) -> None:
        """Let a schedule start no runs."""

    def delete_schedule(self, live: LiveSchedule) -> None:
        """Delete a schedule. Its runs stay. Do nothing when it does not exist."""

    def fire(self, desired: DesiredSchedule, due: datetime) -> FiredRun:
        """Start the run of a due time, unless there is one already, and return it.

        Two calls for the same due time start one run, also when the answer of the first was lost.
        """


@dataclass(frozen=True, slots=True)
class OtherScheduler:
    """Something besides the schedules of the service that starts a pipeline at due times.

    Attributes:
        title: what it is, for messages: `the job kfgcp-daily of Cloud Scheduler`.
        pipeline: the name of the pipeline in the registry.
        due: when it starts runs, as it says so itself.
    """

    title: str
    pipeline: str
    due: str


@runtime_checkable
class FindsOtherSchedulers(Protocol):
    """Can find what else starts pipelines at due times."""

    def find_other_schedulers(self) -> Sequence[OtherScheduler]:
        """Return what starts pipelines of registries. It costs at most one request.

        Raises:
            BackendError: the service of the other schedulers refuses or cannot be reached.
        """
