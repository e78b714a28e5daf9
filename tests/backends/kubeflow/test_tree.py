"""Where tasks stand: from executions in every shape, and from the nodes of a workflow that goes
on."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_types import JsonDict
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.tree import place_executions, place_nodes
from kfgcp.spec.graph import Graph, build
from kfgcp.spec.load import Spec

Make = Callable[..., Execution]

SHAPES = {
    "condition-branches-1": "dag",
    "condition-branches-1/condition-2": "dag",
    "condition-branches-1/condition-3": "dag",
    "condition-branches-1/condition-3/say-2": "container",
    "for-loop-4": "loop",
    "for-loop-4[0]": "dag",
    "for-loop-4[0]/double": "container",
    "for-loop-4[1]": "dag",
    "for-loop-4[1]/double": "container",
    "importer": "importer",
    "inner": "dag",
    "inner/double": "container",
    "inner/double-2": "container",
    "say-3": "container",
    "lines": "container",
    "total": "container",
}
"""What ran of the pipeline `shapes` with two items and a condition that was false."""


@pytest.fixture(scope="module")
def graph(compiled: Callable[[str], Spec]) -> Graph:
    """The graph of the pipeline `shapes`."""
    return build(compiled("tests/pipelines/shapes.py").pipeline_spec)


@pytest.fixture
def shapes(execution: Make) -> Callable[..., list[Execution]]:
    """The executions of `shapes`, the root first; what a test says of a number replaces its
    fields."""

    def make(**changes: JsonDict) -> list[Execution]:
        rows: list[tuple[int, str, int, dict[str, Any]]] = [
            (1, "", 0, {"type": mlmd.DAG, "state": "RUNNING"}),
            (2, "condition-branches-1", 1, {"type": mlmd.DAG}),
            (3, "condition-2", 2, {"type": mlmd.DAG, "state": "CANCELED"}),
            (4, "condition-3", 2, {"type": mlmd.DAG}),
            (5, "say-2", 4, {}),
            (6, "for-loop-4", 1, {"type": mlmd.DAG}),
            (7, "for-loop-4", 6, {"type": mlmd.DAG, "iteration": 0}),
            (8, "double", 7, {}),
            (9, "for-loop-4", 6, {"type": mlmd.DAG, "iteration": 1}),
            (10, "double", 9, {}),
            (11, "importer", 1, {"type": mlmd.IMPORTER}),
            (12, "inner", 1, {"type": mlmd.DAG}),
            (13, "double", 12, {}),
            (14, "double-2", 12, {}),
            (15, "say-3", 1, {}),
            (16, "lines", 1, {}),
            (17, "total", 1, {}),
        ]
        return [
            execution(number, task, parent, **more | changes.get(f"n{number}", {}))
            for number, task, parent, more in rows
        ]

    return make


def placed(executions: list[Execution], graph: Graph) -> dict[str, str]:
    """Kinds by paths, of tasks that have an execution; each is at a path of its own."""
    placements = place_executions(executions, graph)
    paths = [placement.path for placement in placements]
    assert len(set(paths)) == len(paths), "two tasks have the same path"
    return {
        placement.path: placement.kind.value
        for placement in placements
        if placement.execution is not None
    }


def test_executions_name_what_they_stand_in(
    shapes: Callable[..., list[Execution]], graph: Graph
) -> None:
    placements = place_executions(shapes(), graph)

    assert placed(shapes(), graph) == SHAPES
    assert [placement.path for placement in placements if placement.execution is None] == [], (
        "tasks of a false condition are shown"
    )


def test_tasks_without_an_execution_did_not_run(
    shapes: Callable[..., list[Execution]], graph: Graph
) -> None:
    """It comes last."""
    missing = {"inner/double-2", "say-3", "total"}
    remaining = [execution for execution in shapes() if execution.id not in (14, 15, 17)]

    placements = place_executions(remaining, graph)

    assert {placement.path for placement in placements if placement.execution is None} == missing
    assert {placement.path for placement in placements[-3:]} == missing
    assert {placement.path: placement.kind.value for placement in placements} == SHAPES


def test_what_is_in_a_dag_that_did_not_run_is_not_shown(
    shapes: Callable[..., list[Execution]], graph: Graph
) -> None:
    removed = (6, 7, 8, 9, 10, 12, 13, 14)
    remaining = [execution for execution in shapes() if execution.id not in removed]

    by_path = {placement.path: placement for placement in place_executions(remaining, graph)}

    assert by_path["inner"].execution is None
    assert by_path["for-loop-4"].execution is None
    assert not [path for path in by_path if path.startswith(("inner/", "for-loop-4["))]


@pytest.mark.parametrize("order", ["reversed", "rotated", "by task"])
def test_the_order_of_the_answer_does_not_matter(
    shapes: Callable[..., list[Execution]], graph: Graph, order: str
) -> None:
    executions = shapes()
    other = {
        "reversed": executions[::-1],
        "rotated": executions[8:] + executions[:8],
        "by task": sorted(executions, key=lambda execution: execution.task),
    }[order]

    assert placed(other, graph) == SHAPES


def test_iterations_have_their_numbers_whenever_they_started(execution: Make, graph: Graph) -> None:
    order = [10, 2, 11, 0, 1]
    executions = [execution(1, ""), execution(2, "for-loop-4", 1)]
    for at, number in enumerate(order):
        executions += [
            execution(10 + at, "for-loop-4", 2, iteration=number),
            execution(30 + at, "double", 10 + at),
        ]

    kinds = placed(executions, graph)

    loop = [f"for-loop-4[{number}]" for number in order]
    assert [*kinds] == ["for-loop-4", *loop, *(f"{iteration}/double" for iteration in loop)], (
        "the tasks are in the order of their starts"
    )


def test_iterations_without_a_number_are_counted_by_their_start(
    execution: Make, graph: Graph
) -> None:
    executions = [execution(1, ""), execution(2, "for-loop-4", 1)]
    executions += [execution(number, "for-loop-4", 2) for number in (3, 4)]

    assert [*placed(executions, graph)] == ["for-loop-4", "for-loop-4[0]", "for-loop-4[1]"]


def test_a_loop_over_nothing_has_no_iterations(execution: Make, graph: Graph) -> None:
    assert placed([execution(1, ""), execution(2, "for-loop-4", 1)], graph) == {
        "for-loop-4": "loop"
    }


# -- parents that are not there


def test_the_pipeline_itself_may_be_missing(
    shapes: Callable[..., list[Execution]], graph: Graph
) -> None:
    assert placed(shapes()[1:], graph) == SHAPES, "tasks at the top are placed by their names"


def test_a_stranger_beside_the_pipeline_changes_nothing(
    shapes: Callable[..., list[Execution]], execution: Make, graph: Graph
) -> None:
    """One whose parent is not of this run, and one that the pipeline does not have."""
    strangers = [
        execution(90, "odd", 77),
        execution(91, "odd", 1),
        execution(92, "", 0),
        execution(93, "x", 91),
    ]

    assert placed([*shapes(), *strangers], graph) == SHAPES


def test_a_task_of_the_top_whose_parent_is_unknown_is_at_the_top(
    shapes: Callable[..., list[Execution]], graph: Graph
) -> None:
    assert placed(_reparented(shapes(), 17, 77), graph) == SHAPES


def _reparented(executions: list[Execution], number: int, parent: int) -> list[Execution]:
    return [
        replace(execution, parent=parent) if execution.id == number else execution
        for execution in executions
    ]


def test_parents_that_go_in_circles_lose_only_what_is_in_them(
    shapes: Callable[..., list[Execution]], graph: Graph
) -> None:
    circle = _reparented(
        _reparented(shapes(), 12, 13), 15, 15
    )  # inner in its own task, say-3 in itself

    lost = {"inner", "inner/double", "inner/double-2", "say-3"}
    assert placed(circle, graph) == {
        path: kind for path, kind in SHAPES.items() if path not in lost
    }


def test_no_executions_at_all_are_tasks_that_did_not_run(graph: Graph) -> None:
    placements = place_executions([], graph)

    assert {placement.path for placement in placements} == {
        path for path in SHAPES if "/" not in path and "[" not in path
    }
    assert {placement.execution for placement in placements} == {None}


# -- names


def named(spec: JsonDict, **names: str) -> None:
    """Gives tasks of a spec display names."""
    for component in (spec["root"], *spec["components"].values()):
        for key, task in component.get("dag", {}).get("tasks", {}).items():
            task["taskInfo"]["name"] = names.get(key.replace("-", "_"), task["taskInfo"]["name"])


def test_older_servers_have_labels_instead_of_keys(
    edited: Callable[..., Spec], execution: Make
) -> None:
    """Before 2.14 task_name is the label, which tasks of one DAG may share: they are told by their
    order."""
    names = {"inner": "the inner one", "double": "twice", "double_2": "twice", "for_loop_4": "each"}
    graph = build(
        edited("tests/pipelines/shapes.py", lambda spec: named(spec, **names)).pipeline_spec
    )
    executions = [
        execution(1, ""),
        execution(2, "the inner one", 1),
        execution(3, "twice", 2),
        execution(4, "twice", 2),
        execution(5, "each", 1),
        execution(6, "each", 5, iteration=0),
        execution(7, "twice", 6),
    ]

    assert placed(executions, graph) == {
        "inner": "dag",
        "inner/double": "container",
        "inner/double-2": "container",
        "for-loop-4": "loop",
        "for-loop-4[0]": "dag",
        "for-loop-4[0]/double": "container",
    }
    assert {
        placement.path: placement.execution.id
        for placement in place_executions(executions, graph)
        if placement.execution
    }["inner/double-2"] == 4


def test_a_retried_run_shows_the_last_execution_of_a_task(
    shapes: Callable[..., list[Execution]], execution: Make, graph: Graph
) -> None:
    """The first one stays FAILED; that of an iteration and what is in it are made anew too."""
    again = [
        execution(40, "lines", 1),
        execution(41, "for-loop-4", 6, iteration=1, type=mlmd.DAG),
        execution(42, "double", 41),
    ]
    executions = [*shapes(n16={"state": "FAILED"}, n10={"state": "FAILED"}), *again]

    assert placed(executions, graph) == SHAPES
    last = {
        placement.path: placement.execution.id
        for placement in place_executions(executions, graph)
        if placement.execution
    }
    assert (last["lines"], last["for-loop-4[1]"], last["for-loop-4[1]/double"]) == (40, 41, 42)
    assert (last["for-loop-4[0]"], last["total"]) == (7, 17)


NAMES = ["", "inner", "double", "double-2", "for-loop-4", "condition-2", "say-2", "total", "odd"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.integers(-2, 12),
            st.none() | st.integers(-1, 3),
            st.sampled_from(mlmd.STATES),
        ),
        max_size=12,
    )
)
def test_any_executions_are_placed_once_each(
    graph: Graph, rows: list[tuple[str, int, int | None, str]]
) -> None:
    executions = [
        Execution(number, mlmd.DAG, name, parent, iteration, state, {}, {}, 0.0, 0.0)
        for number, (name, parent, iteration, state) in enumerate(rows, 1)
    ]

    placements = place_executions(executions, graph)

    paths = [placement.path for placement in placements]
    assert len(set(paths)) == len(paths)
    used = [placement.execution.id for placement in placements if placement.execution is not None]
    assert len(set(used)) == len(used)
    tops = {path for path in paths if "/" not in path and "[" not in path}
    assert tops == set(graph.root.dag.tasks)


# -- a run under way


def node(name: str, second: int, **more: object) -> JsonDict:
    at = f"2026-01-02T03:00:{second:02d}Z"
    return {"display_name": name, "state": "RUNNING", "create_time": at, "start_time": at} | more


def test_nodes_are_placed_by_names_that_the_pipeline_has_once(graph: Graph) -> None:
    """Drivers, wrappers and what is in a loop or has a name of two tasks are left out."""
    details = [
        node("shapes-x1y2z", 0),
        node("root-driver", 1),
        node("root", 2),
        node("total-driver", 3),
        node("total", 4),
        node("executor", 5),
        node("lines", 3),
        node("double", 5),  # in the loop, and in `inner`
        node("double-2", 6),
        node("for-loop-4", 6),
        node("iteration-item", 7),
        node("inner", 5),
        node("say", 8),
        node("lines", 9),  # a second node of that name
        {},
        {"display_name": None, "start_time": 3},
    ]

    placements = place_nodes(details, graph)

    assert {placement.path: placement.kind.value for placement in placements} == {
        "lines": "container",
        "total": "container",
        "inner": "dag",
        "for-loop-4": "loop",
        "inner/double-2": "container",
        "condition-branches-1/condition-2/say": "container",
    }
    assert [placement.path for placement in placements][:3] == ["lines", "total", "inner"], (
        "the tasks are in the order of their starts"
    )
    assert placements[0].node == details[6]


def test_nodes_may_lack_any_field(graph: Graph) -> None:
    for missing in ("display_name", "state", "create_time", "start_time"):
        details = [node("total", 4), node("lines", 3)]
        less = [
            {key: value for key, value in detail.items() if key != missing} for detail in details
        ]
        assert len(place_nodes(less, graph)) == (0 if missing == "display_name" else 2), missing
    assert place_nodes([], graph) == []


def test_every_task_outside_of_loops_is_placed(
    compiled: Callable[[str], Spec],
) -> None:
    graph = build(compiled("features-2.14.6.yaml").pipeline_spec)
    names = [
        "produce",
        "describe",
        "two",
        "inner",
        "eight",
        "not-eight",
        "condition-1",
        "when eight",
        "double-3",
    ]

    paths = {
        placement.path
        for placement in place_nodes([node(name, at) for at, name in enumerate(names)], graph)
    }

    assert paths == {
        "produce",
        "describe",
        "two",
        "inner",
        "condition-1",
        "condition-2",
        "condition-1/double",
    }


def test_kinds_are_those_of_the_spec_whatever_the_execution_says(
    shapes: Callable[..., list[Execution]], graph: Graph
) -> None:
    wrong = itertools.cycle([mlmd.CONTAINER, mlmd.DAG, "", "acme.Other"])

    changed = {f"n{number}": {"type": next(wrong)} for number in range(1, 18)}

    assert placed(shapes(**changed), graph) == SHAPES
