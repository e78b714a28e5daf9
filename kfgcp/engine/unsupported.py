"""Refuse pipelines that this engine cannot run, before any task starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kfgcp.errors import Unsupported
from kfgcp.options import RunOptions
from kfgcp.spec.graph import Component, Container, Graph, OtherExecutor
from kfgcp.spec.lightweight import recognise

# The images of CreatePVC and DeletePVC in kfp-kubernetes. KFP on a cluster recognises these names,
# and creates or deletes a volume instead of running the image.
_VOLUME_IMAGES: Final = ("argostub/createpvc", "argostub/deletepvc")


def refuse(graph: Graph, options: RunOptions) -> bool:
    """Refuse a pipeline that the engine cannot run here.

    Args:
        graph: the pipeline.
        options: the user's options.

    Returns:
        Whether the pipeline needs a Docker engine.

    Raises:
        Unsupported: the pipeline has an executor of another backend or a volume of a cluster, or
            it needs a Docker engine and none answers.
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
    run_in_docker = commands
    if options.executor == "docker" and not commands:
        run_in_docker = [name for name, _ in containers]
    if run_in_docker:
        _require_docker(run_in_docker[0])
    return bool(run_in_docker)


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
    """Raise Unsupported, with the name of a component that needs Docker, when none answers."""
    from kfgcp.engine.executors.docker import connect

    try:
        connect().close()
    except Unsupported as error:
        raise Unsupported(
            f"{component} runs a container. {error.message}", hint=error.hint
        ) from None


def _containers(graph: Graph) -> Iterator[tuple[str, Container]]:
    """Yield the name and the container of each component that runs in a container on a cluster."""
    for component in _components(graph):
        if isinstance(component.executor, Container):
            yield component.name, component.executor


def _components(graph: Graph) -> Iterator[Component]:
    yield graph.root
    yield from graph.components.values()
