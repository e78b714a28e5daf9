"""A spec with other caching: for a whole run, or so that a task and all that depends on it run
again."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from kfgcp.spec.wire import (
    component_name,
    read_components,
    read_root,
    read_task,
    read_tasks,
    set_task_caching,
)


def set_caching(spec: Mapping[str, Any], *, enabled: bool) -> dict[str, Any]:
    """The spec with caching on or off for every task, nested ones too; a custom cacheKey stays."""
    changed: dict[str, Any] = copy.deepcopy(dict(spec))
    for component in (read_root(changed), *read_components(changed).values()):
        for task in read_tasks(component).values():
            set_task_caching(task, enabled)
    return changed


def disable_caching_from(spec: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The spec with caching off for the task at `path` and for all that depends on it, inside its
    DAG and outside.

    Raises:
        ValueError: a single iteration of a loop cannot be told apart in a spec, or there is no such
            task; one line.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(spec))
    components = read_components(changed)
    tasks = read_tasks(read_root(changed))
    steps = path.split("/")
    for depth, step in enumerate(steps, 1):
        if re.fullmatch(r".*\[\d+\]", step):
            raise ValueError("a spec has its loop once, not each iteration")
        if step not in tasks:
            raise ValueError(f"the pipeline has no task {step} there")
        for key in _below(tasks, step):
            _everything(tasks[key], components, lambda task: set_task_caching(task, False))
        if depth == len(steps):
            _everything(tasks[step], components, lambda task: set_task_caching(task, False))
        tasks = read_tasks(components[component_name(tasks[step])])
    return changed


def _below(tasks: Mapping[str, Any], start: str) -> list[str]:
    """The tasks of a DAG that depend on one of them, directly or not."""
    found: list[str] = []
    waiting = [start]
    while waiting:
        above = waiting.pop()
        for key, task in tasks.items():
            if key not in found and key != start and above in read_task(key, task).upstream:
                found.append(key)
                waiting.append(key)
    return found


def _everything(
    task: dict[str, Any], components: Mapping[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    """Changes a task and, when it is a DAG, all inside; a component that others use too is changed
    for them as well."""
    change(task)
    for inner in read_tasks(components[component_name(task)]).values():
        _everything(inner, components, change)
