"""Plans in files: when `kfgcp apply FILE` refuses one, and which commands the hints name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from kfgcp.errors import CheckFailed
from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from patience import REQUEST
from simulated_project import SimulatedWorkspace, write_pipeline, write_project
from simulated_schedules import WITH_UPDATE

CHURN = """
[pipeline.churn]
source = "churn.yaml"
envs = ["dev"]
"""
DAILY = """
[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
"""


@pytest.fixture
def project(home: Path, service: VertexStandIn) -> Path:
    """A project with a pipeline and a schedule for a stand-in of Vertex AI."""
    write_pipeline(home, "churn")
    (home / "kfgcp.toml").write_text(
        f'[project]\nname = "shop"\n{service.toml("dev")}{CHURN}{DAILY}'
    )
    return home


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def hint_of(error: str) -> str:
    return error.splitlines()[-1].removeprefix("hint: Make a new plan: ")


def test_a_plan_is_out_of_date_when_a_key_of_a_schedule_changes(
    project: Path, service: VertexStandIn, kfgcp: Command
) -> None:
    kfgcp("plan", "--env", "dev", "--out", "dev.plan")
    edit(project / "kfgcp.toml", 'cron = "0 6 * * *"', 'cron = "0 6 * * *"\ncatch_up = true')

    refused = kfgcp("apply", "dev.plan")

    assert refused.code == 4
    assert "Changed since it was made: the schedule daily in kfgcp.toml." in refused.err
    assert not [item for item in service.requests.select() if item.method != "GET"]


def test_a_plan_is_out_of_date_when_the_environment_is_elsewhere(
    project: Path, service: VertexStandIn, kfgcp: Command
) -> None:
    kfgcp("plan", "daily", "--env", "dev", "--out", "dev.plan")
    edit(project / "kfgcp.toml", 'location = "europe-west4"', 'location = "us-central1"')

    refused = kfgcp("apply", "dev.plan")

    assert refused.code == 4
    assert "Changed since it was made: the place of dev." in refused.err
    assert hint_of(refused.err) == "kfgcp plan daily --env dev"
    assert not [item for item in service.requests.select() if item.method != "GET"]


def test_a_plan_is_out_of_date_when_the_environment_has_another_registry(home: Path) -> None:
    write_pipeline(home, "churn")
    write_project(home, CHURN + DAILY)
    workspace = SimulatedWorkspace(home, WITH_UPDATE)
    plan = workspace.plan_now()
    workspace.registries["dev"] = workspace.registries["prod"]

    with pytest.raises(CheckFailed, match="Changed since it was made: the registry of dev"):
        plan.apply()

    assert workspace.writes == 0


def test_a_file_with_other_changes_is_refused(
    project: Path, service: VertexStandIn, kfgcp: Command
) -> None:
    kfgcp("plan", "--env", "dev", "--out", "dev.plan")
    saved = json.loads((project / "dev.plan").read_text())
    saved["changes"] = []
    (project / "dev.plan").write_text(json.dumps(saved))

    refused = kfgcp("apply", "dev.plan")

    assert refused.code == 4
    error, hint = refused.err.splitlines()
    assert error.startswith("error: dev.plan shows other changes than kfgcp would write now.")
    assert hint == "hint: Make a new plan: kfgcp plan --env dev --out dev.plan"
    assert not [item for item in service.requests.select() if item.method != "GET"]


@pytest.mark.parametrize("content", ["[" * 200_000, '{"format": [1]}', '{"format": "1\\n2"}'])
def test_a_damaged_file_is_one_line(home: Path, kfgcp: Command, content: str) -> None:
    (home / "deep.plan").write_text(content)

    refused = kfgcp("apply", "deep.plan")

    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: deep.plan is not a plan of kfgcp.",
        "hint: Make a plan in another file: kfgcp plan --env ENV --out FILE",
    ]


def test_a_file_that_is_not_a_plan_is_not_replaced(project: Path, kfgcp: Command) -> None:
    before = (project / "kfgcp.toml").read_text()

    refused = kfgcp("plan", "--env", "dev", "--out", "kfgcp.toml")

    assert refused.code == 2
    error, hint = refused.err.splitlines()
    assert error == "error: kfgcp.toml exists and is not a plan of kfgcp, so it is not replaced."
    assert hint == "hint: Choose another file with --out."
    assert (project / "kfgcp.toml").read_text() == before
    for _ in range(2):
        assert kfgcp("plan", "--env", "dev", "--out", "dev.plan").code == 0


@pytest.mark.parametrize(
    ("file", "argument"), [("my plan.json", "'my plan.json'"), ("churn", "./churn")]
)
def test_hints_name_files_that_the_shell_and_apply_understand(
    project: Path, kfgcp: Command, file: str, argument: str
) -> None:
    planned = kfgcp("plan", "--env", "dev", "--out", file)

    assert planned.err.splitlines()[-1].endswith(f"kfgcp apply {argument}")


def test_a_schedule_that_is_not_deployed_cannot_be_destroyed(project: Path, kfgcp: Command) -> None:
    refused = kfgcp("destroy", "daily", "--env", "dev", "--yes")

    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: The environment 'dev' has no schedule 'daily' of this project, so there is nothing"
        " to delete.",
        "hint: 'dev' has no schedules of this project.",
    ]
    pipeline = kfgcp("destroy", "churn", "--env", "dev", "--yes")
    assert pipeline.err.startswith("error: 'churn' is a pipeline, and only schedules are deleted.")


def test_show_names_the_plan_when_the_schedule_was_changed_by_hand(
    project: Path, service: VertexStandIn, kfgcp: Command
) -> None:
    kfgcp("apply", "--env", "dev", "--yes")
    # Somebody changes the schedule, and kfgcp.toml follows. Nothing is left for apply.
    ref = kfgcp("schedule", "show", "daily", "--json").json["ref"]
    address = f"{service.api_endpoint}/v1/{ref}?updateMask=cron"
    body = {"name": ref, "cron": "CRON_TZ=UTC 0 7 * * *"}
    requests.patch(address, json=body, timeout=REQUEST).raise_for_status()
    edit(project / "kfgcp.toml", "0 6 * * *", "0 7 * * *")

    shown = kfgcp("schedule", "show", "daily")

    assert kfgcp("plan", "--env", "dev", "--exit-code").code == 0
    assert "sets it back" not in shown.err
    assert "To see what differs: kfgcp plan daily --env dev" in shown.err


def test_list_shows_an_interval_as_it_was_written(project: Path, kfgcp: Command) -> None:
    edit(project / "kfgcp.toml", 'cron = "0 6 * * *"', 'every = "6h"')

    listed = kfgcp("schedule", "list")

    assert "every 6h" in listed.out
