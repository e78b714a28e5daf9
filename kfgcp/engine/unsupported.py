"""Find what this engine cannot run here, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kfgcp.errors import Unsupported
from kfgcp.options import RunOptions
from kfgcp.spec.graph import Component, Container, Graph, OtherExecutor
from kfgcp.spec.lightweight import recognise

# The images of CreatePVC and DeletePVC in kfp-kubernetes. They stand for a driver of KFP and are
# never run.
_VOLUME_IMAGES: Final = ("argostub/createpvc", "argostub/deletepvc")


def refuse(graph: Graph, options: RunOptions) -> bool:
    """Refuse a pipeline that the engine cannot run here.

    Args:
        graph: the pipeline.
        options: how the run is run.

    Returns:
        Whether the pipeline needs a Docker engine.

    Raises:
        Unsupported: an executor in it belongs to another backend, or a container needs a Docker
            engine that is not there; nothing was started.
    """
    _refuse_other_executors(graph)
    containers = list(_containers(graph))
    _refuse_volumes(containers)
    commands = [name for name, container in containers if recognise(container) is None]
    if options.executor == "process" and commands:
        raise Unsupported(
            f"{commands[0]} runs a container, and --executor process does not allow containers.",
            hint="Use --executor auto.",
        )
    in_docker = commands
    if options.executor == "docker" and not commands:
        in_docker = [name for name, _ in containers]
    if in_docker:
        _require_docker(in_docker[0])
    return bool(in_docker)


def _refuse_other_executors(graph: Graph) -> None:
    names = [
        f"{component.name} ({component.executor.kind})"
        for component in _components(graph)
        if isinstance(component.executor, OtherExecutor)
    ]
    if names:
        raise Unsupported(
            f"The local engine cannot run {', '.join(names)}.",
            hint="Submit the pipeline to a backend that has this executor.",
        )


def _refuse_volumes(containers: Sequence[tuple[str, Container]]) -> None:
    names = [name for name, container in containers if container.image in _VOLUME_IMAGES]
    if names:
        raise Unsupported(
            f"The local engine cannot create or delete the volume of {', '.join(names)}.",
            hint=(
                "dsl.WORKSPACE_PATH_PLACEHOLDER names a folder that all tasks of a run share, here"
                " and on Kubeflow."
            ),
        )


def _require_docker(component: str) -> None:
    from kfgcp.engine.executors.docker import connect

    try:
        connect().close()
    except Unsupported as error:
        raise Unsupported(
            f"{component} runs a container. {error.message}", hint=error.hint
        ) from None


def _containers(graph: Graph) -> Iterator[tuple[str, Container]]:
    """Yield the components that run a container on a cluster, with their names."""
    for component in _components(graph):
        if isinstance(component.executor, Container):
            yield component.name, component.executor


def _components(graph: Graph) -> Iterator[Component]:
    yield graph.root
    yield from graph.components.values()
