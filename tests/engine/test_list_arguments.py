"""Placeholders at any depth of list and dict arguments (semantics.md, Values)."""

import hashlib
import json
from typing import NamedTuple, Optional

import pytest
from kfp import dsl

import argo_record
import recorded_runs
from kfgcp.spec.load import load

IMAGE = "python:3.11"
PARAMETER = "{{$.inputs.parameters['nobody']}}"


@dsl.component(base_image=IMAGE)
def text(value: str) -> str:
    return value


@dsl.component(base_image=IMAGE)
def number(value: int) -> int:
    return value


@dsl.component(base_image=IMAGE)
def every_type() -> NamedTuple(
    "All", [("s", str), ("r", float), ("b", bool), ("l", list), ("d", dict)]
):
    return "hello", 2.5, True, [1, "two"], {"k": 1}


@dsl.component(base_image=IMAGE)
def see_list(xs: list) -> str:
    import json

    return json.dumps(xs)


@dsl.component(base_image=IMAGE)
def see_dict(d: dict) -> str:
    import json

    return json.dumps(d)


@dsl.component(base_image=IMAGE)
def variable(name: str) -> str:
    import os

    return os.environ[name]


@dsl.component(base_image=IMAGE)
def metadata_of(data: dsl.Input[dsl.Dataset]) -> str:
    import json

    return json.dumps(data.metadata)


@pytest.mark.rule("Values: constants may be lists and structs that hold placeholders at any depth")
def test_the_pipeline_recorded_on_kubeflow_gives_the_same_outputs(execute, task):
    """Of the tasks that succeed there; the others get text here, see the table at the end of
    semantics.md.

    They failed there because a quote, a list or a dict inside a list argument breaks the JSON of
    their input.
    """
    workflow, metadata = (
        recorded_runs.workflow("list-arguments"),
        recorded_runs.metadata("list-arguments"),
    )
    recorded = argo_record.expected_tasks(workflow, metadata)
    run = execute(load(str(recorded_runs.pipeline("list-arguments"))))

    succeeded = {
        path: recorded_task.outputs["Output"]
        for path, recorded_task in recorded.items()
        if recorded_task.state == "SUCCEEDED"
    }
    assert len(succeeded) == 14
    for path, output in succeeded.items():
        run_task = task(run, path)
        assert run_task.state == "SUCCEEDED", path
        assert (path, run_task.outputs["Output"]) == (path, output)
    failed = sorted(
        path for path, recorded_task in recorded.items() if recorded_task.state == "FAILED"
    )
    assert failed == ["see-5", "see-6", "see-8"]
    assert [json.loads(task(run, path).outputs["Output"]) for path in failed] == [
        ['[1,"two"]'],
        ['{"k":1}'],
        ['quo"te {x} \\ back\nline'],
    ]


@pytest.mark.rule("Values: inside a list or struct a value becomes text")
def test_values_inside_lists_and_dicts_become_text(execute, written):
    @dsl.pipeline(name="inside")
    def inside(n: int = 7, ratio: float = 2.0):
        producer = every_type()
        three = number(value=3)
        see_list(
            xs=[
                producer.outputs["s"],
                producer.outputs["r"],
                producer.outputs["b"],
                three.output,
                n,
                ratio,
                4,
            ]
        )
        see_list(
            xs=[producer.outputs["l"], producer.outputs["d"], [[f"run-{producer.outputs['s']}"]]]
        )
        with dsl.ParallelFor([1, 2]) as item:
            see_dict(
                d={
                    "acc": three.output,
                    "deep": {"k": item, "list": [item, {"x": item}]},
                    "plain": 1,
                }
            )

    run = execute(inside)

    assert written(run, "see-list") == ["hello", "2.5", "true", "3", "7", "2", 4]
    assert written(run, "see-list-2") == ['[1,"two"]', '{"k":1}', [["run-hello"]]]
    for index in (0, 1):
        item = str(index + 1)
        assert written(run, f"for-loop-2[{index}]/see-dict") == {
            "acc": "3",
            "deep": {"k": item, "list": [item, {"x": item}]},
            "plain": 1,
        }


@pytest.mark.rule("Values: inside a list or struct a value becomes text")
def test_a_whole_argument_keeps_its_type(execute, written):
    @dsl.pipeline(name="whole")
    def whole():
        producer = every_type()
        see_list(xs=producer.outputs["l"])
        see_dict(d=producer.outputs["d"])

    run = execute(whole)

    assert written(run, "see-list") == [1, "two"]
    assert written(run, "see-dict") == {"k": 1}


@pytest.mark.rule("Values: constants may be lists and structs that hold placeholders at any depth")
@pytest.mark.parametrize(
    "value",
    [
        'quo"te',
        "it's",
        "back\\slash",
        "line\nbreak\ttab",
        '"], "more": ["',
        "}} {{$}} {{$.inputs.parameters['value']}}",
        "{{$.pipeline_job_name}}",
        "{{channel:task=a;name=Output;type=String;}}",
        "é ü \U0001f600",
        "",
    ],
)
def test_values_never_change_the_structure(value, execute, written):
    @dsl.pipeline(name="hostile")
    def hostile(value: str):
        producer = text(value=value)
        see_list(xs=[producer.output, value, [f"<{producer.output}>"]])
        see_dict(d={"k": producer.output, "l": {"m": [value]}})

    run = execute(hostile, {"value": value})

    assert written(run, "see-list") == [value, value, [f"<{value}>"]]
    assert written(run, "see-dict") == {"k": value, "l": {"m": [value]}}


@pytest.mark.rule(
    "Values: the same holds for arguments of nested pipelines and for importer metadata"
)
def test_arguments_of_nested_pipelines(execute, written):
    @dsl.pipeline(name="inner")
    def inner(xs: list, d: dict):
        see_list(xs=xs)
        see_list(xs=[xs, "a"])
        see_dict(d=d)

    @dsl.pipeline(name="outer")
    def outer():
        three = number(value=3)
        inner(xs=[three.output, 1], d={"k": [three.output]})

    run = execute(outer)

    assert written(run, "inner/see-list") == ["3", 1]
    assert written(run, "inner/see-list-2") == ['["3",1]', "a"]
    assert written(run, "inner/see-dict") == {"k": ["3"]}


@pytest.mark.rule("Values: constants may be lists and structs that hold placeholders at any depth")
def test_items_of_a_loop(execute, written, compiled):
    @dsl.pipeline(name="items")
    def items():
        three = number(value=3)
        with dsl.ParallelFor([["one", "x"], ["b"]]) as item:
            see_list(xs=item).after(three)

    spec = compiled(items)
    loop = spec["root"]["dag"]["tasks"]["for-loop-2"]
    loop["inputs"] = {
        "parameters": {
            "n": {"taskOutputParameter": {"producerTask": "number", "outputParameterKey": "Output"}}
        }
    }
    loop["parameterIterator"]["items"]["raw"] = json.dumps(
        [["{{$.inputs.parameters['n']}}", "{{$.pipeline_task_name}}"], ["b"]]
    )
    run = execute(spec)

    assert written(run, "for-loop-2[0]/see-list") == ["3", "for-loop-2"]
    assert written(run, "for-loop-2[1]/see-list") == ["b"]


@pytest.mark.rule("Values: constants may be lists and structs that hold placeholders at any depth")
def test_items_that_are_values_of_the_user_are_not_searched_for_placeholders(execute, written):
    @dsl.pipeline(name="items")
    def items(values: list):
        with dsl.ParallelFor(values) as item:
            see_list(xs=[item])

    run = execute(items, {"values": ["{{$.pipeline_task_name}}", PARAMETER]})

    assert written(run, "for-loop-1[0]/see-list") == ["{{$.pipeline_task_name}}"]
    assert written(run, "for-loop-1[1]/see-list") == [PARAMETER]


@pytest.mark.rule(
    "Values: the same holds for arguments of nested pipelines and for importer metadata"
)
def test_metadata_of_an_importer(execute, written, tmp_path):
    (tmp_path / "data").write_text("content")

    @dsl.pipeline(name="imports")
    def imports(uri: str, note: str):
        three = number(value=3)
        importer = dsl.importer(
            artifact_uri=uri,
            artifact_class=dsl.Dataset,
            metadata={"n": three.output, "l": [three.output, {"note": note}], "plain": 4},
        )
        metadata_of(data=importer.output)

    run = execute(imports, {"uri": str(tmp_path / "data"), "note": '"}'})

    assert written(run, "metadata-of") == {"n": "3", "l": ["3", {"note": '"}'}], "plain": 4}


@pytest.mark.rule("Values: constants may be lists and structs that hold placeholders at any depth")
def test_variables_of_the_environment(execute, task):
    @dsl.pipeline(name="variables")
    def variables():
        variable(name="WHO").set_env_variable("WHO", f"I am {dsl.PIPELINE_TASK_NAME_PLACEHOLDER}")

    assert task(execute(variables), "variable").outputs == {"Output": "I am variable"}


# -- placeholders without a value


@pytest.mark.rule(
    "Values: a placeholder that is still unfilled when a task is about to start fails the task"
)
@pytest.mark.parametrize(
    "value",
    [
        [PARAMETER],
        [1, {"k": [f"a {PARAMETER} b"]}],
        [{PARAMETER: 1}],
        ["{{$.inputs.parameters['xs']}}"],
        ["{{$.inputs.artifacts['data'].uri}}"],
        ["{{$.outputs.parameters['Output'].output_file}}"],
        ["{{$.outputs.output_file}}"],
        [{"{{channel:task=text;name=Output;type=String;}}": 1}],
    ],
)
def test_an_unfilled_placeholder_fails_the_task(value, execute, compiled, task, log):
    @dsl.pipeline(name="unfilled")
    def unfilled():
        see_list(xs=[])

    spec = compiled(unfilled)
    spec["root"]["dag"]["tasks"]["see-list"]["inputs"]["parameters"]["xs"]["runtimeValue"][
        "constant"
    ] = value
    run = execute(spec)

    failed = task(run, "see-list")
    assert (run.state, failed.state, failed.attempts) == ("FAILED", "FAILED", 0)
    assert failed.error.message.startswith("input 'xs' contains ")
    assert "\n" not in failed.error.message


@pytest.mark.rule(
    "Values: a placeholder that is still unfilled when a task is about to start fails the task"
)
def test_null_inside_a_list_or_text_fails_the_task(execute, task):
    """A parameter that is null is not passed on, so Kubeflow leaves its placeholder as it is."""

    @dsl.pipeline(name="null")
    def null(maybe: Optional[str] = None):  # noqa: UP045
        see_list(xs=["a", maybe])
        text(value=f"model{maybe}")

    run = execute(null)

    assert (
        task(run, "see-list").error.message
        == "input 'xs' contains the value of maybe, which is null"
    )
    assert (
        task(run, "text").error.message
        == "input 'value' contains the value of maybe, which is null"
    )


@pytest.mark.rule(
    "Values: a placeholder that is still unfilled when a task is about to start fails the task"
)
def test_an_output_where_kfp_cannot_compile_it_fails_the_task(ignore_rules, execute, task):
    """KFP leaves its own note of the output there, which would reach the component as text."""
    ignore_rules("S105")

    @dsl.pipeline(name="odd-places")
    def odd_places():
        producer = text(value="x")
        see_dict(d={f"{producer.output}": producer.output})
        with dsl.ParallelFor([f"x-{producer.output}", "b"]) as item:
            text(value=item)
        variable(name="A").set_env_variable("A", f"<{producer.output}>")

    run = execute(odd_places)

    problem = (
        "contains the output text.Output inside another value, where KFP cannot fill it in:"
        " pass the output as an argument of its own"
    )
    assert task(run, "see-dict").error.message == f"input 'd' {problem}"
    assert task(run, "for-loop-2").error.message == f"the loop's list of items {problem}"
    assert task(run, "variable").error.message == f"the variable A {problem}"


@pytest.mark.rule("Values: constants may be lists and structs that hold placeholders at any depth")
def test_two_keys_that_become_one_fail_the_task(execute, compiled, task):
    @dsl.pipeline(name="keys")
    def keys():
        see_dict(d={})

    spec = compiled(keys)
    spec["root"]["dag"]["tasks"]["see-dict"]["inputs"]["parameters"]["d"]["runtimeValue"][
        "constant"
    ] = {
        "see-dict": 1,
        "{{$.pipeline_task_name}}": 2,
    }

    assert task(execute(spec), "see-dict").error.message == (
        "after kfgcp fills in the placeholders, input 'd' has the key \"see-dict\" twice"
    )


# -- large and deep values


def nested(value: object, levels: int) -> object:
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.rule("Values: constants may be lists and structs that hold placeholders at any depth")
def test_a_list_of_50_levels(execute, written, task):
    @dsl.pipeline(name="deep")
    def deep(values: list):
        producer = text(value="x")
        see_list(xs=nested(producer.output, 50))
        see_list(xs=values)

    run = execute(deep, {"values": nested("y", 50)})

    assert written(run, "see-list") == nested("x", 50)
    assert written(run, "see-list-2") == nested("y", 50)


@pytest.mark.rule("Running a task: values are data")
def test_a_dict_key_of_the_user_that_looks_like_a_placeholder_is_data(execute, written):
    @dsl.pipeline(name="keys")
    def keys(d: dict):
        see_dict(d=d)

    value = {
        PARAMETER: 1,
        "{{$}}": {"{{$.pipeline_job_name}}": 2},
        "{{channel:task=a;name=b;type=c;}}": 3,
    }

    assert written(execute(keys, {"d": value}), "see-dict") == value


@pytest.mark.rule("Running a task: values are data")
def test_10_mb_of_text_in_a_list_item(execute, task):
    @dsl.component(base_image=IMAGE)
    def large() -> str:
        return "{{$}}'\"" * 1_500_000

    @dsl.component(base_image=IMAGE)
    def digest(xs: list) -> str:
        import hashlib

        return hashlib.sha256(xs[1].encode()).hexdigest()

    @dsl.pipeline(name="large")
    def pipeline():
        digest(xs=["a", large().output])

    expected = hashlib.sha256(b"{{$}}'\"" * 1_500_000).hexdigest()
    assert task(execute(pipeline), "digest").outputs == {"Output": expected}
