"""Which pipelines can be launched, and that compiling one leaves the dashboard as it was."""

import sys
from pathlib import Path

import pytest

from kfgcp import config
from kfgcp.backends.registry import load_project
from kfgcp.errors import SpecError, UsageError
from kfgcp.workspace import Workspace
from kfgcp_dashboard.pipelines import PipelineSource, compile_source, find_sources

ONE = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def say(text: str) -> str:
    return text

@dsl.pipeline(name="{0}")
def {0}(text: str = "hi"):
    say(text=text)
"""


@pytest.fixture
def workspace(home: Path) -> Workspace:
    (home / "pipelines").mkdir()
    return Workspace.open()


@pytest.fixture
def project(workspace: Workspace) -> config.Project:
    return workspace.project


def test_pipelines_are_found_in_files_without_importing_them(project: config.Project) -> None:
    root = project.root
    (root / "pipelines" / "one.py").write_text(ONE.format("one") + "\nraise SystemExit('imported')")
    (root / "pipelines" / "two.py").write_text(ONE.format("a") + ONE.format("b"))
    (root / "helpers.py").write_text("pipeline = 1")
    (root / "broken.py").write_text("@dsl.pipeline\ndef (")
    (root / "compiled.yaml").write_text("pipelineInfo:\n  name: x\n")
    (root / "other.yaml").write_text("a: 1\n")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.py").write_text(ONE.format("x"))

    assert [source.key for source in find_sources(project, [])] == [
        *("compiled.yaml", "pipelines/one.py", "pipelines/two.py:a", "pipelines/two.py:b"),
    ]


def test_the_configuration_says_where_they_are(home: Path) -> None:
    (home / "flows").mkdir()
    (home / "flows" / "x.py").write_text(ONE.format("x"))
    (home / "y.py").write_text(ONE.format("y"))
    (home / "kfgcp.toml").write_text('[dashboard]\npipelines = ["flows/*.py"]\n')

    assert [source.key for source in find_sources(load_project(), [])] == ["flows/x.py"]


def test_a_file_is_compiled_elsewhere(workspace: Workspace, project: config.Project) -> None:
    (project.root / "p.py").write_text(
        "import sys\nsys.modules['left_behind'] = sys\n" + ONE.format("p")
    )
    sources = find_sources(project, [])

    spec = compile_source(workspace, "p.py", sources)

    assert spec.name == "p"
    assert spec.params["text"].default == "hi"
    assert spec.origin == str(project.root / "p.py")
    assert "left_behind" not in sys.modules


def test_problems_of_a_file_are_reported(workspace: Workspace, project: config.Project) -> None:
    (project.root / "p.py").write_text(ONE.format("p") + "\nraise ValueError('no luck')")

    with pytest.raises(SpecError, match="no luck"):
        compile_source(workspace, "p.py", find_sources(project, []))


def test_what_a_pipeline_prints_cannot_be_taken_for_the_error(
    workspace: Workspace, project: config.Project
) -> None:
    """Before, the error was the last line on stderr that began so."""
    (project.root / "p.py").write_text(
        "import atexit, sys\n"
        "atexit.register(lambda: print('error: the printed one', file=sys.stderr))\n"
        "print('on the way', file=sys.stderr)\n"
        + ONE.format("p")
        + "\nraise ValueError('no luck')\n"
    )

    with pytest.raises(SpecError, match="no luck") as caught:
        compile_source(workspace, "p.py", find_sources(project, []))

    lines = caught.value.hint.splitlines()
    assert lines[:2] == ["on the way", "error: the printed one"]
    assert "raise ValueError('no luck')" in caught.value.hint, (
        "the frames of the pipeline's own code"
    )


def test_a_file_that_ends_the_process_does_not_compile(
    workspace: Workspace, project: config.Project
) -> None:
    (project.root / "p.py").write_text(ONE.format("p") + "\nimport os\nos._exit(0)\n")

    with pytest.raises(SpecError, match=r"p\.py does not compile"):
        compile_source(workspace, "p.py", find_sources(project, []))


def test_nothing_else_is_run(workspace: Workspace, project: config.Project, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(ONE.format("evil"))

    for key in ("../evil.py", str(tmp_path / "evil.py"), "version:ab12", "-h"):
        with pytest.raises(UsageError):
            compile_source(workspace, key, [PipelineSource("p.py", "p.py")])
