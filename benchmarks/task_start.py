"""Measure how long a lightweight component takes to start, as a fork or as a new process.

    .venv/bin/python benchmarks/task_start.py [--rounds N]

The fork is one of a process that has imported KFP's executor. Bytecode is cached. "whole kfp" is
what the process of a component imports when _KFP_RUNTIME does not tell KFP that it is in a task.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

IMPORT = "import kfp.dsl.executor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (default: 9)")
    rounds = parser.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["_KFP_RUNTIME"] = "true"

    # The fork server has imported this before the first task starts.
    import kfp.dsl.executor  # noqa: F401

    ways: dict[str, Callable[[], None]] = {
        "fork of a process that has it": run_fork,
        "new process, _KFP_RUNTIME=true": lambda: run_process("true"),
        "new process, whole kfp": lambda: run_process(None),
        "new process, no kfp": lambda: run_process("true", "pass"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            # The first round fills caches.
            if number:
                times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        print(f"{name:38}  median {statistics.median(seconds) * 1000:6.1f} ms")


def run_fork() -> None:
    """Fork a process that does nothing, and wait until it has ended."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def run_process(runtime: str | None, code: str = IMPORT) -> None:
    """Run code in a new process.

    Args:
        runtime: the value of _KFP_RUNTIME, None leaves it out.
        code: a Python program.
    """
    environment = dict(os.environ)
    environment.pop("_KFP_RUNTIME", None)
    if runtime is not None:
        environment["_KFP_RUNTIME"] = runtime
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


if __name__ == "__main__":
    main()
