"""Read the tables of kfgcp.toml and of the files that it includes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kfgcp.errors import ConfigError
from kfgcp.settings import TomlTable, check_types, refuse_unknown

FILE_NAME: Final = "kfgcp.toml"

PROJECT_KEYS: Final[Mapping[str, type]] = {
    "name": str,
    "experiment": str,
    "image_registry": str,
    "metrics": dict,
}

# The keys of [image.NAME]: docs/guides/images.md.
IMAGE_KEYS: Final[Mapping[str, type]] = {"context": str, "dockerfile": str}

CHECK_KEYS: Final[Mapping[str, type]] = {"ignore": dict}

# The keys of [dashboard] and their types: docs/guides/dashboard.md.
DASHBOARD_KEYS: Final[Mapping[str, type]] = {
    "allow": list,
    "host_names": list,
    "iap_audience": str,
    "iap_keys_url": str,
    "pipelines": list,
    "read_only": bool,
    "sync": list,
    "sync_seconds": int,
}


@dataclass(slots=True)
class Tables:
    """The tables of kfgcp.toml and of the files that it includes.

    Attributes:
        project: the keys of [project].
        environments: the tables of the environments by their names.
        dashboard: the keys of [dashboard].
        check: the keys of [check].
        images: the tables of the project's own images by their names.
        environment_files: the file of each environment, by its name.
        pipelines: the tables of the pipelines by their names.
        pipeline_files: the file of each pipeline, by its name.
        image_files: the file of each image, by its name.
        schedules: the tables of the schedules by their names.
        schedule_files: the file of each schedule, by its name.
    """

    project: dict[str, Any] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    dashboard: dict[str, Any] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)
    images: dict[str, dict[str, str]] = field(default_factory=dict)
    environment_files: dict[str, str] = field(default_factory=dict)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipeline_files: dict[str, str] = field(default_factory=dict)
    image_files: dict[str, str] = field(default_factory=dict)
    schedules: dict[str, dict[str, Any]] = field(default_factory=dict)
    schedule_files: dict[str, str] = field(default_factory=dict)

    def file_of(self, environment: str) -> str:
        """Return the name of the file that has an environment."""
        return self.environment_files.get(environment, FILE_NAME)


def read_tables(file: Path) -> Tables:
    """Return the tables of kfgcp.toml and of its included files.

    Raises:
        ConfigError: a file cannot be read, a table has the wrong form, or two files have the same
            key.
    """
    tables = Tables()
    data = _read(file)
    patterns = data.pop("include", [])
    _add_tables(tables, data, FILE_NAME)
    for included in included_files(patterns, file.parent):
        included_data = _read(included)
        name = included.relative_to(file.parent).as_posix()
        if "include" in included_data:
            raise ConfigError(
                f"{name}: the key `include` is allowed only in {FILE_NAME}.",
                hint=f"Move these entries to the list `include` of {FILE_NAME}.",
            )
        _add_tables(tables, included_data, name)
    return tables


def included_files(patterns: Any, folder: Path) -> list[Path]:
    """Return the files that `include` names, each once, in the order of its patterns.

    Args:
        patterns: the value of `include`.
        folder: the folder of kfgcp.toml.

    Raises:
        ConfigError: the value is not a list of patterns below the folder, or a named file is
            missing.
    """
    is_list = isinstance(patterns, list)
    if not is_list or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(
            f"{FILE_NAME}: include must be a list of patterns, not {patterns!r}.",
            hint='Write ["kfgcp.d/*.toml"].',
        )
    # A dict keeps the order of the files, and has each file once.
    files: dict[Path, None] = {}
    for pattern in patterns:
        check_pattern(pattern, f"{FILE_NAME}: include", example="kfgcp.d/*.toml")
        matches = _matching_files(folder, pattern)
        is_pattern = any(character in pattern for character in "*?[")
        if not matches and not is_pattern:
            raise ConfigError(f"{FILE_NAME}: the included file {pattern} does not exist.")
        files.update(dict.fromkeys(matches))
    files.pop(folder / FILE_NAME, None)
    return list(files)


def check_pattern(pattern: str, where: str, *, example: str) -> None:
    """Check that a pattern names files below the folder of kfgcp.toml.

    Args:
        pattern: as `Path.glob` takes it.
        where: the key, for messages: `kfgcp.toml: include`.
        example: a pattern, for hints.

    Raises:
        ConfigError: the pattern names other files, or is not a pattern.
    """
    path = Path(pattern)
    if not pattern or path.is_absolute() or ".." in path.parts:
        raise ConfigError(
            f"{where} has {pattern!r}, which is not below the folder of {FILE_NAME}.",
            hint=f'Write a path or pattern below that folder: "{example}".',
        )
    # Python 3.13 accepts `**` inside a part, as in "a**", and earlier versions raise an error. A
    # configuration must work with all of them.
    has_wrong_stars = any("**" in part and part != "**" for part in path.parts)
    if not path.parts or has_wrong_stars:
        raise ConfigError(
            f"{where} has {pattern!r}, which is not a pattern of files.",
            hint=f'Write a path or pattern: "{example}".',
        )


def _matching_files(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in folder.glob(pattern) if path.is_file())
    except OSError as error:
        raise ConfigError(
            f"{FILE_NAME}: the files of include {pattern!r} cannot be found: {error}."
        ) from None


def _add_tables(tables: Tables, data: TomlTable, name: str) -> None:
    """Add the tables of the file with this name to the tables of the files before it."""
    keys = ("project", "env", "pipeline", "schedule", "dashboard", "check", "image", "include")
    refuse_unknown(data, keys, name)
    merged_tables = (
        ("project", tables.project, PROJECT_KEYS),
        ("dashboard", tables.dashboard, DASHBOARD_KEYS),
        ("check", tables.check, CHECK_KEYS),
    )
    for table, merged_values, types in merged_tables:
        values = _table(data, table, name)
        check_types(values, types, f"{name} [{table}]")
        for key, value in values.items():
            if key in merged_values:
                raise ConfigError(
                    f"{name}: [{table}] has the key {key}, which another file has too.",
                    hint=f"Keep {key} in one file.",
                )
            merged_values[key] = value
    environments = _named_tables(data, "env", name, tables.environment_files)
    tables.environments.update(environments)
    tables.environment_files |= dict.fromkeys(environments, name)
    pipelines = _named_tables(data, "pipeline", name, tables.pipeline_files)
    tables.pipelines.update(pipelines)
    tables.pipeline_files |= dict.fromkeys(pipelines, name)
    schedules = _named_tables(data, "schedule", name, tables.schedule_files)
    tables.schedules.update(schedules)
    tables.schedule_files |= dict.fromkeys(schedules, name)
    images = _named_tables(data, "image", name, tables.image_files)
    for image, values in images.items():
        check_types(values, IMAGE_KEYS, f"{name} [image.{image}]")
    tables.images.update(images)
    tables.image_files |= dict.fromkeys(images, name)


def _named_tables(
    data: TomlTable, kind: str, file_name: str, earlier_files: Mapping[str, str]
) -> TomlTable:
    """Return the tables of a file that have names, such as [env.dev], by their names.

    Args:
        data: all tables of the file.
        kind: the first word of the tables: `env`.
        file_name: the name of the file.
        earlier_files: the file of each table of this kind in the files before it.

    Raises:
        ConfigError: one of them is not a table, or is also in an earlier file.
    """
    tables = _table(data, kind, file_name)
    for name in tables:
        if name in earlier_files:
            raise ConfigError(
                f"{file_name}: the table [{kind}.{name}] is in {earlier_files[name]} too.",
                hint=f"Keep [{kind}.{name}] in one file.",
            )
    return {name: _table(tables, name, file_name, f"{kind}.") for name in tables}


def _read(file: Path) -> dict[str, Any]:
    try:
        # Editors on Windows may write a byte order mark, which tomllib does not accept.
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{file} is not valid TOML: {error}.",
            hint="Correct this line. A table or key may be in the file once.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from None


def _table(data: TomlTable, key: str, file_name: str, prefix: str = "") -> dict[str, Any]:
    """Return the table at a key, an empty table when the key is missing.

    Args:
        data: the table around it.
        key: the key of the table.
        file_name: the name of the file, for messages.
        prefix: the keys of the tables around the table, for messages: `env.`.
    """
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(
            f"{file_name}: {prefix}{key} must be a table.", hint=f"Write [{prefix}{key}]."
        )
    return value
