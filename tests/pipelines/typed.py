"""A task that says which parameters reached it, each of another type."""

from typing import Optional

from kfp import dsl


@dsl.component(base_image="python:3.11")
def describe(
    text: str,
    n: int,
    ratio: float,
    flag: bool,
    items: list,
    config: dict,
    note: Optional[str] = None,  # noqa: UP045
) -> str:
    return repr([text, n, ratio, flag, items, config, note])


@dsl.component(base_image="python:3.11")
def count(n: int) -> int:
    return n + 1


@dsl.pipeline(name="typed")
def typed(
    text: str,
    n: int,
    ratio: float,
    flag: bool,
    items: list,
    config: dict,
    note: Optional[str] = None,  # noqa: UP045
) -> int:
    describe(text=text, n=n, ratio=ratio, flag=flag, items=items, config=config, note=note)
    return count(n=n).output
