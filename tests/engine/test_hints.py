"""What a failed task is told to do about the commonest failures: all of them work in a notebook."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from kfgcp.engine.executors.base import TaskException
from kfgcp.engine.hints import TaskPlace, exception_in_log, hint_for
from kfgcp.installation import install_hint
from kfgcp.model import ErrorInfo, Run
from kfgcp_command import Command

IMAGE = "python:3.11"

Execute = Callable[..., Run]


def error_of(run: Run) -> ErrorInfo:
    """The error of a failed run, which is that of its only task."""
    assert run.error is not None
    assert run.tasks[0].error == run.error
    return run.error


@dsl.component(base_image=IMAGE)
def read(path: str) -> str:
    with open(path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def read_quietly(path: str) -> str:
    import os

    if not os.path.exists(path):
        raise FileNotFoundError("there is no table")
    return ""


@dsl.component(base_image=IMAGE)
def read_and_wrap(path: str):
    try:
        open(path).close()
    except OSError as error:
        raise RuntimeError("cannot read") from error


@dsl.component(base_image=IMAGE)
def wait_for_nothing():
    sleep(0)  # noqa: F821 - a name that only the file of the component would have


@dsl.component(base_image=IMAGE)
def unbound():
    if False:
        value = 1
    print(value)


@dsl.component(base_image=IMAGE)
def undefined_elsewhere():
    exec(compile("sleep(0)", "library.py", "exec"), {})  # noqa: S102


@dsl.component(base_image="tensorflow/tensorflow:2.15.0")
def needs_the_image():
    import no_such_library_of_an_image.core  # noqa: F401


@dsl.component(base_image=IMAGE)
def needs_a_package():
    import no_such_library_at_all  # noqa: F401


@dsl.component(base_image=IMAGE)
def needs_a_neighbour():
    from steps_of_us.clean import clean  # noqa: F401


@dsl.component(base_image="shop:1")
def needs_a_neighbour_in_an_image():
    from steps_of_us.clean import clean  # noqa: F401


@dsl.component(base_image=IMAGE)
def needs_an_extra():
    import sys

    sys.modules["pandas"] = None  # type: ignore[assignment]  # as where the extra is not installed
    from kfgcp_components.tables import read_parquet

    read_parquet("x")


@pytest.mark.parametrize("component", [read, read_quietly, read_and_wrap])
def test_a_relative_path_of_the_submitting_folder(
    component: Any, execute: Execute, home: Path
) -> None:
    (home / "data").mkdir()
    (home / "data" / "table.csv").write_text("a")

    error = error_of(execute(component, {"path": "data/table.csv"}))

    assert (
        error.hint
        == f"Tasks run in an empty folder: give an absolute path, such as {home}/data/table.csv"
    )
    assert "hint" not in error.message
    assert ErrorInfo.from_dict(error.to_dict()) == error


@dsl.component(base_image=IMAGE)
def read_model(name: str):
    raise FileNotFoundError(f"no model of {name!r} yet" if name == "table" else "no model yet")


@pytest.mark.parametrize(
    ("name", "has_hint"), [("data", False), ("table", True), ("data/table", True)]
)
def test_a_word_is_a_path_only_where_the_message_names_it(
    name: str, has_hint: bool, execute: Execute, home: Path
) -> None:
    (home / "data").mkdir()
    (home / "data" / "table").write_text("a")
    (home / "table").write_text("a")

    hint = error_of(execute(read_model, {"name": name})).hint

    assert (str(home / name) in hint) is has_hint
    assert bool(hint) is has_hint


@pytest.mark.parametrize("path", ["data/other.csv", "/no/such/file"])
def test_a_path_that_is_nowhere_has_no_hint(path: str, execute: Execute) -> None:
    error = error_of(execute(read, {"path": path}))

    assert error.hint == ""
    assert "hint" not in error.to_dict()


def test_an_address_is_not_a_file(execute: Execute) -> None:
    assert (
        error_of(execute(read, {"path": "gs://bucket/key"})).hint
        == "gs://bucket/key is an address, not a file. For gs://, s3:// and minio://, import the"
        " file with dsl.importer. For other addresses, download the file in the component."
    )


def test_a_name_that_only_the_file_of_the_component_has(execute: Execute) -> None:
    error = error_of(execute(wait_for_nothing))

    assert error.message == "NameError: name 'sleep' is not defined"
    assert (
        error.hint
        == "A task gets only the function of the component, not the rest of the file: import or"
        " define sleep inside the function."
    )


@pytest.mark.parametrize("component", [unbound, undefined_elsewhere])
def test_other_undefined_names_have_no_hint(component: Any, execute: Execute) -> None:
    assert error_of(execute(component)).hint == ""


def test_a_library_that_the_base_image_would_have(execute: Execute) -> None:
    assert (
        error_of(execute(needs_the_image)).hint
        == "This run does not use the base_image tensorflow/tensorflow:2.15.0:"
        ' add packages_to_install=["no_such_library_of_an_image"] to the component, or use the'
        " image with --executor docker."
    )


def test_a_library_that_a_plain_image_has_not_either(execute: Execute) -> None:
    hint = error_of(execute(needs_a_package)).hint

    assert hint == 'Add packages_to_install=["no_such_library_at_all"] to the component.'


@pytest.mark.parametrize("place", ["steps_of_us/clean.py", "pipelines/steps_of_us/clean.py"])
def test_for_a_module_of_the_project_no_package_is_suggested(
    place: str, execute: Execute, home: Path
) -> None:
    (home / place).parent.mkdir(parents=True)
    (home / place).write_text("def clean(): ...\n")

    hint = error_of(execute(needs_a_neighbour)).hint

    assert hint.startswith(
        f"{(home / place).parent} is on this machine, but a task gets only the function"
    )
    assert "packages_to_install" not in hint
    assert "pip install" not in hint


def test_a_module_of_the_project_in_an_image_of_the_component(execute: Execute, home: Path) -> None:
    (home / "steps_of_us").mkdir()
    (home / "steps_of_us" / "clean.py").write_text("def clean(): ...\n")

    hint = error_of(execute(needs_a_neighbour_in_an_image)).hint

    assert hint == (
        f"{home / 'steps_of_us'} is on this machine, but this run does not use the base_image"
        " shop:1: use the image with --executor docker, or set PYTHONPATH to the folder with the"
        " module."
    )


def test_a_ready_made_component_without_its_extra(execute: Execute) -> None:
    assert error_of(execute(needs_an_extra)).hint == (
        f"The ready-made components need an extra: {install_hint('components')}"
    )


def test_the_command_prints_the_hint_below_the_error(kfgcp: Command, home: Path) -> None:
    (home / "table.csv").write_text("a")
    (home / "p.py").write_text(
        "from kfp import dsl\n\n@dsl.component(base_image='python:3.11')\ndef read(path: str):\n   "
        " open(path)\n"
    )

    result = kfgcp("run", "p.py", "-p", "path=table.csv")
    shown = kfgcp("show")

    assert result.code == 6
    lines = result.err.splitlines()
    at = next(
        number for number, line in enumerate(lines) if line.startswith("failed in task read:")
    )
    assert (
        lines[at + 1]
        == f"hint: Tasks run in an empty folder: give an absolute path, such as {home}/table.csv"
    )
    assert lines[at + 1] in shown.err.splitlines()
    assert kfgcp("show", "--json").json["error"]["hint"] == lines[at + 1].removeprefix("hint: ")


CONTAINER = TaskPlace("acme/train:1", True, "", {})


@pytest.mark.parametrize(
    ("last_line", "hint"),
    [
        (
            "ModuleNotFoundError: No module named 'sklearn.svm'",
            (
                "The image acme/train:1 does not have sklearn.svm: use another base_image, or add"
                ' packages_to_install=["scikit-learn"] to the component.'
            ),
        ),
        (
            "NameError: name 'pd' is not defined. Did you mean: 'id'?",
            "import or define pd inside the function.",
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'",
            "import it with dsl.importer.",
        ),
        ("ValueError: No module named 'x'", None),
        ("said: ModuleNotFoundError: No module named 'x'", None),
        ("", None),
    ],
)
def test_the_log_of_a_container_is_all_that_is_known_of_its_exception(
    last_line: str, hint: str | None, tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_text("")
    place = TaskPlace(CONTAINER.image, True, str(tmp_path), {})

    exception = exception_in_log(["Traceback (most recent call last):", last_line, ""])

    assert (exception is None) == (hint is None)
    if exception is not None and hint is not None:
        assert hint_for(exception, place).endswith(hint)


@pytest.mark.parametrize(
    ("file", "folder"), [("models/churn/v-1", "models"), ("models", "models"), ("/opt/x", None)]
)
def test_a_container_that_may_not_write_to_the_project_is_told_the_key(
    file: str, folder: str | None, tmp_path: Path
) -> None:
    place = TaskPlace(CONTAINER.image, True, str(tmp_path), {})
    last_line = f"OSError: [Errno 30] Read-only file system: '{tmp_path / file}'"

    exception = exception_in_log([last_line])

    assert exception is not None
    hint = hint_for(exception, place)
    assert hint.endswith(f'container_folders = ["{folder}"]') or (hint == "" and folder is None)


def test_an_exception_without_facts_has_no_hint() -> None:
    assert hint_for(TaskException(), CONTAINER) == ""
