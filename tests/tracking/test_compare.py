"""What differs between runs is shown, and what does not is not."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kfgcp as public
from json_types import JsonDict
from kfgcp.backends.registry import rounding_backends
from kfgcp.model import Cache, Direction, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.rows import ReadLevel
from kfgcp.store.store import Store
from kfgcp.tracking.compare import compare
from kfgcp.tracking.difference import MISSING, Difference
from kfgcp.tracking.metric_direction import guess_direction
from kfgcp_dashboard import data

RECORDED = Path(__file__).parents[1] / "recorded"
MakeRun = Callable[..., Run]

ROUNDING = rounding_backends(["local", "vertex", "kubeflow"])


def _differences(*runs: Run) -> list[tuple[str, str, tuple[Any, ...], tuple[Any, ...]]]:
    return [
        (d.group, d.name, d.values, d.deltas)
        for d in compare(runs, rounding_backends=ROUNDING).differences
    ]


def _task(path: str, state: TaskState = TaskState.SUCCEEDED, seconds: float = 1.0) -> Task:
    end = f"2026-01-01T00:00:{seconds:06.3f}Z"
    return Task(
        path, TaskKind.CONTAINER, state, started_at="2026-01-01T00:00:00.000Z", ended_at=end
    )


def test_equal_runs_differ_in_nothing(make_run: MakeRun) -> None:
    one = make_run(params={"lr": 0.1}, metrics=(Metric("t", "m", "a", 1.0),), tasks=(_task("t"),))

    assert (
        _differences(
            one, replace(one, run_id="bbbb", name="other", created_at="2027-01-01T00:00:00.000Z")
        )
        == []
    )


def test_the_whole_of_two_runs_in_order_of_importance(make_run: MakeRun) -> None:
    one = make_run(
        params={"same": 1, "lr": 0.5, "only": "x"},
        metrics=(Metric("eval", "metrics", "accuracy", 0.5), Metric("eval", "metrics", "loss", 1)),
        tasks=(_task("eval", seconds=1.0), _task("train", seconds=2.0)),
        started_at="2026-01-01T00:00:00.000Z",
        ended_at="2026-01-01T00:00:10.000Z",
    )
    other = make_run(
        "bbbb",
        state=RunState.FAILED,
        version="sha256:1",
        env="dev",
        experiment="spring",
        pipeline="other",
        params={"same": 1, "lr": 0.25},
        metrics=(Metric("eval", "metrics", "accuracy", 0.75), Metric("eval", "metrics", "loss", 1)),
        tasks=(_task("eval", seconds=1.05), _task("train", TaskState.FAILED, seconds=4.5)),
        started_at="2026-01-01T00:00:00.000Z",
        ended_at="2026-01-01T00:00:08.000Z",
    )

    assert _differences(one, other) == [
        ("run", "state", ("SUCCEEDED", "FAILED"), (None, None)),
        ("run", "pipeline", ("train", "other"), (None, None)),
        ("run", "version", ("sha256:" + "0" * 64, "sha256:1"), (None, None)),
        ("run", "environment", ("local", "dev"), (None, None)),
        ("run", "experiment", ("default", "spring"), (None, None)),
        ("params", "lr", (0.5, 0.25), (0.0, -0.25)),
        ("params", "only", ("x", MISSING), (None, None)),
        ("metrics", "eval/metrics/accuracy", (0.5, 0.75), (0.0, 0.25)),
        ("tasks", "train", ("SUCCEEDED", "FAILED"), (None, None)),
        ("durations", "whole run", (10.0, 8.0), (0.0, -2.0)),
        ("durations", "train", (2.0, 4.5), (0.0, 2.5)),
    ]


def test_two_tasks_with_the_same_metric_are_two_lines(make_run: MakeRun) -> None:
    one = make_run(metrics=(Metric("a", "m", "accuracy", 1), Metric("b", "m", "accuracy", 1)))
    other = make_run(metrics=(Metric("a", "m", "accuracy", 2), Metric("b", "m", "accuracy", 3)))

    assert _differences(one, other) == [
        ("metrics", "a/m/accuracy", (1, 2), (0, 1)),
        ("metrics", "b/m/accuracy", (1, 3), (0, 2)),
    ]


def test_three_runs_are_measured_against_the_first(make_run: MakeRun) -> None:
    runs = [make_run(params={"n": n} if n is not None else {}) for n in (10, None, 7)]

    assert _differences(*runs) == [("params", "n", (10, MISSING, 7), (0, None, -3))]


def test_a_baseline_without_the_value_gives_no_deltas(make_run: MakeRun) -> None:
    runs = [make_run(), make_run(params={"n": 1}), make_run(params={"n": 1})]

    assert _differences(*runs) == [("params", "n", (MISSING, 1, 1), (None, None, None))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (math.nan, float("nan")),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1.0}),
        ([1, [True]], [1, [True]]),
        ([float("nan")], [float("nan")]),
        (None, None),
    ],
)
def test_values_that_are_the_same(make_run: MakeRun, one: Any, other: object) -> None:
    assert _differences(make_run(params={"p": one}), make_run(params={"p": other})) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        ("1", 1),
        (None, str(MISSING)),
        ([1], [True]),
        ({"a": [0]}, {"a": [False]}),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ({"a": 1}, {"b": 1}),
        (1.0, 1.0000001),
        ("a", "a "),
        (10**400, 10**400 + 1),
    ],
)
def test_values_that_are_not(make_run: MakeRun, one: Any, other: object) -> None:
    assert len(_differences(make_run(params={"p": one}), make_run(params={"p": other}))) == 1


def test_a_text_that_looks_like_missing_is_not_missing(make_run: MakeRun) -> None:
    [difference] = compare([make_run(params={"p": "".join(["—"])}), make_run()]).differences

    assert difference.to_dict()["values"] == ["—", None]


def test_deltas_of_numbers_only(make_run: MakeRun) -> None:
    values = (0.1, 0.3, True, "x", math.nan, 10**400)
    [difference] = compare([make_run(params={"p": value}) for value in values]).differences

    assert difference.deltas[:4] == (0.0, 0.2, None, None)
    assert math.isnan(difference.deltas[4] or 0)
    assert difference.deltas[5] is None


@pytest.mark.parametrize(
    ("base", "value", "delta", "better"),
    [
        (1e-20, 3e-20, 2e-20, False),
        (2e-14, 1e-14, -1e-14, True),
        (0.91, 0.94, 0.03, False),
        (0.1 + 0.2, 0.3, 0.0, None),
        (1e9, 1e9 + 0.5, 0.5, False),
        (0, 1e-300, 1e-300, False),
        (math.inf, 1.0, -math.inf, True),
        (10**400, 10**400 + 1, 1, False),
    ],
)
def test_deltas_are_as_exact_as_the_numbers(
    make_run: MakeRun, base: float, value: float, delta: float, better: bool | None
) -> None:
    [difference] = compare(
        [make_run(metrics=(Metric("t", "m", "loss", loss),)) for loss in (base, value)]
    ).differences

    assert (difference.deltas[1], difference.better[1]) == (delta, better)


def test_a_comparison_with_nan_is_valid_json(
    make_run: MakeRun, parse_json: Callable[[str], Any]
) -> None:
    import json

    runs = [
        make_run(metrics=(Metric("t", "m", "loss", value),)) for value in (1.0, math.nan, -math.inf)
    ]
    [difference] = parse_json(json.dumps(compare(runs).to_dict()))["differences"]

    assert difference == {
        "group": "metrics",
        "name": "t/m/loss",
        "values": [1.0, "NaN", "-Infinity"],
        "deltas": [0.0, "NaN", "-Infinity"],
        "goal": "lower",
        "direction": "minimize",
        "better": [None, None, True],
        "best": 2,
    }


def test_durations_a_moment_apart_are_the_same(make_run: MakeRun) -> None:
    runs = [make_run(tasks=(_task("t", seconds=seconds),)) for seconds in (1.0, 1.099)]

    assert _differences(*runs) == []
    assert _differences(runs[0], make_run(tasks=(_task("t", seconds=1.1),))) == [
        ("durations", "t", (1.0, 1.1), (0.0, 0.1))
    ]


def test_a_task_that_only_one_run_has_is_missing_in_the_other_and_has_no_duration(
    make_run: MakeRun,
) -> None:
    assert _differences(make_run(tasks=(_task("t"),)), make_run()) == [
        ("tasks", "t", ("SUCCEEDED", MISSING), (None, None))
    ]


def test_a_run_under_way_has_no_duration(make_run: MakeRun) -> None:
    ended = make_run(started_at="2026-01-01T00:00:00.000Z", ended_at="2026-01-01T00:00:09.000Z")

    assert _differences(ended, replace(ended, ended_at=None)) == []


def test_the_json_of_a_comparison_names_the_runs(make_run: MakeRun) -> None:
    one, other = make_run("aaaa"), make_run("bbbb", params={"n": 1})

    assert compare([one, other]).to_dict() == {
        "baseline": "aaaa",
        "runs": [one.summary(), other.summary()],
        "differences": [
            {"group": "params", "name": "n", "values": [None, 1], "deltas": [None, None]}
        ],
        "versions": [],
    }
    assert compare([one, other]).differences == (
        Difference("params", "n", (MISSING, 1), (None, None)),
    )


def _metric(*values: float, name: str = "accuracy") -> list[JsonDict]:
    return [{"metrics": (Metric("evaluate", "metrics", name, value),)} for value in values]


GREATER_IS_BETTER = (
    "accuracy",
    "val_acc",
    "roc_auc",
    "f1",
    "macroF1",
    "r2",
    "R2",
    "average_precision",
    "log_likelihood",
    "neg_log_loss",
    "neg_mean_squared_error",
)
SMALLER_IS_BETTER = ("loss", "logLoss", "RMSE", "mean_squared_error", "valMae")
NOTHING_IS_BETTER = ("mean_length", "lossless", "accuracy_loss", "count", "", "Größe")


@pytest.mark.parametrize(
    ("names", "direction"),
    [
        (GREATER_IS_BETTER, Direction.MAXIMIZE),
        (SMALLER_IS_BETTER, Direction.MINIMIZE),
        (NOTHING_IS_BETTER, None),
    ],
)
def test_the_better_direction_follows_from_the_words_of_a_name(
    names: tuple[str, ...], direction: Direction | None
) -> None:
    assert {name: guess_direction(name) for name in names} == dict.fromkeys(names, direction)


DIGITS = {"third": 1 / 3, "rate": 3e-7, "tiny": 1e-9, "sum": 0.1 + 0.2, "half": 0.5}
"""What the recorded pipeline `digits` logs."""


def _digits(run: Run, values: dict[str, float]) -> Run:
    return replace(
        run,
        metrics=tuple(Metric("digits", "metrics", name, value) for name, value in values.items()),
    )


@pytest.fixture
def recorded_digits() -> dict[str, float]:
    """What ML Metadata keeps of `DIGITS`."""
    document = json.loads((RECORDED / "cluster-2.17.0" / "digits" / "mlmd.json").read_text())
    [artifact] = [item for item in document["artifacts"] if "half" in item["custom_properties"]]
    return {name: artifact["custom_properties"][name]["double_value"] for name in DIGITS}


def test_users_see_no_difference_that_is_only_rounding(
    home: Path, store: Store, make_run: MakeRun, recorded_digits: dict[str, float]
) -> None:
    (home / "kfgcp.toml").write_text(
        '[env.gke]\nbackend = "kubeflow"\nhost = "http://127.0.0.1:9"\nauth = "anonymous"'
    )
    local = _digits(make_run("aaaa00000001"), DIGITS)
    remote = _digits(
        make_run("bbbb00000002", env="gke", backend="kubeflow", backend_ref="b"), recorded_digits
    )
    store.add_run(local)
    store.put(remote, read_level=ReadLevel.EVERYTHING)

    for comparison in (
        public.compare([local.run_id, remote.run_id]),
        data.compare_runs(store, [local, remote], {}),
    ):
        assert [difference.group for difference in comparison.differences] == ["run"], (
            "the environment"
        )


@pytest.mark.parametrize("first", ["local", "kubeflow"])
def test_metrics_that_ml_metadata_rounds_are_the_same(
    make_run: MakeRun, recorded_digits: dict[str, float], first: str
) -> None:
    local = _digits(make_run(), DIGITS)
    remote = _digits(make_run("bbbb", backend="kubeflow"), recorded_digits)
    assert recorded_digits["third"] == 0.333333

    assert _differences(*((local, remote) if first == "local" else (remote, local))) == []


def test_metrics_of_other_backends_have_all_their_digits(
    make_run: MakeRun, recorded_digits: dict[str, float]
) -> None:
    local = _digits(make_run(), DIGITS)

    for backend in ("local", "vertex"):
        other = _digits(make_run("bbbb", backend=backend), recorded_digits)
        assert len(_differences(local, other)) == 3 + (recorded_digits["sum"] != 0.1 + 0.2)


def test_metrics_of_a_server_that_keeps_all_digits_are_compared_exactly(make_run: MakeRun) -> None:
    """KFP 3.0 has no ML Metadata."""
    local = _digits(make_run(), {"third": 1 / 3})
    remote = _digits(make_run("bbbb", backend="kubeflow"), {"third": 1 / 3 + 1e-9})

    assert [difference[1] for difference in _differences(local, remote)] == ["digits/metrics/third"]


def test_a_metric_with_all_digits_tells_that_the_others_of_its_run_are_exact_too(
    make_run: MakeRun,
) -> None:
    one = _digits(make_run(backend="kubeflow"), {"loss": 0.25, "third": 1 / 3})
    other = _digits(make_run("bbbb", backend="kubeflow"), {"loss": 0.2500004, "third": 1 / 3})

    assert [difference[1] for difference in _differences(one, other)] == ["digits/metrics/loss"]


@pytest.mark.parametrize(
    ("value", "differs"), [(0.3333335, False), (0.3333336, True), (0.333334, True), (0.25, True)]
)
def test_more_than_half_of_the_last_digit_is_a_difference(
    make_run: MakeRun, value: float, differs: bool
) -> None:
    local = _digits(make_run(), {"loss": value})
    remote = _digits(make_run("bbbb", backend="kubeflow"), {"loss": 0.333333})

    assert bool(_differences(local, remote)) is differs


def test_rounding_makes_no_run_better(make_run: MakeRun) -> None:
    runs = [
        _digits(make_run(), {"loss": 1 / 3}),
        _digits(make_run("bbbb", backend="kubeflow"), {"loss": 0.333333}),
        _digits(make_run("cccc"), {"loss": 0.5}),
    ]

    [difference] = compare(runs, rounding_backends=ROUNDING).differences

    assert difference.direction is Direction.MINIMIZE
    assert difference.deltas[1] == 0
    assert difference.better[1] is None
    assert difference.best is None


def test_metrics_say_which_run_is_better_and_which_is_best(make_run: MakeRun) -> None:
    runs = [
        make_run(f"r{number}", **fields)
        for number, fields in enumerate(_metric(0.5, 0.75, 0.25, 0.5, math.nan))
    ]
    [difference] = compare(runs).differences

    assert (difference.direction, difference.better, difference.best) == (
        Direction.MAXIMIZE,
        (None, True, False, None, None),
        1,
    )
    [turned] = compare(runs, goals={"accuracy": Direction.MINIMIZE}).differences
    assert (turned.direction, turned.better, turned.best) == (
        Direction.MINIMIZE,
        (None, False, True, None, None),
        2,
    )
    [by_key] = compare(
        runs,
        goals={"evaluate/metrics/accuracy": Direction.MINIMIZE, "accuracy": Direction.MAXIMIZE},
    ).differences
    assert by_key.direction is Direction.MINIMIZE


def test_of_two_runs_or_equal_ones_none_is_best(make_run: MakeRun) -> None:
    for values in ((0.5, 0.75), (0.5, 0.75, 0.75), (0.5, math.nan, math.nan)):
        [difference] = compare([make_run(**fields) for fields in _metric(*values)]).differences
        assert difference.best is None


def test_the_baseline_comes_first(make_run: MakeRun) -> None:
    runs = [make_run(name, params={"n": n}) for name, n in (("a", 1), ("b", 2), ("c", 4))]

    comparison = compare(runs, "b")

    assert [run.run_id for run in comparison.runs] == ["b", "a", "c"]
    assert comparison.differences[0].deltas == (0, -1, 2)
    assert comparison.to_dict()["baseline"] == "b"


def test_commits_and_whether_files_were_changed(make_run: MakeRun) -> None:
    labels = [{"git": "a" * 40, "git-dirty": "false"}, {"git": "a" * 40, "git-dirty": "true"}, {}]

    assert _differences(*(make_run(labels=run_labels) for run_labels in labels)) == [
        ("run", "git commit", ("a" * 40, "a" * 40 + " with changes", MISSING), (None, None, None))
    ]


def test_cache_hits_against_tasks_that_ran(make_run: MakeRun) -> None:
    def run(hit: bool, reason: str) -> Run:
        state = TaskState.CACHED if hit else TaskState.SUCCEEDED
        return make_run(tasks=(Task("t", TaskKind.CONTAINER, state, cache=Cache(hit, reason)),))

    assert _differences(run(True, "same inputs"), run(False, "inputs changed: lr")) == [
        ("tasks", "t", ("CACHED", "SUCCEEDED"), (None, None)),
        ("cache", "t", ("hit", "ran: inputs changed: lr"), (None, None)),
    ]
    assert _differences(run(False, "no earlier run"), run(False, "inputs changed: lr")) == []


def _spec(image: str, lr: float) -> JsonDict:
    return {
        "pipelineInfo": {"name": "p"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "components": {
            "comp-train": {
                "executorLabel": "exec-train",
                "inputDefinitions": {"parameters": {"lr": {"parameterType": "NUMBER_DOUBLE"}}},
            }
        },
        "deploymentSpec": {
            "executors": {"exec-train": {"container": {"image": image, "command": ["train"]}}}
        },
        "root": {
            "dag": {
                "tasks": {
                    "train": {
                        "componentRef": {"name": "comp-train"},
                        "inputs": {"parameters": {"lr": {"runtimeValue": {"constant": lr}}}},
                        "taskInfo": {"name": "train"},
                    }
                }
            }
        },
    }


def test_of_other_versions_the_pipelines_are_compared_and_the_images_shown(
    make_run: MakeRun,
) -> None:
    specs = {"v1": _spec("python:3.11", 0.1), "v2": _spec("python:3.12", 0.2)}
    runs = [
        make_run(name, version=version)
        for name, version in (("a", "v1"), ("b", "v2"), ("c", "v2"), ("d", "v3"))
    ]

    comparison = compare(runs, specs=specs)

    assert [(d.group, d.name, d.values) for d in comparison.differences] == [
        ("run", "version", ("v1", "v2", "v2", "v3")),
        ("images", "train", ("python:3.11", "python:3.12", "python:3.12", MISSING)),
    ]
    other, unknown = comparison.versions
    assert (other.version, other.runs) == ("v2", ("b", "c"))
    assert [(c.path, c.what, c.name, c.kind) for c in other.changes or ()] == [
        ("train", "image", "", "changed"),
        ("train", "input", "lr", "changed"),
    ]
    assert (unknown.version, unknown.runs, unknown.changes) == ("v3", ("d",), None)
    assert [version["version"] for version in comparison.to_dict()["versions"]] == ["v2", "v3"]
