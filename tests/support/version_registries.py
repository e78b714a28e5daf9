"""Registries of versions for tests: for each, a project with an environment that has it.

The tests of tests/deploy/test_versions.py run with each entry of `REGISTRIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path


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


REGISTRIES: Mapping[str, Callable[[Path], AbstractContextManager[Registry]]] = {"local": local}
