"""Where tasks stand, from taskDetails in every shape that the documentation leaves open."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.backends.vertex.tree import place_tasks
from kfgcp.spec.graph import Graph, build
from kfgcp.spec.load import Spec

TOP = ("condition-branches-1", "for-loop-4", "importer", "inner", "say-3", "lines", "total")
EXPECTED = {
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


@pytest.fixture(scope="module")
def graph(compiled: Callable[[str], Spec]) -> Graph:
    """The graph of the pipeline `shapes`."""
    return build(compiled("tests/pipelines/shapes.py").pipeline_spec)


@pytest.fixture
def shapes(detail: Callable[..., JsonDict]) -> Callable[..., list[JsonDict]]:
    """The taskDetails of `shapes`, in the order of EXPECTED, with two iterations; `root` is the
    parent of the top."""

    def make(
        root: int | None, iterations: bool = True, loop: str = "for-loop-4-{}"
    ) -> list[JsonDict]:
        def over(number: int) -> int:
            return 5 + 2 * number if iterations else 5

        looped = [
            task_detail
            for number in range(2)
            for task_detail in (
                *([detail(5 + 2 * number + 0, loop.format(number), 50)] if iterations else []),
                detail(6 + 2 * number, "double", over(number) if iterations else 50),
            )
        ]
        return [
            detail(1, "condition-branches-1", root),
            detail(2, "condition-2", 1, state="NOT_TRIGGERED"),
            detail(3, "condition-3", 1),
            detail(4, "say-2", 3),
            detail(50, "for-loop-4", root, startTime="2026-01-02T03:00:04.500Z"),
            *looped,
            detail(10, "importer", root),
            detail(11, "inner", root),
            detail(12, "double", 11),
            detail(13, "double-2", 11),
            detail(14, "say-3", root),
            detail(15, "lines", root),
            detail(16, "total", root),
        ]

    return make


def placed(details: list[JsonDict], graph: Graph | None) -> dict[str, str]:
    placements = place_tasks(details, graph)
    paths = [placement.path for placement in placements]
    assert len(set(paths)) == len(paths), "two tasks have the same path"
    return {placement.path: placement.kind.value for placement in placements}


def test_the_pipeline_itself_may_be_a_task_or_not(
    shapes: Callable[..., list[JsonDict]], graph: Graph, detail: Callable[..., JsonDict]
) -> None:
    whole = detail(0, "shapes-abc123", execution={"schemaTitle": "system.Run"})
    forms = {
        "no task of its own": shapes(None),
        "their parent": [whole, *shapes(0)],
        "their parent, without an execution": [detail(0, "shapes-abc123"), *shapes(0)],
        "beside them": [whole, *shapes(None)],
        "a parent that is not shown": shapes(99),
    }

    for form, details in forms.items():
        assert placed(details, graph) == EXPECTED, form


def test_the_order_of_details_does_not_matter(
    shapes: Callable[..., list[JsonDict]], graph: Graph
) -> None:
    details = shapes(None)

    for other in (details[::-1], details[5:] + details[:5]):
        placements = place_tasks(other, graph)
        assert [placement.path for placement in placements] == list(EXPECTED), (
            "the tasks are in the order of their starts"
        )


def test_an_iteration_that_is_not_shown_is_found_by_the_repetition(
    shapes: Callable[..., list[JsonDict]], graph: Graph
) -> None:
    shown = {
        path: kind
        for path, kind in EXPECTED.items()
        if path not in ("for-loop-4[0]", "for-loop-4[1]")
    }

    assert placed(shapes(None, iterations=False), graph) == shown


@pytest.mark.parametrize(
    "name", ["for-loop-4-{}", "iteration-{}", "{}", "for-loop-4[{}]", "loop 4 item #{}!"]
)
def test_an_iteration_is_counted_by_its_name(
    shapes: Callable[..., list[JsonDict]], graph: Graph, name: str
) -> None:
    assert placed(shapes(None, loop=name), graph) == EXPECTED


def test_iterations_without_a_number_are_counted_by_their_start(
    shapes: Callable[..., list[JsonDict]], graph: Graph
) -> None:
    assert placed(shapes(None, loop="iteration"), graph) == EXPECTED


def test_more_than_ten_iterations_keep_their_numbers(
    graph: Graph, detail: Callable[..., JsonDict]
) -> None:
    order = [10, 2, 11, 0, 1]  # as they started
    details = [detail(1, "for-loop-4")]
    for at, number in enumerate(order):
        details += [detail(10 + at, f"for-loop-4-{number}", 1), detail(30 + at, "double", 10 + at)]

    paths = [placement.path for placement in place_tasks(details, graph)]

    assert paths[1:6] == [f"for-loop-4[{number}]" for number in order]
    assert paths[6:] == [f"for-loop-4[{number}]/double" for number in order]


def named(spec: JsonDict, **names: str) -> None:
    """Gives tasks of a spec display names."""
    for component in (spec["root"], *spec["components"].values()):
        for key, task in component.get("dag", {}).get("tasks", {}).items():
            task["taskInfo"]["name"] = names.get(key.replace("-", "_"), task["taskInfo"]["name"])


def test_tasks_may_be_shown_by_their_display_names(
    edited: Callable[..., Spec], detail: Callable[..., JsonDict]
) -> None:
    names = {"inner": "the inner one", "double": "twice", "double_2": "twice", "for_loop_4": "each"}
    graph = build(
        edited("tests/pipelines/shapes.py", lambda spec: named(spec, **names)).pipeline_spec
    )
    inner = [detail(1, "the inner one"), detail(2, "twice", 1), detail(3, "twice", 1)]
    loop = [detail(4, "each"), detail(5, "each-0", 4), detail(6, "twice", 5)]
    unshown = [detail(4, "each"), detail(6, "twice", 4), detail(7, "twice", 4)]

    expected = {"inner": "dag", "inner/double": "container", "inner/double-2": "container"}
    assert placed(inner, graph) == expected, "a task alone at the top is not the pipeline"
    assert placed([*inner, *loop], graph) == {
        **expected,
        "for-loop-4": "loop",
        "for-loop-4[0]": "dag",
        "for-loop-4[0]/double": "container",
    }
    assert placed([*inner, *unshown], graph) == {
        **expected,
        "for-loop-4": "loop",
        "for-loop-4[0]/double": "container",
        "for-loop-4[1]/double": "container",
    }


def test_without_parents_every_task_is_still_there(
    shapes: Callable[..., list[JsonDict]], graph: Graph
) -> None:
    details: Any = [
        {key: value for key, value in task_detail.items() if key != "parentTaskId"}
        for task_detail in shapes(None)
    ]

    placements = place_tasks(details, graph)

    assert len(placements) == len(details)
    assert set(TOP) <= {placement.path for placement in placements}


def test_without_a_spec_parents_tell_and_kinds_are_those_of_the_executions(
    detail: Callable[..., JsonDict],
) -> None:
    details = [
        detail(0, "job-1", execution={"schemaTitle": "system.Run"}),
        detail(1, "train", 0, execution={"schemaTitle": "system.ContainerExecution"}),
        detail(2, "read", 0, execution={"schemaTitle": "system.ImporterExecution"}),
        detail(3, "part", 0),
        detail(4, "deep", 3),
        detail(5, "empty", 0, execution={"schemaTitle": "system.DagExecution"}),
    ]

    for ordered in (details, [details[0], *reversed(details[1:])]):
        assert placed(ordered, None) == {
            "train": "container",
            "read": "importer",
            "part": "dag",
            "part/deep": "container",
            "empty": "dag",
        }
    assert placed([detail(1, "only")], None) == {"only": "container"}


def test_a_task_that_the_spec_does_not_have_is_there_too(
    graph: Graph, detail: Callable[..., JsonDict]
) -> None:
    details = [
        detail(1, "lines"),
        detail(2, "of-a-newer-service"),
        detail(3, "inner"),
        detail(4, "odd", 3),
    ]

    assert placed(details, graph) == {
        "lines": "container",
        "of-a-newer-service": "container",
        "inner": "dag",
        "inner/odd": "container",
    }


def test_a_pipeline_of_one_task_is_not_taken_for_the_task(
    compiled: Callable[[str], Spec], detail: Callable[..., JsonDict]
) -> None:
    graph = build(compiled("tests/pipelines/echo.py").pipeline_spec)

    assert placed([detail(1, "say")], graph) == {"say": "container"}
    assert placed([detail(0, "echo-1"), detail(1, "say", 0)], graph) == {"say": "container"}
    assert placed([detail(0, "echo-1")], graph) == {}, "the only detail is the pipeline itself"


def test_tasks_that_have_not_started_come_last(
    graph: Graph, detail: Callable[..., JsonDict]
) -> None:
    waiting = detail(1, "lines", state="PENDING", startTime=None, endTime=None)
    created = detail(2, "total", startTime=None, createTime="2026-01-02T02:00:00Z")

    paths = [
        placement.path
        for placement in place_tasks([waiting, created, detail(3, "importer")], graph)
    ]

    assert paths == ["total", "importer", "lines"]


def test_any_field_may_be_missing(shapes: Callable[..., list[JsonDict]], graph: Graph) -> None:
    details = shapes(0)

    for name, tree in itertools.product(
        ("taskId", "taskName", "state", "startTime", "endTime"), (graph, None)
    ):
        less: Any = [
            {key: value for key, value in detail.items() if key != name} for detail in details
        ]
        before = json.dumps(less)
        assert all(placement.path for placement in place_tasks(less, tree)), name
        assert json.dumps(less) == before
    assert place_tasks([], graph) == []
    assert len(place_tasks([{}], None)) == 1


@pytest.mark.parametrize(
    ("name", "path"),
    [("a]", "a-"), ("loop[2]/a]", "loop-2--a-"), ("[", "-"), ("", "task-7"), (None, "task-7")],
)
def test_unusual_names_are_one_part_of_a_path(name: str | None, path: str) -> None:
    details: Any = [{"taskId": 7, "taskName": name}, {"taskId": 8, "taskName": "other"}]

    assert [placed.path for placed in place_tasks(details, None)] == sorted([path, "other"])


def test_a_name_of_many_digits_is_an_iteration_too() -> None:
    graph = build(
        {
            "pipelineInfo": {"name": "p"},
            "root": {
                "dag": {
                    "tasks": {
                        "loop": {
                            "componentRef": {"name": "comp"},
                            "parameterIterator": {"itemInput": "x", "items": {"raw": "[1]"}},
                        }
                    }
                }
            },
            "components": {"comp": {"dag": {"tasks": {}}}},
            "deploymentSpec": {},
        }
    )
    details: Any = [
        {"taskId": 1, "taskName": "loop"},
        {"taskId": 2, "taskName": "other"},
        {"taskId": 3, "parentTaskId": 1, "taskName": "9" * 5000},
    ]

    paths = [placed.path for placed in place_tasks(details, graph)]

    assert f"loop[{'9' * 18}]" in paths


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_task_with_the_id_of_its_parent_stands_in_it_once(order: tuple[int, ...]) -> None:
    tasks: Any = [
        {"taskId": 1, "taskName": "outer"},
        {"taskId": 1, "parentTaskId": 1, "taskName": "inner"},
        {"taskId": 2, "parentTaskId": 1, "taskName": "other"},
    ]

    placed = place_tasks([tasks[number] for number in order], None)

    # The only task without a parent is the pipeline itself, which is not placed.
    assert sorted(placement.path for placement in placed) == ["inner", "other"]


def test_tasks_that_stand_in_each_other_end() -> None:
    details: Any = [
        {"taskId": 1, "taskName": "a"},
        {"taskId": 2, "parentTaskId": 1, "taskName": "b"},
        {"taskId": 1, "parentTaskId": 2, "taskName": "c"},
        {"taskId": 3, "taskName": "d"},
    ]

    assert {placement.path for placement in place_tasks(details, None)} >= {
        "a",
        "a/b",
        "a/b/c",
        "d",
    }
