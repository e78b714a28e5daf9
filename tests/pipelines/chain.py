"""Three tasks after one another, the middle ones in a pipeline of their own."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def add(x: int, more: int = 1) -> int:
    print(f"{x} + {more}")
    return x + more


@dsl.component(base_image="python:3.11")
def double(x: int) -> int:
    return 2 * x


@dsl.pipeline(name="inner")
def inner(x: int) -> int:
    doubled = double(x=x)
    return add(x=doubled.output, more=10).output


@dsl.pipeline(name="chain")
def chain(n: int = 2) -> int:
    """Computes 2 (n + 1) + 10, and 1 more."""
    first = add(x=n)
    middle = inner(x=first.output)
    return add(x=middle.output).output
