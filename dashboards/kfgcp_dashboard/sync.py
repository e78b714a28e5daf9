"""Read changes of the backends into the store, in the background.

Pages read the store, so they wait for no service. There is one thread for each environment in the
whole process. It works while somebody uses the dashboard, and rests when nobody has for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from kfgcp import Environment, KfgcpError, Project, RunRef, Workspace
from kfgcp.backends.base import SupportsRefresh, capability
from kfgcp.backends.local.service import LocalBackend
from kfgcp.backends.registry import runs_here

# Seconds between two readings of a service's list; `sync_seconds` in [dashboard] replaces it.
SERVICE_SECONDS: Final = 30

# Seconds between two readings of a run that a page shows, and of the runs on this machine.
RUN_SECONDS: Final = 3.0
LOCAL_SECONDS: Final = 2.0

# Seconds after the last visit until the threads rest. Services limit the number of requests.
REST_SECONDS: Final = 300.0

# Seconds that a run counts as open after a page has shown it. A page with an unfinished run shows
# the run again every two seconds.
OPEN_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """How up to date the runs of an environment are.

    Attributes:
        env: its name.
        backend: the name of its backend.
        read_at: Unix time of the last successful reading, None before the first one.
        reading: whether the environment is being read now.
        error: why the last reading failed; empty when it succeeded.
        hint: what to do about the error.
    """

    env: str
    backend: str
    read_at: float | None = None
    reading: bool = False
    error: str = ""
    hint: str = ""

    @property
    def runs_here(self) -> bool:
        """Return whether the runs are on this machine, so that no service is read."""
        return runs_here(self.backend)


class Sync:
    """The threads of a project.

    Args:
        workspace: the project.
        clock: returns the Unix time.
    """

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.time) -> None:
        self.workspace = workspace
        self.project = workspace.project
        self._clock = clock
        self._lock = threading.Lock()
        self._last_visit = clock()
        self._stopped = threading.Event()
        # (environment, id of a run) -> when a page last showed the run.
        self._open_runs: dict[tuple[str, str], float] = {}
        # An environment is read at once when its event is set.
        self._wake: dict[str, threading.Event] = {}
        self._statuses: dict[str, EnvironmentStatus] = {}
        for env in synced_environments(self.project):
            self._statuses[env.name] = EnvironmentStatus(env.name, env.backend)
            self._wake[env.name] = threading.Event()

    def start(self) -> Sync:
        """Start the threads, and return this object."""
        for name in self._statuses:
            thread = threading.Thread(
                target=self._run, args=(name,), name=f"sync {name}", daemon=True
            )
            thread.start()
        return self

    def stop(self) -> None:
        """Tell the threads to end after their current reading, without waiting for them."""
        self._stopped.set()
        for event in self._wake.values():
            event.set()

    def touch(self) -> None:
        """Record a visit. Each page calls this. After a rest, everything is read at once."""
        was_resting = self._is_resting()
        self._last_visit = self._clock()
        if was_resting:
            self.read_now()

    def read_now(self) -> None:
        """Read all environments at once."""
        for name, event in self._wake.items():
            self._update(name, reading=True)
            event.set()

    def watch(self, env: str, run_id: str) -> None:
        """Read the tasks of an unfinished run for a while, because a page shows it."""
        with self._lock:
            self._open_runs[env, run_id] = self._clock()

    @property
    def statuses(self) -> list[EnvironmentStatus]:
        """The status of each environment that is read."""
        with self._lock:
            return list(self._statuses.values())

    def status(self, env: str) -> EnvironmentStatus | None:
        """Return the status of an environment, None when it is not read."""
        return self._statuses.get(env)

    def _is_resting(self) -> bool:
        return self._clock() - self._last_visit > REST_SECONDS

    def _update(self, name: str, **changes: Any) -> None:
        with self._lock:
            self._statuses[name] = replace(self._statuses[name], **changes)

    def _run(self, name: str) -> None:
        """Read an environment again and again. Runs in a thread."""
        env = self.project.env(name)
        interval = LOCAL_SECONDS if runs_here(env.backend) else _service_seconds(self.project)
        wake = self._wake[name]
        due = 0.0
        while not self._stopped.is_set():
            if not self._is_resting():
                if wake.is_set() or self._clock() >= due:
                    # Cleared before the reading: a request during the reading must not be lost.
                    wake.clear()
                    self._read_list(env)
                    due = self._clock() + interval
                self._read_open_runs(env)
            wake.wait(min(RUN_SECONDS, interval))

    def _read_list(self, env: Environment) -> None:
        self._update(env.name, reading=True)
        try:
            # Each thread needs a backend of its own. The workspace gives it one.
            backend = self.workspace.backend(env.name)
            refreshable = capability(backend, SupportsRefresh)
            if refreshable is not None:
                refreshable.refresh()
            elif isinstance(backend, LocalBackend):
                # Notices the runs whose engine was killed.
                backend.refresh()
            self._update(env.name, reading=False, read_at=self._clock(), error="", hint="")
        except KfgcpError as error:
            self._update(env.name, reading=False, error=error.message, hint=error.hint)
        except Exception as error:
            # The page shows it. A thread that dies would leave no trace.
            message = f"an internal error while reading: {type(error).__name__}: {error}"
            self._update(env.name, reading=False, error=message, hint="")

    def _read_open_runs(self, env: Environment) -> None:
        for run_id in self._list_open_runs(env):
            # The reading of the list reports what is wrong with the environment.
            with suppress(KfgcpError):
                self.workspace.backend(env.name).get(RunRef(env.name, run_id))

    def _list_open_runs(self, env: Environment) -> list[str]:
        """Return the ids of the runs that pages show, and forget those that no page shows."""
        now = self._clock()
        run_ids = []
        with self._lock:
            for (env_name, run_id), shown_at in list(self._open_runs.items()):
                if now - shown_at > OPEN_SECONDS:
                    del self._open_runs[env_name, run_id]
                elif env_name == env.name:
                    run_ids.append(run_id)
        return run_ids


# The threads of this process: one object, or none. Streamlit runs the script of each visitor in
# the same process, so all visitors share it.
_running: list[Sync] = []
_lock: Final = threading.Lock()


def start_for(workspace: Workspace) -> Sync:
    """Return the threads of this process, and start them at the first call.

    `data.workspace` returns another workspace when kfgcp.toml or the state folder has changed.
    Then new threads replace the old ones.
    """
    with _lock:
        if not _running or _running[0].workspace is not workspace:
            stop_all()
            _running.append(Sync(workspace).start())
        return _running[0]


def stop_all() -> None:
    """Tell the threads of this process to end."""
    while _running:
        _running.pop().stop()


def synced_environments(project: Project) -> Sequence[Environment]:
    """Return the environments to read: the names in `sync` of [dashboard], or all environments."""
    setting = project.dashboard.get("sync")
    names = list(project.environments) if setting is None else setting.value
    # An environment that is not valid has no backend. The page Health shows the reason.
    return [project.environments[name] for name in names if name in project.environments]


def _service_seconds(project: Project) -> float:
    setting = project.dashboard.get("sync_seconds")
    if setting is None:
        return SERVICE_SECONDS
    return float(setting.value)
