"""What containers see of this machine, and what they leave on it."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kfgcp import api
from kfgcp.model import Run, RunState
from kfgcp_command import Command, Somebody
from patience import PROCESS, wait_for

if TYPE_CHECKING:
    from docker import DockerClient

Execute = Callable[..., Run]
IMAGE = "kfgcp-tests/busybox:1"
AS_USER = "kfgcp-tests/as-user:1"
HEAD = f"""
from kfp import dsl
from kfp.dsl import Dataset, Input, Output
IMAGE = {IMAGE!r}
"""
SLOW = """
@dsl.container_component
def slow():
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", "echo up; sleep 300; echo never"])

@dsl.pipeline(name="slow")
def pipeline():
    slow()
"""
ENVIRONMENT = """
@dsl.container_component
def look(found: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", 'env > "$0"; echo ---; cat "$GOOGLE_APPLICATION_CREDENTIALS"'],
        args=[found],
    )

@dsl.pipeline(name="look")
def pipeline() -> str:
    return look().outputs["found"]
"""
FILES = """
WRITES = 'umask 077; id -u; mkdir -p "$0/a/b"; echo deep > "$0/a/b/c"; echo "it" > "$1"'

@dsl.container_component
def make(data: Output[Dataset], text: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", WRITES], args=[data.path, text])

@dsl.container_component
def show(data: Input[Dataset]):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", 'cat "$0/a/b/c"'], args=[data.path])

@dsl.component(base_image="python:3.11")
def read(data: Input[Dataset]) -> str:
    return open(data.path + "/a/b/c").read()

@dsl.pipeline(name="files")
def pipeline() -> str:
    made = make()
    show(data=made.outputs["data"])
    return read(data=made.outputs["data"]).output
"""
CACHED = """
@dsl.component(base_image="python:3.11")
def make(data: Output[Dataset]):
    import os

    os.makedirs(data.path)
    with open(data.path + "/c", "w") as file:
        file.write("deep")

@dsl.container_component
def show(data: Input[Dataset]):
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", 'cat "$0/c"'], args=[data.path])

@dsl.pipeline(name="cached")
def pipeline():
    made = make()
    # then
"""
CREDENTIALS = {"type": "authorized_user", "client_id": "of-a-test"}


@pytest.mark.usefixtures("docker")
def test_a_shell_that_waits_ends_when_it_is_asked_to(
    home: Path, kfgcp: Command, docker: "DockerClient"
) -> None:
    """As process 1 a shell ignores SIGTERM, so that it lasts until SIGKILL, unless there is an
    init."""
    (home / "slow.py").write_text(HEAD + SLOW, encoding="utf-8")
    process = kfgcp.start("run", "slow.py", "--json")
    run_id = wait_for(lambda: [run.run_id for run in api.list()])[0]
    wait_for(lambda: [line for line in api.logs(run_id) if line.text == "up"])
    label = f"kfgcp.run={run_id}"
    [container] = docker.containers.list(filters={"label": label})
    deaths = docker.events(filters={"event": "die", "container": container.id}, decode=True)

    process.send_signal(signal.SIGINT)

    assert next(deaths)["Actor"]["Attributes"]["exitCode"] == str(128 + signal.SIGTERM)
    assert kfgcp.end(process).json["state"] == "CANCELLED"


@pytest.fixture
def engine_without_init(docker: "DockerClient") -> Iterator[str]:
    """The address of a Docker engine of its own whose init is not there; it has IMAGE."""
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("starting another Docker engine takes root and dockerd")
    folder = Path(tempfile.mkdtemp(prefix="kfgcp-engine-"))  # short: it holds sockets
    address = f"unix://{folder}/sock"
    paths = [
        f"--{option}={folder}/{option}"
        for option in ("data-root", "exec-root", "pidfile", "init-path")
    ]
    with (folder / "log").open("wb") as log:
        command = [
            "unshare",
            "--net",
            "dockerd",
            f"--host={address}",
            *paths,
            "--bridge=none",
            "--iptables=false",
        ]
        engine = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        ask = ["docker", "-H", address, "info"]
        wait_for(
            lambda: (
                engine.poll() is not None
                or subprocess.run(ask, capture_output=True).returncode == 0
            )
        )
        if engine.poll() is not None:
            pytest.skip(
                f"another Docker engine does not start here: {(folder / 'log').read_text()[-300:]}"
            )
        image = subprocess.run(["docker", "save", IMAGE], capture_output=True, check=True).stdout
        subprocess.run(
            ["docker", "-H", address, "load"], input=image, capture_output=True, check=True
        )
        yield address
    finally:
        engine.terminate()
        engine.wait(timeout=PROCESS)
        shutil.rmtree(folder, ignore_errors=True)


def test_an_engine_without_an_init_runs_containers_too(
    execute: Execute, engine_without_init: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine_without_init)
    run = execute(HEAD + FILES)
    assert run.state is RunState.SUCCEEDED, run.error
    assert run.outputs == {"Output": "deep\n"}


def _image_of_user(user: str) -> str:
    """Make an image like IMAGE whose commands another user runs; return its name."""
    dockerfile = f"FROM {IMAGE}\nUSER {user}\n".encode()
    command = ["docker", "build", "-q", "-t", AS_USER, "-"]
    subprocess.run(command, input=dockerfile, check=True, capture_output=True)
    return AS_USER


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("user", ["root", "54322:54322"])
def test_what_a_container_writes_belongs_to_who_runs_kfgcp(
    somebody: Somebody, import_image: Callable[..., None], user: str
) -> None:
    image = IMAGE if user == "root" else _image_of_user(user)
    (somebody.folder / "files.py").write_text(HEAD.replace(IMAGE, image) + FILES, encoding="utf-8")

    result = somebody.kfgcp("run", "files.py", "--json")

    assert result.code == 0, result.err
    assert result.json["outputs"] == {"Output": "deep\n"}
    written = [path for path in (somebody.folder / ".kfgcp").rglob("*") if path.exists()]
    assert {path.name for path in written} >= {"a", "b", "c"}
    assert {path.lstat().st_uid for path in written} == {somebody.uid}
    [attempt] = [path.parent.parent for path in written if path.name == "a"]
    assert oct(attempt.stat().st_mode & 0o777) == "0o700", (
        "open to all while the container ran, not longer"
    )
    ran_as = next((somebody.folder / ".kfgcp" / "logs").glob("*/make/1.log")).read_text()
    assert ran_as == f"{user.partition(':')[0].replace('root', '0')}\n", (
        "the container did not run as the user of the image"
    )
    assert somebody.run("rm", "-r", ".kfgcp").code == 0
    assert (
        sorted(path.name for path in somebody.folder.iterdir() if path.name.startswith("kfgcp-"))
        == []
    )


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize(
    "names", [("link", "state"), ("state", "link"), ("../project/state", "state")]
)
def test_another_user_reads_artifacts_of_a_state_folder_with_two_names(
    execute: Execute, home: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    """The artifact was recorded below one name of the state folder, and a container reads it below
    the other."""
    (home / "state").mkdir()
    (home / "link").symlink_to("state")
    source = HEAD.replace(IMAGE, _image_of_user("54322:54322")) + CACHED
    monkeypatch.setenv("KFGCP_HOME", str(home / names[0]))
    assert execute(source).state is RunState.SUCCEEDED
    monkeypatch.setenv("KFGCP_HOME", str(home / names[1]))

    run = execute(source.replace("# then", "show(data=made.output)"))

    assert run.state is RunState.SUCCEEDED, run.error
    assert {task.path: task.state.value for task in run.tasks} == {
        "make": "CACHED",
        "show": "SUCCEEDED",
    }
    assert (home / "state" / "logs" / run.run_id / "show" / "1.log").read_text() == "deep"


@pytest.mark.usefixtures("docker")
def test_the_workspace_is_shared_by_containers_and_functions(execute: Execute) -> None:
    run = execute(
        HEAD
        + """
@dsl.container_component
def leave(place: str):
    return dsl.ContainerSpec(
        image=IMAGE, command=["sh", "-c", 'echo from a container > "$0/note"'], args=[place]
    )

@dsl.component(base_image="python:3.11")
def add(place: str):
    with open(place + "/note", "a") as file:
        file.write("from a function")

@dsl.container_component
def find(place: str, text: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image=IMAGE, command=["sh", "-c", 'cat "$0/note" > "$1"'], args=[place, text]
    )

@dsl.pipeline(
    name="shared",
    pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")),
)
def pipeline() -> str:
    left = leave(place=dsl.WORKSPACE_PATH_PLACEHOLDER)
    added = add(place=dsl.WORKSPACE_PATH_PLACEHOLDER).after(left)
    return find(place=dsl.WORKSPACE_PATH_PLACEHOLDER).after(added).outputs["text"]
"""
    )
    assert run.outputs == {"Output": "from a container\nfrom a function"}, run.error


@pytest.fixture
def credentials(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Google's credentials, as this machine's environment names them."""
    file = home / "adc.json"
    file.write_text(json.dumps(CREDENTIALS), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-of-a-test")
    monkeypatch.delenv("CLOUDSDK_CORE_PROJECT", raising=False)
    return file


def _looked(run: Run, home: Path) -> tuple[dict[str, str], str]:
    """The variables of the container, and what it read in the credentials."""
    lines = (line.partition("=") for line in str(run.outputs["Output"]).splitlines())
    log = (home / ".kfgcp" / "logs" / run.run_id / "look" / "1.log").read_text()
    return {name: value for name, _, value in lines}, log.partition("---\n")[2]


@pytest.mark.usefixtures("docker", "credentials")
def test_containers_get_no_credentials_by_themselves(execute: Execute, home: Path) -> None:
    variables, read = _looked(execute(HEAD + ENVIRONMENT.replace("cat", "true; : ")), home)
    assert not [name for name in variables if name.startswith(("GOOGLE", "CLOUDSDK"))]
    assert "of-a-test" not in read + json.dumps(variables)


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("source", ["variable", "gcloud"])
def test_containers_get_the_credentials_when_asked(
    execute: Execute, home: Path, credentials: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "gcloud":
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.delenv("CLOUDSDK_CONFIG", raising=False)
        (home / ".config" / "gcloud").mkdir(parents=True)
        credentials.rename(home / ".config" / "gcloud" / "application_default_credentials.json")
    (home / "kfgcp.toml").write_text(
        '[env.local]\nbackend = "local"\ncontainer_credentials = true\n'
    )
    run = execute(
        HEAD
        + ENVIRONMENT.replace("cat ", '(echo x >> "$GOOGLE_APPLICATION_CREDENTIALS") 2>&1; cat ')
    )
    variables, read = _looked(run, home)
    assert json.dumps(CREDENTIALS) in read
    assert "Read-only file system" in read, "the container could change the credentials"
    assert variables["GOOGLE_CLOUD_PROJECT"] == "project-of-a-test"
    assert "CLOUDSDK_CORE_PROJECT" not in variables


@pytest.mark.usefixtures("docker")
def test_credentials_that_are_not_there_fail_the_task(
    execute: Execute, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(home / "gone.json"))
    monkeypatch.setenv("KFGCP_ENV_LOCAL_CONTAINER_CREDENTIALS", "true")
    run = execute(HEAD + ENVIRONMENT)
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert (
        run.error.message
        == f"container_credentials is set, but there is no file {home / 'gone.json'}"
    )
