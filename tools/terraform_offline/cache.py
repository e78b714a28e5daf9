"""What is made once and kept: an environment for the stand-in, and the whole schema of each
provider."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from terraform_offline.errors import OfflineError

WHEELS: Final = {
    "google": "cdktf-cdktf-provider-google==16.12.1",
    "google-beta": "cdktf-cdktf-provider-google-beta==16.12.1",
    "kubernetes": "cdktf-cdktf-provider-kubernetes==12.1.1",
    "null": "cdktf-cdktf-provider-null==11.0.1",
    "random": "cdktf-cdktf-provider-random==12.0.1",
    "time": "cdktf-cdktf-provider-time==11.0.1",
    "tls": "cdktf-cdktf-provider-tls==11.0.1",
}
"""Provider of hashicorp/ -> the wheel that tells its schema."""
STUB_NEEDS: Final = ("grpcio>=1.67.1,<2", "msgpack>=1.1,<2", "protobuf>=6,<7")
PROTOCOL: Final = "tf==1.2.0"
"""Installed without its own requirements: only its protocol messages are used, and they work with
protobuf 6."""
UNFINISHED: Final = "unfinished-"


class Cache:
    """The folder, and what is in it. Several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        needs = _digest(" ".join((PROTOCOL, *STUB_NEEDS)).encode())
        self.venv = folder / f"python-{sys.version_info.major}.{sys.version_info.minor}-{needs}"
        self.python = self.venv / "bin" / "python"
        self._reader = Path(__file__).with_name("schema.py")
        self._reader_digest = _digest(self._reader.read_bytes())

    def schema_path(self, provider: str) -> Path:
        """The file with the schema of a provider of WHEELS."""
        version = WHEELS[provider].rpartition("==")[2]
        return self.folder / f"schema-{provider}-{version}-{self._reader_digest}.json"

    def fill(self, providers: set[str]) -> None:
        """Makes what is missing; of several processes that miss it, one makes it and the others
        wait."""
        if self._is_complete(providers):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._is_complete(providers):
                self._make_missing(providers)

    def _is_complete(self, providers: set[str]) -> bool:
        return self._has_venv() and all(
            self.schema_path(provider).is_file() for provider in providers
        )

    def _has_venv(self) -> bool:
        return (self.venv / "complete").is_file() and self.python.exists()

    def _make_missing(self, providers: set[str]) -> None:
        missing = sorted(
            provider for provider in providers if not self.schema_path(provider).is_file()
        )
        print(f"offline: filling {self.folder} (once; under a minute)", file=sys.stderr)
        for left_over in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left_over, ignore_errors=True)
        fresh = not self._has_venv()
        if fresh:
            _must(
                [sys.executable, "-m", "venv", "--clear", self.venv],
                "Debian's Python needs python3-venv",
            )
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(self._make_schema, provider) for provider in missing]
            if fresh:
                jobs.append(pool.submit(self._install_stub_needs))
        for job in jobs:
            job.result()

    def _install_stub_needs(self) -> None:
        self._pip("install", *STUB_NEEDS)
        self._pip("install", "--no-deps", PROTOCOL)
        imports = "import grpc, msgpack, tf.gen.tfplugin_pb2_grpc"
        _must([self.python, "-I", "-c", imports], "the installed packages do not fit")
        (self.venv / "complete").touch()

    def _make_schema(self, provider: str) -> None:
        """Reads the whole schema, for then neither a new resource in a module nor the next run
        needs the wheel."""
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.folder) as folder:
            self._pip("download", "--no-deps", "--dest", folder, WHEELS[provider])
            wheel = next(Path(folder).glob("*.whl"))
            made = Path(folder) / "schema.json"
            _must(
                [sys.executable, "-I", self._reader, wheel, made],
                f"{wheel.name} is not as expected",
            )
            made.replace(self.schema_path(provider))

    def _pip(self, verb: str, *arguments: str) -> None:
        pip = [
            self.python,
            "-I",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
        ]
        _must([*pip, verb, "--only-binary=:all:", *arguments], "is a package index reachable?")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _must(command: list[Any], hint: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise OfflineError(f"{' '.join(map(str, command))} failed ({hint}):\n{said}")
