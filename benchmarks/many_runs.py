"""Measure searches in a store of many runs: filters, `compare`, `kfgcp list`, frames of all runs.

    .venv/bin/python benchmarks/many_runs.py [--runs N] [--rounds N] [--home FOLDER]

All runs in the store have ended. Each has ten parameters (five floats, three whole numbers, a word
and a boolean), five metrics of two tasks, four labels and two tasks. All numbers come from a seeded
generator. A filter is measured in two ways: the page of 50 runs that a list shows, and the count of
all runs that match. `kfgcp list` is the real command, a process from start to end. With --home the
store is kept and used again.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from startup import machine

from kfgcp.model import JsonValue, timestamp
from kfgcp.query import RunFilter
from kfgcp.store.rows import json_text
from kfgcp.store.store import DATABASE_NAME, Store

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
FLOAT_PARAMS = ("lr", "dropout", "decay", "momentum", "fraction")
INTEGER_PARAMS = ("depth", "epochs", "batch")
METRICS = (
    ("evaluate", "accuracy"),
    ("evaluate", "f1"),
    ("evaluate", "auc"),
    ("train", "accuracy"),
    ("train", "loss"),
)

# 2026-01-01 in seconds since 1970. One run starts each minute after it.
FIRST_RUN = 1_767_225_600

# A row of a table of the store.
Row = tuple[str | int | float | None, ...]


class MakeRows(Protocol):
    """A function that returns the rows of one run in one table."""

    __name__: str

    def __call__(self, chance: random.Random, run_id: str, number: int) -> Iterator[Row]: ...


def main() -> None:
    """Make the store, measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=100_000, help="runs in the store (default: 100,000)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--home", type=Path, help="keep the store in this folder")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as cleanup:
        folder = arguments.home or Path(
            cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kfgcp-bench-"))
        )
        generate_seconds = generate(folder, arguments.runs)
        megabytes = (folder / DATABASE_NAME).stat().st_size / 1e6
        print(
            f"{machine()}, {arguments.runs:,} runs, {megabytes:,.0f} MB, median of"
            f" {arguments.rounds} rounds"
        )
        print(f"made in {generate_seconds:.1f} s\n" if generate_seconds else "made before\n")
        print("| what | median | from | to | found |")
        print("| --- | --- | --- | --- | --- |")
        for name, call in searches(folder):
            print_row(name, call, arguments.rounds)


def searches(folder: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """Yield what is measured, by name. A call returns how many runs, or names, it found."""
    os.environ["KFGCP_HOME"] = str(folder)
    store = Store(folder)
    yield "the newest 50 runs", lambda: len(store.page(limit=50))
    for where in FILTERS:
        run_filter = RunFilter(where=where)
        yield f"`{where}`, a page", partial(count_page, store, run_filter)
        yield f"`{where}`, the count", partial(store.count, run_filter)
    by_metric = "metrics.evaluate.accuracy desc"
    yield f"the first 50 by `{by_metric}`", lambda: len(store.page(order=by_metric, limit=50))
    text_filter = RunFilter(text="run-4242")
    yield "a text in ids, names, notes and tags", partial(count_page, store, text_filter)
    yield "names of parameters and metrics", lambda: sum(map(len, store.columns().values()))

    # The import of pandas takes long. It comes here, so that no measurement below contains it.
    import pandas  # noqa: F401

    import kfgcp

    run_ids = [run.run_id for run in store.page(limit=20)]
    where = FILTERS[0]
    yield "`kfgcp.compare` of 20 runs", lambda: len(kfgcp.compare(run_ids).differences)
    yield "`kfgcp.runs()`, all", lambda: len(kfgcp.runs())
    yield f"`kfgcp.runs({where!r})`", lambda: len(kfgcp.runs(where))
    yield "`kfgcp.metrics()`, all", lambda: len(kfgcp.metrics())
    yield "`kfgcp list`, the command", lambda: count_output_lines("list")
    yield f"`kfgcp list --where '{where}'`", lambda: count_output_lines("list", "--where", where)
    yield (
        "`kfgcp compare` of 20 runs, the command",
        lambda: count_output_lines("compare", *run_ids),
    )


def count_page(store: Store, run_filter: RunFilter) -> int:
    """Return how many runs are on the first page of a list."""
    return len(store.page(run_filter, limit=50))


def count_output_lines(*arguments: str) -> int:
    """Run kfgcp, and return how many lines it printed."""
    process = subprocess.run(
        [str(Path(sys.executable).with_name("kfgcp")), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return len(process.stdout.splitlines())


def print_row(name: str, call: Callable[[], int], rounds: int) -> None:
    """Measure a call, and print its row of the table."""
    # The first call imports and compiles, so it does not count.
    count = call()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        assert call() == count
        times.append(time.perf_counter() - begin)
    print(f"| {escape_cell(name)} | {format_times(times)} | {count:,} |", flush=True)


def escape_cell(text: str) -> str:
    """Return a text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def format_times(times: Sequence[float]) -> str:
    """Return the cells of the median, the minimum and the maximum."""
    figures = (statistics.median(times), min(times), max(times))
    return " | ".join(format_seconds(seconds) for seconds in figures)


def format_seconds(seconds: float) -> str:
    """Return seconds, or milliseconds below one second, with the unit."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def generate(folder: Path, count: int) -> float:
    """Make the store unless it exists. Return the seconds that it took, 0 when it existed.

    compare.py calls this function in other versions of the project, so its name and its arguments
    must stay.
    """
    if (folder / DATABASE_NAME).exists():
        return 0.0
    begin = time.perf_counter()
    with Store(folder) as store:
        # One transaction writes all rows. A transaction for each run would take minutes in total.
        connection = store._db
        connection.execute("BEGIN")
        for table, columns, rows in generate_tables(count):
            marks = ", ".join("?" * len(columns.split(",")))
            connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608
        connection.execute("COMMIT")
    return time.perf_counter() - begin


def generate_tables(count: int) -> Iterator[tuple[str, str, Iterable[Row]]]:
    """Yield tables with their columns and rows. The same count gives the same rows."""
    ids = [f"{random.Random(number).getrandbits(48):012x}" for number in range(count)]  # noqa: S311
    run_columns = (
        "run_id, env, backend, pipeline, version, experiment, name, state, created_at, started_at,"
        " ended_at"
    )
    yield "runs", run_columns, (run_row(number, run_id) for number, run_id in enumerate(ids))
    yield "params", "run_id, seq, name, value", rows_of_runs(ids, params)
    yield "metrics", "run_id, seq, task, artifact, name, value", rows_of_runs(ids, metrics)
    yield "labels", "run_id, name, value", rows_of_runs(ids, labels)
    task_columns = (
        "run_id, path, seq, rev, kind, state, attempts, cache, started_at, ended_at, inputs,"
        " outputs, error"
    )
    yield "tasks", task_columns, rows_of_runs(ids, task_rows)
    tags: list[Row] = []
    notes: list[Row] = []
    for number in range(0, count, 100):
        tags.append((ids[number], "good" if number % 200 else "bad"))
        notes.append((ids[number], f"promising, see {number}"))
    yield "tags", "run_id, tag", tags
    yield "notes", "run_id, note", notes


def rows_of_runs(ids: Sequence[str], make_rows: MakeRows) -> Iterator[Row]:
    """Yield the rows of all runs in one table. Each run has its own seed in each table."""
    for number, run_id in enumerate(ids):
        chance = random.Random(f"{make_rows.__name__}{number}")  # noqa: S311
        yield from make_rows(chance, run_id, number)


def run_row(number: int, run_id: str) -> Row:
    begin = FIRST_RUN + number * 60
    return (
        run_id,
        "local",
        "local",
        f"pipeline-{number % 5}",
        f"sha256:{number % 20:064x}",
        ("default", "spring", "summer")[number % 3],
        f"run-{number}",
        "FAILED" if number % 10 == 0 else "SUCCEEDED",
        timestamp(begin),
        timestamp(begin + 1),
        timestamp(begin + 30 + number % 90),
    )


def params(chance: random.Random, run_id: str, number: int) -> Iterator[Row]:
    values: dict[str, JsonValue] = {}
    for name in FLOAT_PARAMS:
        values[name] = chance.random()
    for name in INTEGER_PARAMS:
        values[name] = chance.randrange(100)
    values["model"] = chance.choice(("forest", "linear", "boosting"))
    values["augment"] = chance.random() < 0.5
    for seq, (name, value) in enumerate(values.items()):
        yield run_id, seq, name, json_text(value)


def metrics(chance: random.Random, run_id: str, number: int) -> Iterator[Row]:
    for seq, (task, name) in enumerate(METRICS):
        yield run_id, seq, task, "metrics", name, json_text(chance.random())


def labels(chance: random.Random, run_id: str, number: int) -> Iterator[Row]:
    yield run_id, "git", f"{number % 1000:040x}"
    yield run_id, "git-dirty", "false"
    yield run_id, "env", "local"
    yield run_id, "user", f"user{number % 20}"


def task_rows(chance: random.Random, run_id: str, number: int) -> Iterator[Row]:
    begin = FIRST_RUN + number * 60
    for seq, path in enumerate(("train", "evaluate")):
        started_at = timestamp(begin + 1 + 10 * seq)
        ended_at = timestamp(begin + 5 + 10 * seq + chance.random())
        yield (
            run_id,
            path,
            seq,
            1,
            "container",
            "SUCCEEDED",
            1,
            None,
            started_at,
            ended_at,
            "{}",
            "{}",
            None,
        )


if __name__ == "__main__":
    main()
