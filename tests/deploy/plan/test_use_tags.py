"""The tags of versions that schedules use."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from kfgcp.backends.schedules import ScheduleFacts
from kfgcp.deploy.plan.use_tags import use_tag
from kfgcp.deploy.versions.names import MAX_TAG_CHARACTERS
from simulated_project import SimulatedWorkspace, write_pipeline, write_project
from simulated_schedules import WITH_UPDATE, WITHOUT_UPDATE, KilledError

PIPELINES = """
[pipeline.churn]
source = "churn.yaml"

[pipeline.words]
source = "words.yaml"
"""
DAILY = """
[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
"""


@pytest.fixture
def folder(home: Path) -> Path:
    """A project with two pipelines, and a schedule of one of them."""
    write_pipeline(home, "churn")
    write_pipeline(home, "words")
    write_project(home, PIPELINES + DAILY)
    return home


def reopen(workspace: SimulatedWorkspace, folder: Path) -> SimulatedWorkspace:
    return SimulatedWorkspace(folder, WITH_UPDATE, workspace.services)


def tags_of(workspace: SimulatedWorkspace, pipeline: str) -> tuple[str, ...]:
    [version] = workspace.registry.list_versions(pipeline)
    return version.tags


def test_a_schedule_of_another_pipeline_takes_its_tag_along(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.apply_now()
    tag = use_tag("daily", "shop", "acme-dev")
    assert tags_of(workspace, "churn") == (tag,)

    write_project(folder, PIPELINES + DAILY.replace('"churn"', '"words"'))
    workspace = reopen(workspace, folder)
    [line] = [
        line
        for change in workspace.plan_now().changes
        for line in change.lines
        if line.startswith("tag ")
    ]
    workspace.apply_now()

    assert line.startswith(f"tag {tag}: churn@sha256:")
    assert (tags_of(workspace, "churn"), tags_of(workspace, "words")) == ((), (tag,))
    assert workspace.plan_now().changes == ()


@pytest.mark.parametrize("facts", [WITH_UPDATE, WITHOUT_UPDATE], ids=["update", "replace"])
@pytest.mark.parametrize("kill", range(10))
@pytest.mark.parametrize("target", ["churn", "words"])
def test_after_a_killed_apply_the_next_one_leaves_one_tag(
    folder: Path, facts: ScheduleFacts, kill: int, target: str
) -> None:
    workspace = SimulatedWorkspace(folder, facts)
    workspace.apply_now()
    write_pipeline(folder, "churn", "goodbye")
    write_project(folder, PIPELINES + DAILY.replace('"churn"', f'"{target}"'))
    killed = SimulatedWorkspace(folder, facts, workspace.services)
    kill_after(killed, kill)
    with suppress(KilledError):
        killed.apply_now()
    workspace.dev.kill_after = None

    # Each apply is a process of its own.
    SimulatedWorkspace(folder, facts, workspace.services).apply_now()

    after = SimulatedWorkspace(folder, facts, workspace.services)
    tag = use_tag("daily", "shop", "acme-dev")
    holders = []
    for name in after.registry.list_pipelines():
        holders += [entry for entry in after.registry.list_versions(name) if tag in entry.tags]
    [holder] = holders
    [row] = after.dev.rows.values()
    assert (row.live.fields["pipeline"], row.live.fields["version"]) == (target, holder.version)
    assert after.plan_now().changes == ()


def kill_after(workspace: SimulatedWorkspace, writes: int) -> None:
    """Kill the process of a workspace after some writes to the service and the registry."""
    service, registry = workspace.dev, workspace.registry
    service.kill_after = service.writes + writes

    def before_write() -> None:
        assert service.kill_after is not None
        if service.writes >= service.kill_after:
            raise KilledError
        service.kill_after -= 1

    registry.before_write = before_write


def test_environments_that_share_a_registry_have_their_own_tags(folder: Path) -> None:
    workspace = SimulatedWorkspace(folder, WITH_UPDATE)
    workspace.registries["prod"] = workspace.registries["dev"]
    workspace.apply_now()
    weekly = DAILY.replace("daily", "weekly").replace('"dev"', '"prod"')
    write_project(folder, PIPELINES + DAILY.replace('"dev"', '"prod"') + weekly)
    workspace = reopen(workspace, folder)
    workspace.registries["prod"] = workspace.registries["dev"]
    workspace.apply_now(env="prod")

    before = tags_of(workspace, "churn")
    workspace.apply_now(env="dev")

    dev = use_tag("daily", "shop", "acme-dev")
    prod = {use_tag(name, "shop", "acme-prod") for name in ("daily", "weekly")}
    assert set(before) == prod | {dev}
    assert set(tags_of(workspace, "churn")) == prod


def test_tags_of_long_names_differ_and_are_short_enough() -> None:
    names = ["a" * 62 + "b", "a" * 62 + "c"]

    tags = {use_tag(name, "shop", "acme-dev") for name in names}

    assert len(tags) == len(names)
    assert {len(tag) for tag in tags} == {MAX_TAG_CHARACTERS}
    assert use_tag("daily", "shop", "x") != use_tag("daily", "other", "x")
