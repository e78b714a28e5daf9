"""Running a pipeline file on the real engine, small wheels that need no index, and images made of
this machine."""

import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kfgcp import api
from kfgcp.errors import KfgcpError
from kfgcp.model import Run

if TYPE_CHECKING:
    from docker import DockerClient

IMAGE = "kfgcp-tests/busybox:1"
LINKS = (
    "cat",
    "chmod",
    "chown",
    "dirname",
    "echo",
    "env",
    "head",
    "id",
    "ls",
    "mkdir",
    "sh",
    "sleep",
    "stat",
    "yes",
)

WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def execute(home: Path) -> Callable[..., Run]:
    def run(source: str, **options: Any) -> Run:
        file = home / "pipeline.py"
        file.write_text(source, encoding="utf-8")
        return api.submit(str(file), **options, in_process=True).wait(check=False).snapshot

    return run


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[[str, str], Path]:
    """A wheel of a module with one constant: name and version in, file out."""

    def make(name: str, version: str) -> Path:
        file = tmp_path / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            archive.writestr(f"{info}/WHEEL", WHEEL)
            archive.writestr(f"{info}/RECORD", "")
        return file

    return make


@pytest.fixture(scope="session")
def docker() -> Iterator["DockerClient"]:
    """A client of the Docker engine, which has the image IMAGE: a shell and a few commands."""
    from kfgcp.services.docker_engine import connect

    try:
        client = connect()
    except KfgcpError as error:
        pytest.skip(error.message)
    busybox = shutil.which("busybox") or "/bin/busybox"
    if not Path(busybox).exists() or "statically linked" not in _kind(busybox):
        pytest.skip("no static busybox to make an image of (Debian: busybox-static)")
    _import(IMAGE, {"bin/busybox": Path(busybox)}, LINKS)
    yield client
    client.close()


@pytest.fixture(scope="session")
def import_image() -> Callable[..., None]:
    """Makes an image: name, its files as files of this machine, names of busybox commands,
    Dockerfile lines."""
    return _import


def _kind(program: str) -> str:
    process = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return (
        "statically linked"
        if "not a dynamic executable" in process.stdout + process.stderr
        else process.stdout
    )


def _import(
    name: str, files: dict[str, Path], links: Sequence[str] = (), changes: Sequence[str] = ()
) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", dereference=True) as archive:
        for target, file in files.items():
            archive.add(
                file, target, filter=lambda info: None if "__pycache__" in info.name else info
            )
        for link in links:
            entry = tarfile.TarInfo(f"bin/{link}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(temporary)
    options = [word for change in changes for word in ("--change", change)]
    subprocess.run(
        ["docker", "import", *options, "-", name],
        input=data.getvalue(),
        check=True,
        capture_output=True,
    )
