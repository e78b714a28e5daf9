"""Find Google's application default credentials on this machine, and pass them to containers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kfgcp.errors import Unsupported

VARIABLE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
PROJECT_VARIABLES: Final = ("GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
INSIDE: Final = "/run/kfgcp/credentials.json"
"""The path of the credentials file inside a container."""


def find() -> Path:
    """Return the file with the credentials.

    As in Google's libraries, this is the file that `VARIABLE` names. Without the variable, it is
    the file that gcloud wrote.

    Raises:
        Unsupported: there is no such file.
    """
    file = _candidate().absolute()
    if not file.is_file():
        raise Unsupported(
            f"container_credentials is set, but there is no file {file}",
            hint=f"Run: gcloud auth application-default login, or set {VARIABLE}.",
        )
    return file


def _candidate() -> Path:
    named_file = os.environ.get(VARIABLE)
    if named_file:
        return Path(named_file)
    folder = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    return Path(folder, "application_default_credentials.json")


def environment() -> dict[str, str]:
    """Return the environment variables of a container with the credentials file at `INSIDE`."""
    variables = {VARIABLE: INSIDE}
    for name in PROJECT_VARIABLES:
        project = os.environ.get(name)
        if project:
            variables[name] = project
    return variables
