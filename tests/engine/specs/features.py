"""What every kfp 2.x can express: compiled by several versions of it, see
tests/engine/test_sdk_versions.py.

python features.py features-2.7.0.yaml        # in an environment with kfp==2.7.0
"""

import sys
from typing import List, NamedTuple  # noqa: UP035

from kfp import compiler, dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def double(x: int) -> int:
    print(f"double {x!r}")
    return 2 * x


@dsl.component(base_image=IMAGE)
def describe(text: str, n: int, ratio: float, flag: bool, items: list, config: dict) -> str:
    import json

    return json.dumps([text, n, ratio, flag, items, config])


@dsl.component(base_image=IMAGE)
def two(x: int) -> NamedTuple("Two", [("name", str), ("value", int)]):
    from collections import namedtuple

    return namedtuple("Two", ["name", "value"])(f"n{x}", x)


@dsl.component(base_image=IMAGE)
def produce(rows: int, data: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]):
    with open(data.path, "w") as file:
        file.write("row\n" * rows)
    data.metadata["rows"] = rows
    metrics.log_metric("rows", rows)


@dsl.component(base_image=IMAGE)
def consume(data: dsl.Input[dsl.Dataset]) -> int:
    with open(data.path) as file:
        return len(file.read().splitlines())


@dsl.component(base_image=IMAGE)
def total(numbers: List[int]) -> int:  # noqa: UP006
    return sum(numbers)


@dsl.component(base_image=IMAGE)
def report(status: dsl.PipelineTaskFinalStatus) -> str:
    return f"{status.state} {status.pipeline_task_name}"


@dsl.component(base_image=IMAGE)
def broken():
    raise ValueError("on purpose")


@dsl.pipeline(name="inner")
def inner(x: int, more: int = 3) -> int:
    first = double(x=x)
    return double(x=first.output).output


@dsl.pipeline(name="features")
def features(
    n: int = 2,
    text: str = 'it\'s "quoted" {{$}}',
    ratio: float = 0.5,
    flag: bool = True,
    items: List[int] = [1, 2, 3],  # noqa: B006, UP006
    config: dict = {"depth": {"of": 2}},  # noqa: B006
) -> int:
    describe(text=text, n=n, ratio=ratio, flag=flag, items=items, config=config)
    pair = two(x=n)
    nested = inner(x=pair.outputs["value"])
    made = produce(rows=n)
    consume(data=made.outputs["data"])
    with dsl.Condition(nested.output == 8, name="eight"):
        double(x=1).set_display_name("when eight")
    with dsl.Condition(nested.output != 8, name="not-eight"):
        double(x=2)
    with dsl.ParallelFor(items, parallelism=2) as item:
        looped = double(x=item)
    return total(numbers=dsl.Collected(looped.output)).output


@dsl.pipeline(name="guarded")
def guarded():
    with dsl.ExitHandler(report(), name="guard"):
        broken().set_retry(1, backoff_duration="0s")


if __name__ == "__main__":
    compiler.Compiler().compile(features, sys.argv[1])
    compiler.Compiler().compile(guarded, sys.argv[1].replace("features", "guarded"))
