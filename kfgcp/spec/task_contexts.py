"""The tasks of a pipeline with their surroundings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kfgcp.spec.graph import Component, Container, Graph, TaskDef


@dataclass(frozen=True, slots=True, eq=False)
class TaskContext:
    """A task and its surroundings in the pipeline.

    Attributes:
        path: the path of the task in the spec, such as `for-loop-1/train`.
        task: the definition of the task.
        component: the component that the task runs.
        groups: the nested pipelines, branches and loops that contain the task, the outermost first.
        tasks: all tasks of the same DAG, by key.
        parent: the component of the DAG that contains the task.
        in_exit_handler: whether the task is inside an exit handler.
        graph: the whole pipeline.
    """

    path: str
    task: TaskDef
    component: Component
    groups: tuple[TaskDef, ...]
    tasks: Mapping[str, TaskDef]
    parent: Component
    in_exit_handler: bool
    graph: Graph

    @property
    def container(self) -> Container | None:
        """The container that the task runs, None when it runs something else."""
        executor = self.component.executor
        return executor if isinstance(executor, Container) else None

    @property
    def in_loop(self) -> bool:
        """Whether a loop contains the task, at any depth."""
        return any(group.iterator is not None for group in self.groups)


def walk_tasks(graph: Graph) -> Iterator[TaskContext]:
    """Yield every task of a pipeline, also those of nested pipelines, branches and loops."""
    yield from _walk(graph, graph.root, "", (), in_exit_handler=False)


def _walk(
    graph: Graph,
    parent: Component,
    prefix: str,
    groups: tuple[TaskDef, ...],
    *,
    in_exit_handler: bool,
) -> Iterator[TaskContext]:
    if parent.dag is None:
        return
    tasks = parent.dag.tasks
    # kfp compiles an exit handler to a group, and to an exit task that always runs after the group.
    exit_handlers: set[str] = set()
    for task in tasks.values():
        if task.runs_always:
            exit_handlers.update(task.upstream)
    for key, task in tasks.items():
        component = graph.component(task)
        is_in_exit_handler = in_exit_handler or key in exit_handlers
        yield TaskContext(
            f"{prefix}{key}", task, component, groups, tasks, parent, in_exit_handler, graph
        )
        inner_groups = groups + (task,)
        yield from _walk(
            graph, component, f"{prefix}{key}/", inner_groups, in_exit_handler=is_in_exit_handler
        )
