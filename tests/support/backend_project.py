"""The project of each test in tests/contract: its default environment is on a backend."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfgcp import api
from kfgcp.backends.registry import load_project
from kfgcp.config import Project
from kfgcp.tracking.handle import RunHandle
from patience import PROCESS


@dataclass
class BackendProject:
    """A project in a git repository, with an environment on the backend under test.

    Attributes:
        backend: the name of the backend.
        env: the name of the environment on this backend.
        folder: the folder of the project, which is the current folder.
        commit: the id of its only commit.
        data: the URI of a file with three lines.
        root: the beginning of the URIs of artifacts.
        compiled: returns the YAML file of a pipeline of tests/pipelines.
        version: the version of the service, empty for the usual version.
        like: the backend of kfgcp whose documented differences this backend shares. A backend of
            kfgcp is like itself.
        shared_runs: the runs that the tests of a module share.
    """

    backend: str
    env: str
    folder: Path
    commit: str
    data: str
    root: str
    compiled: Callable[[str], Path]
    version: str = ""
    like: str = ""
    shared_runs: dict[str, RunHandle] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        return load_project()

    def file(self, name: str) -> Path:
        """Return the compiled pipeline of tests/pipelines, inside the repository."""
        target = self.folder / f"{name}.yaml"
        if not target.exists():
            shutil.copy(self.compiled(name), target)
        return target

    def submit(
        self, pipeline: str, params: Mapping[str, object] | None = None, **options: Any
    ) -> RunHandle:
        """Start a run and return at once."""
        return api.submit(str(self.file(pipeline)), params=params, env=self.env, **options)

    def run(
        self, pipeline: str, params: Mapping[str, object] | None = None, **options: Any
    ) -> RunHandle:
        """Start a run and wait for its end, which may be a failure."""
        return self.submit(pipeline, params, **options).wait(PROCESS, check=False)

    def shared(self, pipeline: str, params: Mapping[str, object] | None = None) -> RunHandle:
        """Return a run that the tests of a module only read. The first call starts the run."""
        if pipeline not in self.shared_runs:
            self.shared_runs[pipeline] = self.run(pipeline, params)
        return self.shared_runs[pipeline]
