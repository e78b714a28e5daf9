"""Branches, loops in loops, an exit task, a retry that helps, a metric, and a failure when one is
asked for."""

from typing import List, NamedTuple  # noqa: UP035

from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    print(text)
    return text


@dsl.component(base_image=IMAGE)
def times(x: int, y: int) -> int:
    print(f"{x} times {y}")
    return x * y


@dsl.component(base_image=IMAGE)
def total(numbers: List[List[int]]) -> int:  # noqa: UP006
    return sum(sum(row) for row in numbers)


@dsl.component(base_image=IMAGE)
def second_time(marker: str) -> str:
    """Fails, and succeeds when it is run again; then it is as before."""
    import os

    print("an attempt")
    if os.path.exists(marker):
        os.remove(marker)
        return "second"
    open(marker, "w").close()
    raise ValueError("not yet")


@dsl.component(base_image=IMAGE)
def score(points: int, metrics: dsl.Output[dsl.Metrics], model: dsl.Output[dsl.Model]):
    metrics.log_metric("points", points)
    model.metadata["points"] = points
    with open(model.path, "w") as file:
        file.write(str(points))


@dsl.component(base_image=IMAGE)
def size(model: dsl.Input[dsl.Model]) -> int:
    with open(model.path) as file:
        return len(file.read())


@dsl.component(base_image=IMAGE)
def fragile(broken: bool) -> str:
    if broken:
        raise ValueError("broken on purpose")
    return "whole"


@dsl.component(base_image=IMAGE)
def report(status: dsl.PipelineTaskFinalStatus) -> str:
    print(f"{status.pipeline_task_name} {status.state}")
    return status.state


@dsl.pipeline(name="everything")
def everything(
    marker: str,
    n: int = 5,
    broken: bool = False,
    rows: List[int] = [1, 2],  # noqa: B006, UP006
    columns: List[int] = [3, 4, 5],  # noqa: B006, UP006
) -> NamedTuple("Outputs", [("chosen", str), ("total", int), ("again", str)]):
    with dsl.If(n > 9, name="large"):
        large = say(text="large")
    with dsl.Elif(n > 3, name="middle"):
        middle = say(text="middle")
    with dsl.Else(name="small"):
        small = say(text="small")
    chosen = say(text=dsl.OneOf(large.output, middle.output, small.output))
    with dsl.If(n > 9, name="never"):
        say(text="never")
    with (
        dsl.ParallelFor(rows, name="rows") as row,
        dsl.ParallelFor(columns, name="columns") as column,
    ):
        product = times(x=row, y=column)
    sums = total(numbers=dsl.Collected(product.output))
    again = second_time(marker=marker).set_retry(2, backoff_duration="0s")
    scored = score(points=sums.output)
    size(model=scored.outputs["model"])
    with dsl.ExitHandler(report(), name="guard"):
        say(text=fragile(broken=broken).output)
    outputs = NamedTuple("Outputs", [("chosen", str), ("total", int), ("again", str)])  # noqa: UP014
    return outputs(chosen.output, sums.output, again.output)
