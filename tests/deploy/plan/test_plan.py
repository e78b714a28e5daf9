"""What a plan changes, and that an apply brings a service there, with a simulated service."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfgcp.backends.locks import Locked, LockOwner
from kfgcp.backends.schedules import ScheduleFacts
from kfgcp.backends.versions import short_version
from kfgcp.deploy.plan.use_tags import use_tag
from kfgcp.errors import BackendError, CheckFailed, ConfigError, ParamError, UsageError
from simulated_project import SimulatedWorkspace, write_pipeline, write_project
from simulated_schedules import WITH_UPDATE, WITHOUT_UPDATE

SERVICES = {"update": WITH_UPDATE, "replace": WITHOUT_UPDATE}
TAG = use_tag("daily", "shop", "acme-dev")
CHURN = """
[pipeline.churn]
source = "churn.yaml"
envs = ["dev"]
tags = ["main"]
"""
DAILY = """
[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
params = { lr = 0.5 }
"""


@pytest.fixture(params=sorted(SERVICES))
def facts(request: pytest.FixtureRequest) -> ScheduleFacts:
    return SERVICES[request.param]


@pytest.fixture
def folder(home: Path) -> Path:
    """A project with a pipeline and a schedule."""
    write_pipeline(home, "churn")
    write_project(home, CHURN + DAILY)
    return home


def reopen(workspace: SimulatedWorkspace, folder: Path) -> SimulatedWorkspace:
    """Return the project with the kfgcp.toml of now, and the same services."""
    reopened = SimulatedWorkspace(folder, WITH_UPDATE, workspace.services)
    reopened.locks = workspace.locks
    return reopened


def titles(workspace: SimulatedWorkspace, *names: str, env: str = "dev") -> list[str]:
    return [change.title for change in workspace.plan_now(*names, env=env).changes]


def lines(workspace: SimulatedWorkspace, name: str) -> list[str]:
    [change] = [item for item in workspace.plan_now().changes if item.name == name]
    return list(change.lines)


def test_an_empty_service_gets_everything(folder: Path, facts: ScheduleFacts) -> None:
    workspace = SimulatedWorkspace(folder, facts)

    plan = workspace.plan_now()
    plan.apply()

    assert [change.title for change in plan.changes] == ["+ pipeline churn", "+ schedule daily"]
    [version] = workspace.registry.list_versions("churn")
    assert version.tags == ("main", TAG)
    [(fields, enabled)] = workspace.dev.state().values()
    assert enabled
    assert (fields["cron"], fields["params.lr"], fields["params.day"]) == (
        "0 6 * * *",
        0.5,
        "today",
    )
    assert workspace.plan_now().changes == ()


def test_without_changes_nothing_is_written_and_no_lock_is_held(
    folder: Path, facts: ScheduleFacts
) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    writes, held = workspace.writes, workspace.locks.held_count

    applied = workspace.apply_now()

    assert applied.changes == ()
    assert (workspace.writes, workspace.locks.held_count) == (writes, held)


def test_a_changed_schedule_is_shown_with_old_and_new_values(
    folder: Path, facts: ScheduleFacts
) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    changed = DAILY.replace("0 6", "0 7").replace("0.5", "0.25") + "paused = true\n"
    write_project(folder, CHURN + changed)
    workspace = reopen(workspace, folder)

    assert titles(workspace) == ["~ schedule daily"]
    assert lines(workspace, "daily") == [
        "cron: 0 6 * * * -> 0 7 * * *",
        "params.lr: 0.5 -> 0.25",
        "paused: false -> true",
    ]
    workspace.apply_now()
    [(fields, enabled)] = workspace.dev.state().values()
    assert (fields["cron"], fields["params.lr"], enabled) == ("0 7 * * *", 0.25, False)


def test_a_changed_pipeline_is_shown_in_words_and_its_schedule_follows(
    folder: Path, facts: ScheduleFacts
) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    write_pipeline(folder, "churn", "goodbye")
    workspace = reopen(workspace, folder)

    assert titles(workspace) == ["~ pipeline churn", "~ schedule daily"]
    text = "\n".join(lines(workspace, "churn"))
    assert "hello" in text
    assert "goodbye" in text
    assert "version: sha256:" in text
    workspace.apply_now()

    new, old = workspace.registry.list_versions("churn")
    assert (new.tags, old.tags) == (("main", TAG), ())
    [(fields, _)] = workspace.dev.state().values()
    assert fields["version"] == new.version
    assert workspace.plan_now().changes == ()


def test_a_schedule_that_is_not_declared_any_more_is_deleted_with_its_tag(
    folder: Path, facts: ScheduleFacts
) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    write_project(folder, CHURN)
    workspace = reopen(workspace, folder)

    assert titles(workspace) == ["- schedule daily"]
    workspace.apply_now()

    assert workspace.dev.state() == {}
    [version] = workspace.registry.list_versions("churn")
    assert version.tags == ("main",)


def test_the_tag_is_removed_when_the_pipeline_is_not_declared_any_more_either(
    folder: Path, facts: ScheduleFacts
) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    write_project(folder, "")
    workspace = reopen(workspace, folder)

    workspace.apply_now()

    assert workspace.dev.state() == {}
    [version] = workspace.registry.list_versions("churn")
    assert version.tags == ("main",)


def test_a_change_by_hand_is_drift_and_is_set_back(folder: Path, facts: ScheduleFacts) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    workspace.dev.change_by_hand("daily", max_active=7)

    assert titles(workspace) == ["! schedule daily"]
    assert lines(workspace, "daily") == [
        "changed by hand, and set back by apply",
        "max_active: 7 -> 1",
    ]
    workspace.apply_now()
    [(fields, _)] = workspace.dev.state().values()
    assert fields["max_active"] == 1
    assert workspace.plan_now().changes == ()


def test_a_pause_by_hand_is_drift(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    workspace.dev.pause_by_hand("daily")

    assert titles(workspace) == ["! schedule daily"]
    workspace.apply_now()
    [(_, enabled)] = workspace.dev.state().values()
    assert enabled


def test_objects_of_others_are_never_changed(folder: Path, facts: ScheduleFacts) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    workspace.dev.add_foreign("by-hand")
    workspace.dev.add_foreign("daily", project="other")
    write_project(folder, "")
    workspace = reopen(workspace, folder)

    workspace.apply_now()

    assert sorted(workspace.dev.rows) == ["foreign-by-hand", "foreign-daily"]


@pytest.mark.parametrize("prod_place", ["acme-dev", "acme-prod"])
def test_a_schedule_of_another_environment_is_deleted_only_from_another_place(
    folder: Path, prod_place: str
) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    moved = CHURN.replace('["dev"]', '["dev", "prod"]') + DAILY.replace('"dev"', '"prod"')
    write_project(folder, moved)
    workspace = reopen(workspace, folder)
    workspace.places["prod"] = prod_place

    expected = [] if prod_place == "acme-dev" else ["- schedule daily"]
    assert titles(workspace) == expected


@pytest.mark.parametrize("name", ["main", "latest", "DIGEST"])
def test_a_schedule_of_a_version_names_its_digest(folder: Path, name: str) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    [version] = workspace.registry.list_versions("churn")
    value = version.version[:19] if name == "DIGEST" else name
    write_project(folder, CHURN + DAILY.replace('"churn"', f'"churn@{value}"'))
    workspace = reopen(workspace, folder)
    assert workspace.plan_now().changes == ()

    write_pipeline(folder, "churn", "goodbye")
    workspace = reopen(workspace, folder)
    workspace.apply_now()

    new, old = workspace.registry.list_versions("churn")
    [(fields, _)] = workspace.dev.state().values()
    used = old if name == "DIGEST" else new
    assert fields["version"] == used.version
    assert TAG in used.tags
    assert workspace.plan_now().changes == ()


def test_a_registry_without_tags_is_noted_and_nothing_else_changes(folder: Path) -> None:
    write_project(folder, CHURN.replace('tags = ["main"]', "") + DAILY)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.registry.has_tags = False

    plan = workspace.plan_now()
    plan.apply()

    assert plan.notes == ("Versions of schedules get no tag use-…: The server has no tags.",)
    assert workspace.plan_now().changes == ()


def test_names_choose_what_is_planned(folder: Path) -> None:
    write_pipeline(folder, "other")
    other = '[pipeline.other]\nsource = "other.yaml"\nenvs = ["dev"]\n'
    write_project(folder, CHURN + DAILY + other)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)

    assert titles(workspace, "other") == ["+ pipeline other"]
    assert titles(workspace, "daily") == ["+ pipeline churn", "+ schedule daily"]
    assert titles(workspace, "churn") == ["+ pipeline churn"]
    with pytest.raises(ConfigError, match="has no pipeline or schedule 'dayly'"):
        workspace.plan_now("dayly")


def test_a_pipeline_without_envs_is_pushed_only_for_a_schedule(folder: Path) -> None:
    without_envs = CHURN.replace('envs = ["dev"]', "")
    write_project(folder, without_envs)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    assert titles(workspace) == []
    assert titles(workspace, "churn") == ["+ pipeline churn"]

    write_project(folder, without_envs + DAILY)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    assert titles(workspace) == ["+ pipeline churn", "+ schedule daily"]


def test_destroy_deletes_the_schedules_and_keeps_the_versions(
    folder: Path, facts: ScheduleFacts
) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    workspace.dev.add_foreign("by-hand")

    applied = workspace.destroy(env="dev")

    assert [change.title for change in applied.changes] == ["- schedule daily"]
    assert list(workspace.dev.rows) == ["foreign-by-hand"]
    [version] = workspace.registry.list_versions("churn")
    assert version.tags == ("main",)
    assert titles(workspace) == ["+ schedule daily"]


# -- bad input

BAD_TABLES = {
    "a parameter that the pipeline does not have": (
        DAILY.replace("lr = 0.5", "rows = 5"),
        "params",
        ParamError,
    ),
    "a parameter of another type": (DAILY.replace("0.5", '"much"'), "lr", ParamError),
    "a time_param that does not exist": (
        DAILY + 'time_param = "dya"\n',
        "time_param is 'dya', which is not a parameter",
        ConfigError,
    ),
    "a tag that does not exist": (
        DAILY.replace('"churn"', '"churn@stable"'),
        "churn has no tag 'stable'",
        ConfigError,
    ),
    "an environment that does not exist": (
        DAILY.replace('"dev"', '"staging"'),
        "staging",
        ConfigError,
    ),
    "a name over the limit": (
        DAILY.replace("schedule.daily", f"schedule.{'a' * 64}"),
        "cannot be the name of a schedule",
        ConfigError,
    ),
    "a cron that is never due": (DAILY.replace("0 6 * * *", "0 6 31 2 *"), "never", ConfigError),
    "two schedules of one name": (DAILY + DAILY, "schedule", ConfigError),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_input_is_one_line_and_nothing_is_written(folder: Path, case: str) -> None:
    tables, message, error_class = BAD_TABLES[case]
    write_project(folder, CHURN + tables)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)

    with pytest.raises(error_class, match=message) as caught:
        workspace.apply_now()

    assert "\n" not in caught.value.message
    assert (workspace.writes, workspace.locks.held_count) == (0, 0)


def test_two_pipelines_cannot_move_one_tag_for_ever(folder: Path) -> None:
    text = write_pipeline(folder, "churn").read_text()
    (folder / "copy.yaml").write_text(text.replace("hello", "goodbye"))
    copy = CHURN.replace("pipeline.churn", "pipeline.copy").replace("churn.yaml", "copy.yaml")
    write_project(folder, CHURN + copy)

    with pytest.raises(ConfigError, match="the tag main of churn is also a tag of"):
        SimulatedWorkspace(folder, WITH_UPDATE).plan_now()


def test_a_tag_that_never_moves_is_refused_by_the_plan(folder: Path) -> None:
    write_project(folder, CHURN.replace("main", "v1"))
    SimulatedWorkspace(folder, WITH_UPDATE).apply_now()
    write_pipeline(folder, "churn", "goodbye")
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)

    with pytest.raises(UsageError, match="The tag v1 of churn points to"):
        workspace.plan_now()

    assert workspace.writes == 0


# -- failures


def test_a_failed_schedule_does_not_prevent_the_others(folder: Path, facts: ScheduleFacts) -> None:
    second = DAILY.replace("daily", "hourly").replace("0 6", "30 *")
    write_project(folder, CHURN + DAILY + second)
    workspace = SimulatedWorkspace(folder, facts)
    workspace.dev.refused["daily"] = BackendError("The service refuses daily.")

    with pytest.raises(BackendError) as caught:
        workspace.apply_now()

    expected = "1 of 3 changes failed. schedule daily: The service refuses daily."
    assert caught.value.message == expected
    assert set(workspace.dev.state()) == {"hourly"}
    del workspace.dev.refused["daily"]
    workspace.apply_now()
    assert set(workspace.dev.state()) == {"daily", "hourly"}
    assert workspace.plan_now().changes == ()


def test_a_schedule_stays_when_its_pipeline_cannot_be_pushed(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    write_pipeline(folder, "churn", "goodbye")
    workspace = reopen(workspace, folder)
    before = workspace.dev.state()

    def refuse() -> None:
        raise BackendError("The registry is read-only.")

    workspace.registry.before_write = refuse
    with pytest.raises(BackendError, match=r"2 of 2 changes failed\. pipeline churn: The registry"):
        workspace.apply_now()

    assert workspace.dev.state() == before


def test_a_plan_says_what_has_changed_since(folder: Path, facts: ScheduleFacts) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    write_project(folder, CHURN + DAILY.replace("0 6", "0 7"))
    workspace = reopen(workspace, folder)
    plan = workspace.plan_now()
    workspace.dev.change_by_hand("daily", max_active=7)
    writes = workspace.writes

    with pytest.raises(CheckFailed, match=r"out of date\. .*the schedule daily in dev"):
        plan.apply()

    assert workspace.writes == writes


def test_of_two_applies_at_once_one_stops_and_names_the_other(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    plan = workspace.plan_now()
    owner = LockOwner.of_this_process()

    with (
        workspace.locks.hold_lock("shop", owner),
        pytest.raises(Locked, match=f"process {owner.pid}"),
    ):
        plan.apply()

    assert workspace.writes == 0
    plan.apply()
    assert workspace.plan_now().changes == ()


def test_each_step_is_reported(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITHOUT_UPDATE)
    workspace.apply_now()
    write_project(folder, CHURN + DAILY.replace("0 6", "0 7"))
    workspace = reopen(workspace, folder)
    steps: list[str] = []

    workspace.plan_now().apply(lambda step: steps.append(f"{step.name}: {step.text}"))

    assert steps == [
        "daily: created a replacement, which starts no runs yet",
        "daily: disabled the old schedule",
        "daily: enabled the replacement",
        "daily: replaced: the new schedule has taken over, and the old one is deleted",
    ]


def test_missed_due_times_that_wait_are_reported_and_do_not_prevent_a_pause(folder: Path) -> None:
    hourly = DAILY.replace("0 6 * * *", "0 * * * *") + "catch_up = true\n"
    write_project(folder, CHURN + hourly)
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    workspace.dev.pause_by_hand("daily")
    workspace.dev.active_seconds = 600.0
    workspace.dev.advance(3.1 * 3600)
    write_pipeline(folder, "churn", "goodbye")
    workspace = reopen(workspace, folder)

    steps = workspace.apply_now().steps
    paused = workspace.schedules.pause("daily")

    assert [step.text for step in steps if step.kind == "schedule"][-2:] == [
        "2 missed due times wait since 2026-01-01T02:00:00+00:00, because max_active is 1. When"
        " the active runs have ended, start the next ones: kfgcp apply daily --env dev",
        f"tag {TAG}: {_moved(workspace)}",
    ]
    assert (paused.enabled, paused.count) == (False, 1)
    states = [row.live.enabled for row in workspace.dev.rows.values()]
    assert states == [False, False]


def _moved(workspace: SimulatedWorkspace) -> str:
    new, old = workspace.registry.list_versions("churn")
    return f"churn@{short_version(old)} -> churn@{short_version(new)}"
