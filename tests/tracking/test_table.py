"""Runs as files that other programs read."""

import csv
import io
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from kfgcp.errors import StateError, UsageError
from kfgcp.model import ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.tracking import frames
from kfgcp.tracking.csv_text import csv_text
from kfgcp.tracking.table import columns, export, flatten_runs, rows

MakeRun = Callable[..., Run]

FACTS = [
    *("run_id", "name", "pipeline", "version", "experiment", "env", "backend", "state"),
    *("created_at", "started_at", "ended_at", "seconds", "error", "tags", "note"),
]


def _csv(runs: list[Run], *, raw: bool = False) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export(runs, "csv", None, raw=raw), newline="")))


def _parquet(runs: list[Run], folder: Path) -> pyarrow.Table:
    export(runs, "parquet", folder / "runs.parquet")
    return parquet.read_table(folder / "runs.parquet")


def test_columns_are_facts_then_labels_then_params_then_metrics(make_run: MakeRun) -> None:
    one = make_run(metrics=(Metric("eval", "metrics", "z", 1),), params={"z": 1, "a": 2})
    other = make_run(
        "bbbb", labels={"team": "x"}, params={"b": 3}, metrics=(Metric("eval", "metrics", "a", 2),)
    )

    table = rows([one, other])

    assert list(table[0]) == [
        *FACTS,
        *("labels.team", "params.z", "params.a", "params.b", "metrics.eval.z", "metrics.eval.a"),
    ]
    assert list(table[0]) == list(table[1])
    assert (table[0]["params.b"], table[1]["params.b"]) == (None, 3)


def test_facts_of_a_run(make_run: MakeRun) -> None:
    [row] = rows(
        [
            make_run(
                name="n",
                state=RunState.FAILED,
                started_at="2026-01-02T03:04:06.000Z",
                ended_at="2026-01-02T03:04:07.250Z",
                error=ErrorInfo("no luck", "train"),
                tags=("good", "slow"),
                note="two\nlines",
            )
        ]
    )

    assert row == {
        "run_id": "aaaa00000001",
        "name": "n",
        "pipeline": "train",
        "version": "sha256:" + "0" * 64,
        "experiment": "default",
        "env": "local",
        "backend": "local",
        "state": "FAILED",
        "created_at": "2026-01-02T03:04:05.678Z",
        "started_at": "2026-01-02T03:04:06.000Z",
        "ended_at": "2026-01-02T03:04:07.250Z",
        "seconds": 1.25,
        "error": "no luck",
        "tags": "good slow",
        "note": "two\nlines",
    }


def test_the_same_metric_of_two_tasks_has_two_columns(make_run: MakeRun) -> None:
    [row] = rows(
        [
            make_run(
                metrics=(
                    Metric("a", "metrics", "accuracy", 1),
                    Metric("b", "metrics", "accuracy", 2),
                )
            )
        ]
    )

    assert (row["metrics.a.accuracy"], row["metrics.b.accuracy"]) == (1, 2)


def test_metrics_whose_names_have_dots_never_share_a_column(make_run: MakeRun) -> None:
    keys = [
        ("t", "m", "loss"),
        ("t", "v", "loss"),
        ("t", "x", "v.loss"),
        ("a", "m", "b.c"),
        ("a.b", "m", "c"),
    ]

    [row] = rows([make_run(metrics=[Metric(*key, value) for value, key in enumerate(keys)])])

    assert {name: value for name, value in row.items() if name.startswith("metrics.")} == {
        "metrics.t.m.loss": 0,
        "metrics.t/v/loss": 1,
        "metrics.t/x/v.loss": 2,
        "metrics.a/m/b.c": 3,
        "metrics.a.b/m/c": 4,
    }


def test_a_metric_in_two_artifacts_of_a_task_is_distinguished_in_all_runs(
    make_run: MakeRun,
) -> None:
    both = make_run(
        metrics=(
            Metric("t", "train", "auc", 1),
            Metric("t", "test", "auc", 2),
            Metric("t", "test", "f1", 3),
        )
    )
    one = make_run("bbbb", metrics=(Metric("t", "train", "auc", 4),))

    table = rows([both, one])

    assert [name for name in table[0] if name.startswith("metrics.")] == [
        "metrics.t.train.auc",
        "metrics.t.test.auc",
        "metrics.t.f1",
    ]
    assert [row["metrics.t.train.auc"] for row in table] == [1, 4]


@pytest.mark.parametrize(
    "text",
    [
        "a,b",
        'say "hi"',
        "two\nlines",
        "cr\r\nlf",
        "cr\ralone",
        "Grüße 世界 سلام",
        "",
        " padded ",
        "=1+1",
        "a;b\tc",
    ],
)
def test_texts_come_back_from_csv(make_run: MakeRun, text: str) -> None:
    [row] = _csv([make_run(name=text, labels={"l": text}, params={text: text})], raw=True)

    assert (row["name"], row["labels.l"], row[f"params.{text}"]) == (text, text, text)


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://evil.example", "open")',
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(1)",
        "\ttext",
        "\rtext",
        "\uff1d1+1",
        "\uff0b1+1",
        "\uff0d1+1",
        "\uff20SUM(1)",
        "-",
        "-1.5x",
        "+3e",
        "--1",
        "-1\n",
        "-1,5",
        "-\u0661",
    ],
)
def test_a_text_that_a_spreadsheet_takes_for_a_formula_gets_an_apostrophe(
    make_run: MakeRun, text: str
) -> None:
    run = make_run(
        name=text, tags=(text,), labels={"l": text}, params={"p": text}, error=ErrorInfo(text)
    )
    [row] = _csv([run])

    assert {row[name] for name in ("name", "tags", "labels.l", "params.p", "error")} == {f"'{text}"}


@pytest.mark.parametrize(
    "value",
    ["-1.5", "+3e-4", "-.5", "-5.", "+7", "1=2", "a-b", "'=1", " =1", "", -1.5, -7, float("-inf")],
)
def test_numbers_and_other_texts_stay_as_they_are(make_run: MakeRun, value: object) -> None:
    [row] = _csv([make_run(params={"p": value})])

    assert row["params.p"] == str(value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "text",
    [
        "x;=HYPERLINK(1)",
        "x;=HYPERLINK(1);y",
        "x\t=1+1\ty",
        "x\n=1+1;y",
        "x\r=1+1;y",
        "x\r\n=1+1\t",
        'x;"=1+1',
        'x;""=1+1"";y',
        '";=1+1;"',
        "x,=1+1",
        "x;-1+1",
        "x;+1+1",
        "x;@SUM(1)",
        "x;\uff1d1+1",
        "x;\uff0b1+1",
        "x;\uff0d1+1",
        "x;\uff20SUM(1)",
        ";;=1+1",
        "\t=1+1",
        "\r=1+1",
        "=1;=2",
    ],
)
def test_no_cell_is_a_formula_whatever_the_separator_of_the_spreadsheet(
    text: str, separator: str
) -> None:
    saved = csv_text(
        ["first", text, "last"], [[text, "x", text], ["x", [text], {text: text}], [0.5, text, None]]
    )

    cells = [
        cell
        for row in csv.reader(io.StringIO(saved, newline=""), delimiter=separator)
        for cell in row
    ]

    assert cells
    assert [cell for cell in cells if cell.startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))] == []


def test_an_apostrophe_stands_where_a_formula_would_begin() -> None:
    assert csv_text(["a"], [["x;=HYPERLINK(1)"]]) == 'a\n"x;\'=HYPERLINK(1)"\n'
    assert csv_text(["a"], [["x\t=1"], ["\n-1"]]) == 'a\n"x\t\'=1"\n"\n\'-1"\n'
    assert csv_text(["a", "b"], [["x;y", "x\ty"]]) == 'a,b\n"x;y","x\ty"\n'
    assert csv_text(["a"], [["x;=1"]], raw=True) == 'a\n"x;=1"\n'


@pytest.mark.parametrize(
    "text", ["x; =1", "a;b", "a=1;b=2", "k: -1", "one\n two - three", "a\t\tb", "lr=1e-3,x"]
)
def test_texts_with_other_separators_but_no_formula_stay_as_they_are(
    make_run: MakeRun, text: str
) -> None:
    [row] = _csv([make_run(params={"p": text})])

    assert row["params.p"] == text


def test_names_of_columns_are_texts_too() -> None:
    assert (
        csv_text(["=cmd|' /C calc'!A0", "@x", "-1", "plain"], [])
        == "'=cmd|' /C calc'!A0,'@x,-1,plain\n"
    )
    assert csv_text(["=x"], [["=y"]], raw=True) == "=x\n=y\n"


def test_values_that_are_not_texts_are_json_in_csv(make_run: MakeRun) -> None:
    [row] = _csv(
        [
            make_run(
                params={
                    "b": True,
                    "l": [1, "x"],
                    "d": {"k": None},
                    "n": None,
                    "f": 0.1,
                    "i": 10**30,
                }
            )
        ]
    )

    assert [row[f"params.{name}"] for name in "bldnfi"] == [
        "true",
        '[1, "x"]',
        '{"k": null}',
        "",
        "0.1",
        f"{10**30}",
    ]


def test_text_that_is_not_unicode_is_written_as_escapes(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(params={"p": "caf\udce9"})]

    assert _csv(runs)[0]["params.p"] == "caf\\udce9"
    assert _parquet(runs, tmp_path)["params.p"].to_pylist() == ["caf\\udce9"]


def test_no_runs_are_a_table_without_rows(tmp_path: Path) -> None:
    assert export([], "csv", None) == ",".join(FACTS) + "\n"
    assert export([], "json", None) == "[]\n"
    table = _parquet([], tmp_path)
    assert (table.num_rows, table.column_names) == (0, FACTS)


def test_json_holds_whole_runs(make_run: MakeRun, parse_json: Callable[[str], Any]) -> None:
    run = make_run(
        metrics=(Metric("t", "m", "loss", math.nan), Metric("t", "m", "best", -math.inf)),
        tasks=(Task("t", TaskKind.CONTAINER, TaskState.SUCCEEDED),),
    )

    [exported] = parse_json(export([run], "json", None))

    assert exported == run.to_dict()
    assert [metric["value"] for metric in exported["metrics"]] == ["NaN", "-Infinity"]


def test_parquet_columns_have_the_type_that_all_values_have(
    make_run: MakeRun, tmp_path: Path
) -> None:
    def run(number: int, **params: Any) -> Run:
        return make_run(f"run{number}", params=params, started_at="2026-01-02T03:04:06.000Z")

    table = _parquet(
        [
            run(
                1,
                whole=1,
                real=1,
                flag=True,
                text="a",
                mixed=1,
                nested=[1],
                big=2**63,
                huge=10**400,
                some=1,
            ),
            run(
                2,
                whole=-(2**62),
                real=0.5,
                flag=False,
                text="b",
                mixed="x",
                nested={"k": 1},
                big=1,
                huge=0.5,
            ),
        ],
        tmp_path,
    )

    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert {
        name: kind
        for name, kind in kinds.items()
        if name.startswith(("params.", "created", "ended", "sec"))
    } == {
        "created_at": "timestamp[ms, tz=UTC]",
        "ended_at": "timestamp[ms, tz=UTC]",
        "seconds": "double",
        "params.whole": "int64",
        "params.real": "double",
        "params.flag": "bool",
        "params.text": "string",
        "params.mixed": "string",
        "params.nested": "string",
        "params.big": "double",
        "params.huge": "string",
        "params.some": "int64",
    }
    assert (
        table["created_at"].to_pylist() == [datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)] * 2
    )
    assert table["params.mixed"].to_pylist() == ["1", "x"]
    assert table["params.nested"].to_pylist() == ["[1]", '{"k": 1}']
    assert table["params.some"].to_pylist() == [1, None]


def test_seconds_and_metrics_are_numbers_in_parquet(make_run: MakeRun, tmp_path: Path) -> None:
    start, end = "2026-01-02T03:04:06.000Z", "2026-01-02T03:04:07.500Z"
    table = _parquet(
        [
            make_run(started_at=start, ended_at=end, metrics=(Metric("t", "m", "loss", math.nan),)),
            make_run("bbbb"),
        ],
        tmp_path,
    )

    assert table["seconds"].to_pylist() == [1.5, None]
    nan, missing = table["metrics.t.loss"].to_pylist()
    assert math.isnan(nan)
    assert missing is None


def test_parquet_needs_a_file(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="Parquet is not text") as caught:
        export([make_run()], "parquet", None)

    assert "-o runs.parquet" in caught.value.hint


def test_an_unknown_format_is_named(make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="Unknown format 'xlsx'") as caught:
        export([make_run()], "xlsx", None)

    assert caught.value.hint == "One of: csv, json, parquet."


def test_a_file_that_cannot_be_written_is_a_state_error(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be written: No such file or directory"):
        export([make_run()], "csv", tmp_path / "no" / "runs.csv")


def test_a_frame_has_a_row_a_run_and_times_in_utc(make_run: MakeRun) -> None:
    runs = [make_run(params={"lr": 0.5}, metrics=(Metric("t", "m", "f1", 1.0),)), make_run("bbbb")]
    frame = frames.frame(columns(flatten_runs(runs)))

    assert list(frame["run_id"]) == ["aaaa00000001", "bbbb"]
    assert str(frame["created_at"].dtype).endswith("UTC]")
    assert frame["ended_at"].isna().all()
    assert frame["params.lr"].mean() == 0.5
    assert frame["metrics.t.f1"].max() == 1.0


def test_a_frame_of_no_runs_has_the_columns_of_facts() -> None:
    frame = frames.frame(columns(flatten_runs([])))

    assert (len(frame), list(frame.columns)) == (0, FACTS)
