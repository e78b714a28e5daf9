"""Task paths of a run of ours, `for-loop-1[2]/train`, and what of the pipeline they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kfgcp.spec.graph import Component, Graph, TaskDef

_ITERATION: Final = re.compile(r"(.*)\[(\d+)\]")


def iteration(path: str) -> tuple[str, int] | None:
    """The path of the loop and the number of the iteration, from 0; None when the path is no
    iteration."""
    match = _ITERATION.fullmatch(path)
    return (match[1], int(match[2])) if match else None


def parent(path: str) -> str:
    """The path of the task around: of an iteration its loop, of a top-level task the pipeline,
    which is empty."""
    found = iteration(path)
    return found[0] if found else path.rpartition("/")[0]


def names(path: str) -> Iterator[str]:
    """The task names along a path: `for-loop-1[2]/train` is for-loop-1, for-loop-1-2, train."""
    for segment in path.split("/"):
        if found := iteration(segment):
            yield from (found[0], f"{found[0]}-{found[1]}")
        else:
            yield segment


def key(path: str) -> str:
    """The task's key in its DAG; an iteration has that of its loop."""
    segment = path.rpartition("/")[2]
    found = iteration(segment)
    return found[0] if found else segment


def find(graph: Graph, path: str) -> tuple[TaskDef, Component]:
    """The task at a path, which is not empty, and its component."""
    component, task = graph.root, None
    for segment in path.split("/"):
        assert component.dag is not None
        task = component.dag.tasks[key(segment)]
        component = graph.component(task)
    assert task is not None
    return task, component
