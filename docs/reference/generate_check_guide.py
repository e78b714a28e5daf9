"""Write the output of `kfgcp check` into docs/guides/check.md.

`make reference` runs it, and a test compares the result with the file. The environments are those
of the first block of TOML in the guide.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Final

import click

import kfgcp
from kfgcp.cli.verbs.check import format_lines
from kfgcp.rules.formats.github import format_github
from kfgcp.rules.report import Report

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "docs" / "guides" / "check.md"
PIPELINE: Final = "examples/check_me.py"

# The width of a terminal whose lines fit into the page.
WIDTH: Final = 120

# The most annotations in the guide.
MAX_ANNOTATIONS: Final = 3

_TOML: Final = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def render() -> str:
    """Return the guide with the output of today."""
    guide = FILE.read_text(encoding="utf-8")
    report = _check(_TOML.findall(guide)[0])
    matrix = [f"$ kfgcp check {PIPELINE} --all-envs"]
    matrix += [click.unstyle(line) for line in format_lines(report, WIDTH)]
    matrix += [f"note: {note}" for note in report.notes]
    annotations = [f"$ kfgcp check {PIPELINE} --all-envs --format github"]
    annotations += format_github(report).splitlines()[:MAX_ANNOTATIONS]
    annotations.append("...")
    guide = _replace_block(guide, "matrix", matrix)
    return _replace_block(guide, "annotations", annotations)


def _check(configuration: str) -> Report:
    """Check the example for the environments of a kfgcp.toml."""
    folder_before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kfgcp.toml").write_text(configuration, encoding="utf-8")
        # The paths of findings start from the current folder.
        os.chdir(ROOT)
        try:
            with kfgcp.Workspace.open(folder) as workspace:
                return workspace.check(PIPELINE, all_envs=True)
        finally:
            os.chdir(folder_before)


def _replace_block(guide: str, name: str, lines: list[str]) -> str:
    """Return the guide with these lines between `<!-- generated: NAME -->` and `<!-- end -->`."""
    begin = f"<!-- generated: {name} -->\n"
    start = guide.index(begin) + len(begin)
    stop = guide.index("<!-- end -->", start)
    block = "\n".join(["```text", *lines, "```"])
    return f"{guide[:start]}{block}\n{guide[stop:]}"


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE}")
