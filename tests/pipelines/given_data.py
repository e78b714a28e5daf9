"""A pipeline that is given artifacts, one of them optional."""

from typing import Optional

from kfp import dsl


@dsl.component(base_image="python:3.11")
def count(data: dsl.Input[dsl.Dataset]) -> int:
    with open(data.path) as file:
        return len(file.read().splitlines())


@dsl.component(base_image="python:3.11")
def describe(data: dsl.Input[dsl.Dataset], more: Optional[dsl.Input[dsl.Model]] = None) -> str:  # noqa: UP045
    found = [data, more] if more else [data]
    return " ".join(f"{item.schema_title}:{item.uri.rpartition('/')[2]}" for item in found)


@dsl.pipeline(name="given-data")
def given_data(
    data: dsl.Input[dsl.Dataset],
    more: Optional[dsl.Input[dsl.Model]] = None,  # noqa: UP045
    text: str = "x",
):
    count(data=data)
    describe(data=data, more=more)
