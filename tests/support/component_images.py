"""The images of kfgcp's components, built once on a machine and used by all tests.

The images stay after the tests. The next run of the tests uses them when nothing has changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kfgcp
from kfgcp.errors import KfgcpError
from made_images import image_lock, import_python

if TYPE_CHECKING:
    from docker import DockerClient

PYTHON_BASE = "kfgcp-tests/python-base:2"


@pytest.fixture(scope="session")
def docker() -> Iterator[DockerClient]:
    """A client of the Docker engine of this machine."""
    from kfgcp.services.docker_engine import connect

    try:
        client = connect()
    except KfgcpError as error:
        pytest.skip(error.message)
    yield client
    client.close()


@pytest.fixture(scope="session")
def python_base(docker: DockerClient) -> str:
    """The name of an image with Python."""
    import_python(PYTHON_BASE)
    return PYTHON_BASE


def build_images(project: Path, base: str, *names: str) -> list[str]:
    """Build images in a project as `kfgcp images build` does, with the package index of this
    machine.

    Args:
        project: the folder of kfgcp.toml.
        base: the image that the images of kfgcp begin with, see `python_base`.
        names: the names of images.

    Returns:
        The references of the images.
    """
    arguments = {}
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        if os.environ.get(name):
            arguments[name] = os.environ[name]
    # Only the first worker builds. The others find the image after they have waited.
    with image_lock(), kfgcp.Workspace.open(project) as workspace:
        infos = workspace.images.build(*names, base=base, arguments=arguments)
    return [info.reference for info in infos if info.name in names]
