"""Whose schedules a plan changes: the name of the project, copies and other projects."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import requests

from kfgcp.errors import ConfigError
from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from patience import REQUEST
from simulated_project import TOML, SimulatedWorkspace, write_pipeline, write_project
from simulated_schedules import WITH_UPDATE

TABLES = """
[pipeline.churn]
source = "churn.yaml"
envs = ["dev"]

[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
"""


@pytest.fixture
def folder(home: Path) -> Path:
    """A project with a pipeline and a schedule."""
    write_pipeline(home, "churn")
    write_project(home, TABLES)
    return home


@pytest.mark.parametrize("verb", ["plan", "apply", "destroy"])
def test_a_project_without_a_name_is_refused_for_a_service(
    folder: Path, kfgcp: Command, verb: str
) -> None:
    unnamed = TOML.replace('name = "shop"\n', "")
    (folder / "kfgcp.toml").write_text(unnamed + TABLES)

    refused = kfgcp(verb, "--env", "dev", *([] if verb == "plan" else ["--yes"]))

    assert refused.code == 2
    error, hint = refused.err.splitlines()
    assert error.startswith("error: kfgcp.toml does not name the project")
    assert hint == f'hint: Add this line to its table [project]: name = "{folder.name}"'


def test_a_project_without_a_name_is_allowed_on_this_machine(folder: Path, kfgcp: Command) -> None:
    (folder / "kfgcp.toml").write_text('[pipeline.churn]\nsource = "churn.yaml"\n')

    planned = kfgcp("plan", "--env", "local")

    assert planned.code == 0, planned.err


def test_a_schedule_of_the_same_name_of_another_project_is_noted(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    workspace.dev.add_foreign("daily", project="checkout")
    workspace.dev.add_foreign("weekly", project="checkout")

    plan = workspace.plan_now()

    assert plan.changes == ()
    [note] = plan.notes
    assert note.startswith(
        "dev has a schedule daily of the project 'checkout' too: daily (foreign-daily, paused)."
    )


@pytest.fixture
def copied(service: VertexStandIn, kfgcp: Command, home: Path) -> VertexStandIn:
    """A service with the schedule of a project, and a copy of it that somebody made by hand."""
    write_pipeline(home, "churn")
    (home / "kfgcp.toml").write_text(f'[project]\nname = "shop"\n{service.toml("dev")}{TABLES}')
    assert kfgcp("apply", "--env", "dev", "--yes").code == 0
    [created] = service.requests.select(method="POST", path="*/schedules")
    body = copy.deepcopy(created.body)
    assert isinstance(body, dict)
    body["displayName"] = "Ada's own"
    address = f"{service.api_endpoint}{created.path}"
    requests.post(address, json=body, timeout=REQUEST).raise_for_status()
    return service


def test_a_copy_with_another_display_name_is_noted_and_never_changed(
    copied: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    planned = kfgcp("plan", "--env", "dev", "--json").json
    assert planned["changes"] == []
    [note] = planned["notes"]
    assert note.startswith("dev has a copy of the schedule daily: Ada's own (")
    assert ", enabled). kfgcp does not change it" in note

    assert kfgcp("schedule", "pause", "daily").code == 0
    assert kfgcp("destroy", "--env", "dev", "--yes").code == 0
    assert kfgcp("destroy", "--env", "dev", "--yes").code == 0

    deletions = copied.requests.select(method="DELETE", path="*/schedules/*")
    assert len(deletions) == 1


def test_a_deletion_names_the_schedule_that_goes(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    [ref] = workspace.dev.rows
    write_project(folder, "")
    workspace = SimulatedWorkspace(folder, WITH_UPDATE, workspace.services)

    [change] = workspace.plan_now().changes

    assert f"deleted: daily ({ref}, enabled)" in change.lines


def test_the_error_of_a_missing_name_comes_before_any_request(folder: Path) -> None:
    (folder / "kfgcp.toml").write_text(TOML.replace('name = "shop"\n', "") + TABLES)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)

    with pytest.raises(ConfigError, match="does not name the project"):
        workspace.plan_now()

    assert (workspace.dev.reads, workspace.registry.reads) == (0, 0)
