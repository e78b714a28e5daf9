"""Every task of a pipeline with what is around it, for rules that look for features in specs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kfgcp.spec.graph import Component, Container, Graph, TaskDef

# A version of Kubeflow Pipelines: (2, 14, 3).
Version: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """A task in its pipeline.

    Attributes:
        path: without iterations.
        task: its definition.
        component: what it runs.
        groups: the tasks around it, the outermost first.
        tasks: those of the same DAG.
        is_guarded: whether it is inside an exit handler.
        graph: the whole pipeline.
    """

    path: str
    task: TaskDef
    component: Component
    groups: tuple[TaskDef, ...]
    tasks: Mapping[str, TaskDef]
    is_guarded: bool
    graph: Graph

    @property
    def container(self) -> Container | None:
        """What it runs, when that is a container."""
        executor = self.component.executor
        return executor if isinstance(executor, Container) else None


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of a pipeline that some servers do not have, or treat in another way.

    Attributes:
        text: completes `task X ...`.
        applies: whether a task has it.
        since: the first version that supports it, None when there is none so far.
        note: what happens where it is not supported; empty when it is refused.
        begins: the first version of which it is true, None for all.
        differs: the server supports it, but in another way, which is the note.
        recorded: the run in tests/recorded/cluster-2.17.0 that shows it.
        for_check: it is too common, and too harmless, to be said before every run.
    """

    text: str
    applies: Callable[[Site], bool]
    since: Version | None = None
    note: str = ""
    begins: Version | None = None
    differs: bool = False
    recorded: str = ""
    for_check: bool = False


def walk_sites(graph: Graph) -> Iterator[Site]:
    """Yield every task of a pipeline, also those of nested pipelines, branches and loops."""
    yield from _walk(graph, graph.root, "", (), is_guarded=False)


def _walk(
    graph: Graph, around: Component, prefix: str, groups: tuple[TaskDef, ...], *, is_guarded: bool
) -> Iterator[Site]:
    if around.dag is None:
        return
    tasks = around.dag.tasks
    # kfp makes an exit handler of a group, and an exit task that runs after the group always.
    exit_handlers: set[str] = set()
    for task in tasks.values():
        if task.runs_always:
            exit_handlers.update(task.upstream)
    for key, task in tasks.items():
        component = graph.component(task)
        yield Site(f"{prefix}{key}", task, component, groups, tasks, is_guarded, graph)
        yield from _walk(
            graph,
            component,
            f"{prefix}{key}/",
            (*groups, task),
            is_guarded=is_guarded or key in exit_handlers,
        )
