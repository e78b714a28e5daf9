"""Run chains of tasks that do nothing with the local runners of other projects.

uv makes an environment for each runner in a cache folder. None is installed in the environment of
this project, because these packages require exact versions of many others. The first and the last
task of a chain write the time to a file, so that the time before and after them can be subtracted.
Telemetry is off. Each runner has its own home folder, which has its caches after the first round.
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

from startup import clean_environment

QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "ZENML_ANALYTICS_OPT_IN": "false",
}
# Seconds for one chain.
TIMEOUT = 600
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
    """The runner of another project.

    Attributes:
        name: the name of the project.
        requirement: what is installed, with its version.
        how: how it runs tasks.
        count: the tasks of the chain. There are fewer when one takes long.
        code: returns the program of a chain with a number of tasks.
        arguments: the arguments of the program.
        variables: more variables of its environment.
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
        """The name, the version and the way it runs tasks."""
        return f"{self.name} {self.requirement.partition('==')[2]}, {self.how}"

    def python(self) -> Path:
        """Return the interpreter of its environment, which is made the first time.

        Raises:
            CannotMeasure: it cannot be installed.
        """
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "kfgcp-benchmarks" / self.requirement
        python = folder / "bin" / "python"
        # This file is written last: without it an installation was interrupted.
        ready = folder / "ready"
        if not ready.exists():
            run_uv("venv", "--clear", "--python", sys.executable, str(folder))
            run_uv(
                "pip", "install", "--compile-bytecode", "--python", str(python), self.requirement
            )
            ready.touch()
        return python

    def measure(self, home: Path) -> tuple[float, float]:
        """Run the chain once.

        Args:
            home: the home folder of the process.

        Returns:
            The seconds of the whole process, and the seconds of one task between the first task
            and the last.

        Raises:
            CannotMeasure: the chain failed.
        """
        python = str(self.python())
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kfgcp-peer-") as folder:
            marks = Path(folder, "marks")
            Path(folder, "chain.py").write_text(MARK + self.code(self.count), encoding="utf-8")
            environment = clean_environment() | QUIET | self.variables
            environment |= {"HOME": str(home), "CHAIN_MARKS": str(marks)}
            start = time.perf_counter()
            try:
                process = subprocess.run(
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
            times = []
            if marks.exists():
                times = [float(line) for line in marks.read_text().split()]
        if process.returncode or len(times) != 2:
            raise CannotMeasure(
                _last_line(process.stderr) or f"its chain ended with exit code {process.returncode}"
            )
        return seconds, (times[1] - times[0]) / (self.count - 1)


def run_uv(*arguments: str) -> None:
    from uv import find_uv_bin

    process = subprocess.run(
        [find_uv_bin(), "--no-progress", *arguments], capture_output=True, text=True
    )
    if process.returncode:
        raise CannotMeasure(f"cannot be installed: {_last_line(process.stderr)}")


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
    lines = ["from metaflow import FlowSpec, step", "class Chain(FlowSpec):"]
    name = "start"
    statement = "mark()"
    for number in range(count - 2):
        lines += _metaflow_step(name, statement, f"step{number}")
        name = f"step{number}"
        statement = "pass"
    lines += _metaflow_step(name, statement, "end")
    lines += ["    @step", "    def end(self):", "        mark()"]
    lines += ["if __name__ == '__main__':", "    Chain()"]
    return "\n".join(lines) + "\n"


def _metaflow_step(name: str, statement: str, next_step: str) -> list[str]:
    return [
        "    @step",
        f"    def {name}(self):",
        f"        {statement}",
        f"        self.next(self.{next_step})",
    ]


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
