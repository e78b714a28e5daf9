"""Cache what takes long to make: the Python environment of stub.py, and schemas of providers."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from terraform_offline.errors import OfflineError

# The wheel that contains the schema of each provider of hashicorp/.
WHEELS: Final = {
    "google": "cdktf-cdktf-provider-google==16.12.1",
    "google-beta": "cdktf-cdktf-provider-google-beta==16.12.1",
    "kubernetes": "cdktf-cdktf-provider-kubernetes==12.1.1",
    "null": "cdktf-cdktf-provider-null==11.0.1",
    "random": "cdktf-cdktf-provider-random==12.0.1",
    "time": "cdktf-cdktf-provider-time==11.0.1",
    "tls": "cdktf-cdktf-provider-tls==11.0.1",
}
STUB_REQUIREMENTS: Final = ("grpcio>=1.67.1,<2", "msgpack>=1.1,<2", "protobuf>=6,<7")

# This package is installed without its own requirements. Only its protocol messages are used, and
# they work with protobuf 6.
PROTOCOL_PACKAGE: Final = "tf==1.2.0"

# The prefix of folders for downloads. When a process that has the lock finds such a folder, an
# interrupted process left it.
UNFINISHED: Final = "unfinished-"


class Cache:
    """A folder that several processes may share.

    Args:
        folder: its path. The folder is made when the cache is filled for the first time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        requirements = _digest(" ".join((PROTOCOL_PACKAGE,) + STUB_REQUIREMENTS).encode())
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.venv = folder / f"python-{version}-{requirements}"
        self.python = self.venv / "bin" / "python"
        self._reader = Path(__file__).with_name("schema.py")
        self._reader_digest = _digest(self._reader.read_bytes())

    def schema_path(self, provider: str) -> Path:
        """Return the file with the schema of a provider of WHEELS."""
        version = WHEELS[provider].rpartition("==")[2]
        # A change of the program that writes the file gives the file another name.
        return self.folder / f"schema-{provider}-{version}-{self._reader_digest}.json"

    def fill(self, providers: set[str]) -> None:
        """Make the environment, and the schemas of some providers, if they are missing.

        When several processes need the same part, one process makes it and the others wait.

        Raises:
            OfflineError: something cannot be downloaded or installed.
        """
        if self._is_complete(providers):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have filled the cache while this one waited.
            if not self._is_complete(providers):
                self._make_missing(providers)

    def _is_complete(self, providers: set[str]) -> bool:
        return self._has_venv() and not self._missing_schemas(providers)

    def _has_venv(self) -> bool:
        return (self.venv / "complete").is_file() and self.python.exists()

    def _missing_schemas(self, providers: set[str]) -> list[str]:
        names = sorted(providers)
        return [name for name in names if not self.schema_path(name).is_file()]

    def _make_missing(self, providers: set[str]) -> None:
        print(f"offline: filling {self.folder} (once; under a minute)", file=sys.stderr)
        for folder in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)
        needs_venv = not self._has_venv()
        if needs_venv:
            # The pip of this environment downloads the wheels too, so it comes first.
            _run_or_fail(
                [sys.executable, "-m", "venv", "--clear", str(self.venv)],
                "Debian's Python needs python3-venv",
            )
        with ThreadPoolExecutor() as pool:
            missing = self._missing_schemas(providers)
            jobs = [pool.submit(self._make_schema, provider) for provider in missing]
            if needs_venv:
                jobs.append(pool.submit(self._install_stub_requirements))
        for job in jobs:
            job.result()

    def _make_schema(self, provider: str) -> None:
        """Read the whole schema of a provider from its wheel.

        With the whole schema, a module with another resource does not need the wheel again.
        """
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.folder) as folder:
            self._pip("download", "--no-deps", "--dest", folder, WHEELS[provider])
            wheel = next(Path(folder).glob("*.whl"))
            file = Path(folder) / "schema.json"
            _run_or_fail(
                [sys.executable, "-I", str(self._reader), str(wheel), str(file)],
                f"{wheel.name} is not as expected",
            )
            file.replace(self.schema_path(provider))

    def _install_stub_requirements(self) -> None:
        self._pip("install", *STUB_REQUIREMENTS)
        self._pip("install", "--no-deps", PROTOCOL_PACKAGE)
        imports = "import grpc, msgpack, tf.gen.tfplugin_pb2_grpc"
        _run_or_fail(
            [str(self.python), "-I", "-c", imports], "the installed packages do not fit together"
        )
        # This file comes last. An interrupted installation has no such file, and is made again.
        (self.venv / "complete").touch()

    def _pip(self, verb: str, *arguments: str) -> None:
        command = [str(self.python), "-I", "-m", "pip"]
        command += ["--disable-pip-version-check", "--no-input", "--quiet"]
        command += [verb, "--only-binary=:all:"]
        command += arguments
        _run_or_fail(command, "is a package index reachable?")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _run_or_fail(command: Sequence[str], hint: str) -> None:
    """Run a command.

    Raises:
        OfflineError: it failed. The message contains the hint and what the command printed.
    """
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if process.returncode:
        output = (process.stdout + process.stderr).strip()
        raise OfflineError(f"{' '.join(command)} failed ({hint}):\n{output}")
