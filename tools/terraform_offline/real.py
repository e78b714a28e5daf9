"""Find out whether the real providers can be downloaded.

Terraform tries a download. The result is kept for an hour, so that tests do not wait often.
"""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

# Seconds for the download. In a network that drops packets, it would never end.
TIMEOUT: Final = 20

# Seconds for which an answer is used again.
MAX_AGE: Final = 3600

# The smallest provider is enough to see whether a registry answers.
CONFIGURATION: Final = """\
terraform {
  required_providers {
    null = { source = "hashicorp/null" }
  }
}
"""


def registry_answers(terraform: str, environment: dict[str, str], cache: Path) -> bool:
    """Return whether `terraform init` can download a provider.

    Args:
        terraform: the path of the program.
        environment: all variables of its process.
        cache: the folder in which the answer is kept.
    """
    cache.mkdir(parents=True, exist_ok=True)
    answer_file = cache / "registry-answers"
    with (cache / "registry.lock").open("w") as lock:
        # When several processes need the answer, one asks and the others wait for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if answer_file.is_file() and time.time() - answer_file.stat().st_mtime < MAX_AGE:
            return answer_file.read_text() == "yes"
        answers = _can_download(terraform, environment)
        answer_file.write_text("yes" if answers else "no")
        return answers


def _can_download(terraform: str, environment: dict[str, str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "main.tf").write_text(CONFIGURATION)
        command = [terraform, "init", "-backend=false", "-input=false"]
        try:
            process = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return False
        return process.returncode == 0
