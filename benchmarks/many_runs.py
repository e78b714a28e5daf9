"""What a store of many runs costs to search: filters, `compare`, `kfgcp list`, and the frame of all
runs.

    .venv/bin/python benchmarks/many_runs.py [--runs N] [--rounds N] [--home FOLDER]

The store holds runs that have ended, each with ten parameters (five floats, three whole numbers, a
word, truth), five metrics of two tasks, four labels and two tasks; all numbers come from a seeded
generator. Filters are measured by the page of 50 runs that a list shows and by the count of all
that match. `kfgcp list` is the real command, a process from start to end. With --home the store is
kept and used again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from startup import machine

from kfgcp.model import timestamp
from kfgcp.query import RunFilter
from kfgcp.store.rows import json_text
from kfgcp.store.store import DATABASE_NAME, Store

PARAMS, METRICS = 10, 5
FILTERS = (
    "params.lr < 0.1 and metrics.evaluate.accuracy > 0.9",
    "params.lr < 0.9 and metrics.evaluate.accuracy > 0.1",
    "params.model = forest",
    "params.model ~ ORES",
    "metrics.accuracy > 0.5 or metrics.loss < 0.1",
    "not params.depth < 50",
    "labels.user = user10 and state = FAILED",
    "name ~ 'run-99' and duration > 1m",
    "created_at > '2026-03-01' and experiment = spring",
    "tags = good or note ~ promising",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=100_000, help="runs that there are (default: 100,000)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that are counted (default: 5)"
    )
    parser.add_argument("--home", type=Path, help="keep the store in this folder")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.home or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="kfgcp-bench-"))
        )
        made = generate(folder, arguments.runs)
        size = (folder / DATABASE_NAME).stat().st_size / 1e6
        print(
            f"{machine()}, {arguments.runs:,} runs, {size:,.0f} MB, median of {arguments.rounds}"
            " rounds"
        )
        print(f"made in {made:.1f} s\n" if made else "made before\n")
        print("| what | median | from | to | found |")
        print("| --- | --- | --- | --- | --- |")
        for name, call in measured(folder):
            report(name, call, arguments.rounds)


def measured(folder: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """What is measured, by name; each call says how much it found."""
    os.environ["KFGCP_HOME"] = str(folder)
    store = Store(folder)
    yield "the newest 50 runs", lambda: len(store.page(limit=50))
    for where in FILTERS:
        wanted = RunFilter(where=where)
        yield f"`{where}`, a page", lambda wanted=wanted: len(store.page(wanted, limit=50))  # type: ignore[misc]
        yield f"`{where}`, the count", lambda wanted=wanted: store.count(wanted)  # type: ignore[misc]
    by_metric = "metrics.evaluate.accuracy desc"
    yield f"the first 50 by `{by_metric}`", lambda: len(store.page(order=by_metric, limit=50))
    yield (
        "a text in ids, names, notes and tags",
        lambda: len(store.page(RunFilter(text="run-4242"), limit=50)),
    )
    yield "names of parameters and metrics", lambda: sum(map(len, store.columns().values()))

    import pandas  # noqa: F401  # which has a cost of its own

    import kfgcp

    some = [run.run_id for run in store.page(limit=20)]
    yield "`kfgcp.compare` of 20 runs", lambda: len(kfgcp.compare(some).differences)
    yield "`kfgcp.runs()`, all", lambda: len(kfgcp.runs())
    yield f"`kfgcp.runs({FILTERS[0]!r})`", lambda: len(kfgcp.runs(FILTERS[0]))
    yield "`kfgcp.metrics()`, all", lambda: len(kfgcp.metrics())
    yield "`kfgcp list`, the command", lambda: command("list")
    yield f"`kfgcp list --where '{FILTERS[0]}'`", lambda: command("list", "--where", FILTERS[0])
    yield "`kfgcp compare` of 20 runs, the command", lambda: command("compare", *some)


def command(*arguments: str) -> int:
    """Lines that the command printed."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kfgcp")), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(done.stdout.splitlines())


def report(name: str, call: Callable[[], int], rounds: int) -> None:
    found = call()  # what is imported or compiled once is not counted
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        assert call() == found
        times.append(time.perf_counter() - begin)
    shown = " | ".join(
        f"{seconds(value)}" for value in (statistics.median(times), min(times), max(times))
    )
    print(f"| {name.replace('|', chr(92) + '|')} | {shown} | {found:,} |", flush=True)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def generate(folder: Path, count: int) -> float:
    """Makes the store unless it is there; the seconds that took.

    compare.py calls this function in other versions of the project, so its name and its arguments
    have to stay.
    """
    if (folder / DATABASE_NAME).exists():
        return 0.0
    begin = time.perf_counter()
    with Store(folder) as store:
        connection = store._db  # rows are written at once: a transaction a run would take minutes
        connection.execute("BEGIN")
        for table, columns, rows in tables(count):
            marks = ", ".join("?" * len(columns.split(",")))
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608
        connection.execute("COMMIT")
    return time.perf_counter() - begin


def tables(count: int) -> Iterator[tuple[str, str, Iterator[tuple[Any, ...]]]]:
    """Tables with their columns and rows, the same for the same count."""
    ids = [f"{random.Random(number).getrandbits(48):012x}" for number in range(count)]  # noqa: S311
    runs = (
        "run_id, env, backend, pipeline, version, experiment, name, state, created_at, started_at,"
        " ended_at"
    )
    yield "runs", runs, (row(number, run_id) for number, run_id in enumerate(ids))
    yield "params", "run_id, seq, name, value", each(ids, params)
    yield "metrics", "run_id, seq, task, artifact, name, value", each(ids, metrics)
    yield "labels", "run_id, name, value", each(ids, labels)
    tasks = (
        "run_id, path, seq, rev, kind, state, attempts, cache, started_at, ended_at, inputs,"
        " outputs, error"
    )
    yield "tasks", tasks, each(ids, task_rows)
    tagged = [(number, run_id) for number, run_id in enumerate(ids) if number % 100 == 0]
    yield (
        "tags",
        "run_id, tag",
        ((run_id, "good" if number % 200 else "bad") for number, run_id in tagged),
    )
    yield (
        "notes",
        "run_id, note",
        ((run_id, f"promising, see {number}") for number, run_id in tagged),
    )


def each(
    ids: list[str], make: Callable[[random.Random, str, int], Iterator[tuple[Any, ...]]]
) -> Iterator[tuple[Any, ...]]:
    for number, run_id in enumerate(ids):
        yield from make(random.Random(f"{make.__name__}{number}"), run_id, number)  # noqa: S311


def row(number: int, run_id: str) -> tuple[Any, ...]:
    begin = 1_767_225_600 + number * 60  # 2026, a run a minute
    state = "FAILED" if number % 10 == 0 else "SUCCEEDED"
    experiment = ("default", "spring", "summer")[number % 3]
    times = (timestamp(begin), timestamp(begin + 1), timestamp(begin + 30 + number % 90))
    version = f"sha256:{number % 20:064x}"
    return (
        run_id,
        "local",
        "local",
        f"pipeline-{number % 5}",
        version,
        experiment,
        f"run-{number}",
        state,
        *times,
    )


def params(chance: random.Random, run_id: str, number: int) -> Iterator[tuple[Any, ...]]:
    values = {
        **{name: chance.random() for name in ("lr", "dropout", "decay", "momentum", "fraction")},
        **{name: chance.randrange(100) for name in ("depth", "epochs", "batch")},
        "model": chance.choice(("forest", "linear", "boosting")),
        "augment": chance.random() < 0.5,
    }
    yield from (
        (run_id, seq, name, json_text(value)) for seq, (name, value) in enumerate(values.items())
    )


def metrics(chance: random.Random, run_id: str, number: int) -> Iterator[tuple[Any, ...]]:
    names = (
        ("evaluate", "accuracy"),
        ("evaluate", "f1"),
        ("evaluate", "auc"),
        ("train", "accuracy"),
        ("train", "loss"),
    )
    for seq, (task, name) in enumerate(names):
        yield run_id, seq, task, "metrics", name, json_text(chance.random())


def labels(chance: random.Random, run_id: str, number: int) -> Iterator[tuple[Any, ...]]:
    values = {
        "git": f"{number % 1000:040x}",
        "git-dirty": "false",
        "env": "local",
        "user": f"user{number % 20}",
    }
    yield from ((run_id, name, value) for name, value in values.items())


def task_rows(chance: random.Random, run_id: str, number: int) -> Iterator[tuple[Any, ...]]:
    begin = 1_767_225_600 + number * 60
    for seq, path in enumerate(("train", "evaluate")):
        times = (timestamp(begin + 1 + 10 * seq), timestamp(begin + 5 + 10 * seq + chance.random()))
        yield run_id, path, seq, 1, "container", "SUCCEEDED", 1, None, *times, "{}", "{}", None


if __name__ == "__main__":
    main()
