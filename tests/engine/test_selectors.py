"""Selectors of inputs: CEL expressions that a task applies to a value, by semantics.md."""

import pytest
from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def same(text: str) -> str:
    return text


@pytest.mark.rule(
    'Values: parameterExpressionSelector: CEL, chains of parseJson(string_value)["k"] and indexes'
)
@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ('parseJson(string_value)["a"]["b"][1]', "two"),
        ('parseJson(string_value)["a"]["n"]', "2"),
        ('parseJson(string_value)["list"][0]["x"]', 'it\'s "x"'),
        ('struct_value["a"]["b"][0]', "one"),
        ('struct_value["a"]', '{"b":["one","two"],"n":2}'),
    ],
)
def test_selectors(selector, expected, execute, compiled, task):
    assert task(execute(selecting(compiled, selector)), "same").outputs == {"Output": expected}


def selecting(compiled, selector):
    @dsl.pipeline(name="selectors")
    def selectors(value: str = "x"):
        same(text=value)

    spec = compiled(selectors)
    spec["root"]["inputDefinitions"]["parameters"]["value"] = {
        "parameterType": "STRUCT",
        "defaultValue": {"a": {"b": ["one", "two"], "n": 2.0}, "list": [{"x": 'it\'s "x"'}]},
    }
    spec["root"]["dag"]["tasks"]["same"]["inputs"]["parameters"]["text"][
        "parameterExpressionSelector"
    ] = selector
    return spec


@pytest.mark.rule(
    'Values: parameterExpressionSelector: CEL, chains of parseJson(string_value)["k"] and indexes'
)
@pytest.mark.parametrize(
    "selector", ['parseJson(string_value)["nope"]', "struct_value[", "1 / 0", "no_such_name"]
)
def test_a_selector_that_cannot_be_applied_fails_the_task(
    selector, execute, compiled, states, task
):
    run = execute(selecting(compiled, selector))

    assert states(run) == {"same": "FAILED"}
    assert selector in task(run, "same").error.message
