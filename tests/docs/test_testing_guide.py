"""The tests that the guide testing.md shows can be copied, and pass."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kfgcp
from patience import PROCESS

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "testing.md"


def test_the_tests_of_components_and_pipelines_pass(
    home: Path, blocks: Callable[[str, str], list[str]], section: Callable[[str, str], str]
) -> None:
    text = section(GUIDE.read_text(encoding="utf-8"), "## Components and pipelines")
    program = blocks(text, "python")[0]
    name = program.splitlines()[0].removeprefix("# ").partition(",")[0]
    kfgcp.init(".")
    (home / name).write_text(program)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name],
        capture_output=True,
        text=True,
        timeout=PROCESS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    shown = blocks(text, "text")[0].splitlines()
    assert shown[0] == f"$ python -m pytest -q {name}"
    assert shown[1] == done.stdout.splitlines()[0]
    assert shown[2].partition(" in ")[0] == done.stdout.splitlines()[-1].partition(" in ")[0]
