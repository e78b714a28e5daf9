"""A task that fails twice, and one that is told how it ended."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def report(status: dsl.PipelineTaskFinalStatus) -> str:
    print(f"{status.pipeline_task_name} {status.state}")
    return status.state


@dsl.component(base_image="python:3.11")
def broken(text: str):
    print(text)
    raise ValueError("on purpose")


@dsl.pipeline(name="guarded")
def guarded(text: str = "an attempt"):
    with dsl.ExitHandler(report(), name="guard"):
        broken(text=text).set_retry(1, backoff_duration="0s")
