"""The labels that every run of ours carries on every backend, so that it can be found and traced
back.

    pipeline     the pipeline's name
    version      the first 12 digits of its digest
    git          the commit that the pipeline's folder was at, 40 digits
    git-dirty    true or false: whether files that git knows had changes that were not committed
    env          the environment's name
    submission   what tells this submission apart from all others
    experiment   the group of runs it belongs to, on remote backends
    user         who submitted it

They keep to what Google allows in labels: at most 63 lowercase letters, digits, `_` and `-`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

GIT_SECONDS: Final = 5.0
"""How long git may take to look through a repository; after that the run has no git labels."""
LONGEST: Final = 63
SUBMISSION: Final = "submission"
EXPERIMENT: Final = "experiment"
_OF_ONE_RUN: Final = ("env", "user", SUBMISSION, EXPERIMENT)
_GOOGLES: Final = ("goog-", "vertex-ai-")


def automatic(*, pipeline: str, version: str, env: str, folder: Path) -> dict[str, str]:
    """The labels of a run, but for `submission`, which its backend sets.

    Args:
        pipeline: name of the pipeline.
        version: its digest, `sha256:...`.
        env: name of the environment.
        folder: where the pipeline comes from.
    """
    found = {
        **of_pipeline(pipeline, version),
        **_git(folder),
        "env": fitting(env),
        "user": fitting(_user()),
    }
    return {name: value for name, value in found.items() if value}


def of_pipeline(pipeline: str, version: str) -> dict[str, str]:
    """The labels that say what a run runs: its pipeline's name, and the beginning of the digest."""
    return {"pipeline": fitting(pipeline), "version": version.removeprefix("sha256:")[:12]}


def repeated(labels: Mapping[str, str]) -> dict[str, str]:
    """What of a run's labels a repetition of it carries too: its origin and what people gave it."""
    return {
        name: value
        for name, value in labels.items()
        if name not in _OF_ONE_RUN and not name.startswith(_GOOGLES)
    }


def fitting(text: str) -> str:
    """A text as the value of a label: what is not allowed becomes `-`, the end is cut off."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:LONGEST].strip("-")


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        return ""


def _git(folder: Path) -> dict[str, str]:
    """Commit and dirty flag of the repository that a folder is in; nothing where there is none, or
    no git."""
    try:
        done = subprocess.run(
            [
                "git",
                "-C",
                str(folder),
                "status",
                "--porcelain=v2",
                "--branch",
                "--untracked-files=no",
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    commit = re.search(r"^# branch\.oid ([0-9a-f]{40,63})$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or commit is None:
        return {}
    dirty = any(line and not line.startswith("#") for line in done.stdout.splitlines())
    return {"git": commit[1], "git-dirty": "true" if dirty else "false"}
