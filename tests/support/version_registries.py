"""Registries of versions for tests: for each, a project with an environment that has it.

The tests of tests/deploy/test_versions.py run with each entry of `REGISTRIES`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kfgcp import testing
from kfgcp.testing.stand_in import StandIn


@dataclass(frozen=True)
class Registry:
    """A registry that is ready.

    Attributes:
        env: the environment of the project that has it.
        writes: returns a value that changes with each write to the registry.
        let_time_pass: waits until a new entry is newer than all others.
    """

    env: str
    writes: Callable[[], object]
    let_time_pass: Callable[[], None] = lambda: None


@contextmanager
def local(home: Path) -> Iterator[Registry]:
    """Prepare a registry in a folder. Its project has no kfgcp.toml."""
    folder = home / ".kfgcp" / "versions"

    def changed_files() -> dict[str, tuple[int, int]]:
        states = {path: path.stat() for path in folder.rglob("*")}
        return {str(path): (state.st_mtime_ns, state.st_ino) for path, state in states.items()}

    yield Registry("local", changed_files)


@contextmanager
def artifact_registry(home: Path) -> Iterator[Registry]:
    """Prepare a repository of Artifact Registry, in a stand-in."""
    with testing.vertex(mode="instant") as stand_in:
        (home / "kfgcp.toml").write_text(stand_in.toml("dev"))
        yield Registry("dev", partial(_count_writes, stand_in))


@contextmanager
def kubeflow(home: Path) -> Iterator[Registry]:
    """Prepare a server of Kubeflow Pipelines, in a stand-in."""
    with testing.kubeflow(mode="instant", version="2.17.0") as stand_in:
        (home / "kfgcp.toml").write_text(stand_in.toml("gke"))
        yield Registry("gke", partial(_count_writes, stand_in), _wait_for_next_second)


def _count_writes(stand_in: StandIn) -> int:
    reads = len(stand_in.requests.select("GET"))
    return len(stand_in.requests) - reads


def _wait_for_next_second() -> None:
    """Wait, because the server has times in whole seconds."""
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.02)


REGISTRIES: Mapping[str, Callable[[Path], AbstractContextManager[Registry]]] = {
    "local": local,
    "vertex": artifact_registry,
    "kubeflow": kubeflow,
}
