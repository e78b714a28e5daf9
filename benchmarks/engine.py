"""What the engine costs a task, side by side with other local runners on the same DAG, in one run.

    .venv/bin/python benchmarks/engine.py [--rounds N] [--peers] [--large]

Prints the tables of docs/performance.md. Tasks do nothing, so the time is the runner's own;
bytecode is cached. `--peers` adds runners of other projects, installed in environments of their own
first. `--large` adds 10,000 tasks and a loop of 10,000 iterations, which take two minutes.
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
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS, CannotMeasure, Peer
from pipelines import NOOP, compile_source, grid, save

KFGCP = str(Path(sys.executable).with_name("kfgcp"))
OURS, LIMIT = "kfgcp", "the limit: a fork, KFP's executor, its files, nothing else"
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


Chain = Callable[[], tuple[float, float]]
"""Runs a chain; gives seconds of the whole process, and seconds a task from the first one to the
last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that are counted (default: 5)"
    )
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
        chain(noop, options.rounds, PEERS if options.peers else ())
        growth(noop, options.large)
        others(noop, options.rounds)


def chain(noop: dict[str, Any], rounds: int, peers: Sequence[Peer]) -> None:
    """A chain of tasks, every runner once a round; ratios against kfgcp."""
    save("chain-50.json", grid(noop, 1, 50))
    runners: dict[tuple[str, int], Chain] = {
        (LIMIT, 50): lambda: limit(50),
        (OURS, 50): lambda: engine("chain-50.json", 50),
        ("kfp.local, SubprocessRunner, `use_venv=False`, nothing to install", 50): lambda: (
            kfp_local(50, "False")
        ),
        ("kfp.local, SubprocessRunner, `use_venv=True`", 2): lambda: kfp_local(2, "True"),
        **{
            (peer.title, peer.count): lambda peer=peer: peer.measure(
                Path(f"home-{peer.name}").resolve()
            )
            for peer in peers
        },
    }
    found: dict[tuple[str, int], list[tuple[float, float]]] = {runner: [] for runner in runners}
    failed: list[str] = []
    for number in range(rounds + 1):
        for runner, measure in list(runners.items()):
            try:
                times = measure()
            except CannotMeasure as error:
                failed.append(f"{runner[0]}: not measured, {error}")
                del runners[runner], found[runner]
                continue
            if number:
                found[runner].append(times)
    rows = [
        (
            statistics.median(task for _, task in times),
            statistics.median(whole for whole, _ in times),
            *runner,
        )
        for runner, times in found.items()
    ]
    ours = next(task for task, _, name, _ in rows if name == OURS)
    print("\n| runner | tasks | ms a task | times the engine | before and after them, s |")
    print("| --- | --- | --- | --- | --- |")
    for task, whole, name, count in sorted(rows):
        print(
            f"| {name} | {count} | {task * 1000:,.1f} | {task / ours:,.1f} |"
            f" {whole - task * count:.2f} |"
        )
    print(*failed, sep="\n")


def growth(noop: dict[str, Any], large: bool) -> None:
    """Time and memory from 10 tasks on; memory is the engine process's peak."""
    print("\n| tasks | ms a task | peak memory of the engine |\n| --- | --- | --- |")
    for width, length in [(1, 10), (2, 50), (20, 50), *([(200, 50)] if large else [])]:
        save("grid.json", grid(noop, width, length))
        chains = f" ({width} chains of {length})" if width > 1 else ""
        _grown(f"{width * length:,}{chains}", width * length, run("grid.json"))
    save("loop.json", compile_source(KFGCP, "loop", LOOP))
    for count in [100, *([10_000] if large else [])]:
        Path("items.json").write_text(json.dumps({"items": list(range(count))}), encoding="utf-8")
        _grown(
            f"a ParallelFor of {count:,}", count, run("loop.json", "--params-file", "items.json")
        )


def _grown(what: str, count: int, found: tuple[float, float, float]) -> None:
    _, seconds, megabytes = found
    print(f"| {what} | {seconds / count * 1000:.1f} | {megabytes:.0f} MB |")


def others(noop: dict[str, Any], rounds: int) -> None:
    save("sleeps.json", compile_source(KFGCP, "sleeps", SLEEPS))
    save("packages.json", compile_source(KFGCP, "packages", PACKAGES))
    save("one.json", noop)
    cached = grid(noop, 10, 10)
    for task in cached["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {"enableCache": True}
    save("cached-100.json", cached)
    measures: dict[str, Callable[[], float]] = {
        "sleeps": lambda: run("sleeps.json", "--max-parallel", "4")[0],
        "cached": lambda: run("cached-100.json", "--cache")[0],
        "one": lambda: run("one.json")[1],
        "packages": lambda: run("packages.json")[1],
        "whole": lambda: run("one.json")[0],
        "kfp": lambda: timed([sys.executable, "-c", "import kfp"]),
        "help": lambda: timed([KFGCP, "--help"]),
        "import": lambda: timed([sys.executable, "-c", "import kfgcp"]),
        "bare": lambda: timed([sys.executable, "-c", "pass"]),
    }
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            seconds = measure()
            if number:
                found[name].append(seconds)
    median = {name: statistics.median(times) for name, times in found.items()}
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


def engine(spec: str, count: int) -> tuple[float, float]:
    whole, tasks, _ = run(spec)
    return whole, tasks / count


def run(spec: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds of the whole process, seconds from the first task to the last, peak memory of the
    engine in MB."""
    measured = [
        sys.executable,
        "-c",
        (
            "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:],"
            " stderr=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=sys.stderr);"
            " sys.exit(code)"
        ),
    ]
    caching = [] if "--cache" in arguments else ["--no-cache"]
    start = time.perf_counter()
    done = subprocess.run(
        [*measured, KFGCP, "run", spec, "--json", *caching, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - start
    result = json.loads(done.stdout)
    first, last = (datetime.fromisoformat(result[name]) for name in ("started_at", "ended_at"))
    return seconds, (last - first).total_seconds(), float(done.stderr)


def limit(count: int) -> tuple[float, float]:
    """Tasks one after the other, each a fork of a process that has KFP's executor, and its
    files."""
    return _whole_and_task(
        [sys.executable, str(Path(__file__).with_name("limit.py")), str(count)], count
    )


def kfp_local(count: int, use_venv: str) -> tuple[float, float]:
    """The pipeline call of kfp.local, imports and compilation not counted.

    Without a virtual environment its tasks need not install kfp, so they are spared the half second
    of asking pip.
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
    return _whole_and_task([sys.executable, "kfp_chain.py"], count)


def _whole_and_task(command: list[str], count: int) -> tuple[float, float]:
    """Of a command whose last line is the seconds of all its tasks.

    Raises:
        CannotMeasure: it failed.
    """
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    whole = time.perf_counter() - start
    if done.returncode:
        raise CannotMeasure((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return whole, float(done.stdout.strip().splitlines()[-1]) / count


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
