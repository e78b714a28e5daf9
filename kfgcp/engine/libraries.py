"""Find common libraries that the components of a pipeline import.

They are worth importing once for all tasks (decision 7).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from typing import Final

from kfgcp.spec.graph import Container, Graph
from kfgcp.spec.lightweight import Lightweight, recognise

SAFE_TO_FORK: Final = frozenset(
    {"numpy", "pandas", "pyarrow", "scipy", "sklearn", "kfgcp_components"}
)
"""Packages that are slow to import, and known to work in a process that is forked afterwards (on
Linux)."""


def common_libraries(graph: Graph) -> list[str]:
    """Return the modules of `SAFE_TO_FORK` packages that the functions of a pipeline import.

    They are sorted. There are none on other systems than Linux: the system libraries of macOS,
    which numpy uses there, break in a forked process.
    """
    if sys.platform != "linux":
        return []
    sources = {function.source for function in python_functions(graph)}
    modules: set[str] = set()
    for source in sources:
        modules.update(_imported_libraries(source))
    return sorted(modules)


def python_functions(graph: Graph) -> list[Lightweight]:
    """Return the Python functions that the components of a pipeline run, each once."""
    functions: dict[Lightweight, None] = {}
    for component in graph.components.values():
        if isinstance(component.executor, Container):
            function = recognise(component.executor)
            if function is not None:
                functions[function] = None
    return list(functions)


def _imported_libraries(source: str) -> Iterator[str]:
    """Yield the modules of `SAFE_TO_FORK` packages that a source imports, wherever it does."""
    # Most sources import none, and parsing takes time.
    if not any(name in source for name in SAFE_TO_FORK):
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        for name in _imported_names(node):
            if name.partition(".")[0] in SAFE_TO_FORK:
                yield name


def _imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []
