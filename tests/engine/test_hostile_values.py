"""Values are data: no text, size or depth changes what a component gets."""

import pytest
from kfp import dsl

IMAGE = "python:3.11"


@pytest.mark.rule(
    "Running a task: values are data and reach the component unchanged, however large"
)
@pytest.mark.parametrize(
    "value",
    [
        'it\'s "quoted" `x` $HOME $(id) \\ \\n %s',
        "line\r\nbreak\ttab\x0b\x7f",
        "{{$.inputs.parameters['text']}}{{$}}{% x %}",
        "}}}{{{",
        "#!/bin/sh\npython3 -c",
        "Grüße 日本 😀 עברית \u200b\u2028\ufeff",
        "\x00",
        "x" * 500_000,
        "'" * 300_000 + "😀" * 50_000,
        " leading and trailing \n",
        "null",
        "1.0",
    ],
    ids=range(12),
)
def test_hostile_texts(value, execute, task):
    @dsl.component(base_image=IMAGE)
    def same(text: str) -> str:
        return text

    @dsl.component(base_image=IMAGE)
    def inside(items: list, config: dict) -> str:
        assert items[0] == config["k"]["n"][0]
        assert list(config["names"]) == [items[0]]
        return items[0]

    @dsl.pipeline(name="hostile")
    def pipeline(text: str, items: list, config: dict) -> str:
        first = same(text=text)
        second = inside(items=items, config=config)
        same(text=second.output)
        return same(text=first.output).output

    run = execute(
        pipeline,
        {"text": value, "items": [value], "config": {"k": {"n": [value]}, "names": {value: 1}}},
    )

    assert run.state == "SUCCEEDED"
    assert run.outputs == {"Output": value}
    assert task(run, "same-2").outputs == {"Output": value}
    assert task(run, "inside").inputs["items"] == [value]


@pytest.mark.rule(
    "Running a task: values are data and reach the component unchanged, however large"
)
def test_deep_and_odd_structures(execute, written):
    @dsl.component(base_image=IMAGE)
    def same(config: dict) -> dict:
        return config

    @dsl.pipeline(name="deep")
    def pipeline(config: dict) -> dict:
        return same(config=same(config=config).output).output

    deep: dict = {"": None, "'": [[], {}], "big": [2**53, -1, 1e-7, 1e300], "b": [True, False]}
    for _ in range(90):
        deep = {"k": deep}

    assert execute(pipeline, {"config": deep}).outputs == {"Output": deep}


@pytest.mark.rule(
    "Running a task: values are data and reach the component unchanged, however large"
)
@pytest.mark.parametrize("depth", [250, 480, 900])
def test_an_output_that_nests_too_deep_fails_the_task(depth, execute, task):
    @dsl.component(base_image=IMAGE)
    def deep(depth: int) -> list:
        nested_list = []
        for _ in range(depth):
            nested_list = [nested_list]
        return nested_list

    @dsl.pipeline(name="deep")
    def pipeline(depth: int):
        deep(depth=depth)

    run = execute(pipeline, {"depth": depth})

    assert run.state == "FAILED"
    assert task(run, "deep").state == "FAILED"
