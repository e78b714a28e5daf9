"""List the tasks of a pipeline with their surroundings, to which rules for features apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kfgcp.spec.graph import Component, Container, Graph, TaskDef

# A version of Kubeflow Pipelines: (2, 14, 3).
Version: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TaskContext:
    """A task and its surroundings in the pipeline.

    Attributes:
        path: the path of the task in the spec, such as `for-loop-1/train`.
        task: the definition of the task.
        component: the component that the task runs.
        groups: the nested pipelines, branches and loops that contain the task, the outermost first.
        tasks: all tasks of the same DAG, by key.
        in_exit_handler: whether the task is inside an exit handler.
        graph: the whole pipeline.
    """

    path: str
    task: TaskDef
    component: Component
    groups: tuple[TaskDef, ...]
    tasks: Mapping[str, TaskDef]
    in_exit_handler: bool
    graph: Graph

    @property
    def container(self) -> Container | None:
        """The container that the task runs, None when it runs something else."""
        executor = self.component.executor
        return executor if isinstance(executor, Container) else None


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of a pipeline that some servers do not have, or support in a different way.

    Attributes:
        text: the text that follows `task X` in a message, such as "has a cache key".
        applies: returns whether a task has the feature.
        since: the first version that supports the feature, None when no version supports it.
        note: what happens on a server that does not support the feature. "" when kfgcp refuses the
            pipeline.
        first_affected: the first version for which the note is true, None when it is true for all
            versions before `since`.
        differs: whether the server supports the feature, but in a different way. The note describes
            the difference.
        recorded: the run in tests/recorded/cluster-2.17.0 that shows the difference, "" for none.
        hidden_before_runs: do not show the note before a run, because the feature is very common
            and the difference is harmless.
    """

    text: str
    applies: Callable[[TaskContext], bool]
    since: Version | None = None
    note: str = ""
    first_affected: Version | None = None
    differs: bool = False
    recorded: str = ""
    hidden_before_runs: bool = False


def walk_tasks(graph: Graph) -> Iterator[TaskContext]:
    """Yield every task of a pipeline, including tasks in nested pipelines, branches and loops."""
    yield from _walk(graph, graph.root, "", (), in_exit_handler=False)


def _walk(
    graph: Graph,
    parent: Component,
    prefix: str,
    groups: tuple[TaskDef, ...],
    *,
    in_exit_handler: bool,
) -> Iterator[TaskContext]:
    """Yield the tasks inside a component, whose own groups are `groups`."""
    if parent.dag is None:
        return
    tasks = parent.dag.tasks
    # kfp compiles an exit handler to a group and an exit task, which always runs after the group.
    exit_handlers: set[str] = set()
    for task in tasks.values():
        if task.runs_always:
            exit_handlers.update(task.upstream)
    for key, task in tasks.items():
        component = graph.component(task)
        yield TaskContext(f"{prefix}{key}", task, component, groups, tasks, in_exit_handler, graph)
        yield from _walk(
            graph,
            component,
            f"{prefix}{key}/",
            (*groups, task),
            in_exit_handler=in_exit_handler or key in exit_handlers,
        )
