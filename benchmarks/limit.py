"""The least a task can cost here: a fork of a process that has KFP's executor, which runs it and
leaves its files.

    .venv/bin/python benchmarks/limit.py COUNT

Prints the seconds for COUNT tasks one after the other: no scheduler, no store, no server between.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["_KFP_RUNTIME"] = "true"
SOURCE = """
import kfp
from kfp import dsl
from kfp.dsl import *
from typing import *

def noop():
    pass
"""


def main(count: int) -> None:
    from kfp.dsl.executor import Executor

    with tempfile.TemporaryDirectory(prefix="kfgcp-limit-") as top:
        program = Path(top, "component.py")
        program.write_text(
            "from kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\ndef noop():\n   "
            " pass\n"
        )
        start = time.perf_counter()
        for number in range(count):
            folder = Path(top, str(number))
            folder.mkdir()
            pid = os.fork()
            if pid == 0:
                log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
                os.dup2(log, 1)
                spec = importlib.util.spec_from_file_location("component", program)
                assert spec is not None
                assert spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                wire = {
                    "inputs": {},
                    "outputs": {"outputFile": str(folder / "outputs" / "executor_output.json")},
                }
                Executor(executor_input=wire, function_to_execute=module.noop).execute()
                os._exit(0)
            if os.waitpid(pid, 0)[1]:
                sys.exit("a task failed")
        print(time.perf_counter() - start)


if __name__ == "__main__":
    main(int(sys.argv[1]))
