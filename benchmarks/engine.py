"""What the engine costs a task, side by side with other local runners on the same DAG, in one run.

    .venv/bin/python benchmarks/engine.py [--rounds N] [--large] [--peer metaflow=PYTHON] [--peer dagster=PYTHON] ...

Tasks do nothing, so the time is the runner's own. Times are of whole processes, start and imports included, unless a
line says otherwise; bytecode is cached. A peer is measured when an interpreter that has it is named. `--large` adds
10,000 tasks and a loop of 10,000 iterations, which take two minutes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS

KFGCP = str(Path(sys.executable).with_name("kfgcp"))
NOOP = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def noop():
    pass

@dsl.pipeline(name="noop")
def pipeline():
    noop()
"""
LOOP = """
from typing import List
from kfp import dsl

@dsl.component(base_image="python:3.11")
def noop(item: int):
    pass

@dsl.pipeline(name="loop")
def pipeline(items: List[int]):
    with dsl.ParallelFor(items) as item:
        noop(item=item)
"""
PACKAGES = """
from kfp import dsl

@dsl.component(base_image="python:3.11", packages_to_install=["six==1.16.0"])
def noop():
    pass

@dsl.pipeline(name="packages")
def pipeline():
    noop()
"""
SLEEPS = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def nap():
    import time
    time.sleep(2)

@dsl.pipeline(name="sleeps")
def pipeline():
    for _ in range(4):
        nap()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    options = parser.parse_args()
    peers = dict(text.split("=", 1) for text in options.peer)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(
        f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, median of {options.rounds}\n"
    )
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
        os.chdir(folder)
        noop = compiled("noop", NOOP)
        chain(noop, options.rounds, peers)
        growth(noop, options.large)
        others(noop, options.rounds)


def chain(noop: dict[str, Any], rounds: int, peers: dict[str, str]) -> None:
    """A chain of 50 tasks, every runner once a round; ratios against kfgcp."""
    save("chain-50.json", grid(noop, 1, 50))
    runners: dict[str, Callable[[], float]] = {
        "limit: fork, KFP's executor, files": lambda: limit(50) / 50,
        "kfgcp run": lambda: run("chain-50.json")[0] / 50,
        "kfgcp run, first task to last": lambda: run("chain-50.json")[1] / 50,
        "kfp.local, use_venv=False, first task to last": lambda: kfp_local(50, "False") / 50,
        **{name: lambda name=name, python=python: PEERS[name](python, 50) / 50 for name, python in peers.items()},
    }
    found: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, measure in runners.items():
            found[name].append(measure() * 1000)
    medians = {name: statistics.median(times) for name, times in found.items()}
    medians["kfp.local, use_venv=True, first task to last (2 tasks, once)"] = kfp_local(2, "True") / 2 * 1000
    ours = medians["kfgcp run, first task to last"]
    print("A chain of 50 tasks that do nothing, ms a task, and how many times kfgcp's engine:")
    for name, median in medians.items():
        print(f"  {name:62}{median:10.1f}{median / ours:10.1f}")


def growth(noop: dict[str, Any], large: bool) -> None:
    """Time and memory from 10 tasks on; memory is the engine process's peak."""
    print("\nHow it grows (chains of 50 side by side), once each:")
    print(f"  {'tasks':>8}{'ms a task':>12}{'engine MB':>12}")
    for width, length in [(1, 10), (2, 50), (20, 50), *([(200, 50)] if large else [])]:
        save("grid.json", grid(noop, width, length))
        _, seconds, megabytes = run("grid.json")
        print(f"  {width * length:8}{seconds / width / length * 1000:12.2f}{megabytes:12.0f}")
    for count in [100, *([10_000] if large else [])]:
        save("loop.json", compiled("loop", LOOP))
        Path("items.json").write_text(json.dumps({"items": list(range(count))}), encoding="utf-8")
        _, seconds, megabytes = run("loop.json", "--params-file", "items.json")
        print(f"  {count:8}{seconds / count * 1000:12.2f}{megabytes:12.0f}   iterations of a ParallelFor")


def others(noop: dict[str, Any], rounds: int) -> None:
    save("sleeps.json", compiled("sleeps", SLEEPS))
    save("packages.json", compiled("packages", PACKAGES))
    save("one.json", noop)
    cached = grid(noop, 10, 10)
    for task in cached["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {"enableCache": True}
    save("cached-100.json", cached)
    run("cached-100.json", "--cache")
    run("packages.json")

    def median(*arguments: str, part: int = 0) -> float:
        return statistics.median(run(*arguments)[part] for _ in range(rounds))

    print("\nOther promises:")
    print(f"  4 sleeps of 2 s, --max-parallel 4, whole process: {median('sleeps.json', '--max-parallel', '4'):.2f} s")
    print(f"  100 tasks, all cached, whole process: {median('cached-100.json', '--cache'):.2f} s")
    one, packaged = median("one.json", part=1), median("packages.json", part=1)
    print(f"  a task: {one * 1000:.1f} ms; with packages_to_install, second run: {packaged * 1000:.1f} ms")
    whole = median("one.json")
    imported = statistics.median(timed([sys.executable, "-c", "import kfp"]) for _ in range(rounds))
    print(f"  run of a one-task file: {whole:.2f} s; import kfp alone: {imported:.2f} s; ratio {whole / imported:.2f}")


def run(spec: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds of the whole process, seconds from the first task to the last, peak memory of the engine in MB."""
    measured = [
        sys.executable,
        "-c",
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stderr=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=sys.stderr); sys.exit(code)",
    ]
    caching = [] if "--cache" in arguments else ["--no-cache"]
    start = time.perf_counter()
    done = subprocess.run(
        [*measured, KFGCP, "run", spec, "--json", *caching, *arguments], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    result = json.loads(done.stdout)
    first, last = (datetime.fromisoformat(result[name]) for name in ("started_at", "ended_at"))
    return seconds, (last - first).total_seconds(), float(done.stderr)


def limit(count: int) -> float:
    """Seconds for tasks one after the other, each a fork of a process that has KFP's executor, and its files."""
    return float(subprocess.check_output([sys.executable, str(Path(__file__).with_name("limit.py")), str(count)]))


def kfp_local(count: int, use_venv: str) -> float:
    """Seconds of the pipeline call of kfp.local, imports and compilation not counted.

    Without a virtual environment its tasks need not install kfp, so they are spared the half second of asking pip.
    """
    code = f"""
import sys, time
from kfp import dsl, local
local.init(runner=local.SubprocessRunner(use_venv={use_venv}), raise_on_error=True)
@dsl.component(base_image="python:3.11", install_kfp_package={use_venv})
def noop():
    pass
@dsl.pipeline(name="chain")
def chain():
    before = None
    for _ in range({count}):
        task = noop()
        if before is not None:
            task.after(before)
        before = task
start = time.perf_counter()
chain()
print(time.perf_counter() - start, file=sys.stderr)
"""
    Path("kfp_chain.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "kfp_chain.py"], capture_output=True, text=True, check=True)
    return float(done.stderr.strip().splitlines()[-1])


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def compiled(name: str, source: str) -> dict[str, Any]:
    Path(f"{name}.py").write_text(source, encoding="utf-8")
    subprocess.run([KFGCP, "compile", f"{name}.py", "-o", f"{name}.json"], check=True, capture_output=True)
    spec: dict[str, Any] = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
    return spec


def grid(spec: dict[str, Any], width: int, length: int) -> dict[str, Any]:
    """Chains side by side, all of the one task of a compiled pipeline; KFP's compiler would take minutes for these."""
    made = copy.deepcopy(spec)
    tasks = made["root"]["dag"]["tasks"]
    task = tasks.pop("noop")
    for row in range(width):
        for place in range(length):
            key = f"noop-{row}-{place}"
            tasks[key] = {**task, "taskInfo": {"name": key}}
            if place:
                tasks[key]["dependentTasks"] = [f"noop-{row}-{place - 1}"]
    return made


def save(name: str, spec: dict[str, Any]) -> None:
    Path(name).write_text(json.dumps(spec), encoding="utf-8")


if __name__ == "__main__":
    main()
