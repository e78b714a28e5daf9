"""A task that writes a line before and a line after a file is there, and a task after it."""

from kfp import dsl


@dsl.component(base_image="python:3.11")
def pass_gate(gate: str) -> str:
    import os
    import time

    print("before the gate", flush=True)
    while not os.path.exists(gate):
        time.sleep(0.02)
    print("behind the gate")
    return gate


@dsl.component(base_image="python:3.11")
def arrive(gate: str) -> str:
    print("arrived")
    return gate


@dsl.pipeline(name="gated")
def gated(gate: str):
    arrive(gate=pass_gate(gate=gate).output)
