"""The checks of `kfgcp doctor` for runs on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

from kfgcp.backends.local.service import output_root
from kfgcp.backends.local.settings import LocalSettings
from kfgcp.config import Environment, Project
from kfgcp.diagnosis.checks import Aside, Check
from kfgcp.engine.uv_program import uv_program
from kfgcp.errors import BackendError, MissingExtra, StateError, Unsupported
from kfgcp.services.storage.uris import is_bucket_uri
from kfgcp.spec.compile import kfp_version
from kfgcp.store import database
from kfgcp.store.store import DATABASE_NAME

# The check `disk` needs this many free bytes: the size of a virtual environment with a few
# packages.
NEEDED_BYTES: Final = 200_000_000


def local_checks(project: Project, env: Environment) -> list[Check]:
    """Return the checks, in the order in which a run uses the things that they check."""
    settings = LocalSettings.of(env.settings)
    checks: list[Check] = [
        ("python", python),
        ("kfp", kfp),
        ("disk", partial(disk, project.home)),
        ("store", partial(store, project.home)),
        ("uv", uv),
        ("docker", partial(docker, required=settings.executor == "docker")),
    ]
    if settings.pipeline_root:
        checks.append(("pipeline_root", partial(pipeline_root, env, project.root)))
    return checks


def python() -> str:
    """Return the version and the path of the Python that runs kfgcp."""
    return f"{sys.version.split()[0]}, {sys.executable}"


def kfp() -> str:
    """Check that the SDK of KFP can be imported, and return its version."""
    return kfp_version()


def disk(home: Path, needed: int = NEEDED_BYTES) -> str:
    """Check that the disk of the state folder has enough free space.

    Args:
        home: the state folder, which may not exist yet.
        needed: the bytes that must be free.
    """
    folder = _nearest_folder(home)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed:
        raise StateError(
            f"{free_bytes / 1e6:.0f} MB are free for the state folder {home}, and"
            f" {needed / 1e6:.0f} MB are needed.",
            hint=(
                "Free some space (kfgcp delete RUN removes the files of a run), or use another"
                " folder: export KFGCP_HOME=FOLDER"
            ),
        )
    return f"{free_bytes / 1e9:.1f} GB free for {home}"


def store(home: Path) -> str:
    """Check that kfgcp can open and write the database of runs. The check itself writes nothing.

    Args:
        home: the state folder, which may not exist yet.
    """
    file = home / DATABASE_NAME
    folder = _nearest_folder(home)
    if not file.exists():
        if not os.access(folder, os.W_OK | os.X_OK):
            raise database.read_only_error(home)
        return f"{file} will be created"
    database.examine(file)
    if not database.is_writable(file):
        raise database.read_only_error(home)
    return str(file)


def uv() -> str:
    """Check that uv, which installs `packages_to_install`, can be started."""
    try:
        process = subprocess.run(
            [uv_program(), "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, ImportError, subprocess.SubprocessError) as error:
        raise BackendError(
            f"uv, which installs packages_to_install, cannot be started ({type(error).__name__}).",
            hint=f"{sys.executable} -m pip install --force-reinstall uv",
        ) from None
    return process.stdout.strip()


def docker(*, required: bool = False) -> str | Aside:
    """Check that a Docker engine answers. Pipelines of Python components do not need it.

    Without an engine the result is an `Aside`: a dash instead of an error.

    Args:
        required: whether the environment runs all tasks in containers.

    Raises:
        MissingExtra: the docker package is required and not installed.
        Unsupported: an engine is required and none answers.
    """
    from kfgcp.services.docker_engine import connect

    if required:
        connect().close()
    try:
        client = connect()
    except MissingExtra as error:
        return Aside(
            "The package docker is not installed. Container components need it.", error.hint
        )
    except Unsupported as error:
        return Aside(error.message, error.hint)
    try:
        return f"engine {client.version().get('Version', '')}".strip()
    except Exception as error:
        # The client raises its own errors, and those of the libraries requests and urllib3.
        return Aside(f"The Docker engine does not answer ({type(error).__name__}).")
    finally:
        client.close()


def pipeline_root(env: Environment, project_root: Path) -> str:
    """Check that kfgcp can write artifacts: the folder is writable, or the bucket can be listed."""
    # For a bucket, `output_root` has a side effect: it lists the bucket, and raises when that
    # fails.
    root = output_root(env, project_root)
    if is_bucket_uri(root):
        return root
    if not os.access(_nearest_folder(Path(root)), os.W_OK | os.X_OK):
        raise BackendError(
            f"The pipeline root {root} cannot be written.",
            hint=f"Create it (mkdir -p {root}), or correct its permissions.",
        )
    return root


def _nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    while not folder.is_dir():
        folder = folder.parent
    return folder
