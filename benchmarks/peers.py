"""Local runners of other projects: each runs a chain of tasks that do nothing, in an environment of
its own.

uv builds the environments in a cache folder, never in this project's: these packages pin much. The
first and the last task of a chain write down the time, so that what comes before and after is told
apart as start-up. Telemetry is off, and each has a home folder of its own that is warm after the
first round.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "ZENML_ANALYTICS_OPT_IN": "false",
}
TIMEOUT = 600
"""Seconds for one chain."""
MARK = """
import os, time
def mark():
    with open(os.environ["CHAIN_MARKS"], "a") as marks:
        marks.write(f"{time.time()}\\n")
"""


class CannotMeasure(Exception):
    """A peer cannot be installed or does not run; the message is one line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another runner.

    requirement: what is installed, with its version. how: what a task is in it. code: gives the
    program of a chain. count: tasks of the chain, fewer where one takes long.
    """

    name: str
    requirement: str
    how: str
    count: int
    code: Callable[[int], str]
    arguments: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name} {self.requirement.partition('==')[2]}, {self.how}"

    def python(self) -> Path:
        """The interpreter that has it, after installing it once.

        Raises:
            CannotMeasure: uv said no.
        """
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "kfgcp-benchmarks" / self.requirement
        ready, python = folder / "ready", folder / "bin" / "python"
        if not ready.exists():
            _uv("venv", "--clear", "--python", sys.executable, str(folder))
            _uv("pip", "install", "--compile-bytecode", "--python", str(python), self.requirement)
            ready.touch()
        return python

    def measure(self, home: Path) -> tuple[float, float]:
        """Seconds of the whole process, and seconds a task from the first one to the last.

        Raises:
            CannotMeasure: the chain failed.
        """
        python = str(self.python())
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kfgcp-peer-") as folder:
            marks = Path(folder, "marks")
            Path(folder, "chain.py").write_text(MARK + self.code(self.count), encoding="utf-8")
            environment = {
                **{
                    name: value
                    for name, value in os.environ.items()
                    if not name.startswith("KFGCP_")
                },
                **QUIET,
                **self.variables,
                "HOME": str(home),
                "CHAIN_MARKS": str(marks),
            }
            start = time.perf_counter()
            try:
                done = subprocess.run(
                    [python, "chain.py", *self.arguments],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT,
                )
            except subprocess.TimeoutExpired:
                raise CannotMeasure(f"{self.count} tasks took longer than {TIMEOUT} s") from None
            seconds = time.perf_counter() - start
            times = [float(line) for line in marks.read_text().split()] if marks.exists() else []
        if done.returncode or len(times) != 2:
            raise CannotMeasure(
                _last_line(done.stderr) or f"its chain ended with exit code {done.returncode}"
            )
        return seconds, (times[1] - times[0]) / (self.count - 1)


def _uv(*arguments: str) -> None:
    from uv import find_uv_bin

    done = subprocess.run(
        [find_uv_bin(), "--no-progress", *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise CannotMeasure(f"cannot be installed: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _dagster(count: int) -> str:
    return f"""
from dagster import DagsterInstance, In, Nothing, execute_job, job, multiprocess_executor, op
from dagster import reconstructable
@op
def first():
    mark()
@op(ins={{"before": In(Nothing)}})
def noop():
    pass
@op(ins={{"before": In(Nothing)}})
def last():
    mark()
@job(executor_def=multiprocess_executor)
def chain():
    before = first()
    for number in range({count - 2}):
        before = noop.alias(f"noop{{number}}")(before)
    last(before)
if __name__ == "__main__":
    import tempfile
    with tempfile.TemporaryDirectory() as home, DagsterInstance.local_temp(home) as instance:
        assert execute_job(reconstructable(chain), instance).success
"""


def _prefect(count: int) -> str:
    return f"""
from prefect import flow, task
@task
def noop(marked):
    if marked:
        mark()
@flow
def chain():
    before = None
    for number in range({count}):
        before = noop.submit(number in (0, {count - 1}), wait_for=[before] if before else None)
    before.result()
if __name__ == "__main__":
    chain()
"""


def _zenml(count: int) -> str:
    return f"""
from zenml import pipeline, step
@step
def noop(marked: bool) -> None:
    if marked:
        mark()
@pipeline(enable_cache=False)
def chain():
    before = None
    for number in range({count}):
        name = f"noop{{number}}"
        noop(number in (0, {count - 1}), id=name, after=before)
        before = name
if __name__ == "__main__":
    chain()
"""


def _metaflow(count: int) -> str:
    steps = ["start", *(f"step{number}" for number in range(count - 2)), "end"]
    body = "".join(
        f"    @step\n    def {name}(self):\n"
        f"        {'mark()' if name in ('start', 'end') else 'pass'}\n"
        f"        {f'self.next(self.{following})' if following else 'pass'}\n"
        for name, following in zip(steps, [*steps[1:], ""], strict=True)
    )
    return (
        "from metaflow import FlowSpec, step\n"
        f"class Chain(FlowSpec):\n{body}\n"
        "if __name__ == '__main__':\n    Chain()\n"
    )


PEERS = (
    Peer("Prefect", "prefect==3.9.1", "ephemeral server, tasks are threads", 50, _prefect),
    Peer(
        "ZenML", "zenml[local]==0.98.0", "local orchestrator, all steps in one process", 20, _zenml
    ),
    Peer(
        "Metaflow",
        "metaflow==2.19.39",
        "a process a step",
        10,
        _metaflow,
        ("run",),
        {"USERNAME": "bench"},
    ),
    Peer("Dagster", "dagster==1.13.29", "multiprocess executor", 5, _dagster),
)
