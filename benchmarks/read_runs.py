"""What reading runs of Vertex AI costs: `kfgcp.runs(env=...)` beside Google's `get_experiment_df`.

    .venv/bin/python benchmarks/read_runs.py [--runs N] [--official N] [--rounds N] [--latency S]

Runs that have ended, each with two parameters and two metrics, are in an experiment of a stand-in
on this machine, which makes each request wait, over plain HTTP. What is measured is the call that
gives the frame, with all that it needs imported before; Google's client leaves time series out, as
its documentation advises for many runs. Each row of the table is a process of its own but for
«again in the same process»; every round has a new state folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from startup import clean_environment, machine

import kfgcp.testing
from kfgcp.testing import VertexStandIn

TIMED = """
import json, sys, time
def timed(call, marks=sys.stdin):
    begin = time.perf_counter()
    frame = call()
    seconds = time.perf_counter() - begin
    print(json.dumps([seconds, len(frame), sorted(frame.columns)]), flush=True)
    marks.readline()
"""
OURS = (
    TIMED
    + """
import pandas, requests, kfgcp
for _ in range({times}):
    timed(lambda: kfgcp.runs(env="dev"))
"""
)
OFFICIAL = (
    TIMED
    + """
import pandas
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
aiplatform.init(
    project="{project}", location="{location}", api_endpoint="{endpoint}", api_transport="rest",
    credentials=AnonymousCredentials(),
)
timed(lambda: aiplatform.get_experiment_df("many", include_time_series=False))
"""
)


@dataclass
class Row:
    runs: int
    seconds: list[float] = field(default_factory=list)
    requests: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=1000, help="runs that there are (default: 1000)"
    )
    parser.add_argument(
        "--official", type=int, default=None, help="runs for Google's client (default: as many)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="rounds that are counted (default: 3)"
    )
    parser.add_argument(
        "--latency", type=float, default=0.05, help="seconds that a request waits (default: 0.05)"
    )
    arguments = parser.parse_args()
    for_official = arguments.official or arguments.runs
    cold, warm, later = Row(arguments.runs), Row(arguments.runs), Row(arguments.runs)
    official = Row(for_official)
    with (
        seeded(arguments.runs, arguments.latency) as env,
        seeded(for_official, arguments.latency) as theirs,
    ):
        code = OFFICIAL.format(
            project=theirs.project, location=theirs.location, endpoint=theirs.api_endpoint
        )
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
                Path(folder, "kfgcp.toml").write_text(env.toml("dev"), encoding="utf-8")
                measure(OURS.format(times=2), folder, env, [cold, warm])
                measure(OURS.format(times=1), folder, env, [later])
                measure(code, folder, theirs, [official])
    rows = {
        "`kfgcp.runs(env=...)`, nothing known yet": cold,
        "again in the same process": warm,
        "again in a new process": later,
        "`aiplatform.get_experiment_df(...)`": official,
    }
    print(
        f"{machine()}, {arguments.latency * 1000:g} ms a request, median of {arguments.rounds}"
        " rounds\n"
    )
    print("| call | runs | median | from | to | ms a run | requests | the official client takes |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    theirs_each = statistics.median(official.seconds) / official.runs
    for name, row in rows.items():
        median = statistics.median(row.seconds)
        numbers = " | ".join(
            f"{value:.2f} s" for value in (median, min(row.seconds), max(row.seconds))
        )
        each = median / row.runs
        print(
            f"| {name} | {row.runs:,} | {numbers} | {each * 1000:.2f} | {row.requests:,} "
            f"| {theirs_each / each:.1f} times as long a run |"
        )


def seeded(count: int, latency: float) -> VertexStandIn:
    """A stand-in with so many runs that have ended."""
    env = kfgcp.testing.vertex(mode="instant")
    env.seed(
        count,
        experiment="many",
        params={"lr": lambda number: number / 1000, "model": "random_forest"},
        metrics={
            "accuracy": lambda number: number / 1000,
            "loss": lambda number: 1 - number / 1000,
        },
    )
    env.latency = latency
    return env


def measure(code: str, folder: str, env: VertexStandIn, rows: list[Row]) -> None:
    """Runs a process whose calls go into the rows, one after the other; each must give all runs
    with all columns."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for row in rows:
            mark = len(env.requests)
            line = next(
                (line for line in process.stdout if line.startswith("[")), ""
            )  # others are logs of theirs
            if not line:
                sys.exit(process.stderr.read())
            check(*json.loads(line), row)
            row.requests = len(env.requests) - mark
            process.stdin.write("\n")
            process.stdin.flush()


def check(seconds: float, length: int, columns: list[str], row: Row) -> None:
    assert length == row.runs, f"{length} runs"
    for wanted in ("lr", "model", "accuracy", "loss"):
        assert any(column.endswith(f".{wanted}") for column in columns), columns
    row.seconds.append(seconds)


if __name__ == "__main__":
    main()
