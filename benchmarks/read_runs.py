"""Measure reading runs of Vertex AI: `kfgcp.runs(env=...)` beside Google's `get_experiment_df`.

    .venv/bin/python benchmarks/read_runs.py [--runs N] [--official N] [--rounds N] [--latency S]

The runs are in an experiment of a stand-in on this machine, over plain HTTP, which makes each
request wait. All runs have ended, and each has two parameters and two metrics. Measured is the call
that returns the frame, after all imports. Google's client leaves time series out, as its
documentation recommends for many runs. Each row of the table is a process of its own, except "again
in the same process". Every round has a new state folder.
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
    """A row of the table.

    Attributes:
        runs: how many runs a call returns.
        seconds: of the call in each round.
        requests: of the call in the last round.
    """

    runs: int
    seconds: list[float] = field(default_factory=list)
    requests: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=1000, help="runs in the experiment (default: 1000)"
    )
    parser.add_argument(
        "--official", type=int, default=None, help="runs for Google's client (default: as many)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (default: 3)")
    parser.add_argument(
        "--latency", type=float, default=0.05, help="seconds that a request waits (default: 0.05)"
    )
    arguments = parser.parse_args()
    for_official = arguments.official or arguments.runs
    cold, warm, later = Row(arguments.runs), Row(arguments.runs), Row(arguments.runs)
    official = Row(for_official)
    with (
        start_service(arguments.runs, arguments.latency) as env,
        start_service(for_official, arguments.latency) as theirs,
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
    official_seconds_per_run = statistics.median(official.seconds) / official.runs
    for name, row in rows.items():
        median = statistics.median(row.seconds)
        numbers = " | ".join(
            f"{value:.2f} s" for value in (median, min(row.seconds), max(row.seconds))
        )
        seconds_per_run = median / row.runs
        ratio = official_seconds_per_run / seconds_per_run
        print(
            f"| {name} | {row.runs:,} | {numbers} | {seconds_per_run * 1000:.2f} |"
            f" {row.requests:,} | {ratio:.1f} times as long a run |"
        )


def start_service(count: int, latency: float) -> VertexStandIn:
    """Return a stand-in with runs that have ended.

    Args:
        count: how many runs.
        latency: seconds that a request waits.
    """
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
    """Run a process that makes a call for each row, and add the figures to the rows.

    Args:
        code: the program of the process. Each call prints a line of JSON.
        folder: the working directory.
        env: the stand-in that the process talks to.
        rows: one for each call. A call must return all runs with all columns.
    """
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
            requests_before = len(env.requests)
            line = process.stdout.readline()
            # Other lines are logs of the official client.
            while line and not line.startswith("["):
                line = process.stdout.readline()
            if not line:
                sys.exit(process.stderr.read())
            seconds, length, columns = json.loads(line)
            check_frame(length, columns, row.runs)
            row.seconds.append(seconds)
            row.requests = len(env.requests) - requests_before
            # The process waits for this line before its next call.
            process.stdin.write("\n")
            process.stdin.flush()


def check_frame(length: int, columns: list[str], runs: int) -> None:
    """Check that a frame has all runs with all columns."""
    assert length == runs, f"{length} runs"
    for name in ("lr", "model", "accuracy", "loss"):
        assert any(column.endswith(f".{name}") for column in columns), columns


if __name__ == "__main__":
    main()
