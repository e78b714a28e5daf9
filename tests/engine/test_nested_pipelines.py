"""Pipelines in pipelines."""

import json
from typing import Dict, List, NamedTuple, Optional  # noqa: UP035

import pytest
from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def describe(text: Optional[str] = None, n: Optional[int] = None, items: list = [9]) -> str:  # noqa: B006, UP045
    import json

    return json.dumps([text, n, items])


@dsl.component(base_image=IMAGE)
def add(x: int, y: int = 1) -> int:
    return x + y


@dsl.component(base_image=IMAGE)
def bad() -> int:
    raise ValueError("on purpose")


@dsl.component(base_image=IMAGE)
def write(data: dsl.Output[dsl.Dataset]):
    with open(data.path, "w") as file:
        file.write("content")


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.pipeline(name="level3")
def level3(text: Optional[str] = None, n: int = 3, items: List[int] = [3]):  # noqa: B006, UP006, UP045
    describe(text=text, n=n, items=items)


@dsl.pipeline(name="level2")
def level2(text: Optional[str] = None, n: int = 2):  # noqa: UP045
    level3(text=text)
    level3(text="given", n=n, items=[])


@dsl.pipeline(name="level1")
def level1(text: Optional[str] = None, n: int = 1):  # noqa: UP045
    level2()
    level2(text=text, n=n)
    describe()


@pytest.mark.rule(
    "Values: an optional input without default is null and left out for children that declare it"
    " optional"
)
@pytest.mark.rule("Control flow: a nested pipeline is a DAG component")
def test_optional_inputs_and_defaults_at_every_level(execute, written):
    run = execute(level1)

    assert written(run, "level2/level3/describe") == [None, 3, [3]]
    assert written(run, "level2/level3-2/describe") == ["given", 2, []]
    assert written(run, "level2-2/level3/describe") == [None, 3, [3]]
    assert written(run, "level2-2/level3-2/describe") == ["given", 1, []]
    assert written(run, "describe") == [None, None, [9]]


@pytest.mark.rule("Control flow: a nested pipeline is a DAG component")
def test_outputs_of_nested_pipelines(execute, task):
    outputs = NamedTuple("outputs", [("total", int), ("copy", dsl.Dataset)])  # noqa: UP014

    @dsl.pipeline(name="inner")
    def inner(data: dsl.Input[dsl.Dataset], x: int) -> outputs:
        summed = add(x=x)
        read(data=data)
        return outputs(summed.output, write().outputs["data"])

    @dsl.pipeline(name="outer")
    def outer(x: int = 1) -> int:
        producer = write()
        first = inner(data=producer.outputs["data"], x=x)
        second = inner(data=first.outputs["copy"], x=first.outputs["total"])
        return second.outputs["total"]

    run = execute(outer)

    assert run.outputs == {"Output": 3}
    assert task(run, "inner-2/read").outputs == {"Output": "content"}
    assert task(run, "inner").outputs["copy"] == task(run, "inner/write").outputs["data"]


@pytest.mark.rule("Control flow: a failing child fails the DAG")
@pytest.mark.rule(
    "Control flow: other branches keep running (fail-slow), nothing new starts below the failure"
)
def test_a_failing_child(execute, states, task):
    @dsl.pipeline(name="inner")
    def inner() -> int:
        first = bad()
        add(x=1)
        return add(x=first.output).output

    @dsl.pipeline(name="outer")
    def outer():
        producer = inner()
        add(x=producer.output)
        other = add(x=5)
        add(x=other.output)

    run = execute(outer)

    assert run.state == "FAILED"
    assert states(run) == {
        "inner": "FAILED",
        "inner/bad": "FAILED",
        "inner/add": "SUCCEEDED",
        "inner/add-2": "SKIPPED",
        "add": "SKIPPED",
        "add-2": "SUCCEEDED",
        "add-3": "SUCCEEDED",
    }
    assert task(run, "inner").error.task == "inner/bad"
    assert run.error.task == "inner/bad"
    assert task(run, "inner").outputs == {}


@pytest.mark.rule("Control flow: failure_policy fast stops launching anything new")
def test_fail_fast(execute, states):
    @dsl.pipeline(name="outer")
    def outer():
        bad()
        other = add(x=5)
        add(x=other.output)

    run = execute(outer, fail_fast=True, max_parallel=1)

    assert states(run) == {"add": "SKIPPED", "add-2": "SKIPPED", "bad": "FAILED"} or states(
        run
    ) == {
        "add": "SUCCEEDED",
        "add-2": "SKIPPED",
        "bad": "FAILED",
    }
    assert run.state == "FAILED"


@pytest.mark.rule("Control flow: a nested pipeline is a DAG component")
def test_twenty_levels(execute, states):
    pipeline = add
    for level in range(20):
        pipeline = deeper(pipeline, level)
    run = execute(pipeline, {"x": 1})

    assert run.state == "SUCCEEDED"
    assert run.outputs == {"Output": 22}


def deeper(inner, level):
    @dsl.pipeline(name=f"level{level}")
    def nested(x: int) -> int:
        producer = inner(x=x)
        return add(x=producer.output).output

    return nested


@pytest.mark.rule("Values: integers arrive as 2, never 2.0, also inside lists and structs")
def test_values_pass_through_levels_unchanged(execute, written):
    @dsl.component(base_image=IMAGE)
    def show(config: Dict[str, list], text: str) -> str:  # noqa: UP006
        import json

        return json.dumps([config, text], sort_keys=True)

    @dsl.pipeline(name="inner")
    def inner(config: Dict[str, list], text: str) -> str:  # noqa: UP006
        return show(config=config, text=text).output

    @dsl.pipeline(name="outer")
    def outer(config: Dict[str, list], text: str) -> str:  # noqa: UP006
        return inner(config=config, text=text).output

    hostile = "'{{$.inputs.parameters['text']}}'\n\"}}"
    run = execute(outer, {"config": {"a": [1, 2.0, {"b": [[3]]}]}, "text": hostile})

    assert run.outputs["Output"] == '[{"a": [1, 2, {"b": [[3]]}]}, ' + json.dumps(hostile) + "]"
