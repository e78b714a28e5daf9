"""packages_to_install that name folders and git repositories: what is installed is what is there
now.

The packages are built by a backend that lies beside them, so that nothing but kfp comes from the
index.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.engine.pinning import can_change, pin
from kfgcp.engine.requirements import Requirements
from kfgcp.model import Run, RunState
from kfgcp.spec.graph import Container
from kfgcp.spec.lightweight import recognise
from kfgcp_command import Command
from patience import WaitFor
from small_project import write

Execute = Callable[..., Run]


FOLDER_FORMS = (
    "./lib",
    "../project/lib",
    "mine @ file://{lib}",
    "file://{lib}",
    "{lib}",
    "-e ./lib",
)

COMPONENT = """
@dsl.component(base_image="python:3.11", packages_to_install={packages!r})
def {name}() -> str:
    import mine
    return mine.VALUE
"""


def source(*requirements: str) -> str:
    """Return a pipeline with a task for each requirement. It returns the value of the first."""
    names = ["task", *(f"task_{number}" for number in range(2, len(requirements) + 1))]
    components = [
        COMPONENT.format(name=name, packages=[requirement])
        for name, requirement in zip(names, requirements, strict=True)
    ]
    calls = "".join(f"    {name}()\n" for name in names[1:])
    return f"""
from kfp import dsl
{"".join(components)}
@dsl.pipeline(name="local-package")
def pipeline() -> str:
{calls}    return task().output
"""


def git(folder: Path, *arguments: str) -> str:
    settings = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.invalid",
        "-c",
        "init.defaultBranch=main",
    ]
    process = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return process.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = write(tmp_path / "repository", "first")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_changed_folder_is_installed_again(execute: Execute, home: Path) -> None:
    """One run has a task for each form of a requirement."""
    lib = write(home / "lib", "one")
    text = source(*(form.format(lib=lib) for form in FOLDER_FORMS))

    def values_of_run() -> list[object]:
        run = execute(text, cache=False)
        return [task.outputs.get("Output") for task in run.tasks if task.kind == "container"]

    assert values_of_run() == ["one"] * len(FOLDER_FORMS)
    before = set((home / ".kfgcp" / "envs").iterdir())
    assert values_of_run() == ["one"] * len(FOLDER_FORMS)
    assert set((home / ".kfgcp" / "envs").iterdir()) == before, (
        "an unchanged project got a second environment"
    )
    write(lib, "two")
    assert values_of_run() == ["two"] * len(FOLDER_FORMS)


def test_a_relative_path_leads_from_where_the_run_was_submitted(
    home: Path, kfgcp: Command, tmp_path: Path, eventually: WaitFor
) -> None:
    write(home / "lib", "of the project")
    (home / "kfgcp.toml").touch()
    (home / "pipeline.py").write_text(source("./lib"))
    (home / "below").mkdir()

    assert kfgcp("run", "pipeline.py", "--json").json["outputs"] == {"Output": "of the project"}
    again = kfgcp("rerun", "--from", "task", "--json", cwd=home / "below")
    assert again.json["outputs"] == {"Output": "of the project"}, again.err


def test_a_folder_that_is_not_there_is_named(execute: Execute) -> None:
    run = execute(source("./gone"))
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert run.error.message.startswith("its packages cannot be installed: error:")
    assert "gone" in run.error.message


def test_a_branch_is_installed_as_it_is_now(execute: Execute, repository: Path) -> None:
    text = source(f"git+{repository.as_uri()}@main")
    assert execute(text, cache=False).outputs == {"Output": "first"}
    write(repository, "second")
    git(repository, "commit", "-qam", "second")
    assert execute(text, cache=False).outputs == {"Output": "second"}


def requirements(*packages: str) -> Requirements:
    return Requirements(packages, (), None)


def test_git_references_lead_to_commits(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-am", "a tag", "v1")
    git(repository, "checkout", "-qb", "feature/x")
    write(repository, "second")
    git(repository, "commit", "-qam", "second")
    second = git(repository, "rev-parse", "HEAD")
    at = f"git+{repository.as_uri()}"

    def pinned(text: str) -> str:
        [package] = pin(requirements(text), tmp_path, tmp_path / "refs").packages
        return package

    assert pinned(f"{at}@main") == f"{at}@{first}"
    assert pinned(f"{at}@v1") == f"{at}@{first}", "the pin is not the commit of the tag"
    assert pinned(f"{at}@feature/x") == f"{at}@{second}"
    assert pinned(at) == f"{at}@{second}", (
        "without a reference, the pin is not the checked out commit"
    )
    assert pinned(f"mine[x] @ {at}@main#subdirectory=a") == f"mine[x] @ {at}@{first}#subdirectory=a"
    assert (
        pinned(f"mine @ {at}@main ; python_version > '3'")
        == f"mine @ {at}@{first} ; python_version > '3'"
    )
    assert pinned(f"{at}@{first}") == f"{at}@{first}"
    assert pinned(f"{at}@no-such") == f"{at}@no-such"


def test_a_repository_that_does_not_answer_is_taken_as_it_last_was(
    repository: Path, tmp_path: Path
) -> None:
    text = f"git+{repository.as_uri()}@main"
    online = pin(requirements(text), tmp_path, tmp_path / "refs")
    repository.rename(tmp_path / "away")
    assert pin(requirements(text), tmp_path, tmp_path / "refs") == online
    assert pin(requirements(text), tmp_path, tmp_path / "other").packages == (text,)


@pytest.mark.parametrize(
    "text", ["pandas", "pandas>=2,<3", "x[a]==1 ; python_version<'3'", "https://e.invalid/x-1.whl"]
)
def test_what_cannot_change_is_left_as_it_is(text: str) -> None:
    assert not can_change(requirements(text))


def test_the_state_of_a_folder_is_that_of_its_sources(tmp_path: Path) -> None:
    lib = write(tmp_path / "lib", "one")

    def key() -> str:
        return pin(requirements("./lib"), tmp_path, tmp_path / "refs").key

    first = key()
    for path in (
        ".git/index",
        "build/lib/mine.py",
        "__pycache__/mine.pyc",
        "mine.egg-info/PKG-INFO",
        "env/x.py",
    ):
        (lib / path).parent.mkdir(parents=True, exist_ok=True)
        (lib / path).write_text(path)
        if path == "env/x.py":
            (lib / "env" / "pyvenv.cfg").touch()
        assert key() == first, path
    (lib / "link").symlink_to("nowhere")
    assert key() == first

    seen = {first}
    for file, text in (
        ("mine.py", "VALUE = 'eno'\n"),
        ("sub/build/x.py", "1"),
        ("data.txt", ""),
        ("setup.cfg", "[x]"),
    ):
        (lib / file).parent.mkdir(parents=True, exist_ok=True)
        (lib / file).write_text(text)
        assert key() not in seen, file
        seen.add(key())
    (lib / "data.txt").rename(lib / "renamed.txt")
    assert key() not in seen


@pytest.mark.parametrize(
    "words", ["-e ./lib", "'-e ./lib'", "--editable ./lib", "--editable=./lib", "-e./lib"]
)
def test_editable_requirements_are_read_from_the_compiled_command(words: str) -> None:
    script = 'x $program_path/ephemeral_component.py kfp.dsl.executor_main "$@"'
    function = recognise(
        Container(
            image="python:3.11",
            command=(
                "sh",
                "-c",
                f"python3 -m pip install --quiet {words} 'other==1'",
                "sh",
                "-ec",
                script,
                "source",
            ),
            args=("--executor_input", "{{$}}", "--function_to_execute", "f"),
            env={},
            resources={},
        )
    )
    assert function is not None
    assert function.requirements == ("-e ./lib", "other==1")
