"""`kfgcp schedule`: real processes start real runs, also when they are killed at any point."""

import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kfgcp.deploy.schedules.state import state_file, states_folder
from kfgcp.model import Run, RunState
from kfgcp.workspace import Workspace
from kfgcp_command import Command
from killed_tick import POINTS
from patience import wait_for

PIPELINES = Path(__file__).parents[2] / "pipelines"
KILLED_TICK = Path(__file__).parents[2] / "support" / "killed_tick.py"
TOML = """
[pipeline.echo]
source = "echo.py"

[schedule.yearly]
pipeline = "echo"
env = "local"
cron = "@yearly"
time_zone = "Asia/Kolkata"
time_param = "text"
"""
FAILS_IN_2024 = """

@dsl.component(base_image="python:3.11")
def fail_in_2024(text: str) -> str:
    if text.startswith("2023-12-31"):
        raise ValueError(text)
    return text


@dsl.pipeline(name="fails")
def fails_in_2024(text: str) -> str:
    return fail_in_2024(text=text).output
"""


@pytest.fixture
def project(home: Path) -> Path:
    """Return the folder of a project with a schedule that is due once a year."""
    shutil.copy(PIPELINES / "echo.py", home)
    (home / "kfgcp.toml").write_text(TOML)
    return home


def _begin(project: Path, year: int) -> None:
    """Let the schedule begin in the middle of a year."""
    file = state_file(states_folder(project / ".kfgcp", "project"), "local", "yearly")
    file.parent.mkdir(parents=True)
    (project / ".kfgcp").chmod(0o700)
    file.write_text(f'{{"handled_until": "{year}-06-01T00:00:00+00:00"}}')


def _ended_runs(project: Path) -> list[Run]:
    """Wait until all runs have ended, and return them."""
    with Workspace.open(project) as workspace:
        wait_for(lambda: all(run.state.final for run in workspace.list()))
        return workspace.list()


def test_next_and_list_show_due_times_in_the_zone_of_the_schedule(
    project: Path, kfgcp: Command
) -> None:
    times = kfgcp("schedule", "next", "yearly", "-n", "2", "--json").json
    listed = kfgcp("schedule", "list", "--json").json

    year = datetime.now(UTC).year
    assert times == [f"{year + n}-01-01T00:00:00+05:30" for n in (1, 2)]
    assert listed[0]["next_due"] == times[0]
    assert listed[0]["paused"] is False
    assert "yearly" in kfgcp("schedule", "list").out


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_tick_and_the_next_one_start_one_run(
    project: Path, kfgcp: Command, point: str
) -> None:
    year = datetime.now(UTC).year
    _begin(project, year - 1)
    process = kfgcp.start(program=(sys.executable, str(KILLED_TICK), point))
    assert kfgcp.end(process).code == -signal.SIGKILL

    result = kfgcp("schedule", "tick")

    assert result.code == 0, result.err
    runs = _ended_runs(project)
    assert [run.state for run in runs] == [RunState.SUCCEEDED]
    assert runs[0].labels["kfgcp-schedule"] == "yearly"
    assert runs[0].params == {"text": f"{year - 1}-12-31T18:30:00Z"}
    assert kfgcp("schedule", "tick", "--json").json == []
    assert len(_ended_runs(project)) == 1


def test_two_ticks_at_once_start_one_run(project: Path, kfgcp: Command) -> None:
    _begin(project, datetime.now(UTC).year - 1)

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: kfgcp("schedule", "tick"), range(3)))

    assert [result.code for result in results] == [0, 0, 0]
    assert len(_ended_runs(project)) == 1


def test_a_schedule_that_fails_is_reported_and_does_not_stop_the_others(
    project: Path, kfgcp: Command
) -> None:
    broken = (
        '[schedule.a]\npipeline = "echo"\nenv = "local"\ncron = "@yearly"\nparams = { x = 1 }\n'
    )
    (project / "kfgcp.toml").write_text(TOML + broken)
    _begin(project, datetime.now(UTC).year - 1)
    states = project / ".kfgcp" / "schedules" / "project" / "local"
    shutil.copy(states / "yearly.json", states / "a.json")

    result = kfgcp("schedule", "tick", "--json")

    assert result.code == 5
    actions = {row["schedule"]: row["action"] for row in result.json}
    assert actions == {"yearly": "started", "a": "failed"}
    assert len(_ended_runs(project)) == 1


def test_a_backfill_starts_each_missing_run_once(project: Path, kfgcp: Command) -> None:
    arguments = ("schedule", "backfill", "yearly", "--from", "2023-06-01", "--to", "2025-06-01")
    planned = kfgcp(*arguments, "--dry-run", "--json").json
    assert [step["run_id"] for step in planned] == [None, None]
    assert not (project / ".kfgcp").exists()

    first = kfgcp(*arguments, "--json")
    second = kfgcp(*arguments, "--json")

    assert first.code == 0, first.err
    assert [step["due"] for step in first.json] == [
        "2024-01-01T00:00:00+05:30",
        "2025-01-01T00:00:00+05:30",
    ]
    assert [step["existed"] for step in second.json] == [True, True]
    assert [step["state"] for step in second.json] == ["SUCCEEDED", "SUCCEEDED"]
    assert len(_ended_runs(project)) == 2


def test_a_backfill_prints_each_due_time_once_and_how_its_runs_have_ended(
    project: Path, kfgcp: Command
) -> None:
    with (project / "echo.py").open("a") as file:
        file.write(FAILS_IN_2024)
    (project / "kfgcp.toml").write_text(TOML.replace('"echo.py"', '"echo.py:fails_in_2024"'))
    arguments = ("schedule", "backfill", "yearly", "--from", "2022-06-01", "--to", "2024-06-01")
    first = kfgcp("schedule", "backfill", "yearly", "--from", "2022-06-01", "--to", "2023-06-01")
    dry = kfgcp(*arguments, "--dry-run")

    second = kfgcp(*arguments)

    runs = {run.params["text"]: run.run_id for run in _ended_runs(project)}
    run_2023, run_2024 = runs["2022-12-31T18:30:00Z"], runs["2023-12-31T18:30:00Z"]
    assert (first.code, dry.code, second.code) == (0, 0, 6)
    assert first.out.splitlines() == [
        f"2023-01-01T00:00+05:30  {run_2023}  started",
        "1 due time: 1 SUCCEEDED",
    ]
    assert dry.out.splitlines() == [
        f"2023-01-01T00:00+05:30  {run_2023}  existed, SUCCEEDED",
        "2024-01-01T00:00+05:30  to start",
        "2 due times: 1 SUCCEEDED, 1 to start, 1 existed before",
    ]
    assert second.out.splitlines() == [
        f"2023-01-01T00:00+05:30  {run_2023}  existed, SUCCEEDED",
        f"2024-01-01T00:00+05:30  {run_2024}  started",
        "2 due times: 1 FAILED, 1 SUCCEEDED, 1 existed before",
    ]
    assert second.err == "next: kfgcp list --label kfgcp-schedule=yearly\n"


def test_check_names_the_schedule_with_a_wrong_parameter(project: Path, kfgcp: Command) -> None:
    (project / "kfgcp.toml").write_text(TOML.replace('"text"', '"txt"'))
    wrong_time = kfgcp("check", "echo")
    (project / "kfgcp.toml").write_text(f"{TOML}params = {{ txt = 1 }}\n")
    wrong_name = kfgcp("check", "echo")

    assert wrong_time.code == 2
    assert "[schedule.yearly]: time_param is 'txt', which is not a parameter" in wrong_time.err
    assert "Did you mean 'text'?" in wrong_time.err
    assert wrong_name.code == 2
    assert "[schedule.yearly] params" in wrong_name.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("next", "yerly"), "kfgcp.toml has no schedule 'yerly'."),
        (("next", "yearly", "-n", "0"), "The number of due times is 0, not 1 to 1000."),
        (("tick", "--env", "nowhere"), "There is no environment 'nowhere'"),
        (("backfill", "yearly", "--from", "x", "--to", "2025-01-01"), "--from is 'x', which is"),
        (("backfill", "yearly", "--from", "2025-01-01", "--to", "2025-01-01"), "is not after its"),
        (("backfill", "yearly", "--from", "2025-01-01", "--to", "9999-01-01"), "is in the future."),
    ],
)
def test_wrong_arguments_are_one_line_and_write_nothing(
    project: Path, kfgcp: Command, arguments: tuple[str, ...], message: str
) -> None:
    result = kfgcp("schedule", *arguments)

    assert result.code == 2
    assert message in result.err
    assert not (project / ".kfgcp").exists()
