"""Measure what the engine costs a task, beside other local runners with the same pipeline.

    .venv/bin/python benchmarks/engine.py [--rounds N] [--peers] [--large]

It prints the tables of docs/performance.md. The tasks do nothing, so all time is the runner's.
Bytecode is cached. `--peers` adds runners of other projects, which are first installed in their own
environments. `--large` adds 10,000 tasks and a loop of 10,000 iterations, which take two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS, CannotMeasure, Peer
from pipelines import NOOP, compile_source, grid, save

KFGCP = str(Path(sys.executable).with_name("kfgcp"))
OURS = "kfgcp"
LIMIT = "the limit: a fork, KFP's executor, its files, nothing else"
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

# Runs a command and prints the peak memory of its processes in MB. Linux has it in KB.
MEMORY_METER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""

# Runs a chain. Returns the seconds of the whole process, and the seconds of one task between the
# first task and the last.
RunChain = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Runner:
    """A runner in the table of chains.

    Attributes:
        name: its name in the table.
        count: the tasks of its chain.
        run: runs the chain.
    """

    name: str
    count: int
    run: RunChain


@dataclass(frozen=True)
class EngineRun:
    """What a run of the engine used.

    Attributes:
        process_seconds: of the whole process.
        run_seconds: from the start of the run to its end.
        peak_megabytes: the peak memory of the process.
    """

    process_seconds: float
    run_seconds: float
    peak_megabytes: float


def main() -> None:
    """Measure, and print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    cores = f"{os.cpu_count()} cores"
    print(
        f"{platform.system()}, Python {platform.python_version()}, {cores}, median of"
        f" {options.rounds} rounds"
    )
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
        os.chdir(folder)
        noop = compile_source(KFGCP, "noop", NOOP)
        measure_chains(noop, options.rounds, PEERS if options.peers else ())
        measure_growth(noop, options.large)
        measure_others(noop, options.rounds)


def measure_chains(noop: dict[str, Any], rounds: int, peers: Sequence[Peer]) -> None:
    """Run a chain of tasks once a round with every runner, and print the table."""
    save("chain-50.json", grid(noop, 1, 50))
    runners = [
        Runner(LIMIT, 50, lambda: run_limit(50)),
        Runner(OURS, 50, lambda: run_chain("chain-50.json", 50)),
        Runner(
            "kfp.local, SubprocessRunner, `use_venv=False`, nothing to install",
            50,
            lambda: run_kfp_local(50, use_venv=False),
        ),
        Runner(
            "kfp.local, SubprocessRunner, `use_venv=True`",
            2,
            lambda: run_kfp_local(2, use_venv=True),
        ),
    ]
    for peer in peers:
        home = Path(f"home-{peer.name}").resolve()
        runners.append(Runner(peer.title, peer.count, partial(peer.measure, home)))
    process_times: dict[str, list[float]] = {runner.name: [] for runner in runners}
    task_times: dict[str, list[float]] = {runner.name: [] for runner in runners}
    failures: list[str] = []
    for number in range(rounds + 1):
        for runner in list(runners):
            try:
                process_seconds, task_seconds = runner.run()
            except CannotMeasure as error:
                failures.append(f"{runner.name}: not measured, {error}")
                runners.remove(runner)
                continue
            # The first round fills caches.
            if number:
                process_times[runner.name].append(process_seconds)
                task_times[runner.name].append(task_seconds)
    print_chains(runners, process_times, task_times)
    print(*failures, sep="\n")


def print_chains(
    runners: Sequence[Runner],
    process_times: dict[str, list[float]],
    task_times: dict[str, list[float]],
) -> None:
    """Print the table of chains, the fastest runner first. kfgcp is the base of the ratios."""
    print("\n| runner | tasks | ms a task | times the engine | before and after them, s |")
    print("| --- | --- | --- | --- | --- |")
    engine_task = statistics.median(task_times[OURS])
    for runner in sorted(runners, key=lambda runner: statistics.median(task_times[runner.name])):
        task = statistics.median(task_times[runner.name])
        process = statistics.median(process_times[runner.name])
        print(
            f"| {runner.name} | {runner.count} | {task * 1000:,.1f} | {task / engine_task:,.1f} |"
            f" {process - task * runner.count:.2f} |"
        )


def measure_growth(noop: dict[str, Any], large: bool) -> None:
    """Print time and peak memory of the engine for growing pipelines."""
    print("\n| tasks | ms a task | peak memory of the engine |\n| --- | --- | --- |")
    sizes = [(1, 10), (2, 50), (20, 50)]
    iterations = [100]
    if large:
        sizes.append((200, 50))
        iterations.append(10_000)
    for width, length in sizes:
        save("grid.json", grid(noop, width, length))
        chains = f" ({width} chains of {length})" if width > 1 else ""
        count = width * length
        print_growth(f"{count:,}{chains}", count, run("grid.json"))
    save("loop.json", compile_source(KFGCP, "loop", LOOP))
    for count in iterations:
        Path("items.json").write_text(json.dumps({"items": list(range(count))}), encoding="utf-8")
        used = run("loop.json", "--params-file", "items.json")
        print_growth(f"a ParallelFor of {count:,}", count, used)


def print_growth(title: str, count: int, used: EngineRun) -> None:
    """Print a row of the table of growing pipelines."""
    milliseconds = used.run_seconds / count * 1000
    print(f"| {title} | {milliseconds:.1f} | {used.peak_megabytes:.0f} MB |")


def measure_others(noop: dict[str, Any], rounds: int) -> None:
    """Print the table of single figures."""
    save("sleeps.json", compile_source(KFGCP, "sleeps", SLEEPS))
    save("packages.json", compile_source(KFGCP, "packages", PACKAGES))
    save("one.json", noop)
    cached = grid(noop, 10, 10)
    for task in cached["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {"enableCache": True}
    save("cached-100.json", cached)
    measures: dict[str, Callable[[], float]] = {
        "sleeps": lambda: run("sleeps.json", "--max-parallel", "4").process_seconds,
        "cached": lambda: run("cached-100.json", "--cache").process_seconds,
        "one": lambda: run("one.json").run_seconds,
        "packages": lambda: run("packages.json").run_seconds,
        "whole": lambda: run("one.json").process_seconds,
        "kfp": lambda: time_command([sys.executable, "-c", "import kfp"]),
        "help": lambda: time_command([KFGCP, "--help"]),
        "import": lambda: time_command([sys.executable, "-c", "import kfgcp"]),
        "bare": lambda: time_command([sys.executable, "-c", "pass"]),
    }
    times: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            seconds = measure()
            # The first round fills caches, also that of the 100 tasks.
            if number:
                times[name].append(seconds)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratio = median["whole"] / median["kfp"]
    print("\n| what | figure |\n| --- | --- |")
    print(
        "| 4 independent sleeps of 2 s, `--max-parallel 4`, whole process |"
        f" {median['sleeps']:.2f} s |"
    )
    print(f"| 100 tasks, all cached, whole process | {median['cached']:.2f} s |")
    print(f"| one task, from the run's start to its end | {median['one'] * 1000:.0f} ms |")
    print(
        f"| the same with `packages_to_install`, second run | {median['packages'] * 1000:.0f} ms |"
    )
    print(f"| `kfgcp run` of a compiled one-task file, whole process | {median['whole']:.2f} s |")
    print(f"| `import kfp` alone, and the run against it | {median['kfp']:.2f} s, {ratio:.2f} |")
    print(f"| `kfgcp --help` | {median['help']:.2f} s |")
    print(f"| `import kfgcp`; bare Python | {median['import']:.3f} s; {median['bare']:.3f} s |")


def run_chain(spec: str, count: int) -> tuple[float, float]:
    """Run a chain with kfgcp, see RunChain."""
    used = run(spec)
    return used.process_seconds, used.run_seconds / count


def run(spec: str, *arguments: str) -> EngineRun:
    """Run a compiled pipeline with `kfgcp run`.

    Args:
        spec: the file of the pipeline.
        arguments: more arguments. Without `--cache` among them no result is used again.
    """
    caching = [] if "--cache" in arguments else ["--no-cache"]
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", MEMORY_METER, KFGCP, "run", spec, "--json", *caching, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    process_seconds = time.perf_counter() - start
    result = json.loads(process.stdout)
    started_at = datetime.fromisoformat(result["started_at"])
    ended_at = datetime.fromisoformat(result["ended_at"])
    return EngineRun(
        process_seconds, (ended_at - started_at).total_seconds(), float(process.stderr)
    )


def run_limit(count: int) -> tuple[float, float]:
    """Run the tasks of limit.py, see RunChain."""
    return _time_program(
        [sys.executable, str(Path(__file__).with_name("limit.py")), str(count)], count
    )


def run_kfp_local(count: int, *, use_venv: bool) -> tuple[float, float]:
    """Run a chain with kfp.local, see RunChain. Imports and compilation do not count for a task.

    Without a virtual environment the tasks need not install kfp, which saves half a second of pip.
    """
    code = f"""
import time
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
print()
print(time.perf_counter() - start)
"""
    Path("kfp_chain.py").write_text(code, encoding="utf-8")
    return _time_program([sys.executable, "kfp_chain.py"], count)


def _time_program(command: list[str], count: int) -> tuple[float, float]:
    """Run a program whose last line is the seconds of all its tasks, see RunChain.

    Raises:
        CannotMeasure: it failed.
    """
    start = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True)
    process_seconds = time.perf_counter() - start
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        raise CannotMeasure(lines[-1] if lines else "no reason given")
    last_line = process.stdout.strip().splitlines()[-1]
    return process_seconds, float(last_line) / count


def time_command(command: list[str]) -> float:
    """Return the seconds of a whole process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
