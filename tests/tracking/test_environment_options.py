"""An environment on this machine can decide options that a run does not have."""

import shutil
from pathlib import Path
from typing import Unpack

import pytest

import kfgcp
from kfgcp.option_keywords import OptionKeywords

PIPELINES = Path(__file__).parents[1] / "pipelines"


@pytest.fixture
def workspace(home: Path) -> kfgcp.Workspace:
    """A project whose local environment runs all tasks in containers, two at the same time."""
    shutil.copy(PIPELINES / "echo.py", home)
    (home / "kfgcp.toml").write_text(
        '[env.local]\nbackend = "local"\nexecutor = "docker"\nmax_parallel = 2\n'
        '[env.other]\nbackend = "local"\n'
    )
    return kfgcp.Workspace.open(home)


def chosen(workspace: kfgcp.Workspace, **options: Unpack[OptionKeywords]) -> tuple[str, int | None]:
    """Return the executor and the number of parallel tasks that a run would have."""
    run = workspace.preview("echo.py", params={"text": "a"}, **options).request.options
    return run.executor, run.max_parallel


def test_a_run_has_the_options_of_its_environment(workspace: kfgcp.Workspace) -> None:
    assert chosen(workspace) == ("docker", 2)
    assert chosen(workspace, env="other") == ("auto", None)


def test_an_option_of_the_run_comes_first(workspace: kfgcp.Workspace) -> None:
    assert chosen(workspace, executor="process", max_parallel=1) == ("process", 1)
    assert chosen(workspace, env="other", executor="docker") == ("docker", None)


def test_check_knows_that_tasks_run_in_containers(workspace: kfgcp.Workspace) -> None:
    report = workspace.check("echo.py", envs=["local", "other"])

    containers = [row for row in report.rows if row.finding.rule == "L201"]
    assert [set(row.severities) for row in containers] == [{"local"}]


def test_a_variable_chooses_the_executor(
    workspace: kfgcp.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFGCP_ENV_OTHER_EXECUTOR", "docker")
    assert chosen(kfgcp.Workspace.open(), env="other") == ("docker", None)
