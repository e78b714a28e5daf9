"""Find and open backends by their names.

The modules of a backend are imported only when an environment uses the backend. `BUILT_IN` has the
names of our own backends. Backends of other distributions are entry points of the group
`kfgcp.backends`. kfgcp reads entry points only for a name that is not in `BUILT_IN`, because
reading the metadata of all distributions takes as long as a whole command. So a distribution cannot
replace one of our backends. `kfgcp doctor` reports a distribution that tries to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from kfgcp import config
from kfgcp.backends.plugin import GROUP, BackendPlugin
from kfgcp.config import Environment, Project, UnknownBackend
from kfgcp.errors import BackendError, ConfigError, KfgcpError
from kfgcp.foreign_errors import in_one_line
from kfgcp.settings import BackendSettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from kfgcp.backends.base import Backend
    from kfgcp.model import Run
    from kfgcp.store.store import Store

T = TypeVar("T")

DEFAULT: Final = "local"
BUILT_IN: Final = (DEFAULT, "vertex", "kubeflow")
"""The names of our own backends. Each is the name of a package in kfgcp/backends/."""
_SERVICE_METHODS: Final = (
    "facts",
    "place",
    "notes",
    "create",
    "fetch",
    "changed_since",
    "created_between",
    "newest",
    "explain",
    "cancel",
    "delete",
)
"""The methods and properties of `kfgcp.backends.service.RunService`."""
_BACKEND_METHODS: Final = ("notes", "submit", "get", "list", "cancel", "pace")
"""The methods and properties of `kfgcp.backends.base.Backend`."""
_HINT: Final = "Update or remove the package of this backend."


def load_project(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Project:
    """Return the project of a folder, see `kfgcp.config.load`."""
    return config.load(
        start,
        environ,
        declaration_of=lambda name: plugin_of(name).settings,
        default_backend=DEFAULT,
    )


def open_backend(project: Project, env: Environment, store: Store | None = None) -> Backend:
    """Open the backend of an environment, for one thread.

    Args:
        project: the project of the environment.
        env: the environment.
        store: records the runs. None for the store of the project. Threads may share a store.

    Raises:
        ConfigError: a setting is missing, or the plug-in of the backend is broken.
    """
    from kfgcp.store.store import Store

    require_settings(env)
    plugin = plugin_of(env.backend)
    with naming_distribution(env.backend, "cannot be opened"):
        return _open(plugin, project, env, store or Store(project.home))


def _open(plugin: BackendPlugin, project: Project, env: Environment, store: Store) -> Backend:
    """Return the backend that a plug-in opens, or the mirror of the service that it opens."""
    if plugin.open is not None:
        backend = plugin.open(project, env, store)
        _require_methods(backend, _BACKEND_METHODS, env)
        return _with_named_errors(backend, env.backend)
    from kfgcp.backends.mirror import Mirror
    from kfgcp.backends.store_records import StoreRecords

    # `_load` refuses a plug-in that has neither `open` nor `service`.
    assert plugin.service is not None
    service = plugin.service(project, env, StoreRecords(store))
    _require_methods(service, _SERVICE_METHODS, env)
    return Mirror(_with_named_errors(service, env.backend), store, env.name)


def _require_methods(target: object, names: Iterable[str], env: Environment) -> None:
    """Check that an object of a plug-in has these methods and properties.

    Raises:
        ConfigError: a name is missing. The message names the distribution.
    """
    missing = [name for name in names if not hasattr(target, name)]
    if missing:
        raise ConfigError(
            f"The backend '{env.backend}'{_format_origin(env.backend)} has no"
            f" {' and no '.join(missing)}.",
            hint=_HINT,
        )


def _with_named_errors(target: T, backend: str) -> T:
    """Return a backend or service whose unexpected errors name its distribution.

    A backend of kfgcp stays unchanged, because its unexpected errors are bugs of kfgcp.
    """
    if backend in BUILT_IN:
        return target
    from kfgcp.backends.plugin_errors import name_errors

    def in_method(method: str) -> AbstractContextManager[None]:
        return naming_distribution(backend, f"failed in {method}", error_class=BackendError)

    return name_errors(target, in_method)


@contextmanager
def naming_distribution(
    backend: str, problem: str, *, error_class: type[KfgcpError] = ConfigError
) -> Iterator[None]:
    """Replace an unexpected error of a backend by an error that names its distribution.

    Errors of `kfgcp.errors` and all errors of our own backends stay unchanged. When KFGCP_DEBUG is
    set, all errors stay unchanged, because the author of a backend needs the traceback.

    Args:
        backend: the name of the backend.
        problem: completes the sentence "The backend X": "cannot be opened".
        error_class: the class of the error.
    """
    try:
        yield
    except KfgcpError:
        raise
    except (Exception, SystemExit) as error:
        if backend in BUILT_IN or os.environ.get("KFGCP_DEBUG"):
            raise
        raise error_class(
            f"The backend '{backend}'{_format_origin(backend)} {problem}: {in_one_line(error)}.",
            hint=_HINT,
        ) from error


def require_settings(env: Environment) -> None:
    """Check that an environment has all keys that its backend needs.

    Raises:
        ConfigError: a key is missing.
    """
    missing_keys = env.missing
    if not missing_keys:
        return
    names = missing_keys[-1]
    if len(missing_keys) > 1:
        names = f"{', '.join(missing_keys[:-1])} and {names}"
    raise ConfigError(
        f"Environment '{env.name}' has no {names}, which the backend '{env.backend}' needs.",
        hint=f"Set {names} in [env.{env.name}] of kfgcp.toml.",
    )


def typed_settings(env: Environment) -> BackendSettings | None:
    """Return the settings of an environment as its backend declares them.

    None when a required key is missing.
    """
    return None if env.missing else plugin_of(env.backend).settings.of(env.settings)


def runs_here(backend: str) -> bool:
    """Return whether a backend executes its runs on this machine.

    False for a backend that is not installed.
    """
    try:
        return plugin_of(backend).runs_here
    except ConfigError:
        return False


def rounding_backends(backends: Iterable[str]) -> frozenset[str]:
    """Return the names of the backends whose services may round metrics to six decimals.

    Args:
        backends: the names of backends to choose from.
    """
    names = set()
    for name in set(backends):
        # The store may have runs of a backend that is not installed any more.
        with suppress(ConfigError):
            if plugin_of(name).rounds_metrics:
                names.add(name)
    return frozenset(names)


def is_in_service_store(env: Environment, run: Run, uri: str) -> bool:
    """Return whether an artifact is in the service's own store, at a place that belongs to a run.

    Args:
        env: the environment of the run.
        run: the run that the artifact must belong to.
        uri: the address of the artifact.
    """
    is_artifact_of = plugin_of(env.backend).is_artifact_of
    if is_artifact_of is None or env.missing:
        return False
    with naming_distribution(env.backend, "failed in is_artifact_of", error_class=BackendError):
        return is_artifact_of(env, run, uri)


@cache
def plugin_of(name: str) -> BackendPlugin:
    """Return the backend with a name.

    Raises:
        UnknownBackend: neither kfgcp nor an installed distribution has a backend with this name.
        ConfigError: the distribution that has the backend cannot be used.
    """
    if name in BUILT_IN:
        plugin: BackendPlugin = import_module(f"kfgcp.backends.{name}").BACKEND
        return plugin
    other_backends = _other_backends()
    entry_points = other_backends.get(name, [])
    if not entry_points:
        names = ", ".join([*BUILT_IN, *other_backends])
        raise UnknownBackend(
            f"No installed backend has the name '{name}'.", hint=f"backend is one of: {names}."
        )
    if len(entry_points) > 1:
        distributions = ", ".join(map(_format_distribution, entry_points))
        raise ConfigError(
            f"Several packages have a backend '{name}': {distributions}.",
            hint="Keep one of these packages, and remove the others.",
        )
    return _load(entry_points[0])


def plugin_problems() -> Iterator[str]:
    """Yield a sentence for each problem of the backends of other distributions."""
    for name, entry_points in _other_backends(with_built_in_names=True).items():
        if name in BUILT_IN:
            for distribution in map(_format_distribution, entry_points):
                yield (
                    f"kfgcp does not use the backend '{name}' of {distribution}, because kfgcp"
                    " itself has a backend with this name."
                )
            continue
        try:
            plugin_of(name)
        except ConfigError as error:
            yield error.message


def _other_backends(*, with_built_in_names: bool = False) -> dict[str, list[EntryPoint]]:
    """Return the entry points of other distributions by their names, in alphabetical order.

    Args:
        with_built_in_names: also return entry points with a name of `BUILT_IN`.
    """
    by_name: dict[str, list[EntryPoint]] = {}
    for entry_point in installed_entry_points():
        if with_built_in_names or entry_point.name not in BUILT_IN:
            by_name.setdefault(entry_point.name, []).append(entry_point)
    return by_name


# The search is slow, and a table of runs needs the backend of each run.
@cache
def installed_entry_points() -> tuple[EntryPoint, ...]:
    """Return the entry points of all distributions, sorted by name."""
    from importlib.metadata import entry_points

    return tuple(sorted(entry_points(group=GROUP), key=lambda entry_point: entry_point.name))


def _load(entry_point: EntryPoint) -> BackendPlugin:
    """Return the backend that an entry point names.

    Raises:
        ConfigError: the object cannot be imported, is not a backend, or declares keys that are
            reserved.
    """
    distribution = _format_distribution(entry_point)
    problem = f"The backend '{entry_point.name}' of {distribution} cannot be used"
    try:
        plugin = entry_point.load()
    except (Exception, SystemExit) as error:
        # An import runs the code of the distribution, which may raise anything.
        raise ConfigError(f"{problem}: {in_one_line(error)}.", hint=_HINT) from error
    if not isinstance(plugin, BackendPlugin):
        raise ConfigError(
            f"{problem}: {entry_point.value} is not a kfgcp.backends.plugin.BackendPlugin.",
            hint=_HINT,
        )
    if not (isinstance(plugin.settings, type) and issubclass(plugin.settings, BackendSettings)):
        raise ConfigError(
            f"{problem}: its settings are not a subclass of kfgcp.settings.BackendSettings.",
            hint=_HINT,
        )
    if callable(plugin.open) is callable(plugin.service):
        raise ConfigError(
            f"{problem}: it must have exactly one of the functions `service` and `open`.",
            hint=_HINT,
        )
    _check_keys(plugin.settings, problem)
    return plugin


def _check_keys(settings: type[BackendSettings], problem: str) -> None:
    """Check that a class of settings can be read, and does not redefine a key of all environments.

    Raises:
        ConfigError: the class cannot be read, or it redefines a key.
    """
    try:
        types = settings.types()
    except TypeError as error:
        raise ConfigError(f"{problem}: {error}.", hint=_HINT) from error
    except Exception as error:
        # Reading the type of a field runs code of the distribution, which may raise anything.
        raise ConfigError(f"{problem}: {in_one_line(error)}.", hint=_HINT) from error
    reserved = {"backend"}
    for key, toml_type in BackendSettings.types().items():
        if types[key] is not toml_type:
            reserved.add(key)
    for key in types:
        if key in reserved:
            raise ConfigError(
                f"{problem}: it declares the key {key}, which kfgcp already uses in every"
                " environment.",
                hint=_HINT,
            )


def _format_distribution(entry_point: EntryPoint) -> str:
    """Return the name and version of an entry point's distribution: `kfgcp-toy 1.0`."""
    if entry_point.dist is None:
        return "an unknown distribution"
    return f"{entry_point.dist.name} {entry_point.dist.version}"


def _format_origin(backend: str) -> str:
    """Return ` of DISTRIBUTION` for a backend of another distribution, "" for one of ours."""
    if backend in BUILT_IN:
        return ""
    distributions = map(_format_distribution, _other_backends()[backend])
    return f" of {', '.join(distributions)}"
