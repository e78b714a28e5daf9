"""What all tests share: no network but this machine's own, a project folder, the real command,
small pipelines."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pytest_socket import socket_allow_hosts

from kfgcp.model import Run, RunState
from kfgcp.store.store import Store
from patience import PROCESS, REQUEST, wait_for

if TYPE_CHECKING:
    from kfgcp.testing import VertexStandIn

pytest_plugins = ["trials", "must_run", "kfgcp.testing"]

PIPELINES = Path(__file__).parent / "pipelines"
DOCKER_SOCKET = "/var/run/docker.sock"
UID = 54321
COMMAND = Path(sys.executable).with_name("kfgcp")


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(scope="module", autouse=True)
def no_variable_of_a_closed_storage() -> Iterator[None]:
    """Fails the tests of a module that leave STORAGE_EMULATOR_HOST at a closed port: the next ones
    would ask it."""
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    yield
    now = os.environ.get("STORAGE_EMULATOR_HOST")
    if now is not None and now != before:
        # A stand-in of the whole session may have been opened meanwhile. Nothing answers at a
        # closed port.
        address = urlsplit(now)
        socket.create_connection((address.hostname, address.port), timeout=REQUEST).close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty project, which is the current one; no variable of the environment
    speaks to kfgcp."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("KFGCP_")]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def service(home: Path) -> Iterator["VertexStandIn"]:
    """A stand-in of Vertex AI that makes results up; the environment `dev` of the current project
    leads there."""
    from kfgcp.testing import vertex

    with vertex(mode="instant") as env:
        (home / "kfgcp.toml").write_text(env.toml("dev"))
        yield env
        assert env.unused_faults == []


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The project's store."""
    with Store(home / ".kfgcp") as opened:
        yield opened


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    """Makes a run of which only what a test is about has to be said."""

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


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as exactly one JSON value; NaN and infinities are not JSON."""
        return strict_json(self.out)


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


class Command:
    """Runs `kfgcp` in processes of their own, in the current folder."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def __call__(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Result:
        """The result of a whole command."""
        done = subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            env=clean_environment(env),
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=PROCESS,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = (str(COMMAND),),
    ) -> subprocess.Popen[str]:
        """Start a command in a session of its own; it is killed when the test ends.

        Args:
            arguments: of the command.
            env: variables beside those of a plain environment.
            program: the beginning of the command line, for a test that changes how `kfgcp` runs.
        """
        process = subprocess.Popen(
            [*program, *map(str, arguments)],
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> Result:
        """Return the result of a command that was started; the command has to end by itself."""
        late = threading.Timer(PROCESS, process.kill)
        late.start()
        with (
            ThreadPoolExecutor() as pool
        ):  # communicate() would lose what readline() has read ahead
            out, err = pool.map(
                lambda stream: stream.read() if stream else "", (process.stdout, process.stderr)
            )
        code = process.wait()
        assert late.is_alive(), f"not ended within {PROCESS:g} s: {err}"
        late.cancel()
        return Result(code, out, err)

    def close(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a person in a pipe: nothing set for kfgcp, no colours asked for or
    forbidden."""
    dropped = (
        "KFGCP_",
        "NO_COLOR",
        "FORCE_COLOR",
        "CLICOLOR",
        "PYTHONDONTWRITEBYTECODE",
        "COLUMNS",
        "LINES",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PYTHONIOENCODING": "utf-8"} | dict(more or {})


@pytest.fixture
def command() -> Iterator[Command]:
    """The real command, wherever the current folder is."""
    command = Command()
    yield command
    command.close()


@pytest.fixture
def kfgcp(home: Path, command: Command) -> Command:
    """The real command, in an empty project."""
    return command


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """The environment that `kfgcp` runs in, for a test that starts a process by itself."""
    return clean_environment


@pytest.fixture(scope="session")
def parse_json() -> Callable[[str], Any]:
    """Reads JSON as the standard has it: without NaN and infinities."""
    return strict_json


@pytest.fixture(scope="session")
def pipeline_file() -> Callable[[str], Path]:
    """The Python file of a pipeline in tests/pipelines."""
    return lambda name: PIPELINES / f"{name}.py"


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The function NAME of tests/pipelines/NAME.py compiled to YAML, once a session: it starts
    faster than Python."""
    folder = tmp_path_factory.mktemp("compiled")

    def compiled(name: str) -> Path:
        file = folder / f"{name}.yaml"
        if not file.exists():
            from kfgcp import api

            api.compile(f"{PIPELINES / name}.py:{name}", file)
        return file

    return compiled


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`patience.wait_for`, as a fixture."""
    return wait_for


@pytest.fixture(scope="session")
def alive() -> Callable[[int], bool]:
    """Whether a process is there and no zombie."""

    def check(pid: int) -> bool:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it may go while its file is read
            if sys.platform == "linux":
                return False
            found = subprocess.run(
                ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
            ).stdout
            return bool(found.strip()) and not found.startswith("Z")
        return stat.rpartition(")")[2].split()[0] != "Z"

    return check


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system of its own, with options of tmpfs; skips where that cannot be
    done."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs a file system of its own: only root on Linux can mount one")
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"mounted{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"needs a file system of its own, and mount says: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def somebody(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Somebody"]:
    """Somebody who is not root, with a folder of theirs: who runs the tests, or where that is root
    another user."""
    if os.getuid() != 0:
        yield Somebody(tmp_path_factory.mktemp("somebody"), [])
        return
    groups = f"{os.stat(DOCKER_SOCKET).st_gid}" if os.path.exists(DOCKER_SOCKET) else f"{UID}"
    reads = "+dac_read_search"  # the interpreter may lie in a folder of root's
    become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", f"--groups={groups}"]
    become += [f"--inh-caps={reads}", f"--ambient-caps={reads}"]
    try:
        subprocess.run([*become, sys.executable, "-c", ""], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"root cannot become another user here: {error}")
    folder = Path(tempfile.mkdtemp(prefix="kfgcp-somebody-"))
    os.chown(folder, UID, UID)
    yield Somebody(folder, become)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Somebody:
    """A user of this machine. folder: theirs, the current one of what they run."""

    folder: Path
    become: list[str]

    @property
    def uid(self) -> int:
        return UID if self.become else os.getuid()

    def kfgcp(self, *arguments: str, **env: str) -> Result:
        """The result of the real command, started by them."""
        return self.run(str(COMMAND), *arguments, **env)

    def run(self, *command: str, **env: str) -> Result:
        """The result of a command, started by them."""
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder)}
        environ = clean_environment(own | env)
        # They may not write into the folder where coverage keeps its data.
        environ.pop("COVERAGE_PROCESS_CONFIG", None)
        done = subprocess.run(
            [*self.become, *command],
            env=environ,
            cwd=self.folder,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            timeout=PROCESS,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Certificates:
    """Files of PEM: of a private authority, of a server on 127.0.0.1 that it vouches for, and that
    one's key; another certificate of the server that has expired, and one that is for another
    host."""

    authority: Path
    leaf: Path
    key: Path
    expired: Path
    elsewhere: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of a private authority and of a server on 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    own, served = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
        days: int = 1,
    ) -> bytes:
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(
            issuer_name=x509.Name.from_rfc4514_string("CN=Acme CA"),
            subject_name=x509.Name.from_rfc4514_string(subject),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=9),
            not_valid_after=now + timedelta(days=days),
        )
        for extension in (*extensions, x509.SubjectKeyIdentifier.from_public_key(key.public_key())):
            critical = isinstance(extension, (x509.BasicConstraints, x509.KeyUsage))
            made = made.add_extension(extension, critical=critical)
        made = made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False
        )
        return made.sign(own, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    usage |= dict.fromkeys(("encipher_only", "decipher_only"), False)
    signs = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    folder = tmp_path_factory.mktemp("certificates")
    files = (
        folder / name for name in ("ca.pem", "leaf.pem", "leaf.key", "expired.pem", "elsewhere.pem")
    )
    found = Certificates(*files)
    found.authority.write_bytes(
        certificate("CN=Acme CA", own, x509.BasicConstraints(True, 0), signs)
    )
    found.leaf.write_bytes(certificate("CN=kfp", served, host))
    found.expired.write_bytes(certificate("CN=kfp", served, host, days=-1))
    other = x509.SubjectAlternativeName([x509.DNSName("kfp.acme.example")])
    found.elsewhere.write_bytes(certificate("CN=kfp", served, other))
    form = serialization.PrivateFormat.PKCS8
    found.key.write_bytes(
        served.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return found
