"""Warnings point to the line that called kfgcp."""

import linecache
from pathlib import Path

import pytest

import kfgcp


def test_a_warning_points_to_the_caller_of_a_function_or_a_method(home: Path) -> None:
    """However many functions of kfgcp are in between."""
    (home / "p.py").write_text(
        "from kfp import dsl\n"
        "@dsl.component(base_image='python:3.11')\n"
        "def say(text: str): pass\n"
        "@dsl.pipeline(name='p')\n"
        "def p(text: str = 'hi'): say(text=text)\n"
    )
    run = kfgcp.run("p.py")
    (home / "p.py").write_text((home / "p.py").read_text() + "# edited\n")

    for rerun in (kfgcp.rerun, kfgcp.Workspace.default().rerun):
        with pytest.warns(kfgcp.RecordedCode) as noted:
            rerun(run)

        (note,) = [warning for warning in noted if warning.category is kfgcp.RecordedCode]
        assert note.filename == __file__
        assert linecache.getline(note.filename, note.lineno).strip() == "rerun(run)"
