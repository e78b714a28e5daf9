"""Backends by name. Nothing of a backend is imported until an environment asks for it.

Our own backends are known here. Those of other distributions are entry points of the group
`kfgcp.backends`, which are only looked for when the name is not one of ours: reading the metadata
of all distributions takes as long as a whole command. So a distribution cannot take the name of one
of our backends; `kfgcp doctor` tells of one that tries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kfgcp import config
from kfgcp.backends.plugin import GROUP, BackendPlugin
from kfgcp.config import Environment, Project, UnknownBackend
from kfgcp.errors import ConfigError, KfgcpError
from kfgcp.foreign_errors import in_one_line
from kfgcp.settings import BackendSettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from kfgcp.backends.base import Backend
    from kfgcp.model import Run
    from kfgcp.store.store import Store

DEFAULT: Final = "local"
BUILT_IN: Final = (DEFAULT, "vertex", "kubeflow")
"""The names of our own backends. Each is the package of that name in kfgcp/backends/."""
_SERVICE_METHODS: Final = (
    *(
        "facts",
        "place",
        "notes",
        "create",
        "fetch",
        "changed_since",
        "created_between",
        "newest",
        "explain",
    ),
    *("cancel", "delete"),
)
"""What every service has: see `kfgcp.backends.service.RunService`."""
_HINT: Final = "Update or remove that distribution."
_METHODS: Final = ("notes", "submit", "get", "list", "cancel", "pace")
"""What every backend has: see `kfgcp.backends.base.Backend`."""


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
        project: whose environment it is.
        env: the environment.
        store: where its runs are recorded, the store of the project when None. Threads may share
            it.

    Raises:
        ConfigError: a setting is missing, or the plug-in of the backend is broken.
    """
    from kfgcp.store.store import Store

    require_settings(env)
    plugin = plugin_of(env.backend)
    with naming_distribution(env.backend, "opened"):
        backend = _open(plugin, project, env, store or Store(project.home))
        _require_methods(backend, _METHODS, env)
    return backend


def _open(plugin: BackendPlugin, project: Project, env: Environment, store: Store) -> Backend:
    if plugin.open is not None:
        return plugin.open(project, env, store)
    from kfgcp.backends.mirror import Mirror, StoreRecords

    assert plugin.service is not None
    service = plugin.service(project, env, StoreRecords(store))
    _require_methods(service, _SERVICE_METHODS, env)
    return Mirror(service, store, env.name)


@contextmanager
def naming_distribution(backend: str, action: str) -> Iterator[None]:
    """Let what the code of another distribution raises be an error that names the distribution.

    Args:
        backend: the name of the backend. What our own backends raise stays as it is.
        action: what cannot be done with it, in the passive: "opened".
    """
    try:
        yield
    except KfgcpError:
        raise
    except (Exception, SystemExit) as error:
        if backend in BUILT_IN:
            raise
        raise ConfigError(
            f"The backend '{backend}'{_distribution_of(backend)} cannot be {action}:"
            f" {in_one_line(error)}.",
            hint=_HINT,
        ) from error


def _require_methods(opened: object, methods: Iterable[str], env: Environment) -> None:
    """Check that an object of a plug-in has the methods and properties that it must have.

    Raises:
        ConfigError: one is missing; the message names the distribution.
    """
    missing = [name for name in methods if not hasattr(opened, name)]
    if missing:
        raise ConfigError(
            f"The backend '{env.backend}'{_distribution_of(env.backend)} has no"
            f" {' and no '.join(missing)}.",
            hint=_HINT,
        )


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
    """Return whether the runs of a backend are executed on this machine. Those of an unknown
    backend are not."""
    try:
        return plugin_of(backend).runs_here
    except ConfigError:
        return False


def rounding_backends(backends: Iterable[str]) -> frozenset[str]:
    """Return those of some backends whose services may keep metrics with six decimals only."""
    names = set()
    for name in set(backends):
        # Of a backend that is not installed any more, nothing is known.
        with suppress(ConfigError):
            if plugin_of(name).rounds_metrics:
                names.add(name)
    return frozenset(names)


def is_in_service_store(env: Environment, run: Run, uri: str) -> bool:
    """Return whether an artifact of a run is in the own store of the service, at a place that
    belongs to the run."""
    is_artifact_of = plugin_of(env.backend).is_artifact_of
    return is_artifact_of is not None and is_artifact_of(env, run, uri)


@cache
def plugin_of(name: str) -> BackendPlugin:
    """Return the backend of that name.

    Raises:
        UnknownBackend: there is none.
        ConfigError: the distribution that has it cannot be used.
    """
    if name in BUILT_IN:
        plugin: BackendPlugin = import_module(f"kfgcp.backends.{name}").BACKEND
        return plugin
    offers = _offers().get(name, [])
    if not offers:
        raise UnknownBackend(
            f"There is no backend '{name}'.",
            hint=f"backend is one of: {', '.join([*BUILT_IN, *_offers()])}.",
        )
    if len(offers) > 1:
        raise ConfigError(
            f"The backend '{name}' is in several distributions:"
            f" {', '.join(map(_described, offers))}.",
            hint="Remove all but one of them.",
        )
    return _load(offers[0])


def plugin_problems() -> Iterator[str]:
    """Yield what is wrong with the backends of other distributions, a sentence each."""
    for name, offers in _offers(with_built_in=True).items():
        if name in BUILT_IN:
            for offer in offers:
                yield (
                    f"{_described(offer)} has a backend '{name}', which is the name of a backend of"
                    " kfgcp: not used."
                )
            continue
        try:
            plugin_of(name)
        except ConfigError as error:
            yield error.message


def _offers(*, with_built_in: bool = False) -> dict[str, list[EntryPoint]]:
    """Return the entry points of other distributions by their names, in the order of the names."""
    offers: dict[str, list[EntryPoint]] = {}
    for entry_point in installed_offers():
        if with_built_in or entry_point.name not in BUILT_IN:
            offers.setdefault(entry_point.name, []).append(entry_point)
    return offers


@cache
def installed_offers() -> tuple[EntryPoint, ...]:
    """Return the entry points of all distributions, in the order of the names.

    They are looked for once in a process: a table of runs asks for the backend of each run.
    """
    from importlib.metadata import entry_points

    return tuple(sorted(entry_points(group=GROUP), key=lambda entry_point: entry_point.name))


def _load(offer: EntryPoint) -> BackendPlugin:
    """Return the backend that an entry point names.

    Raises:
        ConfigError: it cannot be imported, is something else, or declares keys that it must not.
    """
    problem = f"The backend '{offer.name}' of {_described(offer)} cannot be used"
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
    try:
        types = plugin.settings.types()
    except TypeError as error:
        raise ConfigError(f"{problem}: {error}.", hint=_HINT) from error
    except Exception as error:
        # A type that is written as a text is code, too.
        raise ConfigError(f"{problem}: {in_one_line(error)}.", hint=_HINT) from error
    for key, kind in {"backend": str, **BackendSettings.types()}.items():
        if key in types and (types[key] is not kind or key == "backend"):
            raise ConfigError(
                f"{problem}: it declares the key {key}, which every environment has with another"
                " meaning.",
                hint=_HINT,
            )
    return plugin


def _described(offer: EntryPoint) -> str:
    """Return the distribution of an entry point: `kfgcp-toy 1.0`."""
    if offer.dist is None:
        return "an unknown distribution"
    return f"{offer.dist.name} {offer.dist.version}"


def _distribution_of(name: str) -> str:
    """Return ` of DISTRIBUTION` for a backend of another distribution, empty for one of ours."""
    if name in BUILT_IN:
        return ""
    return f" of {', '.join(map(_described, _offers()[name]))}"
