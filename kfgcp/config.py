"""kfgcp.toml as objects: the project, its environments, and where each value came from.

The file is looked for in the current folder and its parents. Without a file, there is a project
with the single environment `local`. The value of a key of an environment is the first that exists
of: the environment variable `KFGCP_ENV_<NAME>_<KEY>`, the file, the default. For the table
[dashboard] the variable is `KFGCP_DASHBOARD_<KEY>`.

`include = ["kfgcp.d/*.toml"]` reads more files, whose tables belong to the same project.

No backend is known here. A backend declares the keys of its environments (kfgcp/settings.py). An
environment that is not valid is an error only for what uses it.
"""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kfgcp.deadlines import REQUEST_SECONDS
from kfgcp.errors import ConfigError
from kfgcp.foreign_errors import in_one_line
from kfgcp.hosts import LOOPBACK, parse_address
from kfgcp.machine import current_folder
from kfgcp.model import Direction
from kfgcp.settings import (
    BackendSettings,
    Setting,
    check_types,
    did_you_mean,
    read_settings,
    refuse_unknown,
    variable_name,
)

FILE_NAME: Final = "kfgcp.toml"
HOME_NAME: Final = ".kfgcp"
DEFAULT_ENV: Final = "local"
"""The environment that every project has."""

_PROJECT_KEYS: Final[Mapping[str, type]] = {"name": str, "experiment": str, "metrics": dict}

"""What may be better of a metric."""

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
"""The keys of [dashboard], and their types: docs/guides/dashboard.md."""


class UnknownBackend(ConfigError):
    """No backend has this name. The hint says which there are."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A named backend with its settings.

    Attributes:
        name: of the table: `dev` for [env.dev].
        backend: the name of the backend.
        settings: the values by their keys; those that are not set are missing.
        declaration: the keys that the backend declares.
    """

    name: str
    backend: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    declaration: type[BackendSettings] = field(default=BackendSettings, compare=False, repr=False)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a setting, or `default` when it is not set."""
        setting = self.settings.get(key)
        return default if setting is None else setting.value

    @property
    def missing(self) -> tuple[str, ...]:
        """The required keys that are not set, or empty."""
        return tuple(key for key in self.declaration.required(self.settings) if not self.get(key))

    @property
    def request_seconds(self) -> float:
        """How many seconds one request to a service may take: from the sign-in to the last byte,
        with all retries."""
        return float(self.get("request_seconds", REQUEST_SECONDS))


@dataclass(frozen=True, slots=True)
class Project:
    """What one kfgcp.toml says.

    Attributes:
        name: of the project.
        experiment: of runs that name none.
        root: the folder of the file.
        home: the state folder.
        file: None when there is none.
        default_env: the environment of commands that name none.
        environments: those that are valid.
        metrics: names of metrics -> whether they are maximized or minimized.
        dashboard: the table [dashboard].
        invalid_environments: why the other environments cannot be used.
    """

    name: str
    experiment: str
    root: Path
    home: Path
    file: Path | None
    default_env: str
    environments: Mapping[str, Environment]
    metrics: Mapping[str, Direction] = field(default_factory=dict)
    dashboard: Mapping[str, Setting] = field(default_factory=dict)
    invalid_environments: Mapping[str, ConfigError] = field(default_factory=dict)

    def env(self, name: str | None = None) -> Environment:
        """Return the environment of that name, or the default one.

        Raises:
            ConfigError: there is none of that name, or it is not valid.
        """
        name = name or self.default_env
        if name in self.invalid_environments:
            invalid = self.invalid_environments[name]
            raise copy.copy(invalid) from invalid.__cause__
        if name not in self.environments:
            known = ", ".join(sorted(self.environments))
            where = self.file.name if self.file else "no kfgcp.toml was found"
            raise ConfigError(
                f"There is no environment '{name}' ({where}).",
                hint=(
                    f"{did_you_mean(name, self.environments)}Environments: {known}. Add one as"
                    f" [env.{name}]."
                ),
            )
        return self.environments[name]


def load(
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    declaration_of: Callable[[str], type[BackendSettings]],
    default_backend: str,
) -> Project:
    """Return the project of a folder: read from kfgcp.toml there or in a parent.

    Args:
        start: the folder to look in first, the current one when None.
        environ: environment variables, those of the process when None.
        declaration_of: returns the keys that a backend declares, by its name. It raises ConfigError
            when there is no such backend.
        default_backend: the backend of the environment `local`, which is always there, when the
            file does not have it.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value of the wrong type
            outside of the environments.
    """
    environ = os.environ if environ is None else environ
    start = (start or current_folder()).absolute()
    folder = project_folder(start)
    file = folder / FILE_NAME if folder else None
    root = folder or start
    tables = _read_tables(file) if file else _Tables()
    tables.environments.setdefault(DEFAULT_ENV, {"backend": default_backend})
    environments: dict[str, Environment] = {}
    invalid: dict[str, ConfigError] = {}
    for name, table in tables.environments.items():
        try:
            environments[name] = _environment(
                name, table, tables.file_of(name), environ, declaration_of
            )
        except ConfigError as error:
            invalid[name] = error
    home = environ.get("KFGCP_HOME")
    return Project(
        name=tables.project.get("name", root.name),
        experiment=tables.project.get("experiment", "default"),
        root=root,
        home=_home(home) if home else root / HOME_NAME,
        file=file,
        default_env=environ.get("KFGCP_ENV") or DEFAULT_ENV,
        environments=environments,
        metrics=_directions(tables.project.get("metrics", {})),
        dashboard=_dashboard(tables.dashboard, tables.environments, environ),
        invalid_environments=invalid,
    )


@dataclass(slots=True)
class _Tables:
    """The tables of kfgcp.toml and of the files that it includes. environment_files: name -> where
    it is."""

    project: dict[str, Any] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    dashboard: dict[str, Any] = field(default_factory=dict)
    environment_files: dict[str, str] = field(default_factory=dict)

    def file_of(self, environment: str) -> str:
        return self.environment_files.get(environment, FILE_NAME)


def _read_tables(file: Path) -> _Tables:
    """Return the tables of kfgcp.toml and of its included files.

    Raises:
        ConfigError: a file cannot be read, a table has the wrong form, or two files have the same
            key.
    """
    tables = _Tables()
    data = _read(file)
    patterns = data.pop("include", [])
    _add_tables(tables, data, FILE_NAME)
    for included in included_files(patterns, file.parent):
        included_data = _read(included)
        name = included.relative_to(file.parent).as_posix()
        if "include" in included_data:
            raise ConfigError(
                f"{name}: only {FILE_NAME} itself may have include.", hint="Name all files there."
            )
        _add_tables(tables, included_data, name)
    return tables


def included_files(patterns: Any, folder: Path) -> list[Path]:
    """Return the files that the patterns of `include` name, each once, in the order of the
    patterns.

    Args:
        patterns: the value of `include`.
        folder: of kfgcp.toml.

    Raises:
        ConfigError: the value is not a list of patterns below the folder, or a named file is
            missing.
    """
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(
            f"{FILE_NAME}: include must be a list of patterns, not {patterns!r}.",
            hint='Write ["kfgcp.d/*.toml"].',
        )
    files: dict[Path, None] = {}
    for pattern in patterns:
        _check_pattern(pattern, f"{FILE_NAME}: include", example="kfgcp.d/*.toml")
        matches = _matching_files(folder, pattern)
        if not matches and not any(character in pattern for character in "*?["):
            raise ConfigError(f"{FILE_NAME}: the included file {pattern} is not there.")
        files.update(dict.fromkeys(matches))
    files.pop(folder / FILE_NAME, None)
    return list(files)


def _check_pattern(pattern: str, where: str, *, example: str) -> None:
    """Check that a pattern names files below the folder of kfgcp.toml.

    Args:
        pattern: as `Path.glob` takes it.
        where: the key, for messages: `kfgcp.toml: include`.
        example: a pattern, for hints.

    Raises:
        ConfigError: it does not.
    """
    path = Path(pattern)
    if not pattern or path.is_absolute() or ".." in path.parts:
        raise ConfigError(
            f"{where} has {pattern!r}, which is not below the folder of {FILE_NAME}.",
            hint=f'Write a path or pattern from that folder: "{example}".',
        )
    # Before 3.13, Python takes ** as a whole part of a path only. Here it is so with each Python.
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


def _add_tables(tables: _Tables, data: Mapping[str, Any], name: str) -> None:
    """Add the tables of one file to those of the files before it."""
    refuse_unknown(data, ("project", "env", "dashboard", "include"), name)
    parts = (
        ("project", tables.project, _PROJECT_KEYS),
        ("dashboard", tables.dashboard, DASHBOARD_KEYS),
    )
    for table, merged, types in parts:
        values = _table(data, table, name)
        check_types(values, types, f"{name} [{table}]")
        for key, value in values.items():
            if key in merged:
                raise ConfigError(
                    f"{name}: {key} of [{table}] is in another file, too.",
                    hint="Remove one of them.",
                )
            merged[key] = value
    environments = _table(data, "env", name)
    for environment in environments:
        if environment in tables.environments:
            other = tables.file_of(environment)
            raise ConfigError(
                f"{name}: [env.{environment}] is in {other}, too.", hint="Remove one of them."
            )
        tables.environments[environment] = _table(environments, environment, name, "env.")
        tables.environment_files[environment] = name


def project_folder(start: Path) -> Path | None:
    """Return the folder of the kfgcp.toml that belongs to an absolute folder, None when there is
    none.

    The file is in that folder or in the nearest one above it. It is not read.
    """
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    return None


def _directions(metrics: Mapping[str, Any]) -> Mapping[str, Direction]:
    directions = {}
    for name, word in metrics.items():
        direction = Direction.of(word)
        if direction is None:
            shown = f'"{word}"' if isinstance(word, str) else word
            raise ConfigError(
                f'{FILE_NAME} [project]: metrics.{name} must be "maximize" or "minimize", not'
                f" {shown}."
            )
        directions[name] = direction
    return directions


def _home(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"KFGCP_HOME is {text!r}, but there is no such user.") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        # Editors on Windows may write a byte order mark, which tomllib does not accept.
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{file} is not valid TOML: {error}.", hint="See README.md for an example."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from None


def _table(data: Mapping[str, Any], key: str, file_name: str, prefix: str = "") -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(
            f"{file_name}: {prefix}{key} must be a table.", hint=f"Write [{prefix}{key}]."
        )
    return value


def _environment(
    name: str,
    table: Mapping[str, Any],
    file_name: str,
    environ: Mapping[str, str],
    declaration_of: Callable[[str], type[BackendSettings]],
) -> Environment:
    where = f"{file_name} [env.{name}]"
    prefix = f"KFGCP_ENV_{variable_name(name)}_"
    backend: Any = environ.get(f"{prefix}BACKEND", table.get("backend"))
    try:
        declaration = declaration_of(backend if isinstance(backend, str) else "")
    except UnknownBackend as unknown:
        problem = "has no backend" if backend is None else f"has the unknown backend '{backend}'"
        raise ConfigError(f"{where} {problem}.", hint=unknown.hint) from None
    types = {"backend": str, **declaration.types()}
    settings = read_settings(table, types, where, prefix, environ)
    settings.pop("backend", None)
    environment = Environment(name, backend, settings, declaration)
    try:
        # Where a key is missing, that is the first error of whoever uses the environment.
        if not environment.missing:
            declaration.of(settings).validate(where)
    except ConfigError:
        raise
    except Exception as error:
        # The checks of a backend of another distribution may raise anything.
        raise ConfigError(
            f"{where} cannot be checked by the backend '{backend}': {in_one_line(error)}.",
            hint="Update or remove the distribution of that backend.",
        ) from error
    return environment


def _dashboard(
    table: Mapping[str, Any], environments: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Setting]:
    where = f"{FILE_NAME} [dashboard]"
    settings = read_settings(table, DASHBOARD_KEYS, where, "KFGCP_DASHBOARD_", environ)
    for key in ("allow", "host_names", "pipelines", "sync"):
        for entry in settings[key].value if key in settings else ():
            if not isinstance(entry, str):
                raise ConfigError(f"{where}: {key} holds {entry!r}, not a text.")
    if "pipelines" in settings:
        for pattern in settings["pipelines"].value:
            _check_pattern(pattern, f"{where}: pipelines", example="pipelines/*.py")
    for name in settings["sync"].value if "sync" in settings else ():
        if name not in environments:
            known = ", ".join(sorted(environments))
            raise ConfigError(
                f"{where}: sync names the environment '{name}', which is not there.",
                hint=f"{did_you_mean(name, environments)}Environments: {known}.",
            )
    for name in settings["host_names"].value if "host_names" in settings else ():
        from kfgcp.cross_site import parse_authority

        if parse_authority(name) is None:
            raise ConfigError(
                f"{where}: host_names has {name!r}, which is not a host name.",
                hint=(
                    'Write names as in "dash.acme.example" or "localhost:9000", without http:// and'
                    " without a path."
                ),
            )
    if "sync_seconds" in settings and settings["sync_seconds"].value < 1:
        raise ConfigError(f"{where}: sync_seconds must be at least 1.")
    if "iap_keys_url" in settings:
        scheme, host = parse_address(settings["iap_keys_url"].value, f"{where}: iap_keys_url")
        if scheme == "http" and host not in LOOPBACK:
            raise ConfigError(
                f"{where}: plain http is allowed for a loopback iap_keys_url only, not for {host}."
            )
    return settings
