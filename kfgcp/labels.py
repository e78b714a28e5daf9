"""The labels that every run of kfgcp has on every backend, to find it and to trace it back.

    pipeline     the name of the pipeline
    version      the first 12 digits of its digest
    git          the commit that the folder of the pipeline was at, 40 digits
    git-dirty    true or false: whether tracked files had changes that were not committed
    env          the name of the environment
    submission   a value that no other submission has
    experiment   the group of runs that the run belongs to, on remote backends
    user         who submitted the run

The values follow Google's rules for labels: at most 63 lowercase letters, digits, `_` and `-`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Seconds that git may take to look through a large repository. After that, the run has no git
# labels.
GIT_SECONDS: Final = 5.0

# The longest value of a label on Google Cloud.
MAX_LENGTH: Final = 63

SUBMISSION: Final = "submission"
EXPERIMENT: Final = "experiment"

# The labels of the runs of schedules, see kfgcp/backends/schedule_labels.py.
PROJECT: Final = "kfgcp-project"
SCHEDULE: Final = "kfgcp-schedule"
DUE: Final = "kfgcp-due"

# The other schedules that may have started a run, with blanks between, see
# kfgcp/backends/kubeflow/schedule_runs.py. It is only in what kfgcp reads.
OTHER_SCHEDULES: Final = "kfgcp-other-schedules"

# Labels that say something about one run, and would be wrong in its repetition.
_LABELS_OF_ONE_RUN: Final = (
    "env",
    "user",
    SUBMISSION,
    EXPERIMENT,
    PROJECT,
    SCHEDULE,
    DUE,
    OTHER_SCHEDULES,
)

# The labels that say which commit a pipeline comes from.
GIT_LABELS: Final = ("git", "git-dirty")

# Labels that services of Google add to a run.
PREFIXES_OF_GOOGLE: Final = ("goog-", "vertex-ai-")


def automatic_labels(*, pipeline: str, version: str, env: str, folder: Path) -> dict[str, str]:
    """Return the labels of a run, without `submission`, which its backend sets.

    Args:
        pipeline: the name of the pipeline.
        version: its digest, `sha256:...`.
        env: the name of the environment.
        folder: where the pipeline comes from.
    """
    labels = {
        **pipeline_labels(pipeline, version),
        **_git_labels(folder),
        "env": label_value(env),
        "user": label_value(user_name()),
    }
    return {name: value for name, value in labels.items() if value}


def pipeline_labels(pipeline: str, version: str) -> dict[str, str]:
    """Return the labels that say what a run executes.

    Example:
        >>> pipeline_labels("Churn", "sha256:0123456789abcdef")
        {'pipeline': 'churn', 'version': '0123456789ab'}
    """
    return {"pipeline": label_value(pipeline), "version": version.removeprefix("sha256:")[:12]}


def repeated_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a run that its repetition has too.

    These are the labels that people gave it, and those about its pipeline.
    """
    return {
        name: value
        for name, value in labels.items()
        if name not in _LABELS_OF_ONE_RUN and not name.startswith(PREFIXES_OF_GOOGLE)
    }


def label_value(text: str) -> str:
    """Return a text as the value of a label. Characters that are not allowed become `-`.

    Example:
        >>> label_value("Ada Lovelace (admin)")
        'ada-lovelace-admin'
    """
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:MAX_LENGTH].strip("-")


def user_name() -> str:
    """Return the name of the user of this process, "" without one."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        # In a container, the user may have no name.
        return ""


def _git_labels(folder: Path) -> dict[str, str]:
    """Return the commit of the repository that a folder is in, and whether files have changes.

    Without git or a repository, there are no labels.
    """
    command = ["git", "-C", str(folder), "status", "--porcelain=v2"]
    command += ["--branch", "--untracked-files=no"]
    try:
        git_status = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    commit = re.search(r"^# branch\.oid ([0-9a-f]{40,63})$", git_status.stdout, re.MULTILINE)
    if git_status.returncode != 0 or commit is None:
        return {}
    # Lines with "#" are about the branch. Each other line is a changed file.
    is_dirty = any(line and not line.startswith("#") for line in git_status.stdout.splitlines())
    return {"git": commit[1], "git-dirty": "true" if is_dirty else "false"}
