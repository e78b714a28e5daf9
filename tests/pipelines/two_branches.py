"""A branch that fails at once beside one that takes its time."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def boom():
    raise ValueError("at once")


@dsl.component(base_image="python:3.11")
def wait(seconds: float) -> float:
    import time

    time.sleep(seconds)
    return seconds


@dsl.component(base_image="python:3.11")
def after(x: float) -> float:
    return x


@dsl.pipeline(name="two-branches")
def two_branches(seconds: float = 2.0):
    boom()
    after(x=wait(seconds=seconds).output)
