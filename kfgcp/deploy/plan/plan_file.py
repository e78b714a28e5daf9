"""A plan in a file, for `kfgcp apply FILE`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp import __version__
from kfgcp.atomic import write_file
from kfgcp.deploy.plan.commands import file_argument
from kfgcp.deploy.plan.fingerprint import Fingerprint
from kfgcp.deploy.plan.plan import Plan
from kfgcp.errors import StateError, UsageError
from kfgcp.model import JsonValue

FORMAT: Final = 1
"""The version of the file. Increase it when a key gets another meaning."""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What `apply` needs of a plan in a file.

    Attributes:
        project: the name of the project.
        env: the name of the environment.
        names: the pipelines and schedules that the user named; empty for everything.
        changes: the changes as JSON, which people have read.
        fingerprint: what the plan was computed from.
    """

    project: str
    env: str
    names: tuple[str, ...]
    changes: JsonValue
    fingerprint: Fingerprint


def write_plan(plan: Plan, file: Path) -> None:
    """Write a plan to a file. Only a file with a plan is replaced.

    Raises:
        UsageError: the file is something else, such as kfgcp.toml.
        StateError: the file cannot be written.
    """
    if file.exists() and not _is_plan(file):
        raise UsageError(
            f"{file} exists and is not a plan of kfgcp, so it is not replaced.",
            hint="Choose another file with --out.",
        )
    data: dict[str, JsonValue] = {"format": FORMAT, "kfgcp": __version__}
    data |= plan.to_dict()
    data["fingerprint"] = plan.fingerprint.to_dict()
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    try:
        write_file(file, text.encode())
    except OSError as error:
        raise StateError(
            f"{file} cannot be written: {error.strerror or error}.",
            hint="Choose another file with --out.",
        ) from error


def read_plan(file: Path) -> SavedPlan:
    """Read the file of a plan.

    Raises:
        UsageError: the file cannot be read, or is not a plan of this kfgcp.
    """
    try:
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror or error}.", hint=_make_hint(file)
        ) from None
    except (ValueError, RecursionError):
        raise _not_a_plan(file) from None
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise _not_a_plan(file)
    if data["format"] != FORMAT:
        raise UsageError(
            f"{file} is a plan in the format {data['format']}, and this kfgcp reads {FORMAT}.",
            hint=_make_hint(file),
        )
    try:
        return _read(data)
    except (KeyError, TypeError, ValueError):
        raise _not_a_plan(file) from None


def _read(data: dict[str, JsonValue]) -> SavedPlan:
    """Return the values of a file.

    Raises:
        KeyError, ValueError: a value is missing, or has another type.
    """
    names = data["names"]
    fingerprint = data["fingerprint"]
    if not isinstance(names, list) or not isinstance(fingerprint, dict):
        raise ValueError("names or fingerprint")
    texts = [data["project"], data["env"]] + names
    project, env, *own_names = [text for text in texts if isinstance(text, str)]
    if len(own_names) != len(names):
        raise ValueError("names")
    parsed = Fingerprint.from_dict(fingerprint)
    return SavedPlan(project, env, tuple(own_names), data["changes"], parsed)


def _is_plan(file: Path) -> bool:
    """Return whether a file has a plan, of any format."""
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and "kfgcp" in data and "fingerprint" in data


def _not_a_plan(file: Path) -> UsageError:
    return UsageError(
        f"{file} is not a plan of kfgcp.",
        hint="Make a plan in another file: kfgcp plan --env ENV --out FILE",
    )


def _make_hint(file: Path) -> str:
    return f"Make a new plan: kfgcp plan --env ENV --out {file_argument(file)}"
