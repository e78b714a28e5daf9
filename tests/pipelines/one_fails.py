"""A task that fails, one beside it that does not, and one below each."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def fine(x: int) -> int:
    return x


@dsl.component(base_image="python:3.11")
def boom(x: int) -> int:
    print("about to fail")
    raise ValueError(f"no luck with {x}")


@dsl.component(base_image="python:3.11")
def below(x: int) -> int:
    return x


@dsl.pipeline(name="one-fails")
def one_fails(x: int = 7):
    good = fine(x=x)
    bad = boom(x=x)
    below(x=bad.output)
    below(x=good.output)
