"""Two iterations that wait until a file is there, and a task after them."""

from typing import List  # noqa: UP035

from kfp import dsl


@dsl.component(base_image="python:3.11")
def wait(gate: str, number: int) -> int:
    import os
    import time

    while not os.path.exists(gate):
        time.sleep(0.02)
    return number


@dsl.component(base_image="python:3.11")
def say(numbers: List[int]) -> int:  # noqa: UP006
    return len(numbers)


@dsl.pipeline(name="waits")
def waits(gate: str):
    with dsl.ParallelFor([1, 2]) as number:
        waited = wait(gate=gate, number=number)
    say(numbers=dsl.Collected(waited.output))
