"""What a pipeline file may import from the user's own project, and what an error says of a local
name."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from kfgcp.errors import SpecError
from kfgcp.spec.load import load

# No name here is that of a folder of this repository, which an editable installation has on the
# import path too.
COMPONENT = "from kfp import dsl\n\n\n@dsl.component\ndef step(x: int = 1) -> int:\n    return x\n"
PIPELINE = "from kfp import dsl\n\n{0}\n\n\n@dsl.pipeline\ndef p():\n    step()\n"

Write = Callable[[str, str], Path]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def write(repository: Path) -> Write:
    def write(name: str, text: str) -> Path:
        file = repository / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def failure(pipeline: str | Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load(str(pipeline))
    return caught.value


def test_a_pipeline_in_a_folder_imports_from_the_current_folder(write: Write) -> None:
    write("steps_of_us/x.py", COMPONENT)
    write("pipelines/p.py", PIPELINE.format("from steps_of_us.x import step"))
    path, modules = sys.path[:], set(sys.modules)

    assert load("pipelines/p.py").name == "p"
    assert sys.path == path
    assert {
        name for name in set(sys.modules) - modules if name.partition(".")[0] == "steps_of_us"
    } == set()


def test_a_pipeline_imports_from_the_folder_of_its_kfgcp_toml_wherever_it_is_compiled(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("kfgcp.toml", "")
    write("steps_of_us/x.py", COMPONENT)
    file = write("deep/pipelines/p.py", PIPELINE.format("from steps_of_us.x import step"))

    monkeypatch.chdir(file.parent)
    assert load("p.py").name == "p"
    monkeypatch.chdir(tmp_path)
    assert load(str(file)).name == "p"


def test_modules_of_the_project_are_read_again_when_they_were_edited(
    write: Write, repository: Path
) -> None:
    write("kfgcp.toml", "")
    module = write("steps_of_us/x.py", COMPONENT)
    write("pipelines/p.py", PIPELINE.format("from steps_of_us.x import step"))
    before = load("pipelines/p.py")

    # The length and most likely the second are the same: cached bytecode would not notice the edit.
    module.write_text(COMPONENT.replace("return x", "return 7"))

    assert "return 7" not in str(before.pipeline_spec)
    assert "return 7" in str(load("pipelines/p.py").pipeline_spec)
    assert list(repository.rglob("__pycache__")) == []


def test_the_folder_of_the_file_comes_before_the_project(write: Write) -> None:
    write("shared.py", COMPONENT.replace("def step", "def of_the_project"))
    write("pipelines/shared.py", COMPONENT)
    write("pipelines/p.py", PIPELINE.format("from shared import step"))

    assert load("pipelines/p.py").name == "p"


def test_modules_are_forgotten_from_a_package_that_was_imported_before(
    write: Write, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere" / "more_of_us").mkdir(parents=True)
    sys.path.append(str(tmp_path / "elsewhere"))
    package = importlib.import_module("more_of_us")
    write("more_of_us/x.py", COMPONENT)
    write("pipelines/p.py", PIPELINE.format("from more_of_us.x import step"))

    try:
        assert load("pipelines/p.py").name == "p"
        assert not hasattr(package, "x")
    finally:
        sys.path.remove(str(tmp_path / "elsewhere"))
        del sys.modules["more_of_us"]


def test_an_error_in_a_module_of_the_project_shows_its_line(write: Write) -> None:
    write("steps_of_us/x.py", "\n1 / 0\n")
    write("pipelines/p.py", PIPELINE.format("from steps_of_us.x import step"))

    error = failure("pipelines/p.py")

    assert error.message == "steps_of_us/x.py:2: ZeroDivisionError: division by zero."
    assert "steps_of_us/x.py" in error.user_traceback


@pytest.mark.parametrize(
    ("files", "line", "hint"),
    [
        (
            ["steps_of_us/x.py"],
            "import steps_of_us.y",
            "steps_of_us is steps_of_us, and has no y.",
        ),
        (["steps_of_us/__init__.py"], "from steps_of_us.y import z", "and has no y."),
        (["lib/helpers.py"], "import helpers", "set PYTHONPATH=lib."),
        (["src/churn/steps.py"], "import churn.steps", "set PYTHONPATH=src."),
        (["terraform_of_us/main.tf"], "import terraform_of_us", "no Python files"),
    ],
)
def test_pip_is_never_suggested_for_the_name_of_a_local_file_or_folder(
    write: Write, files: Sequence[str], line: str, hint: str
) -> None:
    for file in files:
        write(file, "")
    write("pipelines/p.py", PIPELINE.format(line))

    error = failure("pipelines/p.py")

    assert "ModuleNotFoundError" in error.message
    assert hint in error.hint
    names_of_files = {Path(file).parts[0] for file in files}
    assert not any(
        f"pip install {name}" in error.hint for name in (*names_of_files, "helpers", "churn")
    )


def test_a_module_above_the_folder_where_kfgcp_runs_is_named(
    write: Write, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("steps_of_us/x.py", COMPONENT)
    file = write("pipelines/p.py", PIPELINE.format("from steps_of_us.x import step"))
    monkeypatch.chdir(file.parent)

    error = failure("p.py")

    assert error.hint == (
        f"{repository / 'steps_of_us'} has the name of the missing module, but {repository} is not"
        " on the import path.\n"
        f"Run kfgcp in {repository}, or set PYTHONPATH={repository}."
    )


def test_a_name_that_is_not_in_the_project_has_a_hint(write: Write) -> None:
    write("steps_of_us/x.py", COMPONENT)
    write("pipelines/p.py", PIPELINE.format("import no_such_module_here"))

    assert "pip install no_such_module_here" in failure("pipelines/p.py").hint


def test_a_folder_without_python_does_not_pass_for_a_library(write: Write) -> None:
    write("images_of_us/Dockerfile", "")
    lines = (
        "try:\n    import images_of_us\nexcept ImportError:\n    images_of_us = None\nassert"
        " images_of_us is None"
    )
    write("steps_of_us/x.py", COMPONENT)
    write("pipelines/p.py", PIPELINE.format(f"{lines}\nfrom steps_of_us.x import step"))

    assert load("pipelines/p.py").name == "p"


def test_an_installed_package_that_hides_a_local_folder_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site-packages"
    (installed / "steps_of_us").mkdir(parents=True)
    (installed / "steps_of_us" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(installed))
    write("steps_of_us/x.py", COMPONENT)
    write("pipelines/p.py", PIPELINE.format("from steps_of_us.x import step"))

    try:
        error = failure("pipelines/p.py")
    finally:
        sys.modules.pop("steps_of_us", None)

    assert (
        f"steps_of_us was imported from {installed / 'steps_of_us' / '__init__.py'}" in error.hint
    )
    assert "steps_of_us/__init__.py" in error.hint
    assert "pip" not in error.hint


def test_what_looks_for_installed_distributions_still_finds_them_in_a_pipeline_file(
    write: Write,
) -> None:
    write("steps_of_us/x.py", COMPONENT)
    lines = (
        "import importlib,"
        " importlib.metadata\nimportlib.invalidate_caches()\nimportlib.metadata.version('kfp')"
    )
    write("pipelines/p.py", PIPELINE.format(f"{lines}\nfrom steps_of_us.x import step"))
    finders: list[object] = sys.meta_path[:]

    assert load("pipelines/p.py").name == "p"
    assert sys.meta_path == finders
    assert isinstance(sys.modules["importlib"], ModuleType)
