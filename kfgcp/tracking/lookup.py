"""Find runs of all environments: in the store, and on the remote backends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kfgcp.backends.base import Backend, RunRef, SupportsGetWithoutLogs, SupportsRefresh, capability
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
from kfgcp.store.database import warn_disk_full
from kfgcp.store.rows import run_not_found
from kfgcp.store.store import DATABASE_NAME, Store
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.notices import NotRefreshed, warn_caller
from kfgcp.tracking.open_project import OpenProject

RunLike = str | RunHandle | Run
"""A run: its id, the beginning of its id, its name or `latest`; a handle; or a frozen value."""

# The form of a complete id of a run on any backend. A shorter text is the beginning of an id, and
# services find runs only by complete ids.
_COMPLETE_ID: Final = re.compile(r"[A-Za-z0-9][\w-]{7,}")


def show(workspace: OpenProject, run: RunLike) -> RunHandle:
    """Find a run and read it again. The errors are those of `find`."""
    if isinstance(run, RunHandle):
        return run.refresh()
    return handle(workspace, run.run_id if isinstance(run, Run) else run)


def find_without_logs(workspace: OpenProject, run: RunLike) -> RunHandle:
    """Find a run as `show` does, but do not read logs for the reason why it failed.

    The errors are those of `find`.
    """
    run_id = run if isinstance(run, str) else run.run_id
    return handle(workspace_of(workspace, run), run_id, with_reasons=False)


def workspace_of(workspace: OpenProject, run: object) -> OpenProject:
    """Return the workspace of a run. A handle has its own; other runs belong to `workspace`."""
    return run.workspace if isinstance(run, RunHandle) else workspace


def find_id(workspace: OpenProject, run: RunLike) -> str:
    """Return the id of a run. Remote backends are asked only when the run is not recorded."""
    if isinstance(run, (RunHandle, Run)):
        return run.run_id
    return find(workspace, run).run_id


def handle(workspace: OpenProject, run_text: str, *, with_reasons: bool = True) -> RunHandle:
    """Return a handle of the run with an id or name. The errors are those of `find`.

    On a full disk, the handle has the recorded run, because nothing new can be recorded.

    Args:
        workspace: where to search.
        run_text: an id, the beginning of one, a name or `latest`.
        with_reasons: also read logs for the reason why a run failed.
    """
    run = find(workspace, run_text)
    ref = RunRef(run.env, run.run_id)
    backend = workspace.backend(workspace.environment_of(run.env, run.backend).name)
    try:
        whole_run = backend.get(ref) if with_reasons else _get_without_logs(backend, ref)
    except DiskFull:
        warn_disk_full(workspace.store.file)
        whole_run = workspace.store.get(run.run_id)
    return RunHandle(workspace, ref, whole_run)


def find(workspace: OpenProject, run_text: str) -> Run:
    """Return the record of the run with an id or name. Without a record, ask the remote backends.

    Raises:
        UsageError: the text can mean several runs.
        RunNotFound: no run is recorded, and there is no remote backend to ask.
        NotFound: neither the store nor a remote backend has such a run.
        Unreachable: there is no record, and none of the remote backends can be reached.
    """
    try:
        return _find_record(workspace, run_text)
    except UsageError:
        if run_text == "latest" or not _remote_environments(workspace):
            raise
    run = _find_by_id(workspace, run_text)
    if run is not None:
        return run
    # The text can also be a name or the beginning of an id of a run that was not read yet.
    read_changes(workspace, RunFilter(), with_tasks=False)
    try:
        return _find_record(workspace, run_text)
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
    """Read what has changed on the remote backends into the store.

    Args:
        workspace: the project. Environments that share their runs are read once.
        run_filter: which runs. When the filter names an environment, only that environment is read,
            and an unreachable backend is an error. Otherwise an unreachable backend is the warning
            `NotRefreshed`.
        limit: read only this many of the newest runs that match, where the backend can search.
        with_tasks: also read the tasks and metrics of ended runs, which can take several requests
            for each run.
    """
    if run_filter.env is not None:
        _read_environment(workspace, run_filter.env, run_filter, limit, with_tasks)
        return
    for name, invalid in workspace.project.invalid_environments.items():
        warn_caller(
            f"kfgcp shows the last known state of the runs of {name}: {invalid.message}",
            NotRefreshed,
        )
    places = set()
    for env in _remote_environments(workspace):
        try:
            backend = _refreshable_backend(workspace, env)
            if backend is not None and backend.place not in places:
                places.add(backend.place)
                _refresh_runs(backend, run_filter, limit, with_tasks)
        except DiskFull:
            # Not a problem of this backend: the others could not be recorded either.
            raise
        except (BackendError, ConfigError) as error:
            warn_caller(
                f"kfgcp shows the last known state of the runs of {env.name}: {error.message}",
                NotRefreshed,
            )


def _read_environment(
    workspace: OpenProject, name: str, run_filter: RunFilter, limit: int | None, with_tasks: bool
) -> None:
    if name in workspace.project.invalid_environments:
        # This call raises the error of the environment.
        workspace.project.env(name)
    env = workspace.project.environments.get(name)
    if env is None or runs_here(env.backend):
        # The environment is local, or was removed from kfgcp.toml and only has runs in the store.
        return
    backend = _refreshable_backend(workspace, env)
    if backend is not None:
        _refresh_runs(backend, run_filter, limit, with_tasks)


def refreshed_store(
    workspace: OpenProject,
    run_filter: RunFilter,
    limit: int | None = None,
    *,
    refresh: bool = True,
    metrics: bool = True,
) -> Store | None:
    """Bring the store up to date and return it, or None when nothing was ever recorded.

    Args:
        workspace: the project.
        run_filter: which runs must be up to date.
        limit: only this many of the newest runs that match.
        refresh: ask the remote backends.
        metrics: also read metrics of ended runs that take several requests for each run.
    """
    if refresh:
        with _warn_of_a_full_disk(workspace):
            read_changes(workspace, run_filter, limit, with_tasks=metrics or bool(run_filter.where))
    store = workspace.recorded_store
    if store is not None and (_has_unfinished_local_runs(store) or store.removals()):
        with _warn_of_a_full_disk(workspace):
            _clean_up_local_runs(workspace)
    return store


@contextmanager
def _warn_of_a_full_disk(workspace: OpenProject) -> Iterator[None]:
    """Turn the error of a full disk into a warning, because recorded runs can still be shown."""
    try:
        yield
    except DiskFull:
        warn_disk_full(workspace.project.home / DATABASE_NAME)


def _has_unfinished_local_runs(store: Store) -> bool:
    return any(runs_here(backend) for backend in store.unfinished_by_backend())


def _clean_up_local_runs(workspace: OpenProject) -> None:
    """End the records of local runs whose engine is gone, and finish deletions that were killed."""
    # The local backend imports the engine. Most calls have nothing to clean up, and start-up time
    # counts.
    from kfgcp.backends.local.service import LocalBackend

    project = workspace.project
    LocalBackend(project, Environment(DEFAULT_ENV, DEFAULT), workspace.store).refresh()


def _find_by_id(workspace: OpenProject, run_id: str) -> Run | None:
    """Return the run with exactly this id on a remote backend, however old the run is.

    This takes one request for each place where environments have their runs.

    Raises:
        BadAnswer: a place has the run, but its answer cannot be read, and no other place has it.
        Unreachable: none of the places can be reached.
    """
    if not _COMPLETE_ID.fullmatch(run_id):
        return None
    places = set()
    unreadable: BadAnswer | None = None
    unreachable: list[Unreachable] = []
    for env in _remote_environments(workspace):
        try:
            backend = _refreshable_backend(workspace, env)
            if backend is not None and backend.place not in places:
                places.add(backend.place)
                return _get_without_logs(workspace.backend(env.name), RunRef(env.name, run_id))
        except BadAnswer as error:
            # The run exists. A list of runs would say less about the problem.
            unreadable = unreadable or error
        except Unreachable as error:
            unreachable.append(error)
        except (UsageError, BackendError, ConfigError):
            # The caller lists the runs next, which reports the same problem.
            continue
    if unreadable is not None:
        raise unreadable
    if unreachable and len(unreachable) == len(places):
        # Reading the lists would only wait for the same services again.
        raise unreachable[0]
    return None


def _get_without_logs(backend: Backend, ref: RunRef) -> Run:
    """Return a run as it is now, without asking for logs where the backend can leave them out."""
    without_logs = capability(backend, SupportsGetWithoutLogs)
    return backend.get(ref) if without_logs is None else without_logs.get_without_logs(ref)


def _find_record(workspace: OpenProject, run_text: str) -> Run:
    store = workspace.recorded_store
    if store is None:
        raise run_not_found(run_text)
    return store.get(store.find(run_text), with_tasks=False)


def _remote_environments(workspace: OpenProject) -> list[Environment]:
    return [env for env in workspace.project.environments.values() if not runs_here(env.backend)]


def _refresh_runs(
    backend: SupportsRefresh, run_filter: RunFilter, limit: int | None, with_tasks: bool
) -> None:
    is_done = False
    if limit is not None and not run_filter.needs_store:
        # `refresh_newest` returns False when the service cannot search for these runs.
        is_done = backend.refresh_newest(run_filter, limit, with_tasks=with_tasks)
    if not is_done:
        backend.refresh(run_filter.since, with_tasks=with_tasks)


def _refreshable_backend(workspace: OpenProject, env: Environment) -> SupportsRefresh | None:
    """Return the backend of an environment, None when it records its runs by itself."""
    return capability(workspace.backend(env.name), SupportsRefresh)
