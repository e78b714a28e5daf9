"""Components and pipelines for the tests of the test kit."""

# KFP reads the types of components when it compiles them, so their annotations must not be texts.

import os
from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

IMAGE = "python:3.11"
OUTSIDE = 3


@dsl.component(base_image=IMAGE)
def train(rows: int, model: Output[Model], metrics: Output[Metrics], rate: float = 0.1) -> str:
    with open(model.path, "w") as file:
        file.write(f"{rows} rows at {rate}")
    model.metadata["framework"] = "none"
    metrics.log_metric("auc", 0.9)
    return "trained"


@dsl.component(base_image=IMAGE)
def evaluate(model: Input[Model], metrics: Output[Metrics]) -> float:
    with open(model.path) as file:
        words = file.read().split()
    metrics.log_metric("words", len(words))
    return len(words) / 10


@dsl.component(base_image=IMAGE)
def deploy(model: Input[Model], name: str) -> str:
    return f"{name} of {model.metadata.get('framework')}"


@dsl.component(base_image=IMAGE)
def notify(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


@dsl.component(base_image=IMAGE)
def split(table: Input[Dataset]) -> NamedTuple("Parts", [("train", int), ("test", int)]):
    from collections import namedtuple

    count = table.metadata["rows"]
    return namedtuple("Parts", ["train", "test"])(count - 2, 2)


@dsl.component(base_image=IMAGE)
def use_outside() -> int:
    return OUTSIDE


@dsl.component(base_image=IMAGE)
def where() -> str:
    return os.getcwd()


@dsl.component(base_image=IMAGE)
def wander(place: str, fail: bool) -> str:
    import os

    os.chdir(place)
    os.environ["KIT_ADDED"] = "x"
    os.environ["KIT_CHANGED"] = "x"
    del os.environ["KIT_REMOVED"]
    if fail:
        raise RuntimeError("lost")
    return os.getcwd()


@dsl.component(base_image=IMAGE)
def join(tables: Input[list[Dataset]], note: Output[Dataset]) -> int:
    texts = []
    for table in tables:
        with open(table.path) as file:
            texts.append(file.read() + str(table.metadata.get("rows", "")))
    with open(note.path, "w") as file:
        file.write(" ".join(texts))
    return len(tables)


@dsl.component(base_image=IMAGE)
def divide() -> float:
    return 1 / 0


@dsl.component(base_image=IMAGE)
def double(number: int) -> int:
    return number * 2


@dsl.component(base_image=IMAGE)
def add(numbers: list) -> int:
    return sum(numbers)


@dsl.container_component
def shell(text: str):
    return dsl.ContainerSpec(image=IMAGE, command=["echo"], args=[text])


@dsl.pipeline(name="gated")
def gated(rows: int = 10, threshold: float = 0.3):
    status = notify()
    with dsl.ExitHandler(status):
        trained = train(rows=rows)
        score = evaluate(model=trained.outputs["model"])
        with dsl.If(score.outputs["Output"] > threshold, name="good"):
            deploy(model=trained.outputs["model"], name="churn").set_retry(2)


@dsl.pipeline(name="looped")
def looped(numbers: list[int] = [1, 2, 3]) -> int:  # noqa: B006 - KFP reads the default
    with dsl.ParallelFor(items=numbers) as number:
        doubled = double(number=number)
    return add(numbers=dsl.Collected(doubled.output)).output


@dsl.pipeline(name="inner")
def inner(number: int) -> int:
    doubled = double(number=number).set_retry(2)
    return doubled.output


@dsl.pipeline(name="nested")
def nested(numbers: list[int] = [1, 2]):  # noqa: B006 - KFP reads the default
    first = inner(number=5)
    with dsl.ParallelFor(items=numbers) as number, dsl.If(number > 1):
        inner(number=number)
    double(number=first.output)


@dsl.pipeline(name="wandering")
def wandering(place: str, fail: bool = False):
    wander(place=place, fail=fail)


@dsl.pipeline(name="with-image")
def with_image(text: str = "x"):
    shell(text=text)


@dsl.pipeline(name="ten-tasks")
def ten_tasks(numbers: list[int] = [1, 2, 3, 4]):  # noqa: B006 - KFP reads the default
    """Run ten tasks: four iterations, a condition, an exit handler."""
    status = notify()
    with dsl.ExitHandler(status):
        trained = train(rows=1)
        score = evaluate(model=trained.outputs["model"])
        with dsl.If(score.outputs["Output"] > 0.5):
            deploy(model=trained.outputs["model"], name="first")
            deploy(model=trained.outputs["model"], name="second")
        with dsl.ParallelFor(items=numbers) as number:
            doubled = double(number=number)
        add(numbers=dsl.Collected(doubled.output))
