"""Read kfgcp.toml: the project, its environments, and where each value came from.

The file is in the current folder or the nearest folder above it. Without a file, the project has
the single environment `local`. The environment variable `KFGCP_ENV_<NAME>_<KEY>`, or
`KFGCP_DASHBOARD_<KEY>` for the table [dashboard], overrides a value in the file.

`include = ["kfgcp.d/*.toml"]` reads more files, whose tables belong to the same project.

This module knows no backend: a backend declares the keys of its environments (kfgcp/settings.py).
An environment that is not valid raises its error only when it is used.
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

# The environment that every project has.
DEFAULT_ENV: Final = "local"

_PROJECT_KEYS: Final[Mapping[str, type]] = {"name": str, "experiment": str, "metrics": dict}

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

# The keys of [dashboard] that are lists of texts.
_DASHBOARD_LISTS: Final = ("allow", "host_names", "pipelines", "sync")


class UnknownBackend(ConfigError):
    """No backend has this name. The hint names the backends that exist."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A named backend with its settings.

    Attributes:
        name: its name, `dev` for [env.dev].
        backend: the name of its backend.
        settings: key -> value, for the keys that are set.
        declaration: the class with the keys that the backend declares.
    """

    name: str
    backend: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    declaration: type[BackendSettings] = field(default=BackendSettings, compare=False, repr=False)

    # The result is Any, because each key has a type of its own, which only the backend knows.
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a setting, or `default` when it is not set."""
        setting = self.settings.get(key)
        return default if setting is None else setting.value

    @property
    def missing(self) -> tuple[str, ...]:
        """The required keys that are not set or have an empty value."""
        required = self.declaration.required(self.settings)
        return tuple(key for key in required if not self.get(key))

    @property
    def request_seconds(self) -> float:
        """How many seconds one request to a service may take.

        The time begins with the sign-in and ends with the last byte, and includes all retries.
        """
        return float(self.get("request_seconds", REQUEST_SECONDS))


@dataclass(frozen=True, slots=True)
class Project:
    """The configuration of a project.

    Attributes:
        name: the name of the project.
        experiment: the experiment of runs that are started without one.
        root: the folder of kfgcp.toml; without the file, the current folder.
        home: the state folder.
        file: the kfgcp.toml, None when there is none.
        default_env: the name of the environment for commands that are called without one.
        environments: name -> environment, for the valid environments.
        metrics: name of a metric -> which values are better.
        dashboard: key -> setting in [dashboard].
        invalid_environments: name -> error, for the environments that are not valid.
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
        """Return the environment with this name, or the default one.

        Raises:
            ConfigError: there is no such environment, or it is not valid.
        """
        name = name or self.default_env
        if name in self.environments:
            return self.environments[name]
        if name in self.invalid_environments:
            error = self.invalid_environments[name]
            # A copy, because `raise` adds a traceback to the error, and each use raises it again.
            raise copy.copy(error) from error.__cause__
        names = ", ".join(sorted(self.environments))
        where = self.file.name if self.file else "no kfgcp.toml was found"
        suggestion = did_you_mean(name, self.environments)
        raise ConfigError(
            f"There is no environment '{name}' ({where}).",
            hint=f"{suggestion}Environments: {names}. Add one as [env.{name}].",
        )


def load(
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    declaration_of: Callable[[str], type[BackendSettings]],
    default_backend: str,
) -> Project:
    """Return the project of a folder: read from kfgcp.toml there or in a parent.

    Args:
        start: the first folder to look in, the current one when None.
        environ: environment variables, those of the process when None.
        declaration_of: returns the class with the keys of a backend, for the name of the backend.
            It raises ConfigError when there is no such backend.
        default_backend: the backend of the environment `local`, when the file has no [env.local].

    Raises:
        ConfigError: the file cannot be read. Or it has an unknown key or a value of the wrong type,
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
            file_name = tables.file_of(name)
            environments[name] = _environment(name, table, file_name, environ, declaration_of)
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
    """The tables of kfgcp.toml and of the files that it includes.

    Attributes:
        project: the keys of [project].
        environments: the tables of the environments by their names.
        dashboard: the keys of [dashboard].
        environment_files: the file of each environment, by its name.
    """

    project: dict[str, Any] = field(default_factory=dict)
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    dashboard: dict[str, Any] = field(default_factory=dict)
    environment_files: dict[str, str] = field(default_factory=dict)

    def file_of(self, environment: str) -> str:
        """Return the name of the file that has an environment."""
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
                f"{name}: only {FILE_NAME} itself may have the key include.",
                hint=f"Name all files in the key include of {FILE_NAME}.",
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
        _check_pattern(pattern, f"{FILE_NAME}: include", example="kfgcp.d/*.toml")
        matches = _matching_files(folder, pattern)
        is_pattern = any(character in pattern for character in "*?[")
        if not matches and not is_pattern:
            raise ConfigError(f"{FILE_NAME}: the included file {pattern} does not exist.")
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


def _add_tables(tables: _Tables, data: Mapping[str, Any], name: str) -> None:
    """Add the tables of the file with this name to the tables of the files before it."""
    refuse_unknown(data, ("project", "env", "dashboard", "include"), name)
    merged_tables = (
        ("project", tables.project, _PROJECT_KEYS),
        ("dashboard", tables.dashboard, DASHBOARD_KEYS),
    )
    for table, merged_values, types in merged_tables:
        values = _table(data, table, name)
        check_types(values, types, f"{name} [{table}]")
        for key, value in values.items():
            if key in merged_values:
                raise ConfigError(
                    f"{name}: {key} of [{table}] is also in another file.",
                    hint=f"Keep {key} in one file.",
                )
            merged_values[key] = value
    environments = _table(data, "env", name)
    for environment in environments:
        if environment in tables.environments:
            raise ConfigError(
                f"{name}: [env.{environment}] is also in {tables.file_of(environment)}.",
                hint=f"Keep [env.{environment}] in one file.",
            )
        tables.environments[environment] = _table(environments, environment, name, "env.")
        tables.environment_files[environment] = name


def project_folder(start: Path) -> Path | None:
    """Return the nearest folder with a kfgcp.toml, None without one. The file is not read.

    Args:
        start: an absolute path. The search begins in this folder and continues in its parents.
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
            value = f'"{word}"' if isinstance(word, str) else word
            raise ConfigError(
                f'{FILE_NAME} [project]: metrics.{name} must be "maximize" or "minimize", not'
                f" {value}."
            )
        directions[name] = direction
    return directions


def _home(text: str) -> Path:
    """Return the state folder that KFGCP_HOME names."""
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


def _environment(
    name: str,
    table: Mapping[str, Any],
    file_name: str,
    environ: Mapping[str, str],
    declaration_of: Callable[[str], type[BackendSettings]],
) -> Environment:
    """Return an environment with the values of its environment variables.

    Raises:
        ConfigError: its backend is unknown, or one of its settings is not valid.
    """
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
        # A missing key is not an error here: it is reported when the environment is used.
        if not environment.missing:
            declaration.of(settings).validate(where)
    except ConfigError:
        raise
    except Exception as error:
        # A backend from another distribution may raise any error in its checks.
        raise ConfigError(
            f"{where} cannot be checked by the backend '{backend}': {in_one_line(error)}.",
            hint=f"Update or remove the distribution of the backend '{backend}'.",
        ) from error
    return environment


def _dashboard(
    table: Mapping[str, Any], environments: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Setting]:
    """Return the settings of [dashboard] with the values of its environment variables.

    Raises:
        ConfigError: a setting is not valid.
    """
    where = f"{FILE_NAME} [dashboard]"
    settings = read_settings(table, DASHBOARD_KEYS, where, "KFGCP_DASHBOARD_", environ)
    lists: dict[str, list[str]] = {}
    for key in _DASHBOARD_LISTS:
        setting = settings.get(key)
        lists[key] = [] if setting is None else setting.value
        for entry in lists[key]:
            if not isinstance(entry, str):
                raise ConfigError(f"{where}: {key} contains {entry!r}, which is not a text.")
    for pattern in lists["pipelines"]:
        _check_pattern(pattern, f"{where}: pipelines", example="pipelines/*.py")
    _check_sync(lists["sync"], environments, where)
    _check_host_names(lists["host_names"], where)
    if "sync_seconds" in settings and settings["sync_seconds"].value < 1:
        raise ConfigError(f"{where}: sync_seconds must be at least 1.")
    if "iap_keys_url" in settings:
        scheme, host = parse_address(settings["iap_keys_url"].value, f"{where}: iap_keys_url")
        if scheme == "http" and host not in LOOPBACK:
            raise ConfigError(
                f"{where}: plain http is allowed only for an iap_keys_url on this machine, not for"
                f" {host}.",
                hint=f"Write https://{host}",
            )
    return settings


def _check_sync(names: list[str], environments: Mapping[str, Any], where: str) -> None:
    for name in names:
        if name not in environments:
            all_names = ", ".join(sorted(environments))
            raise ConfigError(
                f"{where}: sync names the environment '{name}', which does not exist.",
                hint=f"{did_you_mean(name, environments)}Environments: {all_names}.",
            )


def _check_host_names(names: list[str], where: str) -> None:
    for name in names:
        # Imported only here: few projects have host names, but each command reads kfgcp.toml.
        from kfgcp.cross_site import parse_authority

        if parse_authority(name) is None:
            raise ConfigError(
                f"{where}: host_names has {name!r}, which is not a host name.",
                hint=(
                    'Write names as in "dash.acme.example" or "localhost:9000", without http:// and'
                    " without a path."
                ),
            )
