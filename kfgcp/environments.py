"""An environment that Terraform made, written into kfgcp.toml; the rest of the file stays, comments
included."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kfgcp import config
from kfgcp.atomic import write_file
from kfgcp.backends.registry import load_project, plugin_of
from kfgcp.errors import ConfigError, StateError, UsageError

OUTPUT: Final = "kfgcp_environments"
"""The output of terraform/envs/*: what is imported -> the keys of an environment."""
_COMMAND: Final = "terraform output -json | kfgcp env import NAME"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_HEADER: Final = re.compile(r"\s*\[")


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written. text: the table as it is in the file now."""

    name: str
    file: Path
    text: str
    replaced: bool


def import_environment(
    file: Path, name: str, outputs: str, *, key: str | None = None, replace: bool = False
) -> Imported:
    """Write an environment into a kfgcp.toml, as Terraform's outputs have it.

    Args:
        file: the kfgcp.toml, which is made when it is not there.
        name: the name of the environment.
        outputs: what `terraform output -json` printed.
        key: which of several it is; `name` when missing.
        replace: whether an environment of that name may be there.

    Raises:
        UsageError: the outputs are not Terraform's, or have no such environment; or the name is
            taken.
        ConfigError: kfgcp.toml is not valid, before or afterwards. Nothing was written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of an environment.",
            hint="It has letters, digits, - and _, as in [env.dev].",
        )
    settings = _settings(_found(outputs), name, key)
    before = _read(file)
    there = name in (tomllib.loads(before).get("env") or {})
    if there and not replace:
        raise UsageError(
            f"{file.name} has an [env.{name}] already.", hint="--replace writes it anew."
        )
    table = (
        "\n".join(
            [f"[env.{name}]", *(f"{key} = {_toml(value)}" for key, value in settings.items())]
        )
        + "\n"
    )
    after = _replaced(before, name, table, file) if there else _appended(before, table)
    _check(before, after, name, settings, file)
    _write(file, after)
    return Imported(name, file, table, there)


def _found(outputs: str) -> Mapping[str, Any]:
    try:
        said = json.loads(outputs)
    except ValueError as error:
        raise UsageError(f"What was read is not JSON: {error}.", hint=f"Try: {_COMMAND}") from None
    if not isinstance(said, dict):
        raise UsageError(
            "What was read is JSON, but not the outputs of Terraform.", hint=f"Try: {_COMMAND}"
        )
    if not said:
        raise UsageError(
            "Terraform has no outputs.",
            hint="Run it in the folder of the environment, after apply.",
        )
    output = said.get(OUTPUT)
    value = output.get("value") if isinstance(output, dict) else None
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        names = ", ".join(sorted(said))
        raise UsageError(
            f"There is no output {OUTPUT} with environments, only: {names}.",
            hint=f"Try: {_COMMAND}",
        )
    return value


def _settings(found: Mapping[str, Any], name: str, key: str | None) -> dict[str, Any]:
    """The keys of the chosen environment, those first that it must have, without what is null."""
    chosen = key or (name if name in found or len(found) != 1 else next(iter(found)))
    if chosen not in found:
        hint = f"Say which it is: --from KEY, of: {', '.join(sorted(found)) or 'none'}."
        raise UsageError(f"Terraform's outputs have no environment '{chosen}'.", hint=hint)
    given = {key: value for key, value in found[chosen].items() if value is not None}
    backend = given.get("backend")
    for key, value in given.items():
        inside = (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
        if None in inside:
            raise UsageError(
                f"Terraform's outputs for '{chosen}' have a null in {key}.",
                hint="Leave it out there.",
            )
    first = ["backend"]
    if isinstance(backend, str):
        # An unknown backend is an error of the check that follows.
        with suppress(ConfigError):
            first += plugin_of(backend).settings.required({})
    return {
        key: given[key]
        for key in [*(key for key in first if key in given), *sorted(given.keys() - set(first))]
    }


def _read(file: Path) -> str:
    try:
        with file.open(
            encoding="utf-8-sig", newline=""
        ) as opened:  # the ends of lines stay what they are
            return opened.read()
    except FileNotFoundError:
        return ""


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (
            f"{key if _NAME.fullmatch(key) else json.dumps(key)} = {_toml(each)}"
            for key, each in value.items()
        )
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _appended(before: str, table: str) -> str:
    if not before.strip():
        return table
    end = "\r\n" if "\r\n" in before else "\n"
    return before.rstrip() + end * 2 + table.replace("\n", end)


def _replaced(before: str, name: str, table: str, file: Path) -> str:
    """The text with another table; comments on lines of their own stay."""
    lines = before.splitlines(keepends=True)
    quoted = rf"(?:{name}|\"{name}\"|'{name}')"
    own = re.compile(rf"\s*\[\s*env\s*\.\s*{quoted}\s*\]")
    below = re.compile(rf"\s*\[\s*env\s*\.\s*{quoted}\s*\.")
    first = next((at for at, line in enumerate(lines) if own.match(line)), None)
    if first is None:
        raise ConfigError(
            f"{file.name} has the environment {name}, but not as a table [env.{name}].",
            hint="Change it by hand.",
        )
    last = next(
        (
            at
            for at in range(first + 1, len(lines))
            if _HEADER.match(lines[at]) and not below.match(lines[at])
        ),
        len(lines),
    )
    of_next = last
    while of_next > first + 1 and (
        not lines[of_next - 1].strip() or lines[of_next - 1].lstrip().startswith("#")
    ):
        of_next -= 1
    end = "\r\n" if "\r\n" in before else "\n"
    header, *pairs = table.replace("\n", end).splitlines(keepends=True)
    comments = [line for line in lines[first + 1 : of_next] if line.lstrip().startswith("#")]
    return "".join([*lines[:first], header, *comments, *pairs, *lines[of_next:]])


def _check(before: str, after: str, name: str, settings: Mapping[str, Any], file: Path) -> None:
    """Refuses a text that is not valid, or that says something else of the rest than before."""
    old, new = tomllib.loads(before), _parsed(after)
    if (
        new is None
        or new.get("env", {}).get(name) != settings
        or _rest(old, name) != _rest(new, name)
    ):
        raise ConfigError(
            f"{file.name} is written in a way that kfgcp cannot change.", hint="Change it by hand."
        )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / config.FILE_NAME).write_text(after, encoding="utf-8", newline="")
        for included in config.included_files(new.get("include", []), file.parent):
            copy = Path(folder) / included.relative_to(file.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(included, copy)
        environment = load_project(Path(folder), {}).env(name)
    missing = environment.missing
    if missing:
        raise UsageError(
            f"Terraform's outputs for '{name}' have no {', '.join(missing)}.",
            hint=f"Try: {_COMMAND}",
        )


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _rest(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    environments = {other: table for other, table in data.get("env", {}).items() if other != name}
    return {**data, "env": environments}


def _write(file: Path, text: str) -> None:
    try:
        write_file(file, text.encode())
    except OSError as error:
        raise StateError(f"{file} cannot be written: {error.strerror or error}.") from None
