"""Find tasks of a pipeline by patterns of their paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from kfgcp.errors import UsageError
from kfgcp.settings import did_you_mean
from kfgcp.spec.graph import Component, Graph

_ITERATION: Final = re.compile(r"\[[0-9]+\]")


def task_components(graph: Graph) -> dict[str, Component]:
    """Return the component of each task that runs something, by the path of the task.

    Loops, conditions and nested pipelines run nothing themselves. Paths have no numbers of
    iterations here: `for-loop-1/train`.
    """
    return dict(_walk(graph, graph.root, ""))


def _walk(graph: Graph, component: Component, prefix: str) -> Iterator[tuple[str, Component]]:
    assert component.dag is not None
    for key, task in component.dag.tasks.items():
        child = graph.component(task)
        if child.dag is None:
            yield prefix + key, child
        else:
            yield from _walk(graph, child, f"{prefix}{key}/")


def matches(pattern: str, path: str) -> bool:
    """Return whether a pattern means a task.

    A pattern without a slash means the name of the task, wherever it is. Other patterns mean the
    whole path. `*` stands for any text. A pattern without numbers of iterations means all
    iterations.

    Example:
        >>> matches("train", "loop[2]/train"), matches("loop/tr*", "loop[2]/train")
        (True, True)
        >>> matches("loop[0]/train", "loop[2]/train"), matches("train", "train-2")
        (False, False)
    """
    if "/" not in pattern:
        path = path.rpartition("/")[2]
    if not _ITERATION.search(pattern):
        path = without_iterations(path)
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.fullmatch(".*".join(parts), path) is not None


def without_iterations(path: str) -> str:
    """Return a path or pattern without the numbers of iterations.

    Example:
        >>> without_iterations("for-loop-1[2]/train")
        'for-loop-1/train'
    """
    return _ITERATION.sub("", path)


def find_tasks(pattern: str, components: Mapping[str, Component], subject: str) -> list[str]:
    """Return the paths of the tasks that a pattern means, without numbers of iterations.

    Args:
        pattern: the pattern.
        components: the result of `task_components`.
        subject: names the pattern in messages: `replace["train"]`.

    Raises:
        UsageError: the pattern means no task.
    """
    static_pattern = without_iterations(pattern)
    paths = [path for path in components if matches(static_pattern, path)]
    if not paths:
        raise UsageError(f"{subject} matches no task.", hint=_list_tasks(pattern, components))
    return paths


def _list_tasks(pattern: str, paths: Iterable[str]) -> str:
    all_paths = sorted(paths)
    names = {path.rpartition("/")[2] for path in all_paths}
    suggestion = did_you_mean(pattern, sorted(names.union(all_paths)))
    return f"{suggestion}Tasks: {', '.join(all_paths)}."
