"""Google's application default credentials of this machine, for containers that are to have
them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kfgcp.errors import Unsupported

VARIABLE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
PROJECTS: Final = ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
INSIDE: Final = "/run/kfgcp/credentials.json"
"""Where a container finds the file."""


def find() -> Path:
    """The file: the one that the variable names, else the one that gcloud wrote, in Google's own
    order.

    Raises:
        Unsupported: there is none.
    """
    named = os.environ.get(VARIABLE)
    folder = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    file = (
        Path(named) if named else Path(folder, "application_default_credentials.json")
    ).absolute()
    if not file.is_file():
        raise Unsupported(
            f"container_credentials is set, but there is no file {file}",
            hint=f"Run: gcloud auth application-default login, or set {VARIABLE}.",
        )
    return file


def environment() -> dict[str, str]:
    """Variables of a container that has the file at `INSIDE`."""
    return {VARIABLE: INSIDE} | {
        name: os.environ[name] for name in PROJECTS if os.environ.get(name)
    }
