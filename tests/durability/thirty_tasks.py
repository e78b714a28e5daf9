"""Thirty tasks with loops, a retry and an exit handler, whose outputs are the same however often it
is interrupted."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output, PipelineTaskFinalStatus


@dsl.component(base_image="python:3.11")
def number(n: int, journal: str) -> int:
    import os
    import time

    time.sleep(0.01)
    with open(journal, "a") as file:
        file.write(os.environ["KFGCP_TASK"] + "\n")
    return n * n


@dsl.component(base_image="python:3.11")
def write(n: int, text: Output[Dataset], metrics: Output[Metrics]):
    with open(text.path, "w") as file:
        file.write(f"number {n}\n")
    metrics.log_metric("number", n)


@dsl.component(base_image="python:3.11")
def fails_twice(counter: str) -> str:
    import os

    with open(counter, "a") as file:
        file.write("x")
    if os.path.getsize(counter) < 3:
        raise RuntimeError("not yet")
    return "third time"


@dsl.component(base_image="python:3.11")
def total(numbers: list, texts: Input[list[Dataset]]) -> str:
    from pathlib import Path

    contents = "".join(Path(text.path).read_text() for text in texts)
    return f"{sum(numbers)} {contents!r}"


@dsl.component(base_image="python:3.11")
def leave(state: PipelineTaskFinalStatus, journal: str):
    with open(journal, "a") as file:
        file.write(f"exit {state.state}\n")


@dsl.pipeline(name="thirty-tasks")
def thirty_tasks(journal: str, counter: str):
    ending = leave(journal=journal)
    with dsl.ExitHandler(ending):
        with dsl.ParallelFor([1, 2, 3, 4, 5, 6, 7, 8, 9]) as item:
            squared = number(n=item, journal=journal)
            again = number(n=squared.output, journal=journal)
            written = write(n=again.output)
        fails_twice(counter=counter).set_retry(5)
        result = total(
            numbers=dsl.Collected(again.output), texts=dsl.Collected(written.outputs["text"])
        )
        number(n=7, journal=journal).after(result)
