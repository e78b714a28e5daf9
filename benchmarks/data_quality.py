"""Measure detect_drift and validate_table beside evidently and Great Expectations.

The table is a Parquet file of numbers, text and booleans. A second one, whose numbers in every
fifth column are shifted, is compared with it. Each measurement is a process of its own, from its
start to its end: it imports its packages, reads the files, and writes a result. The table has the
median of its seconds, its CPU time and its peak memory.

uv makes an environment for each peer in a cache folder, from requirements/peers-*.txt. evidently
and Great Expectations need pandas 2.

    .venv/bin/python benchmarks/data_quality.py --rows 1000000 --rounds 3
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from peers import CannotMeasure, run_uv
from startup import clean_environment, machine

ROOT = Path(__file__).resolve().parents[1]

# Reports of usage are off, so that no process waits for the network.
QUIET = {"DO_NOT_TRACK": "1", "GX_ANALYTICS_ENABLED": "false"}

# Columns of numbers, of integers, of text with 5 values and with 1,000 values, and of booleans.
COLUMNS = {"n": 30, "i": 8, "t": 8, "w": 2, "b": 2}

MAKE_TABLES = """
import sys
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

rows = int(sys.argv[1])
counts = dict(pair.split("=") for pair in sys.argv[2:])
for seed, name, shift in ((1, "reference.parquet", 0.0), (2, "current.parquet", 0.5)):
    random = np.random.default_rng(seed)
    columns = {}
    for number in range(int(counts["n"])):
        columns[f"n{number}"] = random.normal(shift * (number % 5 == 0), 1, rows)
    for number in range(int(counts["i"])):
        columns[f"i{number}"] = random.integers(0, 1000, rows)
    for kind, values in (("t", 5), ("w", 1000)):
        words = np.array([f"v{value}" for value in range(values)])
        for number in range(int(counts[kind])):
            columns[f"{kind}{number}"] = words[random.integers(0, values, rows)]
    for number in range(int(counts["b"])):
        columns[f"b{number}"] = random.random(rows) < 0.3
    pq.write_table(pa.table(columns), name)
"""

OUR_DRIFT = """
from kfgcp_components.data.detect_drift.logic import Thresholds, detect, write_details
from kfgcp_components.data.detect_drift.report import write_report
report = detect("current.parquet", "reference.parquet", Thresholds())
write_details(report, "details.json")
write_report(report, "report.html")
print(len(report.drifted_columns), "columns with drift")
"""

EVIDENTLY = """
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
reference = pd.read_parquet("reference.parquet")
current = pd.read_parquet("current.parquet")
result = Report([DataDriftPreset()]).run(current, reference).dict()
print(int(result["metrics"][0]["value"]["count"]), "columns with drift")
"""

OUR_VALIDATION = """
from kfgcp_components.data.validate_table.logic import validate, write_violations
from kfgcp_components.data.validate_table.report import write_report
from kfgcp_components.data.validate_table.schema import parse_schema
from kfgcp_components.table_file import TableFile
columns = {}
with TableFile("current.parquet") as table:
    for name in table.names:
        if name[0] in "ni":
            dtype = {"n": "float64", "i": "int64"}[name[0]]
            limits = {"min_value": -10, "max_value": 1000}
            columns[name] = {"dtype": dtype, "in_range": limits}
        elif name[0] in "tw":
            columns[name] = {"dtype": "str", "isin": [f"v{value}" for value in range(1000)]}
        else:
            columns[name] = {"dtype": "bool"}
    report = validate(table, parse_schema({"columns": columns, "strict": True}))
write_violations(report, "violations.json")
write_report(report, "report.html")
print("valid" if report.valid else "not valid")
"""

GREAT_EXPECTATIONS = """
import great_expectations as gx
import pandas as pd
table = pd.read_parquet("current.parquet")
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
suite = gx.ExpectationSuite(name="suite")
names = list(table.columns)
suite.add_expectation(gx.expectations.ExpectTableColumnsToMatchSet(column_set=names))
for name in names:
    dtype = str(table[name].dtype)
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeOfType(column=name, type_=dtype))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToNotBeNull(column=name))
    if name[0] in "ni":
        suite.add_expectation(gx.expectations.ExpectColumnValuesToBeBetween(
            column=name, min_value=-10, max_value=1000))
    if name[0] in "tw":
        suite.add_expectation(gx.expectations.ExpectColumnValuesToBeInSet(
            column=name, value_set=[f"v{value}" for value in range(1000)]))
asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("table")
batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
print("valid" if batch.validate(suite).success else "not valid")
"""


@dataclass(frozen=True)
class Usage:
    """What a process needed: seconds, seconds of CPU time, and MiB at its peak."""

    seconds: float
    cpu: float
    mib: float


@dataclass(frozen=True)
class Contest:
    """Two programs that do the same work: ours, and that of a peer.

    Attributes:
        title: the work.
        ours: our program.
        peer: the name of the other project, and of its file in requirements/.
        theirs: its program.
    """

    title: str
    ours: str
    peer: str
    theirs: str


CONTESTS = (
    Contest("detect_drift", OUR_DRIFT, "evidently", EVIDENTLY),
    Contest("validate_table", OUR_VALIDATION, "great-expectations", GREAT_EXPECTATIONS),
)


def main() -> None:
    """Make the tables, measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each table")
    parser.add_argument("--rounds", type=int, default=1, help="measurements of each program")
    parser.add_argument("--only", choices=[contest.title for contest in CONTESTS])
    options = parser.parse_args()
    print(machine())
    print(
        f"{options.rows} rows, {sum(COLUMNS.values())} columns, median of {options.rounds} rounds"
    )
    print(f"{'program':36} {'seconds':>9} {'CPU s':>9} {'MiB':>7}")
    with tempfile.TemporaryDirectory(prefix="kfgcp-bench-") as folder:
        counts = [f"{kind}={count}" for kind, count in COLUMNS.items()]
        run_program(sys.executable, MAKE_TABLES, folder, [str(options.rows)] + counts)
        for contest in CONTESTS:
            if options.only in (None, contest.title):
                compare(contest, folder, options.rounds)


def compare(contest: Contest, folder: str, rounds: int) -> None:
    """Measure both programs by turns, and print two rows and the ratios."""
    try:
        peer_python = install(contest.peer)
    except CannotMeasure as error:
        print(f"{contest.peer}: {error}")
        return
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(run_program(sys.executable, contest.ours, folder))
        theirs.append(run_program(peer_python, contest.theirs, folder))
    our_median = print_row(f"kfgcp, {contest.title}", ours)
    their_median = print_row(contest.peer, theirs)
    print(
        f"{'ratio':36} {their_median.seconds / our_median.seconds:9.1f}"
        f" {their_median.cpu / our_median.cpu:9.1f} {their_median.mib / our_median.mib:7.1f}"
    )


def install(peer: str) -> str:
    """Return the interpreter of a peer's environment, which is made the first time.

    Raises:
        CannotMeasure: it cannot be installed.
    """
    requirements = ROOT / "requirements" / f"peers-{peer}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "kfgcp-benchmarks" / f"{peer}-{digest}"
    python = str(folder / "bin" / "python")
    # This file is written last: without it an installation was interrupted.
    ready = folder / "ready"
    if not ready.exists():
        run_uv("venv", "--clear", "--python", sys.executable, str(folder))
        options = ("--compile-bytecode", "--require-hashes", "--python", python)
        run_uv("pip", "install", *options, "-r", str(requirements))
        ready.touch()
    return python


def run_program(python: str, code: str, folder: str, arguments: Sequence[str] = ()) -> Usage:
    """Run a program in a process of its own. Its last line of output goes to stderr.

    Raises:
        SystemExit: the program failed.
    """
    environment: Mapping[str, str] = clean_environment() | QUIET
    output = Path(folder, "output")
    with output.open("wb") as stream:
        start = perf_counter()
        process = subprocess.Popen(
            [python, "-c", code] + list(arguments),
            cwd=folder,
            env=environment,
            stdout=stream,
            stderr=stream,
        )
        # Only wait4 tells the memory of this one child.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = output.read_text(errors="replace").strip().splitlines()
    last_line = lines[-1] if lines else ""
    if process.returncode:
        raise SystemExit(f"the program of {python} failed: {last_line}")
    if last_line:
        print(f"  {last_line}", file=sys.stderr)
    # Linux reports the memory in KiB.
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def print_row(name: str, usages: Sequence[Usage]) -> Usage:
    """Print the medians of a program, and return them."""
    seconds = median(usage.seconds for usage in usages)
    cpu = median(usage.cpu for usage in usages)
    mib = median(usage.mib for usage in usages)
    print(f"{name:36} {seconds:9.1f} {cpu:9.1f} {mib:7.0f}")
    return Usage(seconds, cpu, mib)


if __name__ == "__main__":
    main()
