"""Fixtures for all tests: a project folder, the real command, pipelines, only loopback traffic."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pytest_socket import socket_allow_hosts

from kfgcp.model import Run, RunState
from kfgcp.store.store import Store
from kfgcp_command import OTHER_UID, Command, Somebody, clean_environment, strict_json
from patience import REQUEST, WaitFor, wait_for

if TYPE_CHECKING:
    from certificates import Certificates
    from kfgcp.testing import VertexStandIn

pytest_plugins = ["trials", "must_run", "component_images", "kfgcp.testing"]

PIPELINES = Path(__file__).parent / "pipelines"
DOCKER_SOCKET = "/var/run/docker.sock"


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(scope="module", autouse=True)
def no_variable_of_a_closed_storage() -> Iterator[None]:
    """Fail a module that leaves STORAGE_EMULATOR_HOST at a closed port.

    The tests after it would send requests to that port.
    """
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    yield
    now = os.environ.get("STORAGE_EMULATOR_HOST")
    if now is not None and now != before:
        # A stand-in of the whole session may have started during the module. Connecting to a
        # closed port fails.
        address = urlsplit(now)
        socket.create_connection((address.hostname, address.port), timeout=REQUEST).close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty project, which is the current folder.

    The environment has no variables of kfgcp.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("KFGCP_")]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def service(home: Path) -> Iterator["VertexStandIn"]:
    """Return a stand-in of Vertex AI that invents results without running the tasks.

    The environment `dev` of the current project sends its requests there.
    """
    from kfgcp.testing import vertex

    with vertex(mode="instant") as env:
        (home / "kfgcp.toml").write_text(env.toml("dev"))
        yield env
        assert env.unused_faults == []


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """Return the store of the project."""
    with Store(home / ".kfgcp") as project_store:
        yield project_store


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Return a function that makes a run from the fields that matter to a test."""

    def make(run_id: str = "aaaa00000001", **fields: Any) -> Run:
        plain: dict[str, Any] = {
            "env": "local",
            "backend": "local",
            "pipeline": "train",
            "version": "sha256:" + "0" * 64,
            "state": RunState.SUCCEEDED,
            "created_at": "2026-01-02T03:04:05.678Z",
        }
        return Run(run_id=run_id, **plain | fields)

    return make


@pytest.fixture
def command() -> Iterator[Command]:
    """Return the real command, which runs in the current folder."""
    command = Command()
    yield command
    command.close()


@pytest.fixture
def kfgcp(home: Path, command: Command) -> Command:
    """Return the real command, in an empty project."""
    return command


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """Return the function that makes the environment of a process that runs `kfgcp`."""
    return clean_environment


@pytest.fixture(scope="session")
def parse_json() -> Callable[[str], Any]:
    """Return a function that reads JSON and fails at NaN and infinities."""
    return strict_json


@pytest.fixture(scope="session")
def pipeline_file() -> Callable[[str], Path]:
    """Return a function that returns the Python file of a pipeline in tests/pipelines."""
    return lambda name: PIPELINES / f"{name}.py"


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that compiles the pipeline NAME of tests/pipelines/NAME.py to YAML.

    Each pipeline is compiled once in a session, because a run from YAML starts faster.
    """
    folder = tmp_path_factory.mktemp("compiled")

    def compiled(name: str) -> Path:
        file = folder / f"{name}.yaml"
        if not file.exists():
            from kfgcp import api

            api.compile(f"{PIPELINES / name}.py:{name}", file)
        return file

    return compiled


@pytest.fixture(scope="session")
def eventually() -> WaitFor:
    """Return `patience.wait_for`."""
    return wait_for


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    """Return a function that returns True if a process exists and is not a zombie."""

    def check(pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # the process may end while we read
            if sys.platform == "linux":
                return False
            state = subprocess.run(
                ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
            ).stdout
            return bool(state.strip()) and not state.startswith("Z")
        return stat.rpartition(")")[2].split()[0] != "Z"

    return check


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a small tmpfs with the given options.

    Skip the test if this user cannot mount a file system.
    """
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs to mount a file system, which only root on Linux can do")
    folders: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"mounted{len(folders)}"
        folder.mkdir()
        mounting = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if mounting.returncode:
            pytest.skip(
                f"needs to mount a file system, and mount failed: {mounting.stderr.strip()}"
            )
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def somebody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Somebody]:
    """Return a user who is not root, with a folder of that user.

    This is the user who runs the tests, or another user if root runs them.
    """
    if os.getuid() != 0:
        yield Somebody(tmp_path_factory.mktemp("somebody"), [])
        return
    groups = f"{os.stat(DOCKER_SOCKET).st_gid}" if os.path.exists(DOCKER_SOCKET) else f"{OTHER_UID}"
    # The interpreter may be in a folder that only root can read.
    reads = "+dac_read_search"
    become = ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", f"--groups={groups}"]
    become += [f"--inh-caps={reads}", f"--ambient-caps={reads}"]
    try:
        subprocess.run([*become, sys.executable, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"root cannot become another user here: {error}")
    folder = Path(tempfile.mkdtemp(prefix="kfgcp-somebody-"))
    os.chown(folder, OTHER_UID, OTHER_UID)
    yield Somebody(folder, become)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> "Certificates":
    """Return certificates of a private authority and of a server on 127.0.0.1."""
    from certificates import write_certificates

    return write_certificates(tmp_path_factory.mktemp("certificates"))
