"""Measure what the pages of the dashboard cost the server, with a store of many runs.

    .venv/bin/python benchmarks/dashboard.py [--runs N] [--rounds N] [--home FOLDER]

The store is that of many_runs.py. A rerun is the cost of a click: the script of the page from its
start to its end, without a browser. The first page is measured from the command to the table in
Chromium, if Chromium is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import many_runs
from startup import machine
from streamlit.logger import set_log_level
from streamlit.testing.v1 import AppTest

from kfgcp.store.store import Store
from kfgcp_dashboard import server
from kfgcp_dashboard.links import PAGES

CHROMIUM = Path("/usr/bin/chromium")
PORT = 8651
Query = Mapping[str, str | list[str]]
QUERIES: list[Query] = [
    {},
    {"where": "run-4242"},
    *[{"where": where} for where in many_runs.FILTERS],
    {"state": ["FAILED"]},
    {"env": "local", "pipeline": "pipeline-3"},
    {"sort": "metrics.evaluate.accuracy"},
    {"sort": "params.lr", "up": "1"},
    {"page": "2000"},
]


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
        many_runs.generate(folder, arguments.runs)
        os.environ["KFGCP_HOME"] = str(folder)
        server.options.embedded = True
        # Streamlit warns in each rerun that there is no browser.
        set_log_level("ERROR")
        print(f"{machine()}, {arguments.runs:,} runs, median of {arguments.rounds} rounds\n")
        print("| what | median | from | to |\n| --- | --- | --- | --- |")
        for name, measure in measurements(folder):
            # The first call imports and reads, so it does not count.
            measure()
            times = [measure() for _ in range(arguments.rounds)]
            cells = many_runs.format_times(times)
            print(f"| {many_runs.escape_cell(name)} | {cells} |", flush=True)


def measurements(folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield what is measured, by name. A call returns the seconds that it took."""
    for query in QUERIES:
        name = "Runs"
        if query:
            name += ": " + ", ".join(f"{key} `{value}`" for key, value in query.items())
        yield name, prepare_rerun("runs", query)
    with Store(folder) as store:
        run_ids = [run.run_id for run in store.page(limit=20)]
    yield "Compare, 20 runs", prepare_rerun("compare", {"run": run_ids})
    yield "Sweeps and trends", prepare_rerun("trends", {})
    if CHROMIUM.exists():
        yield "the first page in Chromium, from the command on", measure_first_page


def prepare_rerun(view: str, query: Query) -> Callable[[], float]:
    """Open a page, and return a function that runs it again and returns the seconds."""
    page = AppTest.from_file(str(server.APP), default_timeout=60)
    for key, value in query.items():
        page.query_params[key] = value
    if view != "runs":
        page.switch_page(PAGES[view])
    page.run()
    assert not page.error
    assert not page.exception

    def measure() -> float:
        begin = time.perf_counter()
        page.run()
        return time.perf_counter() - begin

    return measure


def measure_first_page() -> float:
    """Start the dashboard, and return the seconds until Chromium shows the table."""
    from playwright.sync_api import sync_playwright

    kfgcp = str(Path(sys.executable).with_name("kfgcp"))
    command = [kfgcp, "dashboard", "--no-browser", "--port", str(PORT)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            while True:
                # It fails until the server listens.
                with contextlib.suppress(Exception):
                    page.goto(f"http://127.0.0.1:{PORT}/")
                    break
                time.sleep(0.02)
            page.locator("[data-testid=stDataFrame]").wait_for(timeout=60_000)
            return time.perf_counter() - begin
        finally:
            browser.close()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
