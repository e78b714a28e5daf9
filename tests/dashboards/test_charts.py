"""Charts are values: what is drawn for which runs."""

import json
import math
import re
from typing import Any

import pytest

from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.spec import graph as graphs
from kfgcp_dashboard.charts import curves, gantt, graph, runs, trends
from kfgcp_dashboard.colors import SIGNS, STATES

NOW = "2026-01-01T00:01:00.000Z"
HOSTILE = [
    '<script>alert("1")</script>',
    'a"]; evil [label="x',
    "back\\slash\\",
    "line\nbreak",
    "\u202ertl",
    "&lt;b&gt;",
]


def _task(
    path: str,
    state: str = "SUCCEEDED",
    kind: str = "container",
    start: int = 0,
    end: int | None = 10,
) -> Task:
    at = "2026-01-01T00:00:{:02d}.000Z".format
    return Task(
        path,
        TaskKind(kind),
        TaskState(state),
        started_at=None if start < 0 else at(start),
        ended_at=None if end is None else at(end),
    )


def _run(*tasks: Task, **fields: Any) -> Run:
    plain: dict[str, Any] = {"env": "e", "backend": "local", "pipeline": "p", "version": "v"}
    return Run("r", **plain | {"state": RunState.SUCCEEDED, "tasks": tasks} | fields)


def test_states_have_a_colour_and_a_sign_each() -> None:
    states = {state.value for state in (*RunState, *TaskState)}

    assert set(STATES) == set(SIGNS) == states
    assert len(set(SIGNS.values())) == len(states)


# -- gantt


def test_bars_have_the_times_of_their_tasks_and_running_tasks_end_now() -> None:
    spec = gantt.run_timeline(
        [
            _task("a", start=1, end=4),
            _task("b", "RUNNING", start=4, end=None),
            _task("c", start=-1),
        ],
        NOW,
    )

    bars = [
        (row["path"], row["start"][17:19], row["end"][14:19], row["duration"])
        for row in spec["data"]["values"]
    ]
    assert bars == [("a", "01", "00:04", "3 s"), ("b", "04", "01:00", "56 s")]
    assert spec["encoding"]["y"]["sort"] == ["a", "b"]


def test_several_runs_share_an_axis_that_begins_with_each_of_them() -> None:
    first = _run(_task("a", start=10, end=20), _task("b", start=20, end=25))
    second = _run(_task("a", start=40, end=42))

    spec = gantt.compare_timelines([("one", first), ("two", second)], NOW)

    rows = [(row["run"], row["path"], row["start"], row["end"]) for row in spec["data"]["values"]]
    assert rows == [("one", "a", 0.0, 10.0), ("one", "b", 10.0, 15.0), ("two", "a", 0.0, 2.0)]


def test_a_run_with_thousands_of_tasks_has_as_many_bars_as_can_be_read() -> None:
    spec = gantt.run_timeline([_task(f"loop[{number}]") for number in range(3000)], NOW)

    assert len(spec["data"]["values"]) == gantt.MAX_BARS


# -- graph

SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "p"},
    "root": {
        "dag": {
            "tasks": {
                "first": {"componentRef": {"name": "comp"}, "taskInfo": {"name": "first"}},
                "loop": {
                    "componentRef": {"name": "inner"},
                    "taskInfo": {"name": "each"},
                    "dependentTasks": ["first"],
                    "parameterIterator": {"itemInput": "i", "items": {"raw": "[1,2,3]"}},
                },
                "nested": {
                    "componentRef": {"name": "inner"},
                    "taskInfo": {"name": "nested"},
                    "dependentTasks": ["loop"],
                },
            }
        }
    },
    "components": {
        "comp": {"executorLabel": "e"},
        "inner": {
            "dag": {
                "tasks": {"step": {"componentRef": {"name": "comp"}, "taskInfo": {"name": "step"}}}
            }
        },
    },
    "deploymentSpec": {"executors": {"e": {"container": {"image": "i"}}}},
}
LOOP = [
    _task("first"),
    _task("loop", "FAILED", "loop"),
    _task("loop[1]", "FAILED", "dag"),
    _task("loop[0]", "SUCCEEDED", "dag"),
    _task("loop[2]", "SUCCEEDED", "dag"),
    _task("loop[10]", "SUCCEEDED", "dag"),
    _task("loop[0]/step"),
    _task("nested", "SKIPPED", "dag"),
]


def _nodes(dot: str) -> dict[str, str]:
    """Label of a box -> its colour."""
    return dict(re.findall(r'n\d+ \[label="(.*?)" .*?color="(#\w+)"', dot))


def test_tasks_are_coloured_by_state_and_a_loop_is_one_box_with_its_iterations_counted() -> None:
    dot = graph.draw_graph(graphs.build(SPEC), LOOP)

    assert _nodes(dot) == {
        "✓ first\\n10 s": STATES["SUCCEEDED"],
        "✗ each\\n4 iterations   1 ✗  3 ✓": STATES["FAILED"],
        "– step": STATES["SKIPPED"],  # noqa: RUF001
    }
    assert dot.count("->") == 2
    assert re.search(r"n1 -> n\d+ \[lhead=cluster_n\d+\];", dot)
    assert "loop[0]" not in dot


def test_iterations_are_a_table_in_the_order_of_their_numbers() -> None:
    assert [task.path for task in graph.list_iterations("loop", LOOP)] == [
        "loop[0]",
        "loop[1]",
        "loop[2]",
        "loop[10]",
    ]
    assert graph.list_iterations("first", LOOP) == []


def test_a_run_whose_pipeline_is_not_known_is_drawn_without_lines() -> None:
    dot = graph.draw_graph(None, LOOP)

    assert "->" not in dot
    assert set(_nodes(dot)) == {"✓ first\\n10 s", "✗ loop\\n4 iterations   1 ✗  3 ✓", "– nested"}  # noqa: RUF001


def test_a_pipeline_that_has_not_begun_is_drawn_pending() -> None:
    assert set(_nodes(graph.draw_graph(graphs.build(SPEC), [])).values()) == {STATES["PENDING"]}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_inside_of_its_quotes(name: str) -> None:
    """DOT ends a quoted string at the first quote without a backslash, and reads HTML entities in
    it."""
    dot = graph.draw_graph(None, [_task(name)])
    line = next(line for line in dot.splitlines() if line.startswith("n0 "))

    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    rest = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
    assert re.fullmatch(r"n0 \[label= tooltip= color=\];", rest)
    assert len(strings) == 3
    assert not re.search(r"&(?!amp;)", line)


# -- several runs


def test_a_point_a_run_and_none_for_a_run_without_a_value() -> None:
    spec = runs.scatter_chart(
        [("a", 1, 0.5), ("b", None, 0.6), ("c", 3, math.nan), ("d", 4, 0.7)], "lr", "accuracy"
    )

    assert [row["run"] for row in spec["data"]["values"]] == ["a", "d"]
    assert spec["encoding"]["x"]["type"] == spec["encoding"]["y"]["type"] == "quantitative"
    assert (
        runs.scatter_chart([("a", "x", 1), ("b", "y", 2)], "model", "m")["encoding"]["x"]["type"]
        == "nominal"
    )


def test_bars_leave_out_what_is_not_finite() -> None:
    spec = runs.metric_bars(
        {"acc": [("a", 0.5), ("b", math.inf)], "loss": [("a", None), ("b", 2.0)]}
    )

    rows = [(row["metric"], row["run"], row["value"]) for row in spec["data"]["values"]]
    assert rows == [("acc", "a", 0.5), ("loss", "b", 2.0)]


def test_an_axis_a_column_and_a_line_a_run() -> None:
    spec = runs.parallel_chart(
        ["a", "b"], {"lr": [0.1, None], "model": ["x", "y"], "deep": [[1, 2], None]}
    )

    assert [(axis["name"], axis["type"]) for axis in spec["parallelAxis"]] == [
        ("lr", "value"),
        ("model", "category"),
        ("deep", "category"),
    ]
    assert [(series["name"], series["data"]) for series in spec["series"]] == [
        ("a", [[0.1, "x", "[1, 2]"]]),
        ("b", [["-", "y", "—"]]),
    ]


# -- curves


def test_a_roc_curve_a_run_over_the_line_of_chance() -> None:
    spec = curves.roc_chart({"a": [(0, 0), (0.1, 0.9), (1, 1)], "b": [(0, 0), (1, 1)]})

    chance, lines = spec["layer"]
    assert chance["data"]["values"] == [{"fpr": 0, "tpr": 0}, {"fpr": 1, "tpr": 1}]
    assert [(r["run"], r["fpr"], r["tpr"], r["order"]) for r in lines["data"]["values"]] == [
        *[("a", 0, 0, 0), ("a", 0.1, 0.9, 1), ("a", 1, 1, 2)],
        *[("b", 0, 0, 0), ("b", 1, 1, 1)],
    ]


def test_a_confusion_matrix_has_a_row_a_true_class_and_shares_of_that_row() -> None:
    spec = curves.confusion_chart(["no", "yes"], [[3, 1], [0, 0]])

    rows = [
        (row["actual"], row["predicted"], row["count"], row["share"])
        for row in spec["data"]["values"]
    ]
    assert rows == [
        ("no", "no", 3, 0.75),
        ("no", "yes", 1, 0.25),
        ("yes", "no", 0, 0.0),
        ("yes", "yes", 0, 0.0),
    ]


# -- trends


def test_importance_is_pearson_for_numbers_and_eta_for_texts() -> None:
    ranking = trends.rank_parameters(
        {
            "up": [1, 2, 3, 4],
            "down": [4, 3, 2, 1],
            "none": [1, 2, 2, 1],
            "kind": ["a", "a", "b", "b"],
            "same": [7, 7, 7, 7],
            "few": [1, 2, None, None],
        },
        [10.0, 20.0, 30.0, 40.0],
    )

    # eta of kind: groups 15 and 35 around 25, 4 * 10^2 between of 15^2 + 5^2 + 5^2 + 15^2 = 500 in
    # all
    assert [
        (parameter.name, round(parameter.strength, 6), parameter.sign) for parameter in ranking
    ] == [
        ("down", 1.0, -1),
        ("up", 1.0, 1),
        ("kind", round(math.sqrt(400 / 500), 6), 0),
        ("none", 0.0, 0),
    ]


def test_runs_without_a_finite_metric_do_not_count() -> None:
    metric = [1.0, math.nan, 2.0, None, 3.0, math.inf]

    (parameter,) = trends.rank_parameters({"x": [1, 99, 2, -5, 3, 0]}, metric)

    assert (parameter.runs, round(parameter.strength, 9), parameter.sign) == (3, 1.0, 1)


def test_numbers_as_large_as_floats_go_break_nothing() -> None:
    (parameter,) = trends.rank_parameters({"x": [1e308, -1e308, 5e307]}, [1e308, -1e308, 3.0])

    assert 0 <= parameter.strength <= 1


def test_a_metric_over_time_leaves_out_what_is_not_finite() -> None:
    spec = trends.metric_over_time([("a", NOW, 0.5, "local"), ("b", NOW, math.nan, "dev")], "acc")

    assert [row["run"] for row in spec["data"]["values"]] == ["a"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_values_in_every_chart(name: str) -> None:
    """Never names of fields, expressions or links, and every chart is JSON."""
    charts = [
        gantt.run_timeline([_task(name)], NOW),
        gantt.compare_timelines([(name, _run(_task(name)))], NOW),
        runs.scatter_chart([(name, name, 1)], name, name),
        runs.metric_bars({name: [(name, 1.0)]}),
        runs.parallel_chart([name], {name: [name]}),
        curves.roc_chart({name: [(0, 0)]}),
        curves.confusion_chart([name], [[1]]),
        trends.metric_over_time([(name, NOW, 1.0, name)], name),
        trends.importance_chart([trends.Importance(name, 0.5, 1, 3)]),
    ]

    for chart in charts:
        json.dumps(chart, allow_nan=False)
        for key, value in _leaves(chart):
            assert key not in ("href", "url", "test", "expr", "calculate") or value != name
            assert key != "field" or value != name


def _leaves(value: object, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for inner, item in value.items() for leaf in _leaves(item, inner)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item, key)]
    return [(key, value)]
