"""Values: what a task receives, by semantics.md."""

import json
from typing import List, NamedTuple, Optional  # noqa: UP035

import pytest
from kfp import dsl

from kfgcp.errors import ParamError

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def as_json(
    text: str = "default",
    number: int = 1,
    ratio: float = 0.5,
    flag: bool = False,
    items: list = [1],  # noqa: B006
    config: dict = {"k": 1},  # noqa: B006
) -> str:
    import json

    return json.dumps([text, number, ratio, flag, items, config])


@dsl.component(base_image=IMAGE)
def same(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def kinds(value: list) -> str:
    return str([type(item).__name__ for item in value])


@dsl.component(base_image=IMAGE)
def add(x: int, y: int = 1) -> int:
    return x + y


@dsl.component(base_image=IMAGE)
def half(x: int) -> float:
    return x / 2


@dsl.component(base_image=IMAGE)
def maybe(text: Optional[str] = None) -> str:  # noqa: UP045
    return repr(text)


@dsl.component(base_image=IMAGE)
def everything() -> NamedTuple(
    "All", [("s", str), ("n", int), ("r", float), ("b", bool), ("l", list), ("d", dict)]
):
    return "s", 3, 0.1, True, [1, {"a": 2}], {"k": [1, 2]}


@dsl.component(base_image=IMAGE)
def wrong() -> int:
    return "three"


@dsl.pipeline(name="typed")
def typed(
    text: str = "root",
    number: int = 2,
    ratio: float = 1.5,
    flag: bool = True,
    items: list = [1, [2]],  # noqa: B006
    config: dict = {"a": {"b": 3}},  # noqa: B006
):
    as_json(text=text, number=number, ratio=ratio, flag=flag, items=items, config=config)


@pytest.mark.rule("Values: root inputs are the user's values, then the spec's defaults")
def test_root_inputs_are_the_users_values_then_the_defaults(execute, written):
    run = execute(typed, {"text": "mine", "items": []})

    assert run.params == {
        "text": "mine",
        "number": 2,
        "ratio": 1.5,
        "flag": True,
        "items": [],
        "config": {"a": {"b": 3}},
    }
    assert written(run, "as-json") == ["mine", 2, 1.5, True, [], {"a": {"b": 3}}]


@pytest.mark.rule("Values: a missing required root input is an error before anything starts")
def test_a_missing_required_input_is_an_error_before_anything_starts(execute, home):
    @dsl.pipeline(name="needs")
    def needs(x: int, y: int):
        add(x=x, y=y)

    with pytest.raises(ParamError, match="y is required"):
        execute(needs, {"x": 1})
    assert not (home / ".kfgcp" / "logs").exists()


@pytest.mark.rule(
    "Values: an optional input without default is null and left out for children that declare it"
    " optional"
)
def test_an_optional_input_without_default_is_left_out_at_every_level(execute, task):
    @dsl.pipeline(name="inner")
    def inner(text: Optional[str] = None):  # noqa: UP045
        maybe(text=text)

    @dsl.pipeline(name="outer")
    def outer(text: Optional[str] = None):  # noqa: UP045
        maybe(text=text)
        inner(text=text)

    run = execute(outer)

    assert run.params == {"text": None}
    assert task(run, "maybe").outputs == {"Output": "None"}
    assert task(run, "inner/maybe").outputs == {"Output": "None"}
    assert "text" not in task(run, "inner").inputs


@pytest.mark.rule(
    "Values: an optional input without default is null and left out for children that declare it"
    " optional"
)
def test_null_for_a_child_that_requires_it_fails_the_child(execute, states, task):
    @dsl.pipeline(name="outer")
    def outer(text: Optional[str] = None):  # noqa: UP045
        same(text=text)

    run = execute(outer)

    assert states(run) == {"same": "FAILED"}
    assert "input 'text' has no value" in task(run, "same").error.message


@pytest.mark.rule("Values: executor defaults are part of {{$}} but not of the cache key")
def test_the_components_own_defaults_reach_the_component(execute, written, task):
    @dsl.pipeline(name="defaults")
    def defaults():
        as_json()

    run = execute(defaults)

    assert written(run, "as-json") == ["default", 1, 0.5, False, [1], {"k": 1}]
    assert task(run, "as-json").inputs["number"] == 1


@pytest.mark.rule("Values: executor defaults are part of {{$}} but not of the cache key")
def test_a_changed_default_does_not_change_the_cache_key(execute, compiled, states):
    @dsl.pipeline(name="defaults")
    def defaults():
        as_json()

    spec = compiled(defaults)
    execute(spec)
    spec["components"]["comp-as-json"]["inputDefinitions"]["parameters"]["number"][
        "defaultValue"
    ] = 7.0

    assert states(execute(spec)) == {"as-json": "CACHED"}


@pytest.mark.rule("Values: a STRING given another kind of value receives its JSON text")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (0.1, "0.1"),
        (True, "true"),
        ([1.0, "a", None], '[1,"a",null]'),
        ({"k": {"n": 2.0}}, '{"k":{"n":2}}'),
        ("text", "text"),
        ("", ""),
    ],
)
def test_a_string_given_another_kind_receives_its_json_text(value, text, execute, compiled, task):
    @dsl.pipeline(name="texts")
    def texts():
        same(text="x")

    spec = compiled(texts)
    spec["root"]["dag"]["tasks"]["same"]["inputs"]["parameters"]["text"]["runtimeValue"][
        "constant"
    ] = value

    assert task(execute(spec), "same").outputs == {"Output": text}


@pytest.mark.rule("Values: a STRING given another kind of value receives its JSON text")
def test_a_string_given_an_upstream_struct_receives_its_json_text(execute, compiled, task):
    @dsl.pipeline(name="texts")
    def texts():
        producer = everything()
        same(text=producer.outputs["s"])

    spec = compiled(texts)
    source = spec["root"]["dag"]["tasks"]["same"]["inputs"]["parameters"]["text"][
        "taskOutputParameter"
    ]
    for name, text in (
        ("n", "3"),
        ("r", "0.1"),
        ("b", "true"),
        ("l", '[1,{"a":2}]'),
        ("d", '{"k":[1,2]}'),
    ):
        source["outputParameterKey"] = name
        assert task(execute(spec), "same").outputs == {"Output": text}


@pytest.mark.rule("Values: every other type must match exactly")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", 2.5),
        ("number", "2"),
        ("number", True),
        ("ratio", "0.5"),
        ("ratio", False),
        ("flag", "true"),
        ("flag", 1.0),
        ("items", "[1]"),
        ("items", {"a": 1.0}),
        ("config", [1.0]),
        ("config", "{}"),
    ],
)
def test_every_other_type_must_match(name, value, ignore_rules, execute, compiled, states, task):
    ignore_rules("S123")

    @dsl.pipeline(name="types")
    def types():
        as_json(number=1, ratio=0.5, flag=True, items=[1], config={})

    spec = compiled(types)
    spec["root"]["dag"]["tasks"]["as-json"]["inputs"]["parameters"][name]["runtimeValue"][
        "constant"
    ] = value
    run = execute(spec)

    assert states(run) == {"as-json": "FAILED"}
    kind = spec["components"]["comp-as-json"]["inputDefinitions"]["parameters"][name][
        "parameterType"
    ]
    assert f"input '{name}' must be {kind}" in task(run, "as-json").error.message


@pytest.mark.rule("Values: every other type must match exactly")
def test_an_output_of_the_wrong_type_fails_the_task(execute, task, compiled):
    @dsl.pipeline(name="outputs")
    def outputs():
        half(x=3)

    spec = compiled(outputs)
    spec["components"]["comp-half"]["outputDefinitions"]["parameters"]["Output"][
        "parameterType"
    ] = "NUMBER_INTEGER"
    run = execute(spec)

    assert run.state == "FAILED"
    assert "output 'Output' must be NUMBER_INTEGER" in task(run, "half").error.message
    assert task(run, "half").outputs == {}


@pytest.mark.rule("Values: every other type must match exactly")
def test_what_the_sdk_itself_refuses_fails_the_task(execute, task):
    @dsl.pipeline(name="outputs")
    def outputs():
        wrong()

    assert task(execute(outputs), "wrong").state == "FAILED"


@pytest.mark.rule("Values: integers arrive as 2, never 2.0, also inside lists and structs")
def test_integers_arrive_as_integers(execute, written):
    @dsl.pipeline(name="integers")
    def integers(items: list = [1, 2.0, [3, {"k": 4}], 0.5]):  # noqa: B006
        as_json(number=7, items=items, config={"a": [5], "b": {"c": 6}})
        kinds(value=[1, 2.5, "x"])

    run = execute(integers)

    assert json.dumps(written(run, "as-json"), sort_keys=True) == json.dumps(
        ["default", 7, 0.5, False, [1, 2, [3, {"k": 4}], 0.5], {"a": [5], "b": {"c": 6}}]
    )
    assert run.tasks[1].outputs == {"Output": "['int', 'float', 'str']"}


@pytest.mark.rule("Values: integers arrive as 2, never 2.0, also inside lists and structs")
@pytest.mark.parametrize("number", [0, -1, 2**31, 2**53, -(2**53), 2**53 + 1, 10**30, 10**4299])
def test_big_integers_arrive_unchanged(number, execute, task):
    @dsl.pipeline(name="big")
    def big(x: int):
        add(x=x, y=0)

    assert task(execute(big, {"x": number}), "add").outputs == {"Output": number}


@pytest.mark.rule(
    "Values: integers of the compiled spec arrive as they are, also from 2**53 upwards"
)
def test_big_integers_of_the_compiled_spec_arrive_as_integers(execute, written):
    """The compiler writes them as doubles: `1.7e+18`."""

    @dsl.component(base_image=IMAGE)
    def typed(number: int, items: list, config: dict, other: int = 2**60) -> str:
        import json

        return json.dumps([number, items, config, other])

    @dsl.pipeline(name="big")
    def big(ts: int = 1700000000000000000):
        typed(number=ts, items=[2**62, -(2**53)], config={"k": {"n": 10**20}})
        typed(number=10**30, items=[ts], config={})
        with dsl.ParallelFor([2**61]) as item:
            typed(number=item, items=[], config={})

    run = execute(big)

    assert run.params == {"ts": 1700000000000000000}
    assert type(run.params["ts"]) is int
    assert written(run, "typed") == [
        1700000000000000000,
        [2**62, -(2**53)],
        {"k": {"n": 10**20}},
        2**60,
    ]
    # the double nearest to 10**30, as the compiler wrote it
    assert written(run, "typed-2") == [
        1000000000000000019884624838656,
        ["1700000000000000000"],
        {},
        2**60,
    ]
    assert written(run, "for-loop-2[0]/typed-3") == [2**61, [], {}, 2**60]


@pytest.mark.rule(
    "Values: integers of the compiled spec arrive as they are, also from 2**53 upwards"
)
def test_an_integer_of_a_spec_that_is_not_a_double_arrives_as_it_is(execute, compiled, written):
    @dsl.pipeline(name="exact")
    def exact():
        as_json(number=1, items=[1])

    spec = compiled(exact)
    parameters = spec["root"]["dag"]["tasks"]["as-json"]["inputs"]["parameters"]
    parameters["number"]["runtimeValue"]["constant"] = 2**53 + 1
    parameters["items"]["runtimeValue"]["constant"] = [2**63 + 1]

    assert written(execute(spec), "as-json")[1] == 2**53 + 1
    assert written(execute(spec), "as-json")[4] == [2**63 + 1]


@pytest.mark.rule("Values: a value must equal one of the literals")
def test_literals_of_a_components_input(execute, compiled, states, task):
    @dsl.pipeline(name="literals")
    def literals(text: str = "b"):
        first = same(text="a")
        same(text=first.output)
        same(text=text)

    spec = compiled(literals)
    spec["components"]["comp-same-2"] = json.loads(json.dumps(spec["components"]["comp-same"]))
    spec["root"]["dag"]["tasks"]["same-2"]["componentRef"]["name"] = "comp-same-2"
    spec["components"]["comp-same-2"]["inputDefinitions"]["parameters"]["text"]["literals"] = [
        "b",
        "c",
    ]
    spec["root"]["dag"]["tasks"]["same-3"]["componentRef"]["name"] = "comp-same-2"
    run = execute(spec)

    assert states(run) == {"same": "SUCCEEDED", "same-2": "FAILED", "same-3": "SUCCEEDED"}
    message = task(run, "same-2").error.message
    assert "input 'text'" in message
    assert '"b"' in message
    assert '"c"' in message
    assert '"a"' in message


@pytest.mark.rule("Values: a value must equal one of the literals")
def test_literals_of_numbers_and_of_loop_items(execute, compiled, states):
    @dsl.pipeline(name="literals")
    def literals(items: List[int] = [1, 2, 3]):  # noqa: B006, UP006
        with dsl.ParallelFor(items) as item:
            add(x=item)

    spec = compiled(literals)
    spec["components"]["comp-add"]["inputDefinitions"]["parameters"]["x"]["literals"] = [1.0, 3.0]
    run = execute(spec)

    assert states(run) == {
        "for-loop-1": "FAILED",
        "for-loop-1[0]": "SUCCEEDED",
        "for-loop-1[0]/add": "SUCCEEDED",
        "for-loop-1[1]": "FAILED",
        "for-loop-1[1]/add": "FAILED",
        "for-loop-1[2]": "SUCCEEDED",
        "for-loop-1[2]/add": "SUCCEEDED",
    }


@dsl.component(base_image=IMAGE)
def make(data: dsl.Output[dsl.Dataset]):
    with open(data.path, "w") as file:
        file.write("content")


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def status_of(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


@pytest.mark.rule(
    "Values: input sources: constant, DAG input, task output parameter and artifact, final status"
)
def test_every_source_of_an_input(execute, task):
    @dsl.pipeline(name="inner")
    def inner(data: dsl.Input[dsl.Dataset], x: int) -> str:
        add(x=x)
        return read(data=data).output

    @dsl.pipeline(name="sources")
    def sources(x: int = 3):
        with dsl.ExitHandler(status_of()):
            first = add(x=x, y=10)
            producer = make()
            read(data=producer.outputs["data"])
            inner(data=producer.outputs["data"], x=first.output)

    run = execute(sources)

    assert run.state == "SUCCEEDED"
    assert task(run, "exit-handler-1/add").inputs == {"x": 3, "y": 10}
    assert task(run, "exit-handler-1/read").outputs == {"Output": "content"}
    assert task(run, "exit-handler-1/inner").outputs == {"Output": "content"}
    assert task(run, "exit-handler-1/inner/add").outputs == {"Output": 14}
    assert task(run, "status-of").outputs == {"Output": "SUCCEEDED"}


@pytest.mark.rule(
    "Values: input sources: constant, DAG input, task output parameter and artifact, final status"
)
def test_constants_in_the_form_of_schema_2_0_0(execute, compiled, written):
    @dsl.pipeline(name="old")
    def old(number: int = 4):
        as_json(text="a", ratio=0.25, number=9)

    spec = compiled(old)
    spec["root"]["dag"]["tasks"]["as-json"]["inputs"]["parameters"]["number"] = {
        "runtimeValue": {"runtimeParameter": "number"}
    }
    spec["schemaVersion"] = "2.0.0"

    assert written(execute(spec), "as-json")[:3] == ["a", 4, 0.25]


@pytest.mark.rule(
    "Values: number text in arguments has no trailing zeros; booleans are true/false; lists and"
    " structs are JSON"
)
@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (0.1, "0.1"), (True, "true"), ([1.0], "[1]"), ({"a": "b"}, '{"a":"b"}')],
)
def test_values_inside_a_text(value, text, execute, compiled, task):
    @dsl.pipeline(name="inside")
    def inside(value: str = "x"):
        same(text=f"<{value}>")

    spec = compiled(inside)
    kind = {bool: "BOOLEAN", list: "LIST", dict: "STRUCT", float: "NUMBER_DOUBLE"}[type(value)]
    definitions = spec["root"]["inputDefinitions"]["parameters"]
    definitions["value"] = {"parameterType": kind, "defaultValue": value}

    assert task(execute(spec), "same").outputs == {"Output": f"<{text}>"}
