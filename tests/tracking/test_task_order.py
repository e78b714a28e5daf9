"""Changes of tasks come in the order in which they happened, also when times do not tell it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from kfp import compiler, dsl

from kfgcp.model import Task, TaskKind, TaskState
from kfgcp.spec.graph import build
from kfgcp.spec.load import load
from kfgcp.tracking.task_order import Dependencies, TaskOrder

PENDING, RUNNING, SUCCEEDED = TaskState.PENDING, TaskState.RUNNING, TaskState.SUCCEEDED
FAILED, SKIPPED, CACHED = TaskState.FAILED, TaskState.SKIPPED, TaskState.CACHED


@dsl.component(base_image="python:3.11")
def make(number: int) -> int:
    return number


@dsl.pipeline(name="looped")
def looped() -> None:
    first = make(number=1)
    with dsl.ParallelFor([1, 2]) as item:
        inside = make(number=item).after(first)
        make(number=inside.output)


@pytest.fixture(scope="module")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Dependencies:
    """Of the pipeline: make, then for-loop-2 with make-2 and make-3, of which the second waits for
    the first."""
    file = tmp_path_factory.mktemp("spec") / "looped.yaml"
    compiler.Compiler().compile(looped, str(file))
    return Dependencies(build(load(file).pipeline_spec))


def task(path: str, state: TaskState, started: int | None = None, ended: int | None = None) -> Task:
    """A task with times in seconds."""
    kind = TaskKind.CONTAINER if "make" in path.rpartition("/")[2] else TaskKind.LOOP
    return Task(path, kind, state, attempts=1, started_at=_time(started), ended_at=_time(ended))


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else f"2026-01-01T00:00:{seconds:02}.000Z"


def describe(tasks: Iterator[Task]) -> list[str]:
    return [f"{task.path} {task.state}" for task in tasks]


def test_what_a_task_waits_for_is_known_inside_of_loops(dependencies: Dependencies) -> None:
    assert dependencies.find("make") == []
    assert dependencies.find("for-loop-2") == ["make"]
    assert dependencies.find("for-loop-2[1]") == []
    assert dependencies.find("for-loop-2[1]/make-3") == ["for-loop-2[1]/make-2"]
    assert dependencies.find("nothing/like-this") == []
    assert Dependencies(None).find("make") == []


def test_times_decide_between_tasks_that_do_not_depend_on_each_other() -> None:
    order = TaskOrder(Dependencies(None))

    order.add([task("make-2", SUCCEEDED, 2, 3), task("make", SUCCEEDED, 1, 4)])

    assert describe(order.rest()) == [
        "make RUNNING",
        "make-2 RUNNING",
        "make-2 SUCCEEDED",
        "make SUCCEEDED",
    ]


def test_in_one_second_a_task_ends_before_those_start_that_wait_for_it(
    dependencies: Dependencies,
) -> None:
    """Kubeflow gives whole seconds. The dependent task comes first here, as names or times could
    put it there."""
    order = TaskOrder(dependencies)

    order.add(
        [
            task("for-loop-2[0]/make-3", RUNNING, 5),
            task("for-loop-2[0]/make-2", SUCCEEDED, 5, 5),
            task("for-loop-2[0]", RUNNING, 5),
            task("for-loop-2", RUNNING, 5),
            task("make", SUCCEEDED, 5, 5),
        ]
    )

    assert describe(order.rest()) == [
        "make RUNNING",
        "make SUCCEEDED",
        "for-loop-2 RUNNING",
        "for-loop-2[0] RUNNING",
        "for-loop-2[0]/make-2 RUNNING",
        "for-loop-2[0]/make-2 SUCCEEDED",
        "for-loop-2[0]/make-3 RUNNING",
    ]


def test_a_group_ends_after_all_in_it(dependencies: Dependencies) -> None:
    order = TaskOrder(dependencies)
    order.add([task("for-loop-2", RUNNING, 1), task("for-loop-2[0]", RUNNING, 1)])
    assert describe(order.rest()) == ["for-loop-2 RUNNING", "for-loop-2[0] RUNNING"]

    order.add(
        [
            task("for-loop-2", SUCCEEDED, 1, 2),
            task("for-loop-2[0]", SUCCEEDED, 1, 2),
            task("for-loop-2[0]/make-2", SUCCEEDED, 1, 2),
        ]
    )

    assert describe(order.rest()) == [
        "for-loop-2[0]/make-2 RUNNING",
        "for-loop-2[0]/make-2 SUCCEEDED",
        "for-loop-2[0] SUCCEEDED",
        "for-loop-2 SUCCEEDED",
    ]


def test_before_a_line_comes_the_start_of_its_task_and_what_that_waited_for(
    dependencies: Dependencies,
) -> None:
    order = TaskOrder(dependencies)
    order.add(
        [
            task("make", SUCCEEDED, 1, 2),
            task("for-loop-2", RUNNING, 2),
            task("for-loop-2[1]/make-2", FAILED, 2, 3),
        ]
    )

    assert describe(order.before_line("make")) == ["make RUNNING"]
    assert describe(order.before_line("for-loop-2[1]/make-2")) == [
        "make SUCCEEDED",
        "for-loop-2 RUNNING",
        "for-loop-2[1]/make-2 RUNNING",
    ]
    assert describe(order.before_line("for-loop-2[1]/make-2")) == []
    assert describe(order.rest()) == ["for-loop-2[1]/make-2 FAILED"]


def test_a_start_is_held_back_until_the_end_before_it_was_seen(dependencies: Dependencies) -> None:
    """A server is asked for its tasks in several requests, so the later one can be newer."""
    order = TaskOrder(dependencies)
    first, second = "for-loop-2[0]/make-2", "for-loop-2[0]/make-3"
    order.add([task(first, RUNNING, 1), task(second, RUNNING, 2)])
    assert describe(order.rest()) == [f"{first} RUNNING"]

    order.add([task(first, SUCCEEDED, 1, 2)])

    assert describe(order.rest()) == [f"{first} SUCCEEDED", f"{second} RUNNING"]


@pytest.fixture
def held_back(dependencies: Dependencies) -> TaskOrder:
    """An order that holds back the start of make-3, which waits for make-2."""
    order = TaskOrder(dependencies)
    order.add([task("for-loop-2[0]/make-2", RUNNING, 1), task("for-loop-2[0]/make-3", RUNNING, 2)])
    assert describe(order.rest()) == ["for-loop-2[0]/make-2 RUNNING"]
    return order


def test_a_line_ends_the_holding_back(held_back: TaskOrder) -> None:
    assert describe(held_back.before_line("for-loop-2[0]/make-3")) == [
        "for-loop-2[0]/make-3 RUNNING"
    ]


def test_the_end_of_the_task_ends_the_holding_back(held_back: TaskOrder) -> None:
    held_back.add([task("for-loop-2[0]/make-3", SUCCEEDED, 2, 3)])

    assert describe(held_back.rest()) == [
        "for-loop-2[0]/make-3 RUNNING",
        "for-loop-2[0]/make-3 SUCCEEDED",
    ]


def test_the_end_of_the_run_ends_the_holding_back(held_back: TaskOrder) -> None:
    assert describe(held_back.rest(run_ended=True)) == ["for-loop-2[0]/make-3 RUNNING"]


def test_a_look_without_changes_tells_nothing() -> None:
    order = TaskOrder(Dependencies(None))
    tasks = [task("make", RUNNING, 1), task("make-2", PENDING)]

    assert order.add(tasks) == tasks
    assert describe(order.rest()) == ["make RUNNING", "make-2 PENDING"]
    assert order.add(tasks) == []
    assert describe(order.rest()) == []


def test_what_did_not_run_has_an_end_only() -> None:
    order = TaskOrder(Dependencies(None))

    order.add([task("make", SKIPPED), task("make-2", CACHED, 1, 1)])

    assert describe(order.rest()) == ["make-2 CACHED", "make SKIPPED"]


def test_a_task_that_runs_again_and_a_late_reason() -> None:
    order = TaskOrder(Dependencies(None))
    failed = task("make", FAILED, 1, 2)
    order.add([failed])
    assert describe(order.rest()) == ["make RUNNING", "make FAILED"]

    order.add([replace(failed, outputs={"late": 1})])
    assert describe(order.rest()) == ["make FAILED"]
    order.add([task("make", RUNNING, 3)])
    assert describe(order.rest()) == ["make RUNNING"]
    order.add([task("make", SUCCEEDED, 3, 4)])
    assert describe(order.rest()) == ["make SUCCEEDED"]


def test_a_group_that_ended_and_started_again_between_two_looks(dependencies: Dependencies) -> None:
    """Its changes and those of its task wait for each other; all are told, each once."""
    order = TaskOrder(dependencies)
    order.add([task("for-loop-2", FAILED, 1, 2)])
    order.add([task("for-loop-2", RUNNING, 3), task("for-loop-2[0]/make-2", FAILED, 1, 2)])

    assert sorted(
        describe(order.before_line("for-loop-2[0]/make-2")) + describe(order.rest())
    ) == sorted(
        [
            "for-loop-2 RUNNING",
            "for-loop-2 FAILED",
            "for-loop-2 RUNNING",
            "for-loop-2[0]/make-2 RUNNING",
            "for-loop-2[0]/make-2 FAILED",
        ]
    )


def test_a_long_chain_in_one_look_is_in_order() -> None:
    """Ten thousand tasks, each after the one before, all in the same second and given backwards."""

    class Chain(Dependencies):
        def find(self, path: str) -> list[str]:
            number = int(path.removeprefix("make-"))
            return [f"make-{number - 1}"] if number else []

    order = TaskOrder(Chain(None))
    order.add(task(f"make-{number}", SUCCEEDED, 1, 1) for number in reversed(range(10_000)))

    shown = describe(order.before_line("make-9999")) + describe(order.rest())

    assert shown == [
        f"make-{number} {state}" for number in range(10_000) for state in ("RUNNING", "SUCCEEDED")
    ]
