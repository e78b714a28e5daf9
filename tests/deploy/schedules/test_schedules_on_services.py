"""`kfgcp schedule` for schedules that only kfgcp.toml has, or only a service."""

from __future__ import annotations

from pathlib import Path

from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from simulated_project import write_pipeline

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
WEEKLY = DAILY.replace("daily", "weekly").replace("* * *", "* * 1")
HERE = DAILY.replace("daily", "here").replace('"dev"', '"local"')


def write_tables(home: Path, service: VertexStandIn, tables: str) -> None:
    write_pipeline(home, "churn")
    (home / "kfgcp.toml").write_text(f'[project]\nname = "shop"\n{service.toml("dev")}{tables}')


def test_list_says_where_each_schedule_is(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_tables(home, service, CHURN + DAILY)
    assert kfgcp("apply", "--env", "dev", "--yes").code == 0
    write_tables(home, service, CHURN + WEEKLY + HERE)

    listed = kfgcp("schedule", "list", "--json").json
    table = kfgcp("schedule", "list").out

    assert [(row["name"], row["live"], row["declared"]) for row in listed] == [
        ("weekly", "missing", True),
        ("here", "this machine", True),
        ("daily", "enabled", False),
    ]
    assert "enabled, not in kfgcp.toml" in table
    of_local = kfgcp("schedule", "list", "--env", "local", "--json").json
    assert [row["name"] for row in of_local] == ["here"]


def test_list_says_when_a_service_cannot_be_reached(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_tables(home, service, CHURN + DAILY)
    service.fail_next("403", method="GET", path="*/schedules*")

    listed = kfgcp("schedule", "list", "--json")

    assert [row["live"] for row in listed.json] == ["unknown"]
    assert "note: The schedules of 'dev' cannot be read: " in listed.err


def test_list_does_not_show_one_schedule_for_two_names_of_a_place(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    second = service.toml("second")
    write_tables(home, service, second + CHURN.replace('["dev"]', '["dev", "second"]') + DAILY)
    assert kfgcp("apply", "--env", "dev", "--yes").code == 0

    listed = kfgcp("schedule", "list", "--json").json
    of_second = kfgcp("schedule", "list", "--env", "second", "--json").json

    assert [(row["name"], row["env"]) for row in listed] == [("daily", "dev")]
    assert of_second == []


def test_a_schedule_that_is_not_deployed_starts_nothing(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_tables(home, service, CHURN + DAILY)

    refused = kfgcp("schedule", "run", "daily")

    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: The schedule 'daily' is in kfgcp.toml, but the service of 'dev' does not have it"
        " yet. Nothing was started.",
        "hint: Deploy it first: kfgcp apply daily --env dev",
    ]
    assert service.requests.count("POST", "*/pipelineJobs") == 0


def test_a_schedule_that_left_kfgcp_toml_can_be_paused(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_tables(home, service, CHURN + DAILY)
    kfgcp("apply", "--env", "dev", "--yes")
    write_tables(home, service, CHURN)

    refused = kfgcp("schedule", "pause", "daily")
    paused = kfgcp("schedule", "pause", "daily", "--env", "dev")

    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: kfgcp.toml has no schedule 'daily', so its environment is not known.",
        "hint: If a service still has it, name the environment with --env NAME. Environments of"
        " services: dev.",
    ]
    assert paused.out == "daily  paused  env dev\n"
    assert "The next apply deletes it" in paused.err


def test_a_schedule_whose_table_is_wrong_can_be_paused(
    service: VertexStandIn, kfgcp: Command, home: Path
) -> None:
    write_tables(home, service, CHURN + DAILY)
    kfgcp("apply", "--env", "dev", "--yes")
    write_tables(home, service, CHURN + DAILY + "max_active = 99\n")

    assert kfgcp("schedule", "pause", "daily").out == "daily  paused  env dev\n"
