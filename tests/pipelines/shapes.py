"""Branches, a loop, a nested pipeline and an importer."""

from typing import List, NamedTuple  # noqa: UP035

from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    print(text)
    return text


@dsl.component(base_image=IMAGE)
def double(x: int) -> int:
    print(f"twice {x}")
    return 2 * x


@dsl.component(base_image=IMAGE)
def total(numbers: List[int]) -> int:  # noqa: UP006
    return sum(numbers)


@dsl.component(base_image=IMAGE)
def lines(data: dsl.Input[dsl.Dataset]) -> int:
    with open(data.path) as file:
        return len(file.readlines())


@dsl.pipeline(name="inner")
def inner(x: int) -> int:
    return double(x=double(x=x).output).output


@dsl.pipeline(name="shapes")
def shapes(
    uri: str,
    n: int = 2,
    items: List[int] = [1, 2, 3],  # noqa: B006, UP006
) -> NamedTuple("Outputs", [("chosen", str), ("total", int), ("nested", int)]):
    with dsl.If(n > 5, name="large"):
        large = say(text="large")
    with dsl.Else(name="small"):
        small = say(text="small")
    chosen = say(text=dsl.OneOf(large.output, small.output))
    with dsl.ParallelFor(items) as item:
        doubled = double(x=item)
    collected = total(numbers=dsl.Collected(doubled.output))
    lines(data=dsl.importer(artifact_uri=uri, artifact_class=dsl.Dataset, reimport=True).output)
    outputs = NamedTuple("Outputs", [("chosen", str), ("total", int), ("nested", int)])  # noqa: UP014
    return outputs(chosen.output, collected.output, inner(x=n).output)
