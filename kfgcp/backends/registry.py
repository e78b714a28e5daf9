"""Backends by name. Nothing of a backend is imported until an environment asks for it.

Our own backends have their names here. Backends of other distributions are entry points of the
group `kfgcp.backends`. They are searched only for a name that is not one of ours, because reading
the metadata of all distributions takes as long as a whole command. So a distribution cannot take
the name of one of our backends; `kfgcp doctor` reports a distribution that tries to.
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
"""What every service has: see `kfgcp.backends.service.RunService`."""
_BACKEND_METHODS: Final = ("notes", "submit", "get", "list", "cancel", "pace")
"""What every backend has: see `kfgcp.backends.base.Backend`."""
_HINT: Final = "Update or remove that distribution."


def load_project(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Project:
    """Return the project of a folder; see `kfgcp.config.load`."""
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
        store: where the runs are recorded; the store of the project when None. Threads may share
            it.

    Raises:
        ConfigError: a setting is missing, or the plug-in of the backend is broken.
    """
    from kfgcp.store.store import Store

    require_settings(env)
    plugin = plugin_of(env.backend)
    with naming_distribution(env.backend, "cannot be opened"):
        return _open(plugin, project, env, store or Store(project.home))


def _open(plugin: BackendPlugin, project: Project, env: Environment, store: Store) -> Backend:
    if plugin.open is not None:
        backend = plugin.open(project, env, store)
        _require_methods(backend, _BACKEND_METHODS, env)
        return _with_named_errors(backend, env.backend)
    from kfgcp.backends.mirror import Mirror
    from kfgcp.backends.store_records import StoreRecords

    # `_load` refuses a plug-in that has neither function.
    assert plugin.service is not None
    service = plugin.service(project, env, StoreRecords(store))
    _require_methods(service, _SERVICE_METHODS, env)
    return Mirror(_with_named_errors(service, env.backend), store, env.name)


def _require_methods(target: object, names: Iterable[str], env: Environment) -> None:
    """Check that an object of a plug-in has the methods and properties that it must have.

    Raises:
        ConfigError: one is missing; the message names the distribution.
    """
    missing = [name for name in names if not hasattr(target, name)]
    if missing:
        raise ConfigError(
            f"The backend '{env.backend}'{_distribution_of(env.backend)} has no"
            f" {' and no '.join(missing)}.",
            hint=_HINT,
        )


def _with_named_errors(target: T, backend: str) -> T:
    """Return a backend or service whose unexpected errors name its distribution.

    Our own are returned as they are: their unexpected errors are bugs of kfgcp.
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
    """Raise an error that names the distribution instead of an unexpected error of its code.

    Our own errors, and all errors of our own backends, stay as they are. So does every error when
    KFGCP_DEBUG is set, because the author of a backend needs the traceback.

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
            f"The backend '{backend}'{_distribution_of(backend)} {problem}: {in_one_line(error)}.",
            hint=_HINT,
        ) from error


def require_settings(env: Environment) -> None:
    """Check that an environment has all keys that its backend needs.

    Raises:
        ConfigError: one is missing.
    """
    missing = env.missing
    if not missing:
        return
    names = missing[-1]
    if len(missing) > 1:
        names = f"{', '.join(missing[:-1])} and {names}"
    raise ConfigError(
        f"Environment '{env.name}' has no {names}, which the backend '{env.backend}' needs.",
        hint=f"Set {names} in [env.{env.name}] of kfgcp.toml.",
    )


def runs_here(backend: str) -> bool:
    """Return whether a backend executes its runs on this machine.

    False for a backend that is not installed.
    """
    try:
        return plugin_of(backend).runs_here
    except ConfigError:
        return False


def rounding_backends(backends: Iterable[str]) -> frozenset[str]:
    """Return the backends whose services may keep metrics with six decimals only.

    Args:
        backends: the names to choose from.
    """
    names = set()
    for name in set(backends):
        # The store may have runs of a backend that is not installed any more.
        with suppress(ConfigError):
            if plugin_of(name).rounds_metrics:
                names.add(name)
    return frozenset(names)


def is_in_service_store(env: Environment, run: Run, uri: str) -> bool:
    """Return whether the service's own store has an artifact, at a place that belongs to the run.

    Args:
        env: the environment of the run.
        run: the run.
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
    offers_by_name = _offers()
    offers = offers_by_name.get(name, [])
    if not offers:
        names = ", ".join([*BUILT_IN, *offers_by_name])
        raise UnknownBackend(
            f"No installed backend has the name '{name}'.", hint=f"backend is one of: {names}."
        )
    if len(offers) > 1:
        distributions = ", ".join(map(_distribution, offers))
        raise ConfigError(
            f"Several distributions have a backend '{name}': {distributions}.",
            hint="Remove all but one of them.",
        )
    return _load(offers[0])


def plugin_problems() -> Iterator[str]:
    """Yield a sentence for each problem of the backends of other distributions."""
    for name, offers in _offers(with_built_in=True).items():
        if name in BUILT_IN:
            for offer in offers:
                yield (
                    f"{_distribution(offer)} has a backend '{name}', which is not used, because"
                    " kfgcp has a backend with the same name."
                )
            continue
        try:
            plugin_of(name)
        except ConfigError as error:
            yield error.message


def _offers(*, with_built_in: bool = False) -> dict[str, list[EntryPoint]]:
    """Return the entry points of other distributions by their names, in alphabetical order."""
    offers: dict[str, list[EntryPoint]] = {}
    for entry_point in installed_offers():
        if with_built_in or entry_point.name not in BUILT_IN:
            offers.setdefault(entry_point.name, []).append(entry_point)
    return offers


@cache
def installed_offers() -> tuple[EntryPoint, ...]:
    """Return the entry points of all distributions, sorted by name.

    The search is done once in a process: a table of runs needs the backend of each run.
    """
    from importlib.metadata import entry_points

    return tuple(sorted(entry_points(group=GROUP), key=lambda entry_point: entry_point.name))


def _load(offer: EntryPoint) -> BackendPlugin:
    """Return the backend that an entry point names.

    Raises:
        ConfigError: the object cannot be imported, is not a backend, or declares keys that are
            reserved.
    """
    problem = f"The backend '{offer.name}' of {_distribution(offer)} cannot be used"
    try:
        plugin = offer.load()
    except (Exception, SystemExit) as error:
        # An import runs the code of the distribution, which may raise anything.
        raise ConfigError(f"{problem}: {in_one_line(error)}.", hint=_HINT) from error
    if not isinstance(plugin, BackendPlugin):
        raise ConfigError(
            f"{problem}: {offer.value} is not a kfgcp.backends.plugin.BackendPlugin.", hint=_HINT
        )
    if not (isinstance(plugin.settings, type) and issubclass(plugin.settings, BackendSettings)):
        raise ConfigError(
            f"{problem}: its settings are not a subclass of kfgcp.settings.BackendSettings.",
            hint=_HINT,
        )
    if callable(plugin.open) is callable(plugin.service):
        raise ConfigError(
            f"{problem}: it must have one of the functions service and open.", hint=_HINT
        )
    _check_keys(plugin.settings, problem)
    return plugin


def _check_keys(settings: type[BackendSettings], problem: str) -> None:
    """Check that a class of settings can be read, and does not redefine a key of all environments.

    Raises:
        ConfigError: it cannot be read, or redefines a key.
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


def _distribution(offer: EntryPoint) -> str:
    """Return the distribution of an entry point: `kfgcp-toy 1.0`."""
    if offer.dist is None:
        return "an unknown distribution"
    return f"{offer.dist.name} {offer.dist.version}"


def _distribution_of(name: str) -> str:
    """Return ` of DISTRIBUTION` for a backend of another distribution, "" for one of ours."""
    if name in BUILT_IN:
        return ""
    return f" of {', '.join(map(_distribution, _offers()[name]))}"
