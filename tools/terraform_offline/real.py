"""Whether the real providers can be had: asked of Terraform itself, once an hour, so that no test
waits long."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

SECONDS: Final = 20
"""For the question; a network that swallows packets must not hold the tests up."""
REMEMBERED: Final = 3600
QUESTION: Final = """\
terraform {
  required_providers {
    null = { source = "hashicorp/null" }
  }
}
"""
"""The smallest provider: what is asked is whether a registry answers."""


def can_be_had(terraform: str, environment: dict[str, str], cache: Path) -> bool:
    """Whether `terraform init` gets a provider from where it looks by itself; the answer is kept
    for an hour."""
    cache.mkdir(parents=True, exist_ok=True)
    answer = cache / "registry-answers"
    with (cache / "registry.lock").open("w") as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # of several processes one asks, the others wait for its answer
        if answer.is_file() and time.time() - answer.stat().st_mtime < REMEMBERED:
            return answer.read_text() == "yes"
        found = _ask(terraform, environment)
        answer.write_text("yes" if found else "no")
        return found


def _ask(terraform: str, environment: dict[str, str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "main.tf").write_text(QUESTION)
        command = [terraform, "init", "-backend=false", "-input=false"]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0
