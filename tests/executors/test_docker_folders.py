"""Folders that containers may write to, and the network of containers."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.errors import ConfigError
from kfgcp.model import Run, RunState
from kfgcp_command import Somebody

Execute = Callable[..., Run]
IMAGE = "kfgcp-tests/busybox:1"
AS_USER = "kfgcp-tests/writes-as-user:1"
TOML = '[env.local]\nbackend = "local"\n'
MODELS = TOML + 'container_folders = ["models"]\n'

PIPELINE = """
from kfp import dsl

WRITE = 'cd "$KFGCP_SUBMIT_DIR" && mkdir -p "$0/a/b" && echo "$1" >> "$0/a/b/notes"'

# In a container without a mounted path of the project, its folder is missing.
LOOK = 'ls "$KFGCP_SUBMIT_DIR" || true'

@dsl.container_component
def write(folder: str, text: str):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", WRITE], args=[folder, text])

@dsl.container_component
def look(name: str):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", LOOK])

@dsl.pipeline(name="notes")
def pipeline(folder: str = "models", text: str = "first"):
    write(folder=folder, text=text)
    look(name=text)
"""

REPLACE = """
from kfp import dsl

@dsl.component(install_kfp_package=False)
def replace(target: str) -> str:
    import os
    os.symlink(target, os.path.join(os.environ["KFGCP_SUBMIT_DIR"], "models"))
    return "models"

@dsl.container_component
def write(folder: str):
    script = 'cd "$KFGCP_SUBMIT_DIR/$0" && echo a >> notes'
    return dsl.ContainerSpec(image={image!r}, command=["sh", "-c", script], args=[folder])

@dsl.pipeline(name="replace")
def pipeline(target: str):
    write(folder=replace(target=target).output)
"""


@pytest.fixture
def image_of_user(docker: object) -> str:
    """Return an image whose commands run as a user that this machine does not have."""
    dockerfile = f"FROM {IMAGE}\nUSER 54322:54322\n".encode()
    command = ["docker", "build", "-q", "-t", AS_USER, "-"]
    subprocess.run(command, input=dockerfile, check=True, capture_output=True)
    return AS_USER


def source(image: str) -> str:
    return f"IMAGE = {image!r}\n{PIPELINE}"


def log_of(run: Run, task: str, home: Path) -> str:
    return (home / ".kfgcp" / "logs" / run.run_id / task / "1.log").read_text()


@pytest.mark.parametrize("folder", ["models", "models/eu", "file://{home}/models"])
def test_a_container_of_another_user_writes_to_a_folder_of_the_project(
    execute: Execute, home: Path, image_of_user: str, folder: str
) -> None:
    (home / "kfgcp.toml").write_text(MODELS)
    path = folder.format(home=home)
    # The shell needs a path. Components of kfgcp read the URI themselves.
    program = source(image_of_user).replace('"$KFGCP_SUBMIT_DIR" &&', "/ &&")
    program = program.replace("args=[folder", f"args=[{str(home / 'models')!r}")

    first = execute(program, params={"folder": path})
    second = execute(program, params={"folder": path, "text": "second"})

    assert first.state is RunState.SUCCEEDED, first.error
    assert second.state is RunState.SUCCEEDED, second.error
    assert (home / "models" / "a" / "b" / "notes").read_text() == "first\nsecond\n"


def test_only_a_task_whose_parameter_names_the_folder_sees_it(
    execute: Execute, home: Path, image_of_user: str
) -> None:
    (home / "kfgcp.toml").write_text(MODELS)

    run = execute(source(image_of_user), params={"folder": "models"})

    assert "models" not in log_of(run, "look", home)


def test_the_files_belong_to_the_user_who_runs_kfgcp_and_stay_writable(
    somebody: Somebody, image_of_user: str
) -> None:
    (somebody.folder / "notes.py").write_text(source(image_of_user), encoding="utf-8")
    (somebody.folder / "kfgcp.toml").write_text(MODELS, encoding="utf-8")

    for text in ("first", "second"):
        result = somebody.kfgcp("run", "notes.py", "-p", f"text={text}")
        assert result.code == 0, result.err
        assert somebody.run("sh", "-c", "echo mine >> models/a/b/notes").code == 0

    models = somebody.folder / "models"
    assert (models / "a/b/notes").read_text() == "first\nmine\nsecond\nmine\n"
    assert {path.lstat().st_uid for path in models.rglob("*")} == {somebody.uid}


def test_other_folders_stay_read_only(execute: Execute, home: Path, docker: object) -> None:
    (home / "models").mkdir()

    run = execute(source(IMAGE))

    assert run.state is RunState.FAILED
    assert "Read-only file system" in log_of(run, "write", home)


@pytest.mark.parametrize("folder", [".", "..", "/", ".kfgcp", ".kfgcp/artifacts", ""])
def test_the_project_and_the_state_folder_are_not_writable(
    execute: Execute, home: Path, docker: object, folder: str
) -> None:
    (home / "kfgcp.toml").write_text(f'{TOML}container_folders = ["{folder}"]\n')

    with pytest.raises(ConfigError, match="container_folders cannot have"):
        execute(source(IMAGE))


@pytest.mark.parametrize("target", [".kfgcp", ".kfgcp/artifacts", ".", "..", "link-to-state"])
def test_a_link_to_the_project_or_the_state_folder_is_not_writable(
    execute: Execute, home: Path, docker: object, target: str
) -> None:
    (home / "kfgcp.toml").write_text(MODELS)
    (home / "link-to-state").symlink_to(".kfgcp")
    (home / "models").symlink_to(target)

    with pytest.raises(ConfigError, match="container_folders cannot have 'models'"):
        execute(source(IMAGE))


def test_a_folder_may_be_a_link_to_data(
    execute: Execute, home: Path, tmp_path_factory: pytest.TempPathFactory, image_of_user: str
) -> None:
    data = tmp_path_factory.mktemp("data")
    (home / "kfgcp.toml").write_text(MODELS)
    (home / "models").symlink_to(data)

    run = execute(source(image_of_user))

    assert run.state is RunState.SUCCEEDED, run.error
    assert (data / "a" / "b" / "notes").read_text() == "first\n"


@pytest.mark.parametrize("target", [".kfgcp", "."])
def test_a_folder_that_becomes_a_link_during_the_run_is_not_writable(
    execute: Execute, home: Path, docker: object, target: str
) -> None:
    (home / "kfgcp.toml").write_text(MODELS)

    run = execute(REPLACE.format(image=IMAGE), params={"target": target})

    assert run.state is RunState.FAILED
    (task,) = [task for task in run.tasks if task.path == "write"]
    assert "of container_folders leads to the project or to the state folder now" in str(task.error)
    assert not list(home.rglob("notes"))


def test_containers_without_a_network(execute: Execute, home: Path, docker: object) -> None:
    (home / "kfgcp.toml").write_text(f'{TOML}container_network = "none"\n')
    program = source(IMAGE).replace('ls "$KFGCP_SUBMIT_DIR" || true', "ls /sys/class/net")

    run = execute(program)

    assert log_of(run, "look", home) == "lo\n"
