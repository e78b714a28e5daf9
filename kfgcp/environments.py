"""Write an environment that Terraform made into kfgcp.toml.

The rest of the file stays as it is, comments included. Therefore the text of the file is changed,
not its parsed tables. The result is parsed and compared with the old file before it is written.
"""

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
from typing import Any, Final, TypeGuard

from kfgcp import config
from kfgcp.atomic import write_file
from kfgcp.backends.registry import load_project, plugin_of
from kfgcp.errors import ConfigError, StateError, UsageError
from kfgcp.model import JsonValue

# The output of terraform/envs/*: a table from a key to the settings of an environment.
OUTPUT: Final = "kfgcp_environments"

Settings = Mapping[str, JsonValue]
_COMMAND: Final = "terraform output -json | kfgcp env import NAME"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TABLE_HEADER: Final = re.compile(r"\s*\[")


@dataclass(frozen=True, slots=True)
class Imported:
    """An environment that was written.

    Attributes:
        name: the name of the environment.
        file: the kfgcp.toml.
        text: the table of the environment, as it was written to the file.
        replaced: the file had an environment with this name before.
    """

    name: str
    file: Path
    text: str
    replaced: bool


def import_environment(
    file: Path, name: str, outputs: str, *, key: str | None = None, replace: bool = False
) -> Imported:
    """Write an environment from the outputs of Terraform into a kfgcp.toml.

    Args:
        file: the kfgcp.toml, which is created when it is missing.
        name: the name of the environment.
        outputs: what `terraform output -json` printed.
        key: the key of the environment in the outputs; `name` when None.
        replace: replace an environment with this name.

    Raises:
        UsageError: the outputs are not those of Terraform, or have no such environment. Or the name
            is taken.
        ConfigError: kfgcp.toml is not valid, before or afterwards. Nothing was written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of an environment.",
            hint="Use letters, digits, - and _, as in [env.dev].",
        )
    environments = _read_outputs(outputs)
    settings = _choose_settings(environments, name, key)
    text_before = _read_file(file)
    is_taken = name in (tomllib.loads(text_before).get("env") or {})
    if is_taken and not replace:
        raise UsageError(
            f"{file.name} already has the environment [env.{name}].",
            hint="Use --replace, or choose another name.",
        )
    table = _format_table(name, settings)
    if is_taken:
        text_after = _replace_table(text_before, name, table, file)
    else:
        text_after = _append_table(text_before, table)
    _check_text(text_before, text_after, name, settings, file)
    _write_file(file, text_after)
    return Imported(name, file, table, is_taken)


# -- the outputs of Terraform


def _read_outputs(outputs: str) -> Mapping[str, Settings]:
    """Return the settings of the environments in the outputs, by their keys."""
    try:
        data = json.loads(outputs)
    except ValueError as error:
        raise UsageError(f"The input is not JSON: {error}.", hint=f"Try: {_COMMAND}") from None
    if not isinstance(data, dict):
        raise UsageError(
            "The input is JSON, but not the output of terraform output -json.",
            hint=f"Try: {_COMMAND}",
        )
    if not data:
        raise UsageError(
            "The input has no outputs of Terraform.",
            hint="Run terraform output in a folder of terraform/envs, after terraform apply.",
        )
    output = data.get(OUTPUT)
    environments = output.get("value") if isinstance(output, dict) else None
    if not _is_table_of_tables(environments):
        names = ", ".join(sorted(data))
        raise UsageError(
            f"The outputs have no table {OUTPUT} of environments. The outputs are: {names}.",
            hint=f"Try: {_COMMAND}",
        )
    return environments


def _is_table_of_tables(value: object) -> TypeGuard[Mapping[str, Settings]]:
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())


def _choose_settings(
    environments: Mapping[str, Settings], name: str, key: str | None
) -> dict[str, JsonValue]:
    """Return the settings of one environment without nulls, the required keys first."""
    chosen = key or name
    if not key and name not in environments and len(environments) == 1:
        chosen = next(iter(environments))
    if chosen not in environments:
        keys = ", ".join(sorted(environments)) or "none"
        raise UsageError(
            f"The outputs of Terraform have no environment '{chosen}'.",
            hint=f"Choose one with --from KEY. The keys are: {keys}.",
        )
    # Terraform writes optional attributes that are not set as null, which TOML does not have.
    settings = {key: value for key, value in environments[chosen].items() if value is not None}
    for setting, value in settings.items():
        if _contains_null(value):
            raise UsageError(
                f"In the outputs of Terraform, {setting} of '{chosen}' contains null.",
                hint=f"Remove the null from {setting} in Terraform.",
            )
    required = _required_keys(settings.get("backend"))
    required_keys = [key for key in required if key in settings]
    other_keys = sorted(settings.keys() - set(required))
    return {key: settings[key] for key in required_keys + other_keys}


def _contains_null(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return None in value.values()
    return isinstance(value, list) and None in value


def _required_keys(backend: JsonValue) -> list[str]:
    keys = ["backend"]
    if isinstance(backend, str):
        # `_check_text` raises the error for an unknown backend.
        with suppress(ConfigError):
            keys += plugin_of(backend).settings.required({})
    return keys


# -- the text of kfgcp.toml


def _read_file(file: Path) -> str:
    try:
        # newline="": the line ends stay as they are. "utf-8-sig" also reads a byte order mark.
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _format_table(name: str, settings: Settings) -> str:
    lines = [f"[env.{name}]"]
    lines += [f"{key} = {_format_value(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _format_value(value: JsonValue) -> str:
    """Return a value as TOML. Its texts, numbers and booleans are written as in JSON."""
    if isinstance(value, dict):
        pairs = []
        for key, entry in value.items():
            toml_key = key if _NAME.fullmatch(key) else json.dumps(key)
            pairs.append(f"{toml_key} = {_format_value(entry)}")
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, list):
        entries = ", ".join(_format_value(entry) for entry in value)
        return f"[{entries}]"
    return json.dumps(value, ensure_ascii=False)


def _append_table(text: str, table: str) -> str:
    if not text.strip():
        return table
    line_end = _line_end(text)
    return text.rstrip() + line_end * 2 + table.replace("\n", line_end)


def _replace_table(text: str, name: str, table: str, file: Path) -> str:
    """Return the text with a new table for an environment. Whole lines of comments stay."""
    lines = text.splitlines(keepends=True)
    quoted_name = rf"(?:{name}|\"{name}\"|'{name}')"
    own_header = re.compile(rf"\s*\[\s*env\s*\.\s*{quoted_name}\s*\]")
    nested_header = re.compile(rf"\s*\[\s*env\s*\.\s*{quoted_name}\s*\.")
    headers = [number for number, line in enumerate(lines) if own_header.match(line)]
    if not headers:
        raise ConfigError(
            f"kfgcp cannot replace the environment {name}, because {file.name} does not define it"
            f" as a table [env.{name}].",
            hint="Edit the file by hand.",
        )
    start = headers[0]
    end = start + 1
    while end < len(lines) and not _is_next_table(lines[end], nested_header):
        end += 1
    # Empty lines and comments above the next table belong to that table.
    while end > start + 1 and _is_empty_or_comment(lines[end - 1]):
        end -= 1
    comments = [line for line in lines[start + 1 : end] if line.lstrip().startswith("#")]
    new_lines = table.replace("\n", _line_end(text)).splitlines(keepends=True)
    new_table = new_lines[:1] + comments + new_lines[1:]
    return "".join(lines[:start] + new_table + lines[end:])


def _is_next_table(line: str, nested_header: re.Pattern[str]) -> bool:
    return _TABLE_HEADER.match(line) is not None and nested_header.match(line) is None


def _is_empty_or_comment(line: str) -> bool:
    stripped = line.strip()
    return not stripped or stripped.startswith("#")


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


# -- the check before writing


def _check_text(before: str, after: str, name: str, settings: Settings, file: Path) -> None:
    """Refuse a text that is not valid, or that changes more than the environment.

    Raises:
        ConfigError: kfgcp cannot change this file, or the environment is not valid.
        UsageError: a required key is missing.
    """
    data_before = tomllib.loads(before)
    data_after = _parse(after)
    if (
        data_after is None
        or data_after.get("env", {}).get(name) != settings
        or _without_environment(data_before, name) != _without_environment(data_after, name)
    ):
        raise ConfigError(
            f"kfgcp cannot change {file.name}, because its format is unusual.",
            hint="Edit the file by hand.",
        )
    missing = _missing_keys(after, data_after.get("include", []), name, file.parent)
    if missing:
        raise UsageError(
            f"The outputs of Terraform for '{name}' have no {', '.join(missing)}.",
            hint=f"Try: {_COMMAND}",
        )


def _missing_keys(text: str, include: Any, name: str, folder: Path) -> tuple[str, ...]:
    """Return the required keys that an environment does not have.

    The text and the included files are loaded from a temporary folder, without the environment
    variables of this process: the file must be valid by itself.
    """
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / config.FILE_NAME).write_text(text, encoding="utf-8", newline="")
        for included in config.included_files(include, folder):
            copy = Path(temporary) / included.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(included, copy)
        return load_project(Path(temporary), {}).env(name).missing


def _parse(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _without_environment(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    environments = {other: table for other, table in data.get("env", {}).items() if other != name}
    return {**data, "env": environments}


def _write_file(file: Path, text: str) -> None:
    try:
        write_file(file, text.encode())
    except OSError as error:
        raise StateError(f"{file} cannot be written: {error.strerror or error}.") from None
