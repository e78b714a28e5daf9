"""Draws docs/images/: every page of the dashboard, light and dark, of a project with runs of the
example.

Run by `make screenshots`. It needs /usr/bin/chromium.
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
KFGCP = str(Path(sys.executable).with_name("kfgcp"))
SIZE = {"width": 1360, "height": 850}
EXAMPLE = "examples/train_classifier.py"
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
DONE = (
    "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
)


def main() -> None:
    """Makes the project, starts the dashboard, and draws its pages."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "demo")
        shutil.copytree(
            ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "kfgcp.toml", folder)
        (folder / "pipelines").mkdir()
        (folder / "pipelines" / "nightly.py").write_text(NIGHTLY)
        for name, options in RUNS:
            _kfgcp(folder, "run", "--name", name, "--experiment", "classifiers", *options)
        _kfgcp(folder, "tag", "logistic-baseline", "baseline")
        _kfgcp(folder, "note", "logistic-baseline", "The one to beat: simple, and quick to train.")
        listed = json.loads(_kfgcp(folder, "list", "--json"))
        with _dashboard(folder) as address:
            _draw(address, {run["name"]: run["run_id"] for run in listed})


def _kfgcp(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [KFGCP, *arguments], cwd=folder, check=False, capture_output=True, text=True
    )
    return done.stdout


@contextmanager
def _dashboard(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KFGCP_")}
    command = [KFGCP, "dashboard", "--port", str(port), "--no-browser"]
    process = subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            with (
                suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5),
            ):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _draw(address: str, ids: dict[str, str]) -> None:
    from playwright.sync_api import sync_playwright

    pages = {
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
            page = browser.new_page(viewport=SIZE, color_scheme=theme)
            for name, path in pages.items():
                tall = {"compare": 1500, "run": 900}.get(name, SIZE["height"])
                page.set_viewport_size({**SIZE, "height": tall})
                page.goto(address + path)
                _settle(page)
                file = IMAGES / f"dashboard-{name}-{theme}.png"
                page.screenshot(path=file)
                print(file.relative_to(ROOT))
        browser.close()


def _settle(page: Any) -> None:
    page.wait_for_function(DONE, timeout=60_000)
    page.wait_for_timeout(2500)


if __name__ == "__main__":
    main()
