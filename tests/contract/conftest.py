"""A project for each backend: a folder in a git repository, whose default environment is that
backend.

What is expected is written from the contract (run JSON, states, docstrings of
kfgcp/backends/base.py), and is the same for all of them. A module shares its project, and the runs
that it only looks at.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from kfgcp import api, testing
from kfgcp.backends.registry import load_project
from kfgcp.config import Project
from kfgcp.tracking.handle import RunHandle
from patience import PROCESS, REQUEST

OWN_BACKENDS = ("local", "vertex", "kubeflow", "kubeflow 3.0")
"""Kubeflow is 2.17 unless a version is named: 3.0 has no ML Metadata."""
OTHER_BACKEND = os.environ.get("CONTRACT_BACKEND", "")
OTHER_SETTINGS = os.environ.get("CONTRACT_SETTINGS", "")
OTHER_ROOT = os.environ.get("CONTRACT_ROOT", "")
OTHER_LIKE = os.environ.get("CONTRACT_LIKE", "")
"""The backend of another distribution: its name, the lines of its environment, where its artifacts
are from the folder of the project, and the backend of ours whose differences it shares. With these
the suite runs on that backend alone (docs/contributing/backends.md)."""
BACKENDS = (OTHER_BACKEND,) if OTHER_BACKEND else OWN_BACKENDS
DATA = "one\ntwo\nthree\n"


@dataclass
class Place:
    """A project.

    Attributes:
        backend: of its only environment that is not of another backend.
        like: the backend of ours whose documented differences it shares; it is itself one of ours.
        env: that environment.
        data: URI of a file of three lines.
        version: of the service, empty for the usual one.
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
    known: dict[str, RunHandle] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        return load_project()

    def file(self, name: str) -> Path:
        """The compiled pipeline of tests/pipelines, inside the repository."""
        target = self.folder / f"{name}.yaml"
        if not target.exists():
            shutil.copy(self.compiled(name), target)
        return target

    def submit(
        self, pipeline: str, params: Mapping[str, Any] | None = None, **options: Any
    ) -> RunHandle:
        return api.submit(str(self.file(pipeline)), params=params, env=self.env, **options)

    def run(
        self, pipeline: str, params: Mapping[str, Any] | None = None, **options: Any
    ) -> RunHandle:
        return self.submit(pipeline, params, **options).wait(PROCESS, check=False)

    def shared(self, pipeline: str, params: Mapping[str, Any] | None = None) -> RunHandle:
        """The one run of a pipeline that tests of a module look at; started by the first that
        asks."""
        if pipeline not in self.known:
            self.known[pipeline] = self.run(pipeline, params)
        return self.known[pipeline]


def _open_stand_in(stack: ExitStack, name: str) -> Any:
    """Start the stand-in of a backend, which ends with the stack. name: one of BACKENDS, but not
    `local`."""
    backend, _, version = name.partition(" ")
    options = {"version": version} if version else {}
    stand_in = stack.enter_context(getattr(testing, backend)(**options))
    if isinstance(stand_in, testing.KubeflowStandIn):
        # A server whose workflow defaults were changed, so that all backends do the same.
        stand_in.runs.retries_failed_programs = True
    return stand_in


def _places(folder: Path, name: str, compiled: Callable[[str], Path]) -> Iterator[Place]:
    """Yield the project of a backend. name: its name, and a version of the service if it is not the
    usual one."""
    backend, _, version = name.partition(" ")
    with ExitStack() as stack:
        change = stack.enter_context(pytest.MonkeyPatch.context())
        for variable in [variable for variable in os.environ if variable.startswith("KFGCP_")]:
            change.delenv(variable)
        change.setenv("LOGNAME", "Ann.Lee")
        text = '[env.local]\nbackend = "local"\n'
        env, data, root = "local", str(folder / "data.txt"), f"{folder}/.kfgcp/artifacts/"
        (folder / "data.txt").write_text(DATA)
        if OTHER_BACKEND and backend == OTHER_BACKEND:
            env, root = "cloud", f"{folder}/{OTHER_ROOT}"
            text += f'[env.cloud]\nbackend = "{backend}"\n{OTHER_SETTINGS}\n'
        elif backend != "local":
            stand_in = _open_stand_in(stack, name)
            url = f"{stand_in.storage_endpoint}/upload/storage/v1/b/{stand_in.bucket}/o"
            query = {"uploadType": "media", "name": "data.txt"}
            requests.post(url, params=query, data=DATA, timeout=REQUEST).raise_for_status()
            env, data, root = (
                "cloud",
                f"gs://{stand_in.bucket}/data.txt",
                f"{stand_in.pipeline_root}/",
            )
            text += stand_in.toml(env)
        (folder / "kfgcp.toml").write_text(text)
        commit = _commit(folder)
        change.chdir(folder)
        like = OTHER_LIKE if OTHER_BACKEND else backend
        yield Place(backend, env, folder, commit, data, root, compiled, version, like)


def _commit(folder: Path) -> str:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        done = subprocess.run(
            ["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", "kfgcp.toml")
    git("commit", "-q", "-m", "first")
    return git("rev-parse", "HEAD")


@pytest.fixture(scope="session")
def open_stand_in() -> Callable[[ExitStack, str], Any]:
    """Starts the stand-in of a backend, which ends with the stack."""
    return _open_stand_in


@pytest.fixture(scope="module", params=BACKENDS)
def place(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pipeline: Callable[[str], Path],
) -> Iterator[Place]:
    """The project of a backend, which is the current folder."""
    yield from _places(tmp_path_factory.mktemp(request.param), request.param, pipeline)


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, pipeline: Callable[[str], Path]
) -> Iterator[Place]:
    """A project that has the environments `cloud` and `local`."""
    yield from _places(tmp_path_factory.mktemp("both"), "vertex", pipeline)


@pytest.fixture(scope="session")
def typed_params() -> dict[str, Any]:
    """Values of the pipeline `typed`, each of another type."""
    return {
        "text": "\u00fcn\u00efcode \u2603 'quoted' {{$}}\nnew line",
        "n": 3,
        "ratio": 1e300,
        "flag": True,
        "items": [1, "two", [3.5, None, False]],
        "config": {"a": {"b": [1, 2], "\u00e9": {}}, "n": 4},
    }
