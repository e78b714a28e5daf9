"""Whose schedules a plan changes: the name of the project, copies and other projects."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from kfgcp.errors import ConfigError, UsageError
from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from patience import REQUEST
from simulated_project import TOML, SimulatedWorkspace, write_pipeline, write_project
from simulated_schedules import WITH_UPDATE, WITHOUT_UPDATE

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


@pytest.fixture
def renamed(service: VertexStandIn, kfgcp: Command, home: Path) -> VertexStandIn:
    """A service with the schedule of a project, which somebody has renamed by hand."""
    write_pipeline(home, "churn")
    (home / "kfgcp.toml").write_text(f'[project]\nname = "shop"\n{service.toml("dev")}{TABLES}')
    assert kfgcp("apply", "--env", "dev", "--yes").code == 0
    rename(service, "Nightly")
    return service


def rename(service: VertexStandIn, display_name: str) -> None:
    """Change the display name of the only schedule, as the console does."""
    address = schedule_address(service)
    body = {"displayName": display_name}
    mask = {"updateMask": "displayName"}
    requests.patch(address, params=mask, json=body, timeout=REQUEST).raise_for_status()


def schedule_address(service: VertexStandIn) -> str:
    """Return the address of the only schedule."""
    [created] = service.requests.select(method="POST", path="*/schedules")
    collection = f"{service.api_endpoint}{created.path}"
    [schedule] = requests.get(collection, timeout=REQUEST).json()["schedules"]
    return f"{service.api_endpoint}/v1/{schedule['name']}"


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_renamed_schedule_is_refused_and_named(
    renamed: VertexStandIn, kfgcp: Command, verb: str
) -> None:
    before = len(renamed.requests)

    refused = kfgcp(verb, "--env", "dev", *([] if verb == "plan" else ["--yes"]))

    assert refused.code == 2
    error, hint = refused.err.splitlines()
    schedule_id = schedule_address(renamed).rpartition("/")[2]
    ref = f"projects/{renamed.project}/locations/{renamed.location}/schedules/{schedule_id}"
    assert error == (
        f"error: dev has the schedule daily under another display name: Nightly ({ref}, enabled)."
        " A second one would start each run twice."
    )
    assert hint == (
        "hint: On the service, rename it back to daily, or pause or delete it. Then:"
        " kfgcp plan --env dev"
    )
    assert {request.method for request in renamed.requests.select(since=before)} == {"GET"}


def test_a_schedule_that_was_renamed_back_needs_no_change(
    renamed: VertexStandIn, kfgcp: Command
) -> None:
    rename(renamed, "daily")

    assert kfgcp("plan", "--env", "dev", "--json").json["changes"] == []


def test_a_renamed_schedule_that_is_paused_is_noted_beside_the_new_one(
    renamed: VertexStandIn, kfgcp: Command
) -> None:
    pause = f"{schedule_address(renamed)}:pause"
    requests.post(pause, json={}, timeout=REQUEST).raise_for_status()

    planned = kfgcp("plan", "--env", "dev", "--json").json
    applied = kfgcp("apply", "--env", "dev", "--yes")

    [note] = planned["notes"]
    assert note.startswith("dev has a renamed schedule daily: Nightly (")
    assert applied.code == 0, applied.err
    assert len(renamed.requests.select(method="POST", path="*/schedules")) == 2


def test_destroy_leaves_a_renamed_schedule_alone_and_notes_it(
    renamed: VertexStandIn, kfgcp: Command
) -> None:
    destroyed = kfgcp("destroy", "--env", "dev", "--yes")

    assert destroyed.code == 0, destroyed.err
    assert "dev has a renamed schedule daily: Nightly (" in destroyed.err
    assert renamed.requests.select(method="DELETE", path="*/schedules/*") == []


def test_a_service_that_cannot_rename_is_not_asked_to(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITHOUT_UPDATE)
    workspace.apply_now()
    [row] = workspace.dev.rows.values()
    # The console of Kubeflow makes a copy, and somebody has deleted the first one.
    row.live = replace(row.live, display_name="Clone of daily")

    with pytest.raises(UsageError) as refused:
        workspace.plan_now()

    assert refused.value.hint == ("On the service, pause or delete it. Then: kfgcp plan --env dev")


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
