"""Measure how long a test run of a pipeline takes: 10 tasks, all of them replaced.

    .venv/bin/python benchmarks/kit.py [--rounds N]

The pipeline has an exit handler, a condition and a loop. The first run compiles it and imports
modules, so it does not count. The limit is 80 ms. Processor time is the fairer figure on a machine
that other programs use too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from startup import machine

from kfgcp.testing import artifact, returns, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50, help="runs that count (default: 50)")
    rounds = parser.parse_args().rounds
    from kit_pipelines import ten_tasks

    replace = {
        "train": returns("ok", model=artifact(__file__), metrics={"auc": 0.9}),
        "evaluate": returns(0.9, metrics={"words": 3}),
        "deploy*": returns("deployed"),
        "double": returns(2),
        "add": returns(8),
        "notify": returns("SUCCEEDED"),
    }
    seconds: list[float] = []
    processor_seconds: list[float] = []
    for _ in range(rounds + 1):
        start, processor_start = time.perf_counter(), time.process_time()
        result = run(ten_tasks, replace)
        seconds.append(time.perf_counter() - start)
        processor_seconds.append(time.process_time() - processor_start)
        assert result.ok, result
    tasks = len(result.tasks)
    print(f"{machine()}; median of {rounds} runs of {tasks} tasks, all replaced")
    print(f"first run      {seconds[0] * 1000:8.1f} ms")
    print(f"time           {statistics.median(seconds[1:]) * 1000:8.1f} ms")
    print(f"processor time {statistics.median(processor_seconds[1:]) * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
