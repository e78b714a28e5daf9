"""Every task of a pipeline with what stands around it, for what is looked for in specs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kfgcp.spec.graph import Component, Container, Graph, TaskDef

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """A task in its pipeline.

    path: without iterations. within: what it stands in, the outermost first. tasks: those of the
    same DAG. guarded: whether it is inside an exit handler. graph: the whole pipeline.
    """

    path: str
    task: TaskDef
    component: Component
    within: tuple[TaskDef, ...]
    tasks: Mapping[str, TaskDef]
    guarded: bool
    graph: Graph

    @property
    def container(self) -> Container | None:
        executor = self.component.executor
        return executor if isinstance(executor, Container) else None


@dataclass(frozen=True, slots=True)
class Feature:
    """Something of a spec.

    Attributes:
        what: completes `task X ...`.
        found: whether a task has it.
        since: the first version that can do it, None for none so far.
        note: what becomes of it where it cannot be done; empty: it is refused.
        begins: the first version of which it is true, None for all.
        differs: the server can do it, but in another way, which is the note.
        recorded: the run in tests/recorded/cluster-2.17.0 that shows it.
        for_check: it is too common, and too harmless, to be told before every run.
    """

    what: str
    found: Callable[[Site], bool]
    since: Version | None = None
    note: str = ""
    begins: Version | None = None
    differs: bool = False
    recorded: str = ""
    for_check: bool = False


def sites(graph: Graph) -> Iterator[Site]:
    """Every task of a pipeline, those of nested pipelines, branches and loops too."""
    yield from _sites(graph, graph.root, "", (), guarded=False)


def _sites(
    graph: Graph, above: Component, prefix: str, within: tuple[TaskDef, ...], *, guarded: bool
) -> Iterator[Site]:
    if above.dag is None:
        return
    tasks = above.dag.tasks
    exits = {key for task in tasks.values() if task.runs_always for key in task.upstream}
    for key, task in tasks.items():
        inner, inside = graph.component(task), guarded or key in exits
        yield Site(f"{prefix}{key}", task, inner, within, tasks, guarded, graph)
        yield from _sites(graph, inner, f"{prefix}{key}/", (*within, task), guarded=inside)
