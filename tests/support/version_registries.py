"""Registries of versions for tests: for each, a project with an environment that has it.

The tests of tests/deploy/test_versions.py run with each entry of `REGISTRIES`.
"""

from __future__ import annotations

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
    """

    env: str
    writes: Callable[[], object]


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
    with testing.kubeflow(mode="instant") as stand_in:
        (home / "kfgcp.toml").write_text(stand_in.toml("gke"))
        yield Registry("gke", partial(_count_writes, stand_in))


def _count_writes(stand_in: StandIn) -> int:
    reads = len(stand_in.requests.select("GET"))
    return len(stand_in.requests) - reads


REGISTRIES: Mapping[str, Callable[[Path], AbstractContextManager[Registry]]] = {
    "local": local,
    "vertex": artifact_registry,
    "kubeflow": kubeflow,
}
