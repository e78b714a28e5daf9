"""Find the slow libraries that the components of a pipeline import.

A fork server imports them once for all tasks (decision 7).
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
"""Packages that are slow to import. On Linux, they work in a process that is forked after the
import."""


def common_libraries(graph: Graph) -> list[str]:
    """Return the modules of `SAFE_TO_FORK` packages that the functions of a pipeline import.

    Returns:
        The sorted names. On systems other than Linux the list is always empty: on macOS, for
        example, numpy uses system libraries that break in a forked process.
    """
    if sys.platform != "linux":
        return []
    sources = {function.source for function in python_functions(graph)}
    modules: set[str] = set()
    for source in sources:
        modules.update(imported_libraries(source))
    return sorted(modules)


def python_functions(graph: Graph) -> list[Lightweight]:
    """Return the Python functions that the components of a pipeline run, without duplicates."""
    functions: dict[Lightweight, None] = {}
    for component in graph.components.values():
        if isinstance(component.executor, Container):
            function = recognise(component.executor)
            if function is not None:
                functions[function] = None
    return list(functions)


def imported_libraries(source: str) -> Iterator[str]:
    """Yield the modules of `SAFE_TO_FORK` packages that a source imports, at any place in it."""
    # Parsing takes time, and most sources do not even contain the name of such a package.
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
    """Return the modules that a statement imports; empty for a relative import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []
