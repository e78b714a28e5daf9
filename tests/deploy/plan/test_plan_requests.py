"""How many requests a plan and an apply without changes send, by the log of a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path

import pytest

from kfgcp import testing
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from kfgcp.workspace import Workspace
from simulated_project import write_pipeline

StandIn = VertexStandIn | KubeflowStandIn
STAND_INS: dict[str, Callable[[], StandIn]] = {
    "vertex": partial(testing.vertex, mode="instant"),
    "kubeflow": partial(testing.kubeflow, mode="instant", version="2.17.0"),
}
PIPELINES = 50
SCHEDULES = 100


def write_project(folder: Path, service: StandIn) -> None:
    tables = ['[project]\nname = "shop"\n', service.toml("dev")]
    for number in range(PIPELINES):
        write_pipeline(folder, f"p{number}")
        tables.append(f'[pipeline.p{number}]\nsource = "p{number}.yaml"\nenvs = ["dev"]\n')
    for number in range(SCHEDULES):
        name = f"p{number % PIPELINES}" + ("@latest" if number % 3 == 0 else "")
        tables.append(f'[schedule.s{number}]\npipeline = "{name}"\nenv = "dev"')
        tables.append(f'cron = "{number % 60} 6 * * *"\n')
    (folder / "kfgcp.toml").write_text("\n".join(tables))


@pytest.mark.parametrize("backend", sorted(STAND_INS))
def test_reads_are_bounded_and_nothing_is_written_without_changes(home: Path, backend: str) -> None:
    with STAND_INS[backend]() as service:
        write_project(home, service)
        with Workspace(home) as workspace:
            workspace.apply(env="dev")

        before = len(service.requests)
        with Workspace(home) as workspace:
            plan = workspace.plan(env="dev")
        reads = service.requests.select(since=before)
        with Workspace(home) as workspace:
            applied = workspace.apply(env="dev")

        assert plan.changes == applied.changes == ()
        assert len(reads) <= 3 + ceil(SCHEDULES / 100) + PIPELINES
        methods = {request.method for request in service.requests.select(since=before)}
        assert methods == {"GET"}


@pytest.mark.parametrize("backend", sorted(STAND_INS))
def test_only_the_text_of_a_changed_pipeline_is_read(home: Path, backend: str) -> None:
    with STAND_INS[backend]() as service:
        write_project(home, service)
        with Workspace(home) as workspace:
            workspace.apply("p0", "p1", "p2", env="dev")
        write_pipeline(home, "p1", "goodbye")

        before = len(service.requests)
        with Workspace(home) as workspace:
            plan = workspace.plan("p0", "p1", "p2", env="dev")

        assert [change.name for change in plan.changes] == ["p1"]
        assert len(service.requests) - before <= 3 + 1 + 3 + 1
