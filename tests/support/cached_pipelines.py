"""The pipelines of the caching tests."""

from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def add(x: int, y: int = 1) -> int:
    return x + y


@dsl.component(base_image=IMAGE)
def bad(x: int) -> int:
    raise ValueError("on purpose")


@dsl.component(base_image=IMAGE)
def write(x: int, data: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]):
    with open(data.path, "w") as file:
        file.write(f"data {x}")
    data.metadata["x"] = x
    metrics.log_metric("x", x)


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def read_text(x: str) -> str:
    return x


@dsl.pipeline(name="cached")
def cached(x: int = 1, z: int = 0):
    first = add(x=x)
    written = write(x=first.output)
    read(data=written.outputs["data"])


@dsl.pipeline(name="inner")
def inner(x: int) -> int:
    return add(x=x).output


@dsl.pipeline(name="nests")
def nests(x: int = 1):
    inner(x=x)
    with dsl.ParallelFor([1, 2]) as item:
        add(x=item)


@dsl.pipeline(name="one")
def one_task(x: int = 1):
    add(x=x, y=2)


def reason(run, path="add"):
    """Return why a task was or was not taken from the cache."""
    return next(task for task in run.tasks if task.path == path).cache.reason
