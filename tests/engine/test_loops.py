"""ParallelFor and Collected."""

import json
from typing import Dict, List  # noqa: UP035

import pytest
from kfp import dsl

from kfgcp.semantics.values import ArtifactValue, Values

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def double(x: int) -> int:
    return 2 * x


@dsl.component(base_image=IMAGE)
def text(x: str) -> str:
    return x


@dsl.component(base_image=IMAGE)
def numbers(n: int) -> List[int]:  # noqa: UP006
    return list(range(n))


@dsl.component(base_image=IMAGE)
def records() -> List[Dict[str, int]]:  # noqa: UP006
    return [{"x": 1, "y": 10}, {"x": 2, "y": 20}]


@dsl.component(base_image=IMAGE)
def add(x: int, y: int) -> int:
    return x + y


@dsl.component(base_image=IMAGE)
def join(items: list) -> str:
    import json

    return json.dumps(items)


@dsl.component(base_image=IMAGE)
def fail_on(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x


@dsl.component(base_image=IMAGE)
def write(x: int, data: dsl.Output[dsl.Dataset]):
    with open(data.path, "w") as file:
        file.write(f"data {x}")
    data.metadata["x"] = x


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def read_all(data: dsl.Input[List[dsl.Dataset]]) -> str:  # noqa: UP006
    import json

    return json.dumps([open(item.path).read() for item in data or ()])


def outputs(run, task):
    """The outputs of one task in every iteration, by the path of the iteration."""
    return {
        recorded_task.path.rpartition("/")[0]: recorded_task.outputs.get("Output")
        for recorded_task in run.tasks
        if recorded_task.path.rpartition("/")[2] == task
    }


@pytest.mark.rule(
    "Control flow: ParallelFor items from raw JSON text or an input, a LIST or a JSON string"
)
def test_items_written_in_the_pipeline(execute, states):
    @dsl.pipeline(name="raw")
    def raw():
        with dsl.ParallelFor([1, 2, 3]) as item:
            double(x=item)
        with dsl.ParallelFor(["it's", '"x"', "{{$}}\n"]) as item:
            text(x=item)

    run = execute(raw)

    assert outputs(run, "double") == {"for-loop-2[0]": 2, "for-loop-2[1]": 4, "for-loop-2[2]": 6}
    assert list(outputs(run, "text").values()).count("it's") == 1
    assert set(outputs(run, "text").values()) == {"it's", '"x"', "{{$}}\n"}


@pytest.mark.rule(
    "Control flow: ParallelFor items from raw JSON text or an input, a LIST or a JSON string"
)
def test_items_from_an_input_and_from_a_task(execute):
    @dsl.pipeline(name="sources")
    def sources(items: List[int]):  # noqa: UP006
        producer = numbers(n=2)
        with dsl.ParallelFor(items) as item:
            double(x=item)
        with dsl.ParallelFor(producer.output) as item:
            add(x=item, y=100)

    run = execute(sources, {"items": [7, 8]})

    assert sorted(outputs(run, "double").values()) == [14, 16]
    assert sorted(outputs(run, "add").values()) == [100, 101]


@pytest.mark.rule(
    "Control flow: ParallelFor items from raw JSON text or an input, a LIST or a JSON string"
)
def test_items_from_a_json_string(execute, compiled):
    @dsl.pipeline(name="string")
    def string(items: List[int] = [1]):  # noqa: B006, UP006
        with dsl.ParallelFor(items) as item:
            double(x=item)

    spec = compiled(string)
    spec["root"]["inputDefinitions"]["parameters"]["items"] = {"parameterType": "STRING"}
    spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"][
        "pipelinechannel--items"
    ] = {"parameterType": "STRING"}
    run = execute(spec, {"items": "[1, 2.0, 3]"})

    assert outputs(run, "double") == {"for-loop-1[0]": 2, "for-loop-1[1]": 4, "for-loop-1[2]": 6}


@pytest.mark.rule(
    "Control flow: ParallelFor items from raw JSON text or an input, a LIST or a JSON string"
)
@pytest.mark.parametrize(
    "items", ["no json", '{"a": 1}', "3", "", "null", "[" * 5000, "[" * 300 + "]" * 300]
)
def test_items_that_are_not_a_list_fail_the_loop(items, execute, compiled, states, task):
    @dsl.pipeline(name="bad")
    def bad(items: list):
        with dsl.ParallelFor(items) as item:
            text(x=item)

    spec = compiled(bad)
    spec["root"]["inputDefinitions"]["parameters"]["items"] = {"parameterType": "STRING"}
    spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"][
        "pipelinechannel--items"
    ] = {"parameterType": "STRING"}
    run = execute(spec, {"items": items})

    assert states(run) == {"for-loop-1": "FAILED"}
    assert "items" in task(run, "for-loop-1").error.message


@pytest.mark.rule("Running a task: loops over item.field and over any named output work")
def test_fields_of_items(execute):
    @dsl.pipeline(name="fields")
    def fields():
        producer = records()
        with dsl.ParallelFor([{"a": "x", "n": 1}, {"a": "it's", "n": 2}]) as item:
            text(x=item.a)
        with dsl.ParallelFor(producer.output) as item:
            add(x=item.x, y=item.y)

    run = execute(fields)

    assert sorted(outputs(run, "text").values()) == ["it's", "x"]
    assert sorted(outputs(run, "add").values()) == [11, 22]


@pytest.mark.rule("Running a task: loops over item.field and over any named output work")
def test_a_list_in_an_item(execute):
    @dsl.pipeline(name="lists")
    def lists(groups: List[Dict[str, List[str]]] = [{"xs": ["1", "2"]}, {"xs": ["3"]}]):  # noqa: B006, UP006
        with dsl.ParallelFor(groups) as group, dsl.ParallelFor(group.xs) as x:
            text(x=x)

    assert sorted(outputs(execute(lists), "text").values()) == ["1", "2", "3"]


@pytest.mark.rule("Running a task: a loop body sees captured upstream values as they are")
def test_captured_values(execute):
    hostile = 'it\'s {{$}} "q"\n'

    @dsl.pipeline(name="captured")
    def captured(name: str, n: int = 5):
        base = double(x=n)
        producer = text(x=name)
        with dsl.ParallelFor([1, 2]) as item:
            add(x=item, y=base.output)
            text(x=producer.output)
            with dsl.ParallelFor([10]) as inner:
                add(x=inner, y=item)

    run = execute(captured, {"name": hostile})

    assert sorted(outputs(run, "add").values()) == [11, 12]
    assert sorted(outputs(run, "add-2").values()) == [11, 12]
    assert [value for path, value in outputs(run, "text-2").items()] == [hostile, hostile]


@pytest.mark.rule("Control flow: ParallelFor with zero items is valid and completes")
@pytest.mark.rule("Control flow: Collected: an empty loop gives an empty list")
def test_zero_items(execute, states):
    @dsl.pipeline(name="zero")
    def zero(items: List[int]) -> str:  # noqa: UP006
        with dsl.ParallelFor(items) as item:
            producer = double(x=item)
            data = write(x=item)
        read_all(data=dsl.Collected(data.outputs["data"]))
        return join(items=dsl.Collected(producer.output)).output

    run = execute(zero, {"items": []})

    assert states(run) == {"for-loop-1": "SUCCEEDED", "join": "SUCCEEDED", "read-all": "SUCCEEDED"}
    assert run.outputs == {"Output": "[]"}


@pytest.mark.rule("Control flow: iteration i sees only its own siblings")
def test_iterations_do_not_mix(execute):
    @dsl.pipeline(name="siblings")
    def siblings():
        with dsl.ParallelFor([1, 2, 3, 4]) as item:
            first = double(x=item)
            second = add(x=first.output, y=item)
            with dsl.If(second.output > 8):
                text(x=f"{first.output} {second.output}")

    run = execute(siblings, max_parallel=2)

    assert outputs(run, "add") == {f"for-loop-2[{i}]": 3 * (i + 1) for i in range(4)}
    assert outputs(run, "text") == {
        "for-loop-2[2]/condition-3": "6 9",
        "for-loop-2[3]/condition-3": "8 12",
    }


@pytest.mark.rule("Control flow: parallelismLimit is per loop instance, 0 is unlimited")
@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (3, 3), (0, 7), (20, 7)])
def test_the_limit_of_a_loop(limit, most, simulate):
    @dsl.pipeline(name="limited")
    def limited():
        with dsl.ParallelFor([1, 2, 3, 4, 5, 6, 7], parallelism=limit or None) as item:
            first = double(x=item)
            double(x=first.output)

    seen = []

    def watch(running):
        seen.append(len({node.parent.path for node in running}))

    simulate(
        limited, lambda node: Values({"Output": 1}), choose=lambda count: count - 1, watch=watch
    )

    assert max(seen) == most


@pytest.mark.rule("Control flow: parallelismLimit is per loop instance, 0 is unlimited")
def test_the_limit_of_nested_loops_is_of_each_instance(simulate):
    @dsl.pipeline(name="nested")
    def nested():
        with (
            dsl.ParallelFor([1, 2, 3], parallelism=2),
            dsl.ParallelFor([1, 2, 3, 4], parallelism=3) as item,
        ):
            double(x=item)

    seen = []

    def watch(running):
        loops = [node.parent.parent.path for node in running]
        seen.append((len(set(loops)), max(loops.count(loop) for loop in loops), len(loops)))

    simulate(nested, lambda node: Values({"Output": 1}), watch=watch)

    assert (max(s[0] for s in seen), max(s[1] for s in seen), max(s[2] for s in seen)) == (2, 3, 6)


@pytest.mark.rule("Control flow: parallelismLimit is per loop instance, 0 is unlimited")
def test_the_limit_in_real_time(execute, tmp_path):
    @dsl.component(base_image=IMAGE)
    def count(x: int, folder: str) -> int:
        """Wait until another iteration runs too, or all others have ended. Return how many ran at
        most."""
        import os
        import pathlib
        import time

        running, ended = pathlib.Path(folder, "running"), pathlib.Path(folder, "ended")
        (running / str(x)).touch()
        while len(os.listdir(running)) < 2 and len(os.listdir(ended)) < 4:
            time.sleep(0.01)
        time.sleep(0.05)  # time for one too many to start
        most = len(os.listdir(running))
        (ended / str(x)).touch()
        (running / str(x)).unlink()
        return most

    @dsl.pipeline(name="real")
    def real(folder: str):
        with dsl.ParallelFor([1, 2, 3, 4, 5], parallelism=2) as item:
            count(x=item, folder=folder)

    folder = tmp_path / "iterations"
    (folder / "running").mkdir(parents=True)
    (folder / "ended").mkdir()
    run = execute(real, {"folder": str(folder)}, max_parallel=8)

    assert max(outputs(run, "count").values()) == 2


@pytest.mark.rule("Control flow: artifact iterators likewise")
def test_a_loop_over_artifacts(execute, states):
    @dsl.pipeline(name="inner")
    def inner(data: List[dsl.Dataset]) -> str:  # noqa: UP006
        with dsl.ParallelFor(data) as item:
            reader = read(data=item)
        return join(items=dsl.Collected(reader.output)).output

    @dsl.pipeline(name="artifacts")
    def artifacts() -> str:
        with dsl.ParallelFor([1, 2, 3]) as item:
            producer = write(x=item)
        return inner(data=dsl.Collected(producer.outputs["data"])).output

    run = execute(artifacts)

    assert json.loads(run.outputs["Output"]) == ["data 1", "data 2", "data 3"]


@pytest.mark.rule("Control flow: Collected: in iteration order whatever order they ended in")
def test_collected_in_iteration_order(execute):
    @dsl.component(base_image=IMAGE)
    def slow_first(x: int) -> int:
        import time

        time.sleep(0.2 if x == 1 else 0)
        return x

    @dsl.pipeline(name="ordered")
    def ordered() -> str:
        with dsl.ParallelFor([1, 2, 3]) as item:
            producer = slow_first(x=item)
        return join(items=dsl.Collected(producer.output)).output

    assert execute(ordered, max_parallel=3).outputs == {"Output": "[1, 2, 3]"}


@pytest.mark.rule("Control flow: Collected: nested loops give nested lists")
def test_collected_from_nested_loops(execute):
    @dsl.pipeline(name="nested")
    def nested() -> str:
        with dsl.ParallelFor([1, 2]) as x, dsl.ParallelFor([10, 20, 30]) as y:
            producer = add(x=x, y=y)
            data = write(x=y)
        read_all(data=dsl.Collected(data.outputs["data"]))
        return join(items=dsl.Collected(producer.output)).output

    run = execute(nested)

    assert json.loads(run.outputs["Output"]) == [[11, 21, 31], [12, 22, 32]]
    read = next(recorded_task for recorded_task in run.tasks if recorded_task.path == "read-all")
    assert json.loads(read.outputs["Output"]) == ["data 10", "data 20", "data 30"] * 2


@pytest.mark.rule("Control flow: Collected: an iteration whose producer was skipped is left out")
def test_collected_leaves_out_skipped_iterations(execute, compiled):
    @dsl.pipeline(name="skips")
    def skips() -> str:
        with dsl.ParallelFor([1, 2, 3, 4]) as x:
            checked = double(x=x)
            with dsl.If(checked.output != 4):
                producer = double(x=x)
                data = write(x=x)
        read_all(data=dsl.Collected(data.outputs["data"]))
        return join(items=dsl.Collected(producer.output)).output

    run = execute(skips)

    assert json.loads(run.outputs["Output"]) == [2, 6, 8]
    read = next(recorded_task for recorded_task in run.tasks if recorded_task.path == "read-all")
    assert json.loads(read.outputs["Output"]) == ["data 1", "data 3", "data 4"]


@pytest.mark.rule(
    "Control flow: other branches keep running (fail-slow), nothing new starts below the failure"
)
def test_a_failed_iteration(execute, states, task):
    @dsl.pipeline(name="fails")
    def fails() -> str:
        with dsl.ParallelFor([1, 2, 3], parallelism=1) as x:
            producer = fail_on(x=x, bad=2)
            double(x=producer.output)
        return join(items=dsl.Collected(producer.output)).output

    run = execute(fails)

    assert run.state == "FAILED"
    assert states(run) == {
        "for-loop-2": "FAILED",
        "for-loop-2[0]": "SUCCEEDED",
        "for-loop-2[0]/fail-on": "SUCCEEDED",
        "for-loop-2[0]/double": "SUCCEEDED",
        "for-loop-2[1]": "FAILED",
        "for-loop-2[1]/fail-on": "FAILED",
        "for-loop-2[1]/double": "SKIPPED",
        "for-loop-2[2]": "SUCCEEDED",
        "for-loop-2[2]/fail-on": "SUCCEEDED",
        "for-loop-2[2]/double": "SUCCEEDED",
        "join": "SKIPPED",
    }
    assert task(run, "for-loop-2").error.task == "for-loop-2[1]/fail-on"


@pytest.mark.rule("Values: a STRING given another kind of value receives its JSON text")
def test_items_of_an_undeclared_type_are_text_as_on_kubeflow(execute, states, task):
    @dsl.pipeline(name="untyped")
    def untyped(items: list = [1, {"k": [2]}, "x"]):  # noqa: B006
        with dsl.ParallelFor(items) as item:
            text(x=item)

    assert outputs(execute(untyped), "text") == {
        "for-loop-1[0]": "1",
        "for-loop-1[1]": '{"k":[2]}',
        "for-loop-1[2]": "x",
    }


@pytest.mark.rule(
    "Running a task: independent tasks, conditions and loops of one DAG run at the same time"
)
def test_a_loop_a_condition_and_a_task_run_at_the_same_time(simulate):
    @dsl.pipeline(name="together")
    def together(x: int = 1):
        double(x=1)
        with dsl.If(x == 1):
            double(x=2)
        with dsl.ParallelFor([1, 2]) as item:
            double(x=item)

    seen = []
    simulate(
        together,
        lambda node: Values({"Output": 1}),
        watch=lambda running: seen.append(len(running)),
    )

    assert seen[0] == 4


@pytest.mark.rule("Control flow: artifact iterators likewise")
def test_the_limit_of_an_artifact_loop(simulate):
    @dsl.pipeline(name="inner")
    def inner(data: List[dsl.Dataset]):  # noqa: UP006
        with dsl.ParallelFor(data, parallelism=2) as item:
            read(data=item)

    @dsl.pipeline(name="artifacts")
    def artifacts():
        with dsl.ParallelFor([1, 2, 3]) as item:
            producer = write(x=item)
        inner(data=dsl.Collected(producer.outputs["data"]))

    seen = []

    def behave(node):
        return Values(
            {"Output": "x"}, {"data": (ArtifactValue("data", "system.Dataset", node.path),)}
        )

    def watch(running):
        if running[0].path.endswith("read"):
            seen.append([node.inputs.artifacts["data"][0].uri for node in running])

    simulate(artifacts, behave, watch=watch)

    first, second, third = (f"for-loop-2[{n}]/write" for n in range(3))
    assert seen == [[first, second], [second, third], [third]]
