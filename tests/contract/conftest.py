"""A project for each backend: a git repository whose default environment is that backend.

The expected values come from the contract (run JSON, states, docstrings of kfgcp/backends/base.py).
They are the same for all backends. The tests of a module share one project, and share the runs that
they only read.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from backend_project import BackendProject
from kfgcp import testing
from patience import REQUEST

OWN_BACKENDS = ("local", "vertex", "kubeflow", "kubeflow 3.0")
"""Kubeflow is 2.17 unless a version is named: 3.0 has no ML Metadata."""
OTHER_BACKEND = os.environ.get("CONTRACT_BACKEND", "")
OTHER_SETTINGS = os.environ.get("CONTRACT_SETTINGS", "")
OTHER_ROOT = os.environ.get("CONTRACT_ROOT", "")
OTHER_LIKE = os.environ.get("CONTRACT_LIKE", "")
"""The backend of another distribution (docs/contributing/backends.md).

The variables hold its name, the lines of its environment, the folder of its artifacts relative to
the project, and the backend of kfgcp whose differences it shares. If they are set, the suite runs
only on that backend.
"""
BACKENDS = (OTHER_BACKEND,) if OTHER_BACKEND else OWN_BACKENDS
DATA = "one\ntwo\nthree\n"


StandIn = testing.VertexStandIn | testing.KubeflowStandIn


def _open_stand_in(stack: ExitStack, name: str) -> StandIn:
    """Start the stand-in of a backend. The stack stops it.

    name: one of BACKENDS except `local`.
    """
    backend, _, version = name.partition(" ")
    options = {"version": version} if version else {}
    stand_in = stack.enter_context(getattr(testing, backend)(**options))
    if isinstance(stand_in, testing.KubeflowStandIn):
        # This server has changed workflow defaults, so that all backends retry in the same way.
        stand_in.runs.retries_failed_programs = True
    return stand_in


def _open_projects(
    folder: Path, name: str, compiled: Callable[[str], Path]
) -> Iterator[BackendProject]:
    """Yield the project of a backend.

    name: one of BACKENDS.
    """
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
        yield BackendProject(backend, env, folder, commit, data, root, compiled, version, like)


def _commit(folder: Path) -> str:
    def git(*arguments: str) -> str:
        author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        git_command = subprocess.run(
            ["git", "-C", str(folder), *author, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return git_command.stdout.strip()

    git("init", "-q")
    git("add", "kfgcp.toml")
    git("commit", "-q", "-m", "first")
    return git("rev-parse", "HEAD")


@pytest.fixture(scope="session")
def open_stand_in() -> Callable[[ExitStack, str], StandIn]:
    """Return the function that starts the stand-in of a backend."""
    return _open_stand_in


@pytest.fixture(scope="module", params=BACKENDS)
def backend_project(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    pipeline: Callable[[str], Path],
) -> Iterator[BackendProject]:
    """Return the project of a backend. Its folder is the current folder."""
    yield from _open_projects(tmp_path_factory.mktemp(request.param), request.param, pipeline)


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, pipeline: Callable[[str], Path]
) -> Iterator[BackendProject]:
    """Return a project that has the environments `cloud` and `local`."""
    yield from _open_projects(tmp_path_factory.mktemp("both"), "vertex", pipeline)


@pytest.fixture(scope="session")
def typed_params() -> dict[str, object]:
    """Return parameters of the pipeline `typed`, each of a different type."""
    return {
        "text": "\u00fcn\u00efcode \u2603 'quoted' {{$}}\nnew line",
        "n": 3,
        "ratio": 1e300,
        "flag": True,
        "items": [1, "two", [3.5, None, False]],
        "config": {"a": {"b": [1, 2], "\u00e9": {}}, "n": 4},
    }
