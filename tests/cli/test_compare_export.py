"""`kfgcp compare` and `kfgcp export` over recorded runs."""

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from kfgcp.model import Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_command import Command

MakeRun = Callable[..., Run]


@pytest.fixture
def recorded(store: Store, make_run: MakeRun) -> list[Run]:
    def run(number: int, seconds: int, **fields: Any) -> Run:
        task = Task(
            *("train", TaskKind.CONTAINER, TaskState.SUCCEEDED, 1, None),
            *("2020-01-01T00:00:00.000Z", f"2020-01-01T00:00:0{seconds}.000Z"),
        )
        return make_run(
            str(number) * 12, created_at=f"2020-01-0{number}T00:00:00.000Z", tasks=(task,), **fields
        )

    runs = [
        run(1, 1, params={"lr": 0.5, "same": 1}, metrics=(Metric("train", "m", "loss", 1.0),)),
        run(
            2, 3, params={"lr": 0.25, "same": 1}, metrics=(Metric("train", "m", "loss", math.nan),)
        ),
        run(3, 3, params={"same": 1}, state=RunState.FAILED, pipeline="other", labels={"k": "v"}),
    ]
    for recorded_run in runs:
        store.add_run(recorded_run)
    return runs


@pytest.mark.usefixtures("recorded")
def test_the_first_named_run_is_the_baseline(kfgcp: Command) -> None:
    result = kfgcp("compare", "1111", "2222", "3333")

    assert (result.code, result.err) == (0, "")
    assert [line.split() for line in result.out.splitlines()] == [
        ["1" * 12, "2" * 12, "3" * 12],
        ["run"],
        ["state", "SUCCEEDED", "SUCCEEDED", "FAILED"],
        ["pipeline", "train", "train", "other"],
        [],
        ["params"],
        ["lr", "0.5", "0.25", "(-0.25)", "—"],
        [],
        ["metrics"],
        ["train/m/loss", "1", "nan", "—"],
        [],
        ["durations"],
        ["train", "1", "s", "3", "s", "(+2", "s)", "3", "s", "(+2", "s)"],
    ]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minimize", "los"], "None of the runs has a metric 'los'."),
        (
            ["--minimize", "loss", "--maximize", "loss"],
            "The metric 'loss' cannot be both maximized and minimized.",
        ),
        (
            ["--lower", "loss", "--maximize", "loss"],
            "The metric 'loss' cannot be both maximized and minimized.",
        ),
    ],
)
def test_a_goal_that_cannot_be_meant_is_refused(
    kfgcp: Command, options: list[str], message: str
) -> None:
    result = kfgcp("compare", "1111", "2222", *options)

    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert kfgcp("compare", "1111", "2222", "--maximize", "train/m/loss").code == 0


@pytest.mark.usefixtures("recorded")
def test_a_run_that_is_named_again_counts_once(kfgcp: Command) -> None:
    result = kfgcp("compare", "1111", "2222", "1" * 12, "2222", "--json")

    assert [run["run_id"] for run in result.json["runs"]] == ["1" * 12, "2" * 12]


@pytest.mark.usefixtures("recorded")
def test_without_names_the_two_newest_are_compared_the_older_first(kfgcp: Command) -> None:
    result = kfgcp("compare", "--json")

    assert [run["run_id"] for run in result.json["runs"]] == ["2" * 12, "3" * 12]
    assert [
        (difference["group"], difference["name"], difference["values"])
        for difference in result.json["differences"]
    ] == [
        ("run", "state", ["SUCCEEDED", "FAILED"]),
        ("run", "pipeline", ["train", "other"]),
        ("params", "lr", [0.25, None]),
        ("metrics", "train/m/loss", ["NaN", None]),
    ]


@pytest.mark.usefixtures("recorded")
def test_a_run_compared_with_itself_differs_in_nothing(kfgcp: Command) -> None:
    result = kfgcp("compare", "1111", "1111")

    assert (result.code, result.out) == (0, "Nothing differs.\n")
    assert kfgcp("compare", "1111", "1111", "--json").json["differences"] == []


@pytest.mark.usefixtures("recorded")
def test_export_to_stdout_is_csv_oldest_first(kfgcp: Command) -> None:
    result = kfgcp("export")

    assert (result.code, result.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [
        (row["run_id"], row["state"], row["params.lr"], row["metrics.train.loss"]) for row in rows
    ] == [
        ("1" * 12, "SUCCEEDED", "0.5", "1.0"),
        ("2" * 12, "SUCCEEDED", "0.25", "nan"),
        ("3" * 12, "FAILED", "", ""),
    ]


def test_csv_has_no_formulas_unless_raw_texts_are_asked_for(
    kfgcp: Command, store: Store, make_run: Callable[..., Run]
) -> None:
    formula = "=HYPERLINK(A1)"
    store.add_run(make_run("1" * 12, name=formula, params={"@p": "-1.5"}, labels={"l": "+1+1"}))

    [plain] = csv.DictReader(io.StringIO(kfgcp("export").out))
    [raw] = csv.DictReader(io.StringIO(kfgcp("export", "--raw").out))
    tasks = kfgcp("export", "--table", "tasks", "--raw")

    assert (plain["name"], plain["labels.l"], plain["params.@p"]) == (
        f"'{formula}",
        "'+1+1",
        "-1.5",
    )
    assert (raw["name"], raw["labels.l"], raw["params.@p"]) == (formula, "+1+1", "-1.5")
    assert tasks.code == 0


def test_export_as_json_is_what_show_prints(kfgcp: Command, recorded: list[Run]) -> None:
    result = kfgcp("export", "--format", "json")

    assert result.json == [run.to_dict() for run in recorded]
    assert kfgcp("export", "2222", "--format", "json").json == [
        kfgcp("show", "2222", "--json").json
    ]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("options", "first_digits"),
    [
        (["3333", "1111"], ["3", "1"]),
        (["--pipeline", "train"], ["1", "2"]),
        (["--state", "failed"], ["3"]),
        (["--label", "k=v"], ["3"]),
        (["--pipeline", "nothing"], []),
    ],
)
def test_export_of_those_that_are_chosen(
    kfgcp: Command, options: list[str], first_digits: list[str]
) -> None:
    rows = csv.DictReader(io.StringIO(kfgcp("export", *options).out))

    assert [row["run_id"][0] for row in rows] == first_digits


@pytest.mark.usefixtures("recorded")
def test_the_ending_of_the_file_is_the_format(kfgcp: Command, home: Path) -> None:
    for name in ("runs.csv", "runs.json", "runs.parquet"):
        result = kfgcp("export", "-o", name)
        assert (result.code, result.out, result.err) == (0, "", f"written to {name}\n")

    assert (home / "runs.csv").read_text() == kfgcp("export").out
    assert (home / "runs.json").read_text() == kfgcp("export", "--format", "json").out
    table = parquet.read_table(home / "runs.parquet")
    assert table["run_id"].to_pylist() == ["1" * 12, "2" * 12, "3" * 12]
    assert str(table.schema.field("metrics.train.loss").type) == "double"
    refused = kfgcp("export", "-o", "runs.xlsx")
    assert (refused.code, (home / "runs.xlsx").exists()) == (2, False)
    assert kfgcp("export", "--format", "csv", "-o", "runs.txt").code == 0
    assert (home / "runs.txt").read_text() == (home / "runs.csv").read_text()


@pytest.mark.usefixtures("recorded")
def test_a_file_that_cannot_be_written_exits_with_5(kfgcp: Command) -> None:
    result = kfgcp("export", "-o", "no/such/folder/runs.csv")

    assert (result.code, result.out) == (5, "")
    assert "cannot be written: No such file or directory" in result.err
