"""A registry on this machine, and an image to begin with."""

import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest

from made_images import SHELL, import_image, static_busybox
from patience import wait_for
from s3_servers import free_port

if TYPE_CHECKING:
    from docker import DockerClient

SHELL_BASE = "kfgcp-tests/shell:1"

CONFIG = """
version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}
  maintenance:
    readonly:
      enabled: {readonly}
http:
  addr: 127.0.0.1:{port}
"""

USERS = """
auth:
  htpasswd:
    realm: acme
    path: {file}
"""


@pytest.fixture(scope="session")
def shell_base(docker: "DockerClient") -> str:
    """The name of an image with a shell."""
    import_image(SHELL_BASE, {"bin/busybox": static_busybox()}, SHELL, ["CMD /bin/sh"])
    return SHELL_BASE


@pytest.fixture
def start_registry(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts the registry server of Docker: whether it refuses to write, and its users, in; its
    address out."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry server (Debian: docker-registry)")
    processes: list[subprocess.Popen[bytes]] = []

    def start(readonly: bool = False, users: str = "") -> str:
        port = free_port()
        config = tmp_path / f"registry-{port}.yml"
        folder = tmp_path / f"registry-{port}"
        text = CONFIG.format(folder=folder, port=port, readonly=str(readonly).lower())
        if users:
            file = tmp_path / f"users-{port}"
            file.write_text(users)
            text += USERS.format(file=file)
        config.write_text(text)
        processes.append(
            subprocess.Popen(
                [program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        wait_for(lambda: _answers(port))
        return f"127.0.0.1:{port}/acme"

    yield start
    for process in processes:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/").close()
    except HTTPError as error:
        # A registry with users wants a sign-in.
        return error.code == HTTPStatus.UNAUTHORIZED
    except OSError:
        return False
    return True
