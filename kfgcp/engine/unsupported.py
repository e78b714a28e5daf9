"""What this engine cannot run here, found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from kfgcp.errors import Unsupported
from kfgcp.options import RunOptions
from kfgcp.spec.graph import Component, Container, Graph, OtherExecutor
from kfgcp.spec.lightweight import recognise


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
    foreign = [
        f"{c.name} ({c.executor.kind})"
        for c in _components(graph)
        if isinstance(c.executor, OtherExecutor)
    ]
    if foreign:
        raise Unsupported(
            f"The local engine cannot run {', '.join(foreign)}.",
            hint="Submit it to the backend that knows it.",
        )
    claims = [
        c.name
        for c in _components(graph)
        if isinstance(c.executor, Container) and _makes_volumes(c.executor)
    ]
    if claims:
        raise Unsupported(
            f"The local engine has no cluster to make or delete the volume of {', '.join(claims)}.",
            hint=(
                "dsl.WORKSPACE_PATH_PLACEHOLDER names a folder that all tasks of a run share, here"
                " and on Kubeflow."
            ),
        )
    containers = [c for c in _components(graph) if isinstance(c.executor, Container)]
    commands = [
        c for c in containers if isinstance(c.executor, Container) and recognise(c.executor) is None
    ]
    if options.executor == "process" and commands:
        raise Unsupported(
            f"{commands[0].name} runs a container, and --executor process allows none.",
            hint="Use --executor auto.",
        )
    needs_docker = bool(commands or (options.executor == "docker" and containers))
    if needs_docker:
        from kfgcp.engine.executors.docker import connect

        try:
            connect().close()
        except Unsupported as error:
            needs = (commands or containers)[0].name
            raise Unsupported(
                f"{needs} runs a container. {error.message}", hint=error.hint
            ) from None
    return needs_docker


def _makes_volumes(container: Container) -> bool:
    """Of CreatePVC and DeletePVC in kfp-kubernetes: the image stands for a driver of KFP, nothing
    is run in it."""
    return container.image in ("argostub/createpvc", "argostub/deletepvc")


def _components(graph: Graph) -> Iterator[Component]:
    yield graph.root
    yield from graph.components.values()
