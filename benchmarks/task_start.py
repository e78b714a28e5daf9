"""What starting a lightweight component costs: a fork of a process that has KFP's executor, or a
process of its own.

    .venv/bin/python benchmarks/task_start.py [--rounds N]

Bytecode is cached. "whole kfp" is what a component's process imports when nothing tells KFP that it
is in a task.
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
    parser.add_argument(
        "--rounds", type=int, default=9, help="rounds that are counted (default: 9)"
    )
    rounds = parser.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["_KFP_RUNTIME"] = "true"
    import kfp.dsl.executor  # noqa: F401 - what the fork server has when a task comes

    ways: dict[str, Callable[[], None]] = {
        "fork of a process that has it": fork,
        "process of its own, _KFP_RUNTIME=true": lambda: process("true"),
        "process of its own, whole kfp": lambda: process(None),
        "process of its own, no kfp": lambda: process("true", "pass"),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                found[name].append(time.perf_counter() - start)
    for name, seconds in found.items():
        print(f"{name:38}  median {statistics.median(seconds) * 1000:6.1f} ms")


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def process(runtime: str | None, code: str = IMPORT) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "_KFP_RUNTIME"}
    if runtime is not None:
        environment["_KFP_RUNTIME"] = runtime
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


if __name__ == "__main__":
    main()
