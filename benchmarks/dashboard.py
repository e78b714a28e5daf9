"""What the pages of the dashboard cost the server, with a store of many runs, and how soon the
first one is there.

    .venv/bin/python benchmarks/dashboard.py [--runs N] [--rounds N] [--home FOLDER]

The store is that of many_runs.py. A rerun is what a click costs: the page's script from its start
to its end, without a browser. The first page is measured from the command to the table in Chromium,
where there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import many_runs
from startup import machine
from streamlit.logger import set_log_level
from streamlit.testing.v1 import AppTest

from kfgcp.store.store import Store
from kfgcp_dashboard import server
from kfgcp_dashboard.links import PAGES

CHROMIUM = Path("/usr/bin/chromium")
QUERIES = (
    {},
    {"where": "run-4242"},
    *({"where": where} for where in many_runs.FILTERS),
    {"state": ["FAILED"]},
    {"env": "local", "pipeline": "pipeline-3"},
    {"sort": "metrics.evaluate.accuracy"},
    {"sort": "params.lr", "up": "1"},
    {"page": "2000"},
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
        many_runs.generate(folder, arguments.runs)
        os.environ["KFGCP_HOME"] = str(folder)
        server.options.embedded = True
        set_log_level("ERROR")  # it misses a browser
        print(f"{machine()}, {arguments.runs:,} runs, median of {arguments.rounds} rounds\n")
        print("| what | median | from | to |\n| --- | --- | --- | --- |")
        for name, call in measured(folder):
            call()  # what is imported or read once is not counted
            times = [call() for _ in range(arguments.rounds)]
            shown = " | ".join(
                many_runs.seconds(value)
                for value in (statistics.median(times), min(times), max(times))
            )
            print(f"| {name.replace('|', chr(92) + '|')} | {shown} |", flush=True)


def measured(folder: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """What is measured, by name; each call gives the seconds that it took."""
    for query in QUERIES:
        told = ", ".join(f"{key} `{value}`" for key, value in query.items())
        yield f"Runs{': ' if told else ''}{told}", rerun("runs", query)
    with Store(folder) as store:
        some = [run.run_id for run in store.page(limit=20)]
    yield "Compare, 20 runs", rerun("compare", {"run": some})
    yield "Sweeps and trends", rerun("trends", {})
    if CHROMIUM.exists():
        yield "the first page in Chromium, from the command on", first_page


def rerun(view: str, query: dict[str, object]) -> Callable[[], float]:
    page = AppTest.from_file(str(server.APP), default_timeout=60)
    for key, value in query.items():
        page.query_params[key] = value  # type: ignore[assignment]
    if view != "runs":
        page.switch_page(PAGES[view])
    page.run()
    assert not page.error
    assert not page.exception

    def call() -> float:
        began = time.perf_counter()
        page.run()
        return time.perf_counter() - began

    return call


def first_page() -> float:
    from playwright.sync_api import sync_playwright

    command = [
        str(Path(sys.executable).with_name("kfgcp")),
        "dashboard",
        "--no-browser",
        "--port",
        "8651",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            while True:
                with contextlib.suppress(Exception):  # it does not listen yet
                    page.goto("http://127.0.0.1:8651/")
                    break
                time.sleep(0.02)
            page.locator("[data-testid=stDataFrame]").wait_for(timeout=60_000)
            return time.perf_counter() - began
        finally:
            browser.close()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
