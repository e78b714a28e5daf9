"""Runs of all environments, whatever names them: in the store, and on the remote backends that fill it."""

from __future__ import annotations

import re
import threading
import warnings
from collections import OrderedDict
from typing import Any, Final

from kfgcp.backends.base import Backend, RunRef, SupportsRefresh
from kfgcp.backends.registry import open_backend
from kfgcp.config import Environment, Project
from kfgcp.errors import BackendError, BadAnswer, ConfigError, DiskFull, NotFound, Unreachable, UsageError
from kfgcp.model import Run
from kfgcp.store.database import note_full
from kfgcp.store.rows import RunFilter, no_run
from kfgcp.store.store import DATABASE_NAME, Store
from kfgcp.tracking.handle import RunHandle

KEPT: Final = 16
"""Backends that a thread keeps open: each has a connection to the store, and remote ones sockets and a sign-in."""


class NotRefreshed(UserWarning):
    """A remote backend could not be asked what has changed."""


class _Open(threading.local):
    def __init__(self) -> None:
        self.backends: OrderedDict[Any, Backend] = OrderedDict()


_open = _Open()


def backend_of(project: Project, env: Environment) -> Backend:
    """The backend of an environment; the same one for all runs of it that a thread looks at.

    Another one once the settings have changed, or the state folder is not the same any more.
    """
    key = _key(project, env)
    if key in _open.backends:
        _open.backends.move_to_end(key)
        return _open.backends[key]
    backend = open_backend(project, env)
    _open.backends[_key(project, env)] = backend  # by now there is a database
    while len(_open.backends) > KEPT:
        _open.backends.popitem(last=False)
    return backend


def _key(project: Project, env: Environment) -> tuple[Any, ...]:
    """The same for backends that are the same; the database is told by its inode, as a folder may be made anew."""
    try:
        database = (project.home / DATABASE_NAME).stat().st_ino
    except OSError:
        database = 0
    settings = tuple((key, str(setting.value)) for key, setting in sorted(env.settings.items()))
    others = tuple((environment.name, environment.backend) for environment in project.environments.values())
    return (project.home, project.root, database, env.name, env.backend, settings, others)


def handle(project: Project, run_text: str) -> RunHandle:
    """The run that a text means, to hold on to. Raises what `find` does.

    On a full disk it is as it was recorded: nothing new can be recorded of it.
    """
    run = find(project, run_text)
    backend, ref = backend_of(project, environment_of(project, run)), RunRef(run.env, run.run_id)
    try:
        return RunHandle(backend, ref)
    except DiskFull:
        with Store(project.home) as store:
            note_full(store.file)
            return RunHandle(backend, ref, store.get(run.run_id))


def find(project: Project, run_text: str) -> Run:
    """The record of the run that a text means; one of others is looked for on the remote backends.

    Raises:
        UsageError: there is none, or more than one.
        NotFound: the remote backends have none either.
        Unreachable: there is no record, and none of the remote backends can be reached.
    """
    try:
        return _recorded(project, run_text)
    except UsageError:
        if run_text == "latest" or not _remote(project):
            raise
    run = _of_that_id(project, run_text)
    if run is not None:
        return run
    refresh(project, RunFilter(), whole=False)
    try:
        return _recorded(project, run_text)
    except UsageError as error:
        if (project.home / DATABASE_NAME).exists() and error.message.startswith("There is no run"):
            raise NotFound(error.message, hint=error.hint, status=404, reason="NOT_FOUND") from None
        raise


def refresh(project: Project, run_filter: RunFilter, limit: int | None = None, *, whole: bool = True) -> None:
    """Reads what has changed on the remote backends: of one environment, or of all that are different places.

    With a limit only the newest runs that match are read, where the backend can choose them; unless `whole`, what costs
    several requests a run is left out. Of all environments, one that cannot be reached is the warning `NotRefreshed`.
    """
    if run_filter.env is not None:
        env = project.environments.get(run_filter.env)  # one that was removed still has runs here
        if env is not None and env.backend != "local":
            _read(_refreshable(project, env), run_filter, limit, whole)
        return
    places = set()
    for env in _remote(project):
        try:
            backend = _refreshable(project, env)
            if backend.place not in places:
                places.add(backend.place)
                _read(backend, run_filter, limit, whole)
        except DiskFull:
            raise
        except (BackendError, ConfigError) as error:
            warnings.warn(f"{env.name} is shown as last seen: {error.message}", NotRefreshed, stacklevel=4)


def environment_of(project: Project, run: Run) -> Environment:
    """The environment that a run was made in; for a local run whose environment was removed, any local one serves."""
    if run.env not in project.environments and run.backend == "local":
        return project.env("local")
    return project.env(run.env)


def _of_that_id(project: Project, run_id: str) -> Run | None:
    """The run of exactly that id on a remote backend, however old it is; a request for each place.

    Raises:
        BadAnswer: one answered with the run, in a form that cannot be read, and no other has it.
        Unreachable: none of the places could be reached.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{7,}", run_id):  # shorter ones are beginnings
        return None
    places = set()
    unreadable: BadAnswer | None = None
    unreachable: list[Unreachable] = []
    for env in _remote(project):
        try:
            backend = _refreshable(project, env)
            if backend.place not in places:
                places.add(backend.place)
                return backend_of(project, env).get(RunRef(env.name, run_id))
        except BadAnswer as error:  # it is there, and a list would say less of it
            unreadable = unreadable or error
        except Unreachable as error:
            unreachable.append(error)
        except (UsageError, BackendError, ConfigError):
            continue  # reading the list, which is next, tells what is wrong
    if unreadable is not None:
        raise unreadable
    if unreachable and len(unreachable) == len(places):  # reading the lists would only wait for the same services again
        raise unreachable[0]
    return None


def _recorded(project: Project, run_text: str) -> Run:
    if not (project.home / DATABASE_NAME).exists():
        raise no_run(run_text)
    with Store(project.home) as store:
        return store.get(store.find(run_text), whole=False)


def _remote(project: Project) -> list[Environment]:
    return [env for env in project.environments.values() if env.backend != "local"]


def _read(backend: SupportsRefresh, run_filter: RunFilter, limit: int | None, whole: bool) -> None:
    if limit is None or run_filter.beyond_services or not backend.recent(run_filter, limit, whole=whole):
        backend.refresh(run_filter.since, whole=whole)


def _refreshable(project: Project, env: Environment) -> SupportsRefresh:
    backend = backend_of(project, env)
    assert isinstance(backend, SupportsRefresh)
    return backend
