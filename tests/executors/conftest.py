"""Running a pipeline file on the real engine, small wheels that need no index, and images made of
this machine."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kfgcp import api
from kfgcp.errors import KfgcpError
from kfgcp.model import Run
from made_images import SHELL, import_image, static_busybox

if TYPE_CHECKING:
    from docker import DockerClient

IMAGE = "kfgcp-tests/busybox:1"
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
    import_image(IMAGE, {"bin/busybox": static_busybox()}, SHELL)
    yield client
    client.close()


@pytest.fixture(scope="session", name="import_image")
def import_image_fixture() -> Callable[..., None]:
    """Makes an image: name, its files as files of this machine, names of busybox commands,
    Dockerfile lines."""
    return import_image
