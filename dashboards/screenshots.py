"""Draw the pictures in docs/images/: each page of the dashboard, light and dark.

The pages show runs of the example. `make screenshots` runs this program, which needs
/usr/bin/chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
KFGCP = str(Path(sys.executable).with_name("kfgcp"))

# Pixels. Some pages need more or less height.
WIDTH = 1360
HEIGHT = 850
HEIGHTS = {"compare": 1500, "run": 900}

EXAMPLE = "examples/train_classifier.py"
# Name of a run -> the arguments of `kfgcp run`.
RUNS = [
    ("forest-baseline", [EXAMPLE, "-p", "model=random_forest", "-p", "seed=3"]),
    ("logistic-small", [EXAMPLE, "-p", "test_fraction=0.5", "-p", "seed=1"]),
    ("boosting-01", [EXAMPLE, "-p", "model=gradient_boosting", "-p", "seed=5"]),
    ("nightly", ["pipelines/nightly.py"]),
    ("logistic-baseline", [EXAMPLE, "-p", "seed=7"]),
    ("forest-11", [EXAMPLE, "-p", "model=random_forest", "-p", "seed=11"]),
]
NIGHTLY = """
from typing import List

from kfp import dsl


@dsl.component(base_image="python:3.11")
def load(day: str) -> int:
    print(f"loading {day}")
    return 5


@dsl.component(base_image="python:3.11")
def score(part: int) -> float:
    if part == 3:
        raise ValueError("part 3 has no rows")
    return part / 10


@dsl.component(base_image="python:3.11")
def publish(rows: int):
    print(rows)


@dsl.pipeline(name="nightly")
def nightly(day: str = "2026-01-02", parts: List[int] = [1, 2, 3, 4]):
    loaded = load(day=day)
    with dsl.ParallelFor(parts) as part:
        score(part=part).after(loaded)
    publish(rows=loaded.output)
"""
# Streamlit writes the state of its script into the page.
IDLE = (
    "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
)

# Each table and chart is a grey bar until the browser has loaded its code.
LOADED = "() => !document.querySelector('[data-testid=stSkeleton]')"

# Milliseconds that the browser needs to draw the loaded charts and fonts. No event tells the end.
SETTLE_MILLISECONDS = 2500
LIMIT_MILLISECONDS = 60_000


def main() -> None:
    """Make a project with runs, start its dashboard, and draw the pages."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "demo")
        _make_project(folder)
        runs = json.loads(_run_kfgcp(folder, "list", "--json"))
        with _dashboard(folder) as address:
            ids_by_name = {run["name"]: run["run_id"] for run in runs}
            _draw_pages(address, ids_by_name)


def _make_project(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=ignored)
    shutil.copy(ROOT / "kfgcp.toml", folder)
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "nightly.py").write_text(NIGHTLY)
    for name, arguments in RUNS:
        _run_kfgcp(folder, "run", "--name", name, "--experiment", "classifiers", *arguments)
    _run_kfgcp(folder, "tag", "logistic-baseline", "baseline")
    note = "The one to beat: simple, and quick to train."
    _run_kfgcp(folder, "note", "logistic-baseline", note)


def _run_kfgcp(folder: Path, *arguments: str) -> str:
    """Return what a command prints. A run that fails is part of the pictures."""
    completed = subprocess.run(
        [KFGCP, *arguments], cwd=folder, check=False, capture_output=True, text=True
    )
    return completed.stdout


@contextmanager
def _dashboard(folder: Path) -> Iterator[str]:
    """Serve the dashboard of a project, and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KFGCP_")}
    process = subprocess.Popen(
        [KFGCP, "dashboard", "--port", str(port), "--no-browser"],
        cwd=folder,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _is_healthy(port):
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
            return True
    except OSError:
        return False


def _draw_pages(address: str, ids: dict[str, str]) -> None:
    from playwright.sync_api import sync_playwright

    paths = {
        "runs": f"/?pick={ids['logistic-baseline']}&pick={ids['forest-11']}",
        "compare": "/compare?run=logistic-baseline&run=forest-11&run=boosting-01",
        "run": "/run?run=forest-11",
        "run-failed": "/run?run=nightly",
        "launch": "/launch?pipeline=examples/train_classifier.py&p.model=gradient_boosting",
        "trends": "/trends?pipeline=train-classifier",
        "versions": "/versions?pipeline=train-classifier",
        "health": "/health",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = browser.new_page(color_scheme=theme)
            for name, path in paths.items():
                page.set_viewport_size({"width": WIDTH, "height": HEIGHTS.get(name, HEIGHT)})
                page.goto(address + path)
                _wait_until_drawn(page)
                file = IMAGES / f"dashboard-{name}-{theme}.png"
                page.screenshot(path=file)
                print(file.relative_to(ROOT))
        browser.close()


def _wait_until_drawn(page: Page) -> None:
    page.wait_for_function(IDLE, timeout=LIMIT_MILLISECONDS)
    page.wait_for_function(LOADED, timeout=LIMIT_MILLISECONDS)
    page.wait_for_timeout(SETTLE_MILLISECONDS)


if __name__ == "__main__":
    main()
