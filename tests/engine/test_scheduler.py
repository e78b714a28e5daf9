"""The scheduler by itself: no processes, any order of ends."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp import dsl

from kfgcp.semantics.values import Values

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def work(x: int = 0, y: int = 0) -> int:
    return x + y


@dsl.component(base_image=IMAGE)
def gather(items: list) -> int:
    return len(items)


@dsl.component(base_image=IMAGE)
def state_of(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


@dsl.pipeline(name="inner")
def inner(x: int) -> int:
    first = work(x=x)
    return work(x=first.output, y=1).output


@dsl.pipeline(name="everything")
def everything(x: int = 3):
    with dsl.ExitHandler(state_of()):
        first = work(x=x)
        nested = inner(x=first.output)
        with dsl.ParallelFor([1, 2, 3], parallelism=2) as item:
            one = work(x=item, y=nested.output)
            with dsl.If(one.output > 8):
                two = work(x=one.output)
        gather(items=dsl.Collected(two.output))
        with dsl.If(nested.output == 4):
            left = work(x=1)
        with dsl.Else():
            right = work(x=2)
        work(x=dsl.OneOf(left.output, right.output))
        work(x=5).set_retry(2)
        work(x=first.output, y=0).ignore_upstream_failure()


def behaviour(failing):
    """What a task puts out, or that it fails: by its path alone, as a real one."""

    def behave(node):
        if node.path in failing:
            return f"{node.path} fails"
        params = node.inputs.params
        if "items" in params:
            return Values({"Output": len(params["items"])})
        if "status" in params:
            return Values({"Output": params["status"]["state"]})
        return Values({"Output": params.get("x", 0) + params.get("y", 0)})

    return behave


def outputs(scheduler):
    results, todo = {}, [scheduler.root]
    while todo:
        node = todo.pop()
        results[node.path] = (
            node.state,
            dict(node.outputs.params),
            node.error and node.error.message,
        )
        todo += node.children.values()
    return results


PATHS = [
    "exit-handler-1/work",
    "exit-handler-1/inner/work",
    "exit-handler-1/inner/work-2",
    "exit-handler-1/for-loop-3[1]/work-2",
    "exit-handler-1/for-loop-3[2]/condition-4/work-3",
    "exit-handler-1/work-7",
    "exit-handler-1/gather",
    "state-of",
]


@pytest.mark.rule(
    "Control flow: deterministic: the same spec, inputs and seed give the same states and outputs"
)
@given(
    seed=st.integers(0, 2**32),
    limit=st.integers(1, 9),
    failing=st.sets(st.sampled_from(PATHS), max_size=2),
)
@settings(max_examples=60, deadline=None)
def test_any_order_of_ends_gives_the_same(simulate, seed, limit, failing):
    order = random.Random(seed)  # noqa: S311
    expected = outputs(simulate(everything, behaviour(failing)))

    scheduler = simulate(everything, behaviour(failing), choose=order.randrange, limit=limit)

    assert outputs(scheduler) == expected


@pytest.mark.rule(
    "Control flow: deterministic: the same spec, inputs and seed give the same states and outputs"
)
def test_the_order_of_launches_does_not_depend_on_the_order_in_the_spec(simulate, compiled):
    def shuffled(value, order):
        if isinstance(value, dict):
            keys = sorted(value)
            order.shuffle(keys)
            return {key: shuffled(value[key], order) for key in keys}
        return [shuffled(item, order) for item in value] if isinstance(value, list) else value

    spec = compiled(everything)
    launches = []
    for seed in range(5):
        seen = []

        def behave(node, seen=seen):
            seen.append(node.path)
            return behaviour(())(node)

        simulate(shuffled(spec, random.Random(seed)), behave)  # noqa: S311
        launches.append(seen)

    assert all(seen == launches[0] for seen in launches)


@pytest.mark.rule("Control flow: a task runs only when every upstream task is SUCCEEDED or CACHED")
@given(
    failing=st.sets(st.sampled_from(PATHS), max_size=3),
    fast=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_nothing_runs_below_what_did_not_succeed(simulate, failing, fast, seed):
    order = random.Random(seed)  # noqa: S311
    scheduler = simulate(everything, behaviour(failing), choose=order.randrange, fail_fast=fast)
    todo = [scheduler.root]
    while todo:
        node = todo.pop()
        todo += node.children.values()
        assert node.state.final
        if node.attempts and not node.task.runs_always and node.parent.kind == "dag":
            assert all(node.parent.children[key].state.ok for key in node.task.upstream)
    failed = any(state == "FAILED" for state, _, _ in outputs(scheduler).values())
    assert (scheduler.root.state == "FAILED") == failed


@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
@given(failing=st.sets(st.sampled_from(PATHS[:-1])), fast=st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_exit_task_always_runs(simulate, failing, fast):
    outputs_by_path = outputs(simulate(everything, behaviour(failing), fail_fast=fast))

    assert outputs_by_path["state-of"][0] == "SUCCEEDED"
    assert outputs_by_path["state-of"][1]["Output"] == (
        "FAILED" if outputs_by_path["exit-handler-1"][0] == "FAILED" else "SUCCEEDED"
    )


@pytest.mark.rule(
    "Running a task: independent tasks, conditions and loops of one DAG run at the same time"
)
def test_a_wide_loop_is_scheduled_in_linear_time(simulate, compiled):
    @dsl.pipeline(name="wide")
    def wide(items: list):
        with dsl.ParallelFor(items) as item:
            gather_text(x=item)

    scheduler = simulate(
        wide, lambda node: Values({"Output": ""}), {"items": ["x"] * 5000}, limit=4
    )

    assert scheduler.root.state == "SUCCEEDED"
    assert len(outputs(scheduler)) == 10_002


@dsl.component(base_image=IMAGE)
def gather_text(x: str) -> str:
    return x
