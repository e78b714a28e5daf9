"""An open project: its configuration, its store and its backends.

Each part is created once, when it is first used. So a command needs only the parts that it uses.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from kfgcp.backends.base import Backend
from kfgcp.backends.registry import load_project, open_backend, runs_here
from kfgcp.config import DEFAULT_ENV, Environment, Project
from kfgcp.errors import UsageError
from kfgcp.store.store import DATABASE_NAME, Store


class OpenProject:
    """The part of `kfgcp.Workspace` that is used by other modules than its own.

    These modules are the handles of runs and the modules below `kfgcp.workspace`.

    Threads may share it. They share the store, and each thread has backends of its own, because
    a backend belongs to one thread.

    Args:
        folder: kfgcp.toml is searched for in this folder and its parents. None means the current
            folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._guard = threading.RLock()
        self._project: Project | None = None
        self._store: Store | None = None
        self._backends_of_thread = threading.local()
        self._is_closed = False

    @classmethod
    def of_project(cls, project: Project) -> Self:
        """Return a workspace with a given configuration, which is not read from a file.

        Args:
            project: the configuration.
        """
        workspace = cls(project.root)
        workspace._project = project
        return workspace

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Let pickle create a copy that opens the same project again, also in another process."""
        return type(self), (self.project.root,)

    @property
    def project(self) -> Project:
        """The configuration, as it was when it was first needed.

        Raises:
            ConfigError: kfgcp.toml cannot be read or is not valid.
        """
        with self._guard:
            self._refuse_closed()
            if self._project is None:
                self._project = load_project(self._folder)
            return self._project

    @property
    def store(self) -> Store:
        """The store of the project. It is created when it does not exist.

        Raises:
            StateError: it cannot be opened, or was written by a newer kfgcp.
        """
        with self._guard:
            self._refuse_closed()
            if self._store is None:
                self._store = Store(self.project.home)
            return self._store

    @property
    def recorded_store(self) -> Store | None:
        """The store, or None when there is none yet.

        Unlike `store`, this property never creates a store: reading must not create a state folder.
        """
        exists = self._store is not None or (self.project.home / DATABASE_NAME).exists()
        return self.store if exists else None

    def backend(self, env: str | None = None) -> Backend:
        """Return the backend of an environment. It belongs to the calling thread.

        Args:
            env: the name of the environment, the default one when None.

        Raises:
            ConfigError: there is no such environment, or one of its settings is missing.
        """
        environment = self.project.env(env)
        backends: dict[str, Backend] = self._backends_of_thread.__dict__
        if environment.name not in backends:
            backends[environment.name] = open_backend(self.project, environment, self.store)
        return backends[environment.name]

    def environment_of(self, env: str, backend: str) -> Environment:
        """Return the environment of a recorded run.

        Args:
            env: the recorded name. A local run whose environment was removed from kfgcp.toml
                belongs to `local`.
            backend: the name of the run's backend.

        Raises:
            ConfigError: there is no such environment any more, or it is not valid.
        """
        exists = env in self.project.environments or env in self.project.invalid_environments
        if not exists and runs_here(backend):
            return self.project.env(DEFAULT_ENV)
        return self.project.env(env)

    @property
    def is_current(self) -> bool:
        """Whether the workspace is open and its state folder was not replaced."""
        if self._is_closed:
            return False
        return self._store is None or self._store.is_current

    def close(self) -> None:
        """Close the store and the backends of all threads. Later uses are a UsageError.

        Runs that threads of this process execute continue, and the process still waits for them.
        """
        with self._guard:
            self._is_closed = True
            self._backends_of_thread = threading.local()
            if self._store is not None:
                self._store.close()

    def _refuse_closed(self) -> None:
        if self._is_closed:
            where = self._project.root if self._project is not None else self._folder
            raise UsageError(
                f"The workspace of {where or 'the current folder'} was closed.",
                hint="Open the workspace again: kfgcp.Workspace.open(FOLDER)",
            )
