"""A chain of tasks that do nothing, as other runners write it; each gives the seconds of the whole process."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def metaflow(python: str, count: int) -> float:
    steps = ["start", *(f"step{number}" for number in range(count - 2)), "end"]
    body = "".join(
        f"    @step\n    def {name}(self):\n        {f'self.next(self.{following})' if following else 'pass'}\n"
        for name, following in zip(steps, [*steps[1:], ""], strict=True)
    )
    code = f"from metaflow import FlowSpec, step\nclass Chain(FlowSpec):\n{body}\nChain()\n"
    return _timed(python, code, "run", USERNAME="bench")


def dagster(python: str, count: int) -> float:
    code = f"""
from dagster import DagsterInstance, In, Nothing, execute_job, job, multiprocess_executor, op, reconstructable
@op(ins={{"before": In(Nothing)}})
def noop():
    pass
@op
def first():
    pass
@job(executor_def=multiprocess_executor)
def chain():
    before = first()
    for number in range({count - 1}):
        before = noop.alias(f"noop{{number}}")(before)
if __name__ == "__main__":
    import tempfile
    with tempfile.TemporaryDirectory() as home, DagsterInstance.local_temp(home) as instance:
        assert execute_job(reconstructable(chain), instance).success
"""
    return _timed(python, code)


PEERS: dict[str, Callable[[str, int], float]] = {"metaflow": metaflow, "dagster": dagster}


def _timed(python: str, code: str, *arguments: str, **variables: str) -> float:
    with tempfile.TemporaryDirectory(prefix="kfgcp-peer-") as folder:
        Path(folder, "chain.py").write_text(code, encoding="utf-8")
        start = time.perf_counter()
        subprocess.run(
            [python, "chain.py", *arguments],
            cwd=folder,
            env={**os.environ, **variables},
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - start
