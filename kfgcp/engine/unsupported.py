"""What this engine cannot run yet, found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from kfgcp.errors import Unsupported
from kfgcp.spec.graph import Container, FinalStatus, Graph, Importer, OtherExecutor, TaskDef
from kfgcp.spec.lightweight import recognise


def refuse(graph: Graph) -> None:
    """Passes a pipeline that the engine runs by the rules.

    Raises:
        Unsupported: it holds something that the engine would have to ignore; names all of them.
    """
    found = list(dict.fromkeys(_findings(graph)))
    if found:
        raise Unsupported(
            f"The local engine cannot run this pipeline yet: {'; '.join(found)}.",
            hint="Nothing was started. `kfgcp compile` works, and so do the other backends.",
        )


def _findings(graph: Graph) -> Iterator[str]:
    for component in (graph.root, *graph.components.values()):
        if component.dag is not None:
            for task in component.dag.tasks.values():
                yield from (f"task '{task.key}' {what}" for what in _of_task(task))
        executor = component.executor
        if isinstance(executor, Importer):
            yield f"{component.name} is an importer"
        elif isinstance(executor, OtherExecutor):
            yield f"{component.name} is a {executor.kind} executor"
        elif isinstance(executor, Container) and recognise(executor) is None:
            yield f"{component.name} runs a container ({executor.image})"


def _of_task(task: TaskDef) -> Iterator[str]:
    if task.condition:
        yield "has a condition"
    if task.iterator is not None:
        yield "is a loop"
    if any(isinstance(binding.source, FinalStatus) for binding in task.params.values()):
        yield "handles the exit of another"
    elif task.runs_always:
        yield "ignores the failure of its upstream"
