"""Common libraries that the components of a pipeline import, worth importing once for all tasks."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

from kfgcp.spec.graph import Container, Graph
from kfgcp.spec.lightweight import Lightweight, recognise

SAFE_TO_FORK = frozenset({"numpy", "pandas", "pyarrow", "scipy", "sklearn", "kfgcp_components"})
"""Slow to import, and known to work in a process that was forked after (on Linux)."""


def common_libraries(graph: Graph) -> list[str]:
    """The modules of `SAFE_TO_FORK` packages that the pipeline's functions import, in the order of
    their names.

    None but on Linux: the system libraries of macOS, which numpy uses there, break in a forked
    process.
    """
    if sys.platform != "linux":
        return []
    sources = {function.source for function in python_functions(graph)}
    return sorted({name for source in sources for name in _imported(source)})


def python_functions(graph: Graph) -> list[Lightweight]:
    """The Python functions that the pipeline's components run, each once."""
    containers = (
        c.executor for c in graph.components.values() if isinstance(c.executor, Container)
    )
    return list(
        dict.fromkeys(function for function in map(recognise, containers) if function is not None)
    )


def _imported(source: str) -> Iterator[str]:
    if not any(name in source for name in SAFE_TO_FORK):
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        yield from (name for name in names if name.partition(".")[0] in SAFE_TO_FORK)
