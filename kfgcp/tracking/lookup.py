"""Finds runs of all environments: in the store, and on the remote backends that fill it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from kfgcp.backends.base import Backend, RunRef, SupportsLook, SupportsRefresh, capability
from kfgcp.backends.registry import DEFAULT, runs_here
from kfgcp.config import DEFAULT_ENV, Environment
from kfgcp.errors import (
    BackendError,
    BadAnswer,
    ConfigError,
    DiskFull,
    NotFound,
    RunNotFound,
    Unreachable,
    UsageError,
)
from kfgcp.model import Run
from kfgcp.query import RunFilter
from kfgcp.store.database import note_full
from kfgcp.store.rows import no_run
from kfgcp.store.store import DATABASE_NAME, Store
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.notices import NotRefreshed, warn_caller
from kfgcp.tracking.open_project import OpenProject

RunLike = str | RunHandle | Run
"""A run: its id, a beginning of it, its name or `latest`; a handle; or a frozen value."""


def show(workspace: OpenProject, run: RunLike) -> RunHandle:
    """Look a run up and read it again. Raises what `find` does."""
    if isinstance(run, RunHandle):
        return run.refresh()
    return handle(workspace, run.run_id if isinstance(run, Run) else run)


def look(workspace: OpenProject, run: RunLike) -> RunHandle:
    """Look a run up as `show` does, but ask for no log to tell why it failed. Raises what `find`
    does."""
    run_id = run if isinstance(run, str) else run.run_id
    return handle(workspace_of(workspace, run), run_id, with_reasons=False)


def workspace_of(workspace: OpenProject, run: object) -> OpenProject:
    """Return the workspace that a run belongs to: that of a handle, else the one that was asked."""
    return run.workspace if isinstance(run, RunHandle) else workspace


def id_of(workspace: OpenProject, run: RunLike) -> str:
    """Return the id under which a run is recorded. The backend is asked only when there is no
    record."""
    if isinstance(run, (RunHandle, Run)):
        return run.run_id
    return find(workspace, run).run_id


def handle(workspace: OpenProject, run_text: str, *, with_reasons: bool = True) -> RunHandle:
    """Return a handle of the run that a text means. Raises what `find` does.

    On a full disk the run is as it was recorded, because nothing new can be recorded.

    Args:
        workspace: where to look.
        run_text: an id, the beginning of one, a name or `latest`.
        with_reasons: read logs to tell why a run failed.
    """
    run = find(workspace, run_text)
    ref = RunRef(run.env, run.run_id)
    backend = workspace.backend(workspace.environment_of(run.env, run.backend).name)
    try:
        whole_run = backend.get(ref) if with_reasons else _look(backend, ref)
    except DiskFull:
        note_full(workspace.store.file)
        whole_run = workspace.store.get(run.run_id)
    return RunHandle(workspace, ref, whole_run)


def find(workspace: OpenProject, run_text: str) -> Run:
    """Return the record of the run that a text means. Without a record, ask the remote backends for
    it.

    Raises:
        UsageError: there is more than one. RunNotFound: there is none.
        NotFound: the remote backends have none either.
        Unreachable: there is no record, and none of the remote backends can be reached.
    """
    try:
        return _recorded(workspace, run_text)
    except UsageError:
        if run_text == "latest" or not _remote(workspace):
            raise
    run = _of_that_id(workspace, run_text)
    if run is not None:
        return run
    read_changes(workspace, RunFilter(), with_tasks=False)
    try:
        return _recorded(workspace, run_text)
    except RunNotFound as error:
        if workspace.recorded_store is None:
            raise
        raise NotFound(error.message, hint=error.hint, status=404, reason="NOT_FOUND") from None


def read_changes(
    workspace: OpenProject,
    run_filter: RunFilter,
    limit: int | None = None,
    *,
    with_tasks: bool = True,
) -> None:
    """Read what has changed on the remote backends: on one environment, or on all that are
    different places.

    Args:
        workspace: whose environments.
        run_filter: which runs. With an environment, a backend that cannot be reached is an error.
            Otherwise it is the warning `NotRefreshed`.
        limit: read only this many of the newest runs that match, where the backend can choose them.
        with_tasks: read also the tasks and metrics of ended runs, which can cost several requests
            for each run.
    """
    if run_filter.env is not None:
        # An environment that was removed from kfgcp.toml still has runs in the store.
        if run_filter.env in workspace.project.invalid_environments:
            workspace.project.env(run_filter.env)
        env = workspace.project.environments.get(run_filter.env)
        refreshable = (
            None if env is None or runs_here(env.backend) else _refreshable(workspace, env)
        )
        if refreshable is not None:
            _read(refreshable, run_filter, limit, with_tasks)
        return
    for name, invalid in workspace.project.invalid_environments.items():
        warn_caller(f"{name} is shown as last seen: {invalid.message}", NotRefreshed)
    places = set()
    for env in _remote(workspace):
        try:
            backend = _refreshable(workspace, env)
            if backend is not None and backend.place not in places:
                places.add(backend.place)
                _read(backend, run_filter, limit, with_tasks)
        except DiskFull:
            raise
        except (BackendError, ConfigError) as error:
            warn_caller(f"{env.name} is shown as last seen: {error.message}", NotRefreshed)


def refreshed_store(
    workspace: OpenProject,
    run_filter: RunFilter,
    limit: int | None = None,
    *,
    refresh: bool = True,
    metrics: bool = True,
) -> Store | None:
    """Return the store after what has changed was read into it, None when nothing was ever
    recorded.

    Args:
        workspace: whose store.
        run_filter: which runs must be up to date.
        limit: only this many of the newest runs that match.
        refresh: ask the remote backends.
        metrics: read the metrics of ended runs also where this takes several requests for each run.
    """
    if refresh:
        with _noting_a_full_disk(workspace):
            read_changes(workspace, run_filter, limit, with_tasks=metrics or bool(run_filter.where))
    store = workspace.recorded_store
    if store is not None and (_has_unfinished_local_runs(store) or store.removals()):
        with _noting_a_full_disk(workspace):
            _clean_up_local_runs(workspace)
    return store


@contextmanager
def _noting_a_full_disk(workspace: OpenProject) -> Iterator[None]:
    """On a full disk, warn instead of recording what has changed: what was recorded can be
    shown."""
    try:
        yield
    except DiskFull:
        note_full(workspace.project.home / DATABASE_NAME)


def _has_unfinished_local_runs(store: Store) -> bool:
    return any(runs_here(backend) for backend in store.unfinished_by_backend())


def _clean_up_local_runs(workspace: OpenProject) -> None:
    """End the records of local runs whose engine is gone, and finish deletions that were killed."""
    from kfgcp.backends.local.service import LocalBackend

    project = workspace.project
    LocalBackend(project, Environment(DEFAULT_ENV, DEFAULT), workspace.store).refresh()


def _of_that_id(workspace: OpenProject, run_id: str) -> Run | None:
    """Return the run of exactly this id on a remote backend, however old it is. It costs a request
    for each place.

    Raises:
        BadAnswer: one answered with the run, in a form that cannot be read, and no other has it.
        Unreachable: none of the places could be reached.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{7,}", run_id):  # shorter ones are beginnings
        return None
    places = set()
    unreadable: BadAnswer | None = None
    unreachable: list[Unreachable] = []
    for env in _remote(workspace):
        try:
            backend = _refreshable(workspace, env)
            if backend is not None and backend.place not in places:
                places.add(backend.place)
                return _look(workspace.backend(env.name), RunRef(env.name, run_id))
        except BadAnswer as error:  # it is there, and a list would say less of it
            unreadable = unreadable or error
        except Unreachable as error:
            unreachable.append(error)
        except (UsageError, BackendError, ConfigError):
            continue  # reading the list, which is next, tells what is wrong
    if unreadable is not None:
        raise unreadable
    if unreachable and len(unreachable) == len(
        places
    ):  # reading the lists would only wait for the same services again
        raise unreachable[0]
    return None


def _look(backend: Backend, ref: RunRef) -> Run:
    """Return a run as it is now, without asking for logs where the backend can leave them out."""
    without_logs = capability(backend, SupportsLook)
    return backend.get(ref) if without_logs is None else without_logs.look(ref)


def _recorded(workspace: OpenProject, run_text: str) -> Run:
    store = workspace.recorded_store
    if store is None:
        raise no_run(run_text)
    return store.get(store.find(run_text), whole=False)


def _remote(workspace: OpenProject) -> list[Environment]:
    return [env for env in workspace.project.environments.values() if not runs_here(env.backend)]


def _read(
    backend: SupportsRefresh, run_filter: RunFilter, limit: int | None, with_tasks: bool
) -> None:
    if (
        limit is not None
        and not run_filter.needs_store
        and backend.recent(run_filter, limit, with_tasks=with_tasks)
    ):
        return
    backend.refresh(run_filter.since, with_tasks=with_tasks)


def _refreshable(workspace: OpenProject, env: Environment) -> SupportsRefresh | None:
    """Return what reads the runs of an environment into the store, None when its backend records
    them by itself."""
    return capability(workspace.backend(env.name), SupportsRefresh)
