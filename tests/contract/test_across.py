"""Runs of several backends in one table."""

from typing import Any

import kfgcp
from kfgcp import api
from kfgcp.query import RunFilter
from kfgcp.tracking.compare import SECONDS_APART
from patience import PROCESS


def _pair(both: Any) -> tuple[Any, Any]:
    if not both.known:
        file = str(both.file("two_scores"))
        for env, second in (("local", 0.75), ("cloud", 0.5)):
            both.known[env] = api.submit(file, env=env, params={"second": second})
        for handle in both.known.values():
            handle.wait(PROCESS)
    return both.known["local"], both.known["cloud"]


def test_a_comparison_shows_what_differs_and_nothing_else(both: Any) -> None:
    here, there = _pair(both)

    found = kfgcp.compare([here, there])

    differences = {
        (each.group, each.name): each.values
        for each in found.differences
        if each.group != "durations"
    }
    assert differences == {
        ("run", "environment"): ("local", "cloud"),
        ("params", "second"): (0.75, 0.5),
        ("metrics", "evaluate-2/metrics/accuracy"): (0.75, 0.5),
    }
    for each in found.differences:
        if each.group == "durations":
            assert abs(each.values[0] - each.values[1]) > SECONDS_APART / 2


def test_runs_are_compared_by_their_ids_too(both: Any) -> None:
    here, there = _pair(both)

    found = kfgcp.compare([here.run_id, there.run_id])

    assert [run.run_id for run in found.runs] == [here.run_id, there.run_id]
    assert [run.backend for run in found.runs] == ["local", "vertex"]


def test_one_list_has_the_runs_of_all_backends(both: Any) -> None:
    here, there = _pair(both)

    assert {run.run_id for run in api.list()} == {here.run_id, there.run_id}
    assert [run.run_id for run in api.list(RunFilter(env="cloud"))] == [there.run_id]
    frame = kfgcp.runs()
    assert sorted(frame["env"]) == ["cloud", "local"]
    assert sorted(frame["metrics.evaluate-2.accuracy"]) == [0.5, 0.75]


def test_the_command_line_compares_them(both: Any, command: Any) -> None:
    here, there = _pair(both)

    done = command("compare", here.run_id, there.run_id, "--json")

    assert done.code == 0, done.err
    assert {each["name"] for each in done.json["differences"] if each["group"] == "params"} == {
        "second"
    }


def test_a_run_is_repeated_on_another_backend(both: Any) -> None:
    here, _ = _pair(both)

    moved = kfgcp.rerun(here.run_id, env="cloud", timeout=PROCESS)

    assert (moved.snapshot.backend, moved.snapshot.version) == ("vertex", here.snapshot.version)
    assert moved.params == here.params
    assert moved.metrics == here.metrics
