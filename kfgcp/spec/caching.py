"""Copy a spec and change its caching, for all tasks or for a task and all that depends on it.

Vertex AI and Kubeflow read from the spec which tasks are cached. So a run with other caching needs
another spec.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.wire import (
    component_name,
    read_components,
    read_root,
    read_task,
    read_tasks,
    set_task_caching,
)


def set_caching(spec: JsonObject, *, enabled: bool) -> dict[str, Any]:
    """Return a copy of the spec with caching on or off for every task, also for nested tasks.

    A custom cacheKey stays.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(spec))
    components = [read_root(changed)]
    components += read_components(changed).values()
    for component in components:
        for task in read_tasks(component).values():
            set_task_caching(task, enabled)
    return changed


def disable_caching_from(spec: JsonObject, path: str) -> dict[str, Any]:
    """Return a copy of the spec with caching off for a task and for all that depends on it.

    The tasks that depend on it are in the same DAG, or depend on one of the DAGs around it.

    Args:
        spec: the PipelineSpec.
        path: the path of the task, `prepare/clean` for example.

    Raises:
        ValueError: there is no such task, or the path names a single iteration of a loop. A spec
            has only the loop. The message is one line.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(spec))
    components = read_components(changed)
    tasks = read_tasks(read_root(changed))
    steps = path.split("/")
    for depth, step in enumerate(steps, 1):
        if re.fullmatch(r".*\[\d+\]", step):
            raise ValueError("a single iteration of a loop cannot be repeated")
        if step not in tasks:
            raise ValueError(f"the pipeline has no task {path}")
        for key in _downstream(tasks, step):
            _disable_caching(tasks[key], components)
        if depth == len(steps):
            _disable_caching(tasks[step], components)
        tasks = read_tasks(components[component_name(tasks[step])])
    return changed


def _downstream(tasks: JsonObject, start: str) -> list[str]:
    """Return the keys of the tasks of a DAG that depend on the task `start`, directly or not."""
    downstream: list[str] = []
    to_visit = [start]
    while to_visit:
        upstream = to_visit.pop()
        for key, task in tasks.items():
            is_new = key != start and key not in downstream
            if is_new and upstream in read_task(key, task).upstream:
                downstream.append(key)
                to_visit.append(key)
    return downstream


def _disable_caching(task: dict[str, Any], components: JsonObject) -> None:
    """Switch caching off for a task and, when it is a DAG, for all tasks inside it.

    When other tasks run the same component, caching is also off for the tasks inside them.
    """
    set_task_caching(task, False)
    for inner in read_tasks(components[component_name(task)]).values():
        _disable_caching(inner, components)
