"""Conditions that may be false: over the output of a task, in a loop, with an artifact for what is
below."""

from typing import List  # noqa: UP035

from kfp import dsl


@dsl.component(base_image="python:3.11")
def measure(x: int, data: dsl.Output[dsl.Dataset]) -> int:
    return x


@dsl.component(base_image="python:3.11")
def use(data: dsl.Input[dsl.Dataset], x: int):
    pass


@dsl.pipeline(name="unmet")
def unmet(limit: int = 9, items: List[int] = [1, 20]):  # noqa: B006, UP006
    measured = measure(x=3)
    with dsl.ParallelFor(items) as item, dsl.If(item > limit):
        use(data=measured.outputs["data"], x=item)
    with dsl.If(measured.outputs["Output"] > limit):
        use(data=measured.outputs["data"], x=1)
