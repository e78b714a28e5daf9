"""Measure a durable commit of SQLite in WAL mode, with synchronous NORMAL and FULL.

    .venv/bin/python benchmarks/commits.py [--folder DIR] [--commits N]

The folder decides what is measured. A temporary folder may be in memory. The state folder of a
project is on the disk of the project.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(), help="where to measure (default: the current folder)"
    )
    parser.add_argument(
        "--commits", type=int, default=2000, help="commits of each kind (default: 2000)"
    )
    arguments = parser.parse_args()
    # Each level is measured twice. A slow moment of the machine shows as a difference.
    for level in ("NORMAL", "FULL", "NORMAL", "FULL"):
        with tempfile.TemporaryDirectory(prefix="kfgcp-bench-", dir=arguments.folder) as folder:
            seconds = measure_commits(Path(folder, "test.db"), level, arguments.commits)
        median = statistics.median(seconds) * 1000
        slowest = max(seconds) * 1000
        print(f"synchronous = {level:6}  median {median:.3f} ms  slowest {slowest:.2f} ms")


def measure_commits(file: Path, level: str, count: int) -> list[float]:
    """Return the seconds of each commit. A commit writes one small row.

    Args:
        file: where to make the database.
        level: the value of the pragma synchronous.
        count: how many commits.
    """
    database = sqlite3.connect(file, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {level}")
    database.execute("CREATE TABLE tasks (path TEXT PRIMARY KEY, state TEXT)")
    times = []
    for number in range(count):
        start = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO tasks VALUES (?, 'SUCCEEDED')", (f"task-{number}",))
        database.execute("COMMIT")
        times.append(time.perf_counter() - start)
    database.close()
    return times


if __name__ == "__main__":
    main()
