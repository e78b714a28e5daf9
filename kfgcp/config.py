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
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kfgcp.config_files import DASHBOARD_KEYS as DASHBOARD_KEYS
from kfgcp.config_files import FILE_NAME as FILE_NAME
from kfgcp.config_files import Tables, check_pattern, read_tables
from kfgcp.config_files import included_files as included_files
from kfgcp.config_pipelines import ProjectPipeline
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.config_tables import InvalidTable, read_pipelines, read_schedules
from kfgcp.deadlines import REQUEST_SECONDS
from kfgcp.errors import ConfigError
from kfgcp.foreign_errors import in_one_line
from kfgcp.hosts import LOOPBACK, parse_address
from kfgcp.machine import current_folder
from kfgcp.model import Direction
from kfgcp.settings import (
    BackendSettings,
    Setting,
    TomlTable,
    did_you_mean,
    read_settings,
    variable_name,
)

HOME_NAME: Final = ".kfgcp"

# The environment that every project has.
DEFAULT_ENV: Final = "local"

# The images that kfgcp builds for its own components. A component names one of them.
COMPONENT_IMAGES: Final = ("base", "gcp", "tabular")

# The names of these images in a registry begin with it: `components-tabular`.
COMPONENT_PREFIX: Final = "components-"

# One part of a repository's name (the distribution specification of the Open Container Initiative).
_IMAGE_NAME: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")

# A host, perhaps with a port, and the beginning of the names of repositories.
_REGISTRY: Final = re.compile(
    r"[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)

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
class ImageSource:
    """What an image of the project is built from: the table [image.NAME].

    Attributes:
        context: the folder whose files the Dockerfile can copy, as an absolute path.
        dockerfile: the Dockerfile, as an absolute path.
    """

    context: Path
    dockerfile: Path


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
        image_registry: the beginning of the names of all images, such as
            `europe-west4-docker.pkg.dev/acme-ml/images`; None when images stay on this machine.
        images: name -> source, for the project's own images.
        pipelines: name -> pipeline, for the valid tables [pipeline.X].
        invalid_pipelines: name -> table, for the tables [pipeline.X] that are not valid.
        schedules: name -> schedule, for the valid tables [schedule.X].
        invalid_schedules: name -> table, for the tables [schedule.X] that are not valid.
        default_env_origin: why it is the default, for messages.
        has_own_name: whether kfgcp.toml names the project. Otherwise its name is that of its
            folder, which can be another one on each machine.
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
    ignored_rules: Mapping[str, str] = field(default_factory=dict)
    invalid_environments: Mapping[str, ConfigError] = field(default_factory=dict)
    image_registry: str | None = None
    images: Mapping[str, ImageSource] = field(default_factory=dict)
    pipelines: Mapping[str, ProjectPipeline] = field(default_factory=dict)
    invalid_pipelines: Mapping[str, InvalidTable] = field(default_factory=dict)
    schedules: Mapping[str, ProjectSchedule] = field(default_factory=dict)
    invalid_schedules: Mapping[str, InvalidTable] = field(default_factory=dict)
    default_env_origin: str = ""
    has_own_name: bool = False

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
            hint=f"{suggestion}Environments: {names}. To add this environment, write a table"
            f" [env.{name}].",
        )

    def pipeline(self, name: str) -> ProjectPipeline:
        """Return the pipeline that kfgcp.toml declares with this name.

        Raises:
            ConfigError: kfgcp.toml does not have the pipeline, or its table is not valid.
        """
        if name in self.pipelines:
            return self.pipelines[name]
        if name in self.invalid_pipelines:
            error = self.invalid_pipelines[name].error
            # A copy, as in `env`.
            raise copy.copy(error) from error.__cause__
        names = sorted(self.pipelines.keys() | self.invalid_pipelines.keys())
        where = self.file.name if self.file else "no kfgcp.toml was found"
        all_names = f"Pipelines: {', '.join(names)}. " if names else ""
        raise ConfigError(
            f"{where} has no pipeline '{name}'.",
            hint=f"{did_you_mean(name, names)}{all_names}Add one as [pipeline.{name}], or name a"
            " file: file.py, file.py:function, or a compiled .yaml or .json.",
        )

    def schedule(self, name: str) -> ProjectSchedule:
        """Return the schedule that kfgcp.toml declares with this name.

        Raises:
            ConfigError: kfgcp.toml does not have the schedule, or its table is not valid.
        """
        if name in self.schedules:
            return self.schedules[name]
        if name in self.invalid_schedules:
            error = self.invalid_schedules[name].error
            # A copy, as in `env`.
            raise copy.copy(error) from error.__cause__
        names = sorted(self.schedules.keys() | self.invalid_schedules.keys())
        where = self.file.name if self.file else "no kfgcp.toml was found"
        all_names = f"Schedules: {', '.join(names)}. " if names else ""
        raise ConfigError(
            f"{where} has no schedule '{name}'.",
            hint=f"{did_you_mean(name, names)}{all_names}Add one as [schedule.{name}].",
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
    tables = read_tables(file) if file else Tables()
    # Without this default, [env.local.secrets] would need a table [env.local] above it.
    tables.environments.setdefault(DEFAULT_ENV, {}).setdefault("backend", default_backend)
    environments: dict[str, Environment] = {}
    invalid: dict[str, ConfigError] = {}
    for name, table in tables.environments.items():
        try:
            file_name = tables.file_of(name)
            environments[name] = _environment(name, table, file_name, environ, declaration_of)
        except ConfigError as error:
            invalid[name] = error
    pipelines, invalid_pipelines = read_pipelines(tables, root)
    schedules, invalid_schedules = read_schedules(tables, root)
    home = environ.get("KFGCP_HOME")
    default_env = environ.get("KFGCP_ENV") or DEFAULT_ENV
    origin = "the default, which KFGCP_ENV can change"
    if environ.get("KFGCP_ENV"):
        origin = f"the default, because KFGCP_ENV is {default_env}"
    return Project(
        name=tables.project.get("name", root.name),
        experiment=tables.project.get("experiment", "default"),
        root=root,
        home=_home(home) if home else root / HOME_NAME,
        file=file,
        default_env=default_env,
        default_env_origin=origin,
        environments=environments,
        metrics=_directions(tables.project.get("metrics", {})),
        dashboard=_dashboard(tables.dashboard, tables.environments, environ),
        ignored_rules=_ignored_rules(tables.check.get("ignore", {})),
        invalid_environments=invalid,
        image_registry=_image_registry(tables.project.get("image_registry")),
        images=_images(tables.images, root),
        pipelines=pipelines,
        invalid_pipelines=invalid_pipelines,
        schedules=schedules,
        invalid_schedules=invalid_schedules,
        has_own_name="name" in tables.project,
    )


def project_folder(start: Path) -> Path | None:
    """Return the nearest folder with a kfgcp.toml, None without one. The file is not read.

    Args:
        start: an absolute path. The search begins in this folder and continues in its parents.
    """
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    return None


def _directions(metrics: TomlTable) -> Mapping[str, Direction]:
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


def _ignored_rules(reasons: TomlTable) -> dict[str, str]:
    """Return the reasons for which rules of `kfgcp check` are ignored, by the ids of the rules.

    Raises:
        ConfigError: a reason is missing.
    """
    for rule, reason in reasons.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigError(
                f"{FILE_NAME} [check]: ignore.{rule} has no reason.",
                hint=f'Write why the project ignores this rule: ignore = {{ {rule} = "…" }}',
            )
    return dict(reasons)


def _image_registry(registry: str | None) -> str | None:
    if registry is not None and not _REGISTRY.fullmatch(registry):
        raise ConfigError(
            f"{FILE_NAME} [project]: image_registry is {registry!r}, which is not the beginning of"
            " the name of an image.",
            hint=(
                "Write the host and the path, without https:// and without a slash at the end:"
                ' image_registry = "europe-west4-docker.pkg.dev/PROJECT/REPOSITORY"'
            ),
        )
    return registry


def _images(tables: Mapping[str, Mapping[str, str]], root: Path) -> dict[str, ImageSource]:
    """Return the project's own images by their names.

    Raises:
        ConfigError: a name is not allowed. The files are checked when they are used.
    """
    images = {}
    for name, table in tables.items():
        # A registry has the images of kfgcp under names with a prefix.
        if name.removeprefix(COMPONENT_PREFIX) in COMPONENT_IMAGES:
            raise ConfigError(
                f"{FILE_NAME}: [image.{name}] has the name of an image of kfgcp.",
                hint=f"Choose another name. The images of kfgcp: {', '.join(COMPONENT_IMAGES)}.",
            )
        if not _IMAGE_NAME.fullmatch(name):
            raise ConfigError(
                f"{FILE_NAME}: [image.{name}] has a name that no image can have.",
                hint="Use lower-case letters, digits, and single . _ - between them.",
            )
        context = root / table.get("context", ".")
        default_dockerfile = context / "Dockerfile"
        dockerfile = root / table["dockerfile"] if "dockerfile" in table else default_dockerfile
        images[name] = ImageSource(context, dockerfile)
    return images


def _home(text: str) -> Path:
    """Return the state folder that KFGCP_HOME names."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"KFGCP_HOME is {text!r}, but there is no such user.") from None


def _environment(
    name: str,
    table: TomlTable,
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
            f"The backend '{backend}' cannot check {where}: {in_one_line(error)}.",
            hint=f"Update or remove the package of the backend '{backend}'.",
        ) from error
    return environment


def _dashboard(
    table: TomlTable, environments: TomlTable, environ: Mapping[str, str]
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
        check_pattern(pattern, f"{where}: pipelines", example="pipelines/*.py")
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
                hint=f"Write https://{host}.",
            )
    return settings


def _check_sync(names: list[str], environments: TomlTable, where: str) -> None:
    for name in names:
        if name not in environments:
            all_names = ", ".join(sorted(environments))
            raise ConfigError(
                f"{where}: sync contains '{name}', but there is no such environment.",
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
