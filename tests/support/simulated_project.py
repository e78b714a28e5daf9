"""A project whose environment has a simulated service with schedules, and a registry in a folder.

The environments `dev` and `prod` of kfgcp.toml have the backend `vertex`. A `SimulatedWorkspace`
sends nothing to Vertex AI: its backends are simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import cast

from kfgcp.backends.applied import applied_digest
from kfgcp.backends.base import Backend, CapabilityT, SupportsRefresh
from kfgcp.backends.local.versions import LocalVersions
from kfgcp.backends.locks import HeldLock, LockOwner, SupportsLock, locked_error
from kfgcp.backends.schedules import (
    DesiredSchedule,
    LiveSchedule,
    ScheduleFacts,
    SupportsSchedules,
)
from kfgcp.backends.versions import RegisteredVersion, SupportsVersions, VersionUpload
from kfgcp.deploy.plan.plan import Applied, Plan
from kfgcp.deploy.schedules.converge import Clock
from kfgcp.errors import Unsupported
from kfgcp.model import JsonValue
from kfgcp.tracking.deployment import make_plan
from kfgcp.workspace import Workspace
from simulated_schedules import Row, SimulatedService

TOML = """
[project]
name = "shop"

[env.dev]
backend = "vertex"
project = "acme-dev"
location = "europe-west4"
pipeline_root = "gs://acme-dev/runs"

[env.prod]
backend = "vertex"
project = "acme-prod"
location = "europe-west4"
pipeline_root = "gs://acme-prod/runs"
"""


class SimulatedSchedules(SimulatedService):
    """The schedules of a simulated service, with all properties that users know.

    Attributes:
        reads: how many lists and single schedules were read.
        most_enabled_of: name of a schedule -> the most enabled ones at any moment.
    """

    def __init__(self, facts: ScheduleFacts, seed: int = 1, fault_rate: float = 0.0) -> None:
        super().__init__(facts, seed, fault_rate)
        self.reads = 0
        self._names: dict[str, str] = {}
        self.most_enabled_of: dict[str, int] = {}
        self.refused: dict[str, Exception] = {}

    def fields_of(self, desired: DesiredSchedule) -> Mapping[str, JsonValue]:
        spec = desired.request.spec
        assert spec.registered is not None
        fields: dict[str, JsonValue] = {
            "cron": desired.timetable.text,
            "time_zone": desired.timetable.time_zone,
            "pipeline": spec.name,
            "version": spec.version,
            "max_active": desired.max_active,
        }
        for name, value in desired.request.params.items():
            fields[f"params.{name}"] = cast(JsonValue, value)
        if desired.time_param:
            fields["time_param"] = desired.time_param
        if desired.catch_up:
            fields["catch_up"] = True
        return fields

    def list_schedules(self) -> Sequence[LiveSchedule]:
        self.reads += 1
        return super().list_schedules()

    def create_schedule(
        self, desired: DesiredSchedule, *, enabled: bool, starts_at: datetime | None
    ) -> str:
        assert " " not in _ref(desired), "a schedule names a version that is not pushed"
        if desired.name in self.refused:
            raise self.refused[desired.name]
        return super().create_schedule(desired, enabled=enabled, starts_at=starts_at)

    def change_by_hand(self, name: str, **fields: JsonValue) -> None:
        """Change properties of a schedule as somebody else does."""
        row = self._row(name)
        row.live = replace(row.live, fields={**row.live.fields, **fields}, updated_at=self.now)

    def pause_by_hand(self, name: str) -> None:
        row = self._row(name)
        row.live = replace(row.live, enabled=False, updated_at=self.now, disabled_at=self.now)

    def add_foreign(self, name: str, project: str = "") -> None:
        """Add a schedule that this project did not make."""
        live = LiveSchedule(
            ref=f"foreign-{name}",
            project=project,
            name=name if project else "",
            display_name=name,
            enabled=False,
            fields={},
            timetable=None,
            created_at=self.now,
            updated_at=self.now,
            starts_at=self.now,
        )
        some_row = next(iter(self.rows.values()))
        self.rows[live.ref] = replace(some_row, live=live)

    def state(self) -> dict[str, tuple[dict[str, JsonValue], bool]]:
        """Return the properties of each schedule, and whether it is enabled."""
        lives = [row.live for row in self.rows.values()]
        names = [live.name for live in lives]
        assert len(names) == len(set(names)), "two schedules of one name"
        return {live.name: (dict(live.fields), live.enabled) for live in lives}

    @property
    def started_by(self) -> list[tuple[datetime, str]]:
        """The due times of the runs that were started, with the names of the schedules."""
        return [
            (due, self._names.get(ref, ref.removeprefix("fired-"))) for due, ref in self.started
        ]

    def _row(self, name: str) -> Row:
        [row] = [row for row in self.rows.values() if row.live.name == name]
        return row

    def _after_write(self) -> None:
        for row in self.rows.values():
            self._names[row.live.ref] = row.live.name
            if row.live.updated_at == self.now:
                self._mark(row)
        counts: dict[str, int] = {}
        for row in self.rows.values():
            counts[row.live.name] = counts.get(row.live.name, 0) + row.live.enabled
        for name, count in counts.items():
            self.most_enabled_of[name] = max(self.most_enabled_of.get(name, 0), count)
        super()._after_write()

    def _mark(self, row: Row) -> None:
        applied = applied_digest(row.live.fields, paused=False)
        row.live = replace(row.live, applied=applied)


def _ref(desired: DesiredSchedule) -> str:
    registered = desired.request.spec.registered
    assert registered is not None
    return registered.ref


class CountedVersions(LocalVersions):
    """A registry in a folder that counts its requests, as a registry on a service has them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reads = 0
        self.writes = 0
        self.has_tags = True
        self.before_write: Callable[[], None] = lambda: None

    def list_pipelines(self) -> Sequence[str]:
        self.reads += 1
        return super().list_pipelines()

    def list_versions(self, pipeline: str) -> Sequence[RegisteredVersion]:
        self.reads += 1
        return super().list_versions(pipeline)

    def read_text(self, version: RegisteredVersion) -> str:
        self.reads += 1
        return super().read_text(version)

    def require_tags(
        self, tags: Sequence[str] = (), version: RegisteredVersion | None = None
    ) -> None:
        if not self.has_tags:
            raise Unsupported("The server has no tags.")

    def upload(self, upload: VersionUpload) -> RegisteredVersion:
        self._count_write()
        return super().upload(upload)

    def set_tag(self, version: RegisteredVersion, tag: str, *, fixed: bool = False) -> None:
        self._count_write()
        super().set_tag(version, tag, fixed=fixed)

    def remove_tag(self, version: RegisteredVersion, tag: str) -> None:
        self._count_write()
        super().remove_tag(version, tag)

    def _count_write(self) -> None:
        self.before_write()
        self.writes += 1


@dataclass
class Locks:
    """Locks of a simulated service. holders: name of a lock -> its owner."""

    holders: dict[str, LockOwner] = field(default_factory=dict)
    held_count: int = 0

    @contextmanager
    def hold_lock(self, name: str, owner: LockOwner) -> Iterator[HeldLock]:
        if name in self.holders:
            raise locked_error(name, self.holders[name])
        self.holders[name] = owner
        self.held_count += 1
        try:
            yield self
        finally:
            del self.holders[name]

    def check(self) -> None:
        """Do nothing: nobody takes these locks over."""


@dataclass(frozen=True)
class Place:
    """The part of a backend that says where its runs are."""

    place: str


class SimulatedBackend:
    """The backend of an environment. Its parts are simulated."""

    def __init__(
        self,
        place: str,
        schedules: SimulatedSchedules | None,
        versions: CountedVersions | None,
        locks: Locks,
    ) -> None:
        self._parts: dict[object, object | None] = {
            SupportsSchedules: schedules,
            SupportsVersions: versions,
            SupportsLock: locks,
            SupportsRefresh: Place(place),
        }

    def capability(self, protocol: type[CapabilityT]) -> CapabilityT | None:
        return cast("CapabilityT | None", self._parts.get(protocol))


class SimulatedWorkspace(Workspace):
    """A project with simulated services. Each environment has its own.

    Args:
        folder: the folder with kfgcp.toml.
        facts: how the services behave.
        services: the schedules by environment, to continue with those of another workspace.
        seed: for the moments at which runs start.
    """

    def __init__(
        self,
        folder: Path,
        facts: ScheduleFacts,
        services: dict[str, SimulatedSchedules] | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__(folder)
        self._root = folder
        self.services = services if services is not None else {}
        for env in ("dev", "prod"):
            self.services.setdefault(env, SimulatedSchedules(facts, seed))
        self.registries = {
            env: CountedVersions(folder / f"registry-{env}") for env in ("dev", "prod")
        }
        self.locks = Locks()
        self.places = {"dev": "acme-dev", "prod": "acme-prod"}

    @property
    def dev(self) -> SimulatedSchedules:
        """The schedules of `dev`."""
        return self.services["dev"]

    @property
    def registry(self) -> CountedVersions:
        """The registry of `dev`."""
        return self.registries["dev"]

    def backend(self, env: str | None = None) -> Backend:
        name = self.project.env(env).name
        if name not in self.services:
            return super().backend(env)
        backend = SimulatedBackend(
            self.places[name], self.services[name], self.registries[name], self.locks
        )
        return cast(Backend, backend)

    def plan_now(self, *names: str, env: str = "dev", is_fixed: bool = True) -> Plan:
        """Return a plan that is applied in simulated time."""
        service = self.services[env]

        def clock() -> Clock:
            return Clock(now=lambda: service.now, sleep=service.advance)

        return make_plan(self, names, env, is_fixed=is_fixed, clock=clock)

    def apply_now(self, *names: str, env: str = "dev") -> Applied:
        """Apply in simulated time."""
        return self.plan_now(*names, env=env).apply()

    @property
    def writes(self) -> int:
        """How many writes the services of `dev` have had."""
        return self.dev.writes + self.registry.writes


PIPELINE = """
pipelineInfo: {{name: {name}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
root:
  dag:
    tasks:
      say:
        componentRef: {{name: comp-say}}
        taskInfo: {{name: say}}
  inputDefinitions:
    parameters:
      lr: {{parameterType: NUMBER_DOUBLE, defaultValue: 0.1, isOptional: true}}
      day: {{parameterType: STRING, defaultValue: today, isOptional: true}}
components:
  comp-say: {{executorLabel: exec-say}}
deploymentSpec:
  executors:
    exec-say:
      container:
        image: python:3.12
        command: [echo, {text}]
"""


def write_pipeline(folder: Path, name: str, text: str = "hello") -> Path:
    """Write a compiled pipeline, and return its file."""
    file = folder / f"{name}.yaml"
    file.write_text(PIPELINE.format(name=name, text=text))
    return file


def write_project(folder: Path, tables: str) -> None:
    """Write kfgcp.toml with the environments of `TOML` and other tables."""
    (folder / "kfgcp.toml").write_text(TOML + tables)
