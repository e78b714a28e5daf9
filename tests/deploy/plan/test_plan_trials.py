"""Plans of random projects, and applies that are killed between any two writes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from kfgcp.backends.schedules import ScheduleFacts
from kfgcp.cron import Timetable
from simulated_project import (
    SimulatedSchedules,
    SimulatedWorkspace,
    write_pipeline,
    write_project,
)
from simulated_schedules import WITH_UPDATE, WITHOUT_UPDATE, KilledError
from trials import Trial

SERVICES = {"update": WITH_UPDATE, "replace": WITHOUT_UPDATE, "only-replace": ScheduleFacts()}
CRONS = ("0 6 * * *", "30 7 * * 1-5", "*/15 * * * *", "@hourly")
TEXTS = ("hello", "goodbye", "thanks")


@dataclass(frozen=True)
class RandomProject:
    """A random project.

    Attributes:
        texts: name of a pipeline -> what it says.
        tags: name of a pipeline -> its tags.
        tables: the tables of kfgcp.toml.
    """

    texts: Mapping[str, str]
    tags: Mapping[str, list[str]]
    tables: str

    @classmethod
    def of(cls, choose: random.Random) -> RandomProject:
        pipelines = [f"p{number}" for number in range(3) if choose.random() < 0.8]
        tables = []
        tags: dict[str, list[str]] = {}
        for pipeline in pipelines:
            tags[pipeline] = choose.choice(([], ["main"], ["main", "stable"]))
            tables.append(f'[pipeline.{pipeline}]\nsource = "{pipeline}.yaml"\nenvs = ["dev"]')
            tables.append(f"tags = {tags[pipeline]}")
            if tags[pipeline]:
                tables.append(_random_schedule(choose, f"{pipeline}-tagged", f"{pipeline}@main"))
            for number in range(choose.randrange(3)):
                name = choose.choice((pipeline, f"{pipeline}@latest"))
                tables.append(_random_schedule(choose, f"{pipeline}-{number}", name))
        texts = {pipeline: choose.choice(TEXTS) for pipeline in pipelines}
        return cls(texts, tags, "\n".join(tables) + "\n")

    def write(self, folder: Path) -> None:
        for name, text in self.texts.items():
            write_pipeline(folder, name, text)
        write_project(folder, self.tables)


def _random_schedule(choose: random.Random, name: str, pipeline: str) -> str:
    lines = [f"[schedule.{name}]", f'pipeline = "{pipeline}"', 'env = "dev"']
    lines.append(f'cron = "{choose.choice(CRONS)}"')
    lines.append(f"params = {{ lr = {choose.choice((0.1, 0.5))} }}")
    lines.append(f"max_active = {choose.choice((1, 3))}")
    if choose.random() < 0.3:
        lines.append('time_param = "day"')
    if choose.random() < 0.3:
        lines.append("catch_up = true")
    if choose.random() < 0.3:
        lines.append("paused = true")
    return "\n".join(lines)


def deployed_state(workspace: SimulatedWorkspace, project: RandomProject) -> object:
    """Return the schedules, and the tags of versions.

    A tag that kfgcp.toml does not declare any more stays: a user may have set it.
    """
    tags = {}
    for name in workspace.registry.list_pipelines():
        for entry in workspace.registry.list_versions(name):
            for tag in entry.tags:
                if tag.startswith("use-") or tag in project.tags.get(name, ()):
                    tags[name, tag] = entry.version
    return workspace.dev.state(), tags


@pytest.mark.trial("a random project applied over another one, compared with an empty service")
@pytest.mark.parametrize("kind", SERVICES)
def test_an_apply_over_another_project_ends_as_on_an_empty_service(
    kind: str, trial: Trial, home: Path
) -> None:
    choose = trial.random()
    for number in range(trial.size(sample=8, proof=500)):
        before, after = RandomProject.of(choose), RandomProject.of(choose)
        folder = home / f"over-{number}"
        empty_folder = home / f"empty-{number}"
        for path in (folder, empty_folder):
            path.mkdir()

        before.write(folder)
        first = SimulatedWorkspace(folder, SERVICES[kind])
        first.apply_now()
        after.write(folder)
        second = SimulatedWorkspace(folder, SERVICES[kind], first.services)
        second.apply_now()
        after.write(empty_folder)
        empty = SimulatedWorkspace(empty_folder, SERVICES[kind])
        empty.apply_now()

        assert second.plan_now().changes == ()
        assert deployed_state(second, after) == deployed_state(empty, after)
        trial.count("pairs", 1)


@pytest.mark.trial("applies killed between any two writes, in simulated time")
@pytest.mark.parametrize("kind", SERVICES)
def test_the_apply_after_killed_ones_ends_as_without_kills(
    kind: str, trial: Trial, home: Path
) -> None:
    choose = trial.random()
    for number in range(trial.size(sample=6, proof=300)):
        folder = home / f"killed-{number}"
        folder.mkdir()
        _write_version(folder, "hello", "*/5 * * * *")
        services = SimulatedWorkspace(folder, SERVICES[kind], seed=choose.getrandbits(32)).services
        _apply(folder, kind, services)
        service = services["dev"]
        service.advance(choose.uniform(0, 900))
        _write_version(folder, "goodbye", "*/5 * * * *")
        for _ in range(choose.randrange(1, 4)):
            kill = choose.randrange(12)
            with suppress(KilledError):
                _apply(folder, kind, services, kill)
            service.kill_after = None
            service.advance(choose.choice((0.0, 20.0, 300.0, 900.0)))
            trial.count("kills", 1)
        workspace = _apply(folder, kind, services)
        service.advance(600)

        assert workspace.plan_now().changes == ()
        assert [enabled for _, enabled in service.state().values()] == [True, True]
        assert service.most_enabled_of == {"one": 1, "two": 1}
        _check_due_times(service)
        [new, _] = workspace.registry.list_versions("p0")
        assert [tag.rpartition("-")[0] for tag in new.tags] == ["use-one", "use-two"]
        trial.count("trials", 1)


def _write_version(folder: Path, text: str, cron: str) -> None:
    write_pipeline(folder, "p0", text)
    schedules = [
        f'[schedule.{name}]\npipeline = "p0"\nenv = "dev"\ncron = "{cron}"\ncatch_up = true\n'
        for name in ("one", "two")
    ]
    write_project(folder, '[pipeline.p0]\nsource = "p0.yaml"\n' + "".join(schedules))


def _apply(
    folder: Path, kind: str, services: dict[str, SimulatedSchedules], kill: int | None = None
) -> SimulatedWorkspace:
    """Apply in a new process, which is killed after some writes to both services."""
    workspace = SimulatedWorkspace(folder, SERVICES[kind], services)
    service = workspace.dev
    registry = workspace.registry
    if kill is not None:
        service.kill_after = service.writes + kill

        def kill_before_write() -> None:
            # A write to the registry counts like one to the service.
            assert service.kill_after is not None
            if service.writes >= service.kill_after:
                raise KilledError
            service.kill_after -= 1

        registry.before_write = kill_before_write
    workspace.apply_now()
    return workspace


def _check_due_times(service: SimulatedSchedules) -> None:
    """Check that each due time of both schedules has started exactly one run."""
    for name in ("one", "two"):
        due_times = sorted(due for due, of in service.started_by if of == name)
        assert len(due_times) == len(set(due_times)), "a run was started twice"
        timetable = Timetable.parse(cron="*/5 * * * *")
        # A run may start some seconds after its due time.
        end = service.now - timedelta(seconds=10)
        expected = timetable.between(due_times[0] - timedelta(seconds=1), end, limit=10_000)
        assert [due for due in expected if due not in due_times] == []
