"""Read the paths of tasks, such as `for-loop-1[2]/train`, and find the tasks in the pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kfgcp.spec.graph import Component, Graph, TaskDef

_ITERATION: Final = re.compile(r"(.*)\[(\d+)\]")


def iteration(path: str) -> tuple[str, int] | None:
    """Return the path of the loop and the number of the iteration, from 0.

    None means that the path does not end with an iteration.

    Example:
        >>> iteration("for-loop-1[2]")
        ('for-loop-1', 2)
    """
    match = _ITERATION.fullmatch(path)
    if not match:
        return None
    return match[1], int(match[2])


def parent(path: str) -> str:
    """Return the path of the task around a task, empty for the pipeline.

    An iteration is inside its loop.

    Example:
        >>> parent("for-loop-1[2]/train")
        'for-loop-1[2]'
        >>> parent("for-loop-1[2]")
        'for-loop-1'
    """
    loop = iteration(path)
    if loop is not None:
        return loop[0]
    return path.rpartition("/")[0]


def names(path: str) -> Iterator[str]:
    """Yield the names of the tasks along a path.

    Example:
        >>> list(names("for-loop-1[2]/train"))
        ['for-loop-1', 'for-loop-1-2', 'train']
    """
    for segment in path.split("/"):
        loop = iteration(segment)
        if loop is None:
            yield segment
        else:
            name, number = loop
            yield name
            yield f"{name}-{number}"


def key(path: str) -> str:
    """Return the key of a task in its DAG. An iteration has the key of its loop."""
    segment = path.rpartition("/")[2]
    loop = iteration(segment)
    if loop is None:
        return segment
    return loop[0]


def find(graph: Graph, path: str) -> tuple[TaskDef, Component]:
    """Return the task at a path and its component. path: not empty."""
    component = graph.root
    task = None
    for segment in path.split("/"):
        assert component.dag is not None
        task = component.dag.tasks[key(segment)]
        component = graph.component(task)
    assert task is not None
    return task, component
