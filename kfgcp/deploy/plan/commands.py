"""Build the commands that hints tell users to type. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def file_argument(file: Path) -> str:
    """Return a file as an argument of `kfgcp apply`.

    The command takes names of pipelines too. `./` shows that the argument is a file.

    Example:
        >>> file_argument(Path("churn")), file_argument(Path("my plan.json"))
        ('./churn', "'my plan.json'")
    """
    text = str(file)
    if not any(mark in text for mark in "./\\") or text.startswith("-"):
        text = f"./{text}"
    return shlex.quote(text)


def plan_command(env: str, names: Sequence[str], file: Path | None = None) -> str:
    """Return the command that makes a plan.

    Example:
        >>> plan_command("dev", ["daily"], Path("dev.plan"))
        'kfgcp plan daily --env dev --out dev.plan'
    """
    return _command("plan", env, names) + ("" if file is None else f" --out {file_argument(file)}")


def apply_command(env: str, names: Sequence[str], file: Path | None = None) -> str:
    """Return the command that applies a plan.

    Example:
        >>> apply_command("dev", ["daily"])
        'kfgcp apply daily --env dev'
    """
    if file is not None:
        return f"kfgcp apply {file_argument(file)}"
    return _command("apply", env, names)


def _command(verb: str, env: str, names: Sequence[str]) -> str:
    arguments = "".join(f" {shlex.quote(name)}" for name in names)
    return f"kfgcp {verb}{arguments} --env {shlex.quote(env)}"
