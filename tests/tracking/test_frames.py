"""The store as frames: the types of columns, names of metrics, tidy rows."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

import kfgcp
from kfgcp.errors import UsageError
from kfgcp.model import Artifact, Cache, ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.query import RunFilter
from kfgcp.store import bulk
from kfgcp.store.store import Store
from kfgcp.tracking import frames
from kfgcp.tracking.table import columns, flatten_runs

MakeRun = Callable[..., Run]

TASKS = (
    Task(
        *("train", TaskKind.CONTAINER, TaskState.CACHED, 1, Cache(True, "same inputs")),
        *("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:02.500Z"),
        inputs={"lr": 0.1},
    ),
    Task("evaluate", TaskKind.CONTAINER, TaskState.FAILED, 2, error=ErrorInfo("no")),
)


@pytest.fixture
def recorded(store: Store, make_run: MakeRun) -> list[Run]:
    runs = [
        make_run(
            "a",
            created_at="2026-01-01T00:00:00.123Z",
            started_at="2026-01-01T00:00:00.000Z",
            ended_at="2026-01-01T00:00:02.500Z",
            params={
                "whole": 1,
                "real": 1,
                "truth": True,
                "text": "x",
                "mixed": 1,
                "list": [1],
                "big": 2**63,
            },
            metrics=(
                Metric("train", "metrics", "accuracy", 0.5),
                Metric("evaluate", "metrics", "accuracy", 1),
                Metric("evaluate", "metrics", "loss", math.nan),
            ),
            artifacts=(Artifact("train", "model", "system.Model", "gs://b/m", {"size": 3}),),
            tasks=TASKS,
            labels={"team": "growth"},
            tags=("t1", "t2"),
        ),
        make_run(
            "b",
            created_at="2026-01-02T00:00:00.000Z",
            params={"whole": 2, "real": 0.5, "truth": False, "mixed": "x"},
            metrics=(Metric("evaluate", "metrics", "accuracy", 0.75),),
            error=ErrorInfo("broken"),
            state=RunState.FAILED,
        ),
    ]
    for run in runs:
        store.add_run(run)
    return runs


@pytest.mark.usefixtures("recorded")
def test_a_row_a_run_newest_first_with_the_right_types(home: Path) -> None:
    frame = kfgcp.runs()

    assert list(frame["run_id"]) == ["b", "a"]
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert {
        name: kinds[name]
        for name in kinds
        if name.startswith(("created", "started", "params", "metrics", "sec"))
    } == {
        "created_at": "datetime64[ns, UTC]",
        "started_at": "datetime64[ns, UTC]",
        "seconds": "Float64",
        "params.whole": "Int64",
        "params.real": "Float64",
        "params.truth": "boolean",
        "params.text": "string",
        "params.mixed": "object",
        "params.list": "object",
        "params.big": "Float64",
        "metrics.train.accuracy": "Float64",
        "metrics.evaluate.accuracy": "Float64",
        "metrics.evaluate.loss": "Float64",
    }
    a = frame.set_index("run_id").loc["a"]
    assert a["created_at"] == pandas.Timestamp("2026-01-01T00:00:00.123Z")
    assert (a["params.list"], a["params.mixed"], a["params.big"], a["tags"]) == (
        [1],
        1,
        float(2**63),
        "t1 t2",
    )
    assert (
        a["seconds"],
        a["labels.team"],
        a["metrics.train.accuracy"],
        a["metrics.evaluate.accuracy"],
    ) == (
        *(2.5, "growth"),
        *(0.5, 1.0),
    )
    assert frame.set_index("run_id").loc["b"]["error"] == "broken"


@pytest.mark.usefixtures("recorded")
def test_a_metric_that_is_nan_is_not_missing(home: Path) -> None:
    loss = kfgcp.runs().set_index("run_id")["metrics.evaluate.loss"]

    assert loss.isna().to_dict() == {"a": False, "b": True}
    assert math.isnan(loss["a"])


@pytest.mark.usefixtures("recorded")
def test_tidy_frames_have_a_row_each(home: Path) -> None:
    metrics, tasks, artifacts = kfgcp.metrics(), kfgcp.tasks(), kfgcp.artifacts()

    assert list(metrics.columns) == ["run_id", "task", "artifact", "name", "value"]
    assert metrics[["run_id", "task", "name"]].values.tolist() == [
        ["b", "evaluate", "accuracy"],
        ["a", "train", "accuracy"],
        ["a", "evaluate", "accuracy"],
        ["a", "evaluate", "loss"],
    ]
    assert list(metrics["value"][:3]) == [0.75, 0.5, 1.0]
    assert math.isnan(metrics["value"][3])
    assert str(metrics["value"].dtype) == "Float64"
    assert tasks[["path", "state", "attempts", "error"]].fillna("").values.tolist() == [
        ["train", "CACHED", 1, ""],
        ["evaluate", "FAILED", 2, "no"],
    ]
    assert {
        name: str(tasks[name].dtype) for name in ("attempts", "cached", "started_at", "seconds")
    } == {
        "attempts": "Int64",
        "cached": "boolean",
        "started_at": "datetime64[ns, UTC]",
        "seconds": "Float64",
    }
    assert (tasks["cached"][0], tasks["cache_reason"][0], tasks["seconds"][0]) == (
        True,
        "same inputs",
        2.5,
    )
    assert tasks["cached"].isna()[1]
    assert json.loads(tasks["inputs"][0]) == {"lr": 0.1}
    assert artifacts.values.tolist() == [
        ["a", "train", "model", "system.Model", "gs://b/m", '{"size":3}']
    ]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("chosen", "run_ids"),
    [
        ({"where": "params.whole > 1"}, ["b"]),
        ({"state": "failed"}, ["b"]),
        ({"state": [RunState.FAILED, "succeeded"]}, ["b", "a"]),
        ({"label": "team=growth"}, ["a"]),
        ({"label": {"team": "ads"}}, []),
        ({"tag": ["t1", "t2"]}, ["a"]),
        ({"since": "2026-01-02T00:00:00Z"}, ["b"]),
        ({"until": pandas.Timestamp("2026-01-02").to_pydatetime()}, ["a"]),
        (
            {"pipeline": "train", "experiment": "default", "env": "local", "version": "sha256:0"},
            ["b", "a"],
        ),
        ({"text": "b"}, ["b"]),
        ({"limit": 1}, ["b"]),
        ({"where": RunFilter(states=[RunState.FAILED])}, ["b"]),
    ],
)
def test_runs_are_chosen_by_plain_values(
    home: Path, chosen: dict[str, object], run_ids: list[str]
) -> None:
    assert list(kfgcp.runs(**chosen)["run_id"]) == run_ids  # type: ignore[arg-type]
    assert set(kfgcp.metrics(**chosen)["run_id"]) == set(run_ids)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "chosen",
    [
        {"state": "broken"},
        {"label": "team"},
        {"since": "soon"},
        {"until": "9999-12-31T23:59:59-12:00"},
        {"where": "params.a <"},
        {"experment": "churn"},
        {"tags": "good"},
    ],
)
def test_what_cannot_be_chosen_by_is_a_usage_error(store: Store, chosen: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        kfgcp.runs(**chosen)  # type: ignore[arg-type]


def test_a_project_without_runs_has_empty_frames_with_the_types(home: Path) -> None:
    for frame in (kfgcp.runs(), kfgcp.metrics(), kfgcp.tasks(), kfgcp.artifacts()):
        assert len(frame) == 0
    assert str(kfgcp.runs()["created_at"].dtype) == "datetime64[ns, UTC]"
    assert str(kfgcp.metrics()["value"].dtype) == "Float64"
    assert {str(kfgcp.tasks()[name].dtype) for name in ("attempts", "cached")} == {
        "Int64",
        "boolean",
    }


def test_many_runs_are_read_as_few_are(
    store: Store, recorded: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_filter = RunFilter(where="params.whole = 1")
    few = [
        store.flat(),
        store.flat(run_filter),
        *(store.tidy(name, run_filter) for name in ("metrics", "tasks", "artifacts")),
    ]
    monkeypatch.setattr(bulk, "MAX_RUNS_BY_ID", 0)
    many = [
        store.flat(),
        store.flat(run_filter),
        *(store.tidy(name, run_filter) for name in ("metrics", "tasks", "artifacts")),
    ]

    assert repr(many) == repr(few)


def test_the_columns_of_the_store_are_those_of_its_runs(store: Store, recorded: list[Run]) -> None:
    expected = columns(flatten_runs(recorded[::-1]))

    assert repr(frames.table(store, "runs")) == repr(expected)


@pytest.mark.parametrize(
    "text",
    ["Grüße 世界 \U0001f600", "\u202eabc", "a\nb\x00c", 'say "hi" \\', " ", "a.b/c[0]", "x" * 200],
)
def test_odd_names_and_values_are_those_of_the_runs(
    store: Store, make_run: MakeRun, text: str
) -> None:
    metrics = (Metric(text, text, text, 1.5), Metric("t", "m", text, -math.inf))
    run = make_run(
        params={text: text, "n": [text, {text: None}]},
        labels={text: text},
        metrics=metrics,
        note=text,
    )
    store.add_run(run)

    assert repr(frames.table(store, "runs")) == repr(columns(flatten_runs([run])))
    assert store.tidy("metrics")["task"] == [text, "t"]


def test_the_names_of_columns_that_there_are(
    store: Store, recorded: list[Run], make_run: MakeRun
) -> None:
    assert store.columns() == {
        "params": ["big", "list", "mixed", "real", "text", "truth", "whole"],
        "metrics": ["evaluate.accuracy", "evaluate.loss", "train.accuracy"],
    }
    store.add_run(
        make_run("c", env="dev", params={"p": 1}, metrics=(Metric("evaluate", "other", "loss", 1),))
    )
    assert store.columns()["metrics"] == [
        *("evaluate.accuracy", "evaluate.metrics.loss", "evaluate.other.loss", "train.accuracy"),
    ]
    assert store.columns(RunFilter(env="dev")) == {"params": ["p"], "metrics": ["evaluate.loss"]}
