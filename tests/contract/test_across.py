"""Runs of several backends in one table."""

import kfgcp
from backend_project import BackendProject
from kfgcp import api
from kfgcp.query import RunFilter
from kfgcp.tracking.compare import SECONDS_APART
from kfgcp.tracking.handle import RunHandle
from kfgcp_command import Command
from patience import PROCESS


def _pair(both: BackendProject) -> tuple[RunHandle, RunHandle]:
    if not both.shared_runs:
        file = str(both.file("two_scores"))
        for env, second in (("local", 0.75), ("cloud", 0.5)):
            both.shared_runs[env] = api.submit(file, env=env, params={"second": second})
        for handle in both.shared_runs.values():
            handle.wait(PROCESS)
    return both.shared_runs["local"], both.shared_runs["cloud"]


def test_a_comparison_shows_what_differs_and_nothing_else(both: BackendProject) -> None:
    here, there = _pair(both)

    comparison = kfgcp.compare([here, there])

    differences = {
        (difference.group, difference.name): difference.values
        for difference in comparison.differences
        if difference.group != "durations"
    }
    assert differences == {
        ("run", "environment"): ("local", "cloud"),
        ("params", "second"): (0.75, 0.5),
        ("metrics", "evaluate-2/metrics/accuracy"): (0.75, 0.5),
    }
    for difference in comparison.differences:
        if difference.group == "durations":
            assert abs(difference.values[0] - difference.values[1]) > SECONDS_APART / 2


def test_runs_are_compared_by_their_ids_too(both: BackendProject) -> None:
    here, there = _pair(both)

    comparison = kfgcp.compare([here.run_id, there.run_id])

    assert [run.run_id for run in comparison.runs] == [here.run_id, there.run_id]
    assert [run.backend for run in comparison.runs] == ["local", "vertex"]


def test_one_list_has_the_runs_of_all_backends(both: BackendProject) -> None:
    here, there = _pair(both)

    assert {run.run_id for run in api.list()} == {here.run_id, there.run_id}
    assert [run.run_id for run in api.list(RunFilter(env="cloud"))] == [there.run_id]
    frame = kfgcp.runs()
    assert sorted(frame["env"]) == ["cloud", "local"]
    assert sorted(frame["metrics.evaluate-2.accuracy"]) == [0.5, 0.75]


def test_the_command_line_compares_them(both: BackendProject, command: Command) -> None:
    here, there = _pair(both)

    result = command("compare", here.run_id, there.run_id, "--json")

    assert result.code == 0, result.err
    assert {
        difference["name"]
        for difference in result.json["differences"]
        if difference["group"] == "params"
    } == {"second"}


def test_a_run_is_repeated_on_another_backend(both: BackendProject) -> None:
    here, _ = _pair(both)

    moved = kfgcp.rerun(here.run_id, env="cloud", timeout=PROCESS)

    assert (moved.snapshot.backend, moved.snapshot.version) == ("vertex", here.snapshot.version)
    assert moved.params == here.params
    assert moved.metrics == here.metrics
