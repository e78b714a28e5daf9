"""Measure the least that a task can cost: a fork with KFP's executor, and the files of the task.

    .venv/bin/python benchmarks/limit.py COUNT

The program runs COUNT tasks one after the other, without the scheduler, the store and a server. It
prints the seconds that all tasks took.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

# kfp reads this variable when it is imported. In a task it imports much less.
os.environ["_KFP_RUNTIME"] = "true"
SOURCE = """\
from kfp import dsl
from kfp.dsl import *
from typing import *

def noop():
    pass
"""


def main(count: int) -> None:
    """Run the tasks, and print the seconds."""
    # The processes of all tasks inherit the imported module.
    import kfp.dsl.executor  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="kfgcp-limit-") as top:
        program = Path(top, "component.py")
        program.write_text(SOURCE)
        start = time.perf_counter()
        for number in range(count):
            folder = Path(top, str(number))
            folder.mkdir()
            pid = os.fork()
            if pid == 0:
                run_task(program, folder)
                # The child must not return into the loop of its parent.
                os._exit(0)
            if os.waitpid(pid, 0)[1]:
                sys.exit("a task failed")
        print(time.perf_counter() - start)


def run_task(program: Path, folder: Path) -> None:
    """Run the component of a program as a task does, with its log and its outputs in a folder."""
    from kfp.dsl.executor import Executor

    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    spec = importlib.util.spec_from_file_location("component", program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    executor_input = {
        "inputs": {},
        "outputs": {"outputFile": str(folder / "outputs" / "executor_output.json")},
    }
    Executor(executor_input=executor_input, function_to_execute=module.noop).execute()


if __name__ == "__main__":
    main(int(sys.argv[1]))
