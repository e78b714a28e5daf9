"""`kfgcp tag`, `kfgcp note`, and finding runs by expressions on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.model import Metric, Run
from kfgcp.store.store import Store
from kfgcp_command import Command

MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def recorded(store: Store, make_run: MakeRun) -> None:
    for number, accuracy in enumerate((0.5, 0.9, 0.7)):
        store.add_run(
            make_run(
                str(number) * 12,
                created_at=f"2026-01-0{number + 1}T00:00:00.000Z",
                params={"lr": number / 10},
                metrics=(Metric("evaluate", "metrics", "accuracy", accuracy),),
            )
        )


def test_tags_are_shown_listed_and_found(kfgcp: Command) -> None:
    result = kfgcp("tag", "0000", "good", "new")
    assert (result.code, result.out, result.err) == (0, "good new\n", "")
    assert kfgcp("tag", "0000", "--remove", "new", "--json").json == ["good"]

    assert [run["run_id"][0] for run in kfgcp("list", "--tag", "good", "--json").json] == ["0"]
    assert kfgcp("show", "0000", "--json").json["tags"] == ["good"]
    assert "tags         good" in kfgcp("show", "0000").out
    header, *_, last = kfgcp("list").out.splitlines()
    assert (header.split()[-1], last.split()[-1]) == ("TAGS", "good")


def test_a_note_is_written_shown_found_and_removed(kfgcp: Command) -> None:
    result = kfgcp("note", "1111", "the learning rate\nwas too high")
    assert (result.code, result.out, result.err) == (0, "", "")

    assert kfgcp("note", "1111").out == "the learning rate\nwas too high\n"
    assert [
        run["run_id"][0] for run in kfgcp("list", "--where", "note ~ 'TOO high'", "--json").json
    ] == ["1"]
    assert [run["run_id"][0] for run in kfgcp("list", "--text", "learning", "--json").json] == ["1"]
    assert kfgcp("note", "1111", "--remove").code == 0
    assert kfgcp("note", "1111").out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["tag", "0000", "two words"],
        ["tag", "zzzz", "a"],
        ["note", "zzzz", "a"],
        ["note", "0000", "a", "--remove"],
    ],
)
def test_wrong_usage_exits_with_2(kfgcp: Command, arguments: list[str]) -> None:
    result = kfgcp(*arguments)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")


def test_list_takes_expressions_and_an_order(kfgcp: Command) -> None:
    where = "params.lr < 0.2 and metrics.evaluate.accuracy > 0.6"
    assert [run["run_id"][0] for run in kfgcp("list", "--where", where, "--json").json] == ["1"]

    ordered = kfgcp("list", "--order", "metrics.evaluate.accuracy desc", "--json").json
    assert [run["run_id"][0] for run in ordered] == ["1", "2", "0"]


def test_an_expression_that_cannot_be_read_is_pointed_at(kfgcp: Command) -> None:
    result = kfgcp("list", "--where", "params.lr < ")

    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[:3] == [
        "error: The expression cannot be used: a value is expected (character 13).",
        "hint: params.lr < ",
        "hint:             ^",
    ]


def test_export_of_a_table_of_chosen_runs(kfgcp: Command) -> None:
    result = kfgcp("export", "--table", "metrics", "--where", "params.lr > 0")
    assert result.out.splitlines() == [
        "run_id,task,artifact,name,value",
        "111111111111,evaluate,metrics,accuracy,0.9",
        "222222222222,evaluate,metrics,accuracy,0.7",
    ]
    named = kfgcp("export", "0000", "--table", "metrics", "--format", "json").json
    assert named == [
        {
            "run_id": "0" * 12,
            "task": "evaluate",
            "artifact": "metrics",
            "name": "accuracy",
            "value": 0.5,
        }
    ]


def test_compare_measures_against_the_baseline_in_every_form(kfgcp: Command) -> None:
    result = kfgcp("compare", "0000", "2222", "--baseline", "1111", "--json")
    assert [run["run_id"][0] for run in result.json["runs"]] == ["1", "0", "2"]
    [metric] = [
        difference for difference in result.json["differences"] if difference["group"] == "metrics"
    ]
    assert (metric["goal"], metric["better"], metric["best"]) == ("higher", [None, False, False], 0)

    assert metric["direction"] == "maximize"

    for option in ("--minimize", "--lower"):
        assert "0.9  (+0.4, worse)" in kfgcp("compare", "0000", "1111", option, "accuracy").out
    for option in ("--maximize", "--higher"):
        assert "0.9  (+0.4, better)" in kfgcp("compare", "0000", "1111", option, "accuracy").out
    assert kfgcp("compare", "0000", "1111", "--format", "markdown").out.startswith("| params | ")
    assert kfgcp("compare", "0000", "1111", "--format", "html").out.startswith("<!doctype html>")
    assert kfgcp("compare", "--format", "html", "--json").code == 2


def test_the_project_says_what_is_better(kfgcp: Command, home: Path) -> None:
    for word in ("minimize", "lower"):
        (home / "kfgcp.toml").write_text(f'[project]\nmetrics = {{ accuracy = "{word}" }}\n')
        assert "worse" in kfgcp("compare", "0000", "1111").out

    (home / "kfgcp.toml").write_text('[project]\nmetrics = { accuracy = "more" }\n')
    refused = kfgcp("compare", "0000", "1111")
    assert refused.code == 2
    assert 'metrics.accuracy must be "maximize" or "minimize", not "more".' in refused.err
