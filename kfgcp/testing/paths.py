"""Read the paths of tasks, such as `for-loop-1[2]/train`, and find the tasks in the pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kfgcp.spec.graph import Component, Graph, TaskDef

_ITERATION: Final = re.compile(r"(.*)\[(\d+)\]")


def iteration(path: str) -> tuple[str, int] | None:
    """Split the path of an iteration into the path of its loop and the number of the iteration.

    Numbers start at 0. Return None if the path does not end with an iteration.

    Example:
        >>> iteration("for-loop-1[2]")
        ('for-loop-1', 2)
    """
    match = _ITERATION.fullmatch(path)
    if not match:
        return None
    return match[1], int(match[2])


def parent(path: str) -> str:
    """Return the path of the task that contains a task, empty for a task of the pipeline itself.

    An iteration is inside of its loop.

    Example:
        >>> parent("for-loop-1[2]/train")
        'for-loop-1[2]'
        >>> parent("for-loop-1[2]")
        'for-loop-1'
    """
    loop_and_number = iteration(path)
    if loop_and_number is not None:
        return loop_and_number[0]
    return path.rpartition("/")[0]


def names(path: str) -> Iterator[str]:
    """Yield the names of the tasks along a path.

    Example:
        >>> list(names("for-loop-1[2]/train"))
        ['for-loop-1', 'for-loop-1-2', 'train']
    """
    for segment in path.split("/"):
        loop_and_number = iteration(segment)
        if loop_and_number is None:
            yield segment
        else:
            name, number = loop_and_number
            yield name
            yield f"{name}-{number}"


def key(path: str) -> str:
    """Return the key of a task in its DAG. An iteration has the key of its loop."""
    segment = path.rpartition("/")[2]
    loop_and_number = iteration(segment)
    if loop_and_number is None:
        return segment
    return loop_and_number[0]


def find(graph: Graph, path: str) -> tuple[TaskDef, Component]:
    """Return the task at a path and its component. The path must not be empty."""
    component = graph.root
    task = None
    for segment in path.split("/"):
        assert component.dag is not None
        task = component.dag.tasks[key(segment)]
        component = graph.component(task)
    assert task is not None
    return task, component
