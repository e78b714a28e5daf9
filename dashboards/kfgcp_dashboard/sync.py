"""Reads what has changed on the backends, in the background: pages read the store, and wait for
nobody.

One thread an environment, for the whole process. It works while somebody looks, and rests when
nobody has for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from kfgcp.backends.base import RunRef, SupportsRefresh, capability
from kfgcp.backends.local.service import LocalBackend
from kfgcp.backends.registry import runs_here
from kfgcp.config import Environment, Project
from kfgcp.errors import KfgcpError
from kfgcp.workspace import Workspace

SECONDS: Final = 30
"""Between two readings of a list; `sync_seconds` in [dashboard]."""
RUN_SECONDS: Final = 3.0
"""Between two looks at a run that somebody has open."""
LOCAL_SECONDS: Final = 2.0
REST: Final = 300.0
"""Seconds without anybody looking after which the threads rest."""
OPEN: Final = 15.0
"""Seconds that a run counts as open after it was shown."""


@dataclass(frozen=True, slots=True)
class Status:
    """How up to date an environment is. read_at: Unix time, None before the first reading. error:
    of the last one."""

    env: str
    backend: str
    read_at: float | None = None
    reading: bool = False
    error: str = ""
    hint: str = ""

    @property
    def runs_here(self) -> bool:
        """Whether its runs are executed on this machine, so that nothing is read from a service."""
        return runs_here(self.backend)


class Sync:
    """The threads of a project.

    Args:
        workspace: whose environments.
        clock: Unix time.
    """

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.time) -> None:
        self.workspace = workspace
        self.project = workspace.project
        self._clock = clock
        self._lock = threading.Lock()
        self._touched = clock()
        self._open: dict[tuple[str, str], float] = {}
        self._wake: dict[str, threading.Event] = {}
        self._statuses: dict[str, Status] = {}
        self._ended = threading.Event()
        for env in chosen(self.project):
            self._statuses[env.name] = Status(env.name, env.backend)
            self._wake[env.name] = threading.Event()

    def start(self) -> Sync:
        for name in self._statuses:
            threading.Thread(
                target=self._work, args=(name,), name=f"sync {name}", daemon=True
            ).start()
        return self

    def stop(self) -> None:
        self._ended.set()
        for event in self._wake.values():
            event.set()

    def touch(self) -> None:
        """Somebody looks: called by every page."""
        rested = self._clock() - self._touched > REST
        self._touched = self._clock()
        if rested:
            self.now()

    def now(self) -> None:
        """Reads all lists again at once."""
        for name, event in self._wake.items():
            self._set(name, reading=True)
            event.set()

    def watch(self, env: str, run_id: str) -> None:
        """A run that has not ended is shown: its tasks are read, too."""
        with self._lock:
            self._open[env, run_id] = self._clock()

    @property
    def statuses(self) -> list[Status]:
        with self._lock:
            return list(self._statuses.values())

    def status(self, env: str) -> Status | None:
        return self._statuses.get(env)

    def _set(self, name: str, **changes: object) -> None:
        with self._lock:
            self._statuses[name] = replace(self._statuses[name], **changes)  # type: ignore[arg-type]

    def _work(self, name: str) -> None:
        env = self.project.env(name)
        every = LOCAL_SECONDS if runs_here(env.backend) else _every(self.project)
        due = 0.0
        while not self._ended.is_set():
            awake = self._wake[name]
            if self._clock() - self._touched <= REST:
                if awake.is_set() or self._clock() >= due:
                    awake.clear()
                    self._read(env)
                    due = self._clock() + every
                self._look_at_open(env)
            awake.wait(min(RUN_SECONDS, every))

    def _read(self, env: Environment) -> None:
        self._set(env.name, reading=True)
        try:
            backend = self.workspace.backend(env.name)
            refreshable = capability(backend, SupportsRefresh)
            if refreshable is not None:
                refreshable.refresh()
            elif isinstance(backend, LocalBackend):
                backend.refresh()
            self._set(env.name, reading=False, read_at=self._clock(), error="", hint="")
        except KfgcpError as error:
            self._set(env.name, reading=False, error=error.message, hint=error.hint)
        except Exception as error:  # a thread that dies would say nothing
            self._set(
                env.name,
                reading=False,
                error=f"reading failed inside: {type(error).__name__}: {error}",
                hint="",
            )

    def _look_at_open(self, env: Environment) -> None:
        with self._lock:
            for key in [key for key, at in self._open.items() if self._clock() - at > OPEN]:
                del self._open[key]
            runs = [run_id for name, run_id in self._open if name == env.name]
        for run_id in runs:
            with suppress(KfgcpError):  # reading the list says what is wrong
                self.workspace.backend(env.name).get(RunRef(env.name, run_id))


_running: list[Sync] = []
_guard: Final = threading.Lock()


def of(workspace: Workspace) -> Sync:
    """Return the threads of this process: others when kfgcp.toml or the state folder has
    changed."""
    with _guard:
        if not _running or _running[0].workspace is not workspace:
            end()
            _running.append(Sync(workspace).start())
        return _running[0]


def end() -> None:
    """Ends the threads, each after what it is at."""
    while _running:
        _running.pop().stop()


def chosen(project: Project) -> Iterable[Environment]:
    """The environments that are read: those of `sync` in [dashboard], all without it."""
    setting = project.dashboard.get("sync")
    names = list(project.environments) if setting is None else setting.value
    # Why the others cannot be used is on the page Health.
    return [project.environments[name] for name in names if name in project.environments]


def _every(project: Project) -> float:
    setting = project.dashboard.get("sync_seconds")
    return SECONDS if setting is None else float(setting.value)
