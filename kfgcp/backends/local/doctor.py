"""The links of a run on this machine."""

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

NEEDED: Final = 200_000_000
"""Bytes that must be free: about what a virtual environment with a few packages takes."""


def local_checks(project: Project, env: Environment) -> list[Check]:
    """The checks in the order in which a run would meet what they look at."""
    checks: list[Check] = [
        ("python", python),
        ("kfp", kfp),
        ("disk", partial(disk, project.home)),
        ("store", partial(store, project.home)),
        ("uv", uv),
        ("docker", docker),
    ]
    if LocalSettings.of(env.settings).pipeline_root:
        checks.append(("pipeline_root", partial(pipeline_root, env, project.root)))
    return checks


def python() -> str:
    return f"{sys.version.split()[0]}, {sys.executable}"


def kfp() -> str:
    """The SDK can be imported."""
    return kfp_version()


def disk(home: Path, needed: int = NEEDED) -> str:
    """There is room in the state folder."""
    folder = _nearest(home)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StateError(
            f"{free / 1e6:.0f} MB are free for the state folder {home}, and {needed / 1e6:.0f} MB"
            " are needed.",
            hint=(
                "Make room (kfgcp delete RUN removes a run's artifacts), or: export"
                " KFGCP_HOME=FOLDER"
            ),
        )
    return f"{free / 1e9:.1f} GB free for {home}"


def store(home: Path) -> str:
    """The index of runs opens and can be written; nothing is written."""
    file = home / DATABASE_NAME
    folder = _nearest(home)
    if not file.exists():
        if not os.access(folder, os.W_OK | os.X_OK):
            raise database.read_only(home)
        return f"{file} will be made"
    database.examine(file)
    if not database.writable(file):
        raise database.read_only(home)
    return str(file)


def uv() -> str:
    """What installs `packages_to_install` is there."""
    try:
        done = subprocess.run(
            [uv_program(), "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, ImportError, subprocess.SubprocessError) as error:
        raise BackendError(
            f"uv, which installs packages_to_install, cannot be started ({type(error).__name__}).",
            hint=f"{sys.executable} -m pip install --force-reinstall uv",
        ) from None
    return done.stdout.strip()


def docker() -> str | Aside:
    """A Docker engine answers; pipelines of Python components need none."""
    from kfgcp.engine.executors.docker import connect

    try:
        client = connect()
    except MissingExtra as error:
        return Aside(
            "the package docker is not installed; container components need it", error.hint
        )
    except Unsupported as error:
        return Aside(error.message, error.hint)
    try:
        return f"engine {client.version().get('Version', '')}".strip()
    except Exception as error:  # it went away just now
        return Aside(f"The Docker engine does not answer ({type(error).__name__}).")
    finally:
        client.close()


def pipeline_root(env: Environment, project_root: Path) -> str:
    """Outputs can be put there: the bucket can be listed, or the folder written."""
    root = output_root(env, project_root)
    if not is_bucket_uri(root) and not os.access(_nearest(Path(root)), os.W_OK | os.X_OK):
        raise BackendError(
            f"The pipeline root {root} cannot be written.",
            hint=f"mkdir -p {root}, or mend its rights",
        )
    return root


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())
