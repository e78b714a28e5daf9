"""Find out whether a pipeline needs a Docker engine, and refuse it when none answers."""

from __future__ import annotations

from kfgcp.errors import Unsupported
from kfgcp.options import RunOptions
from kfgcp.spec.graph import Container, Graph
from kfgcp.spec.lightweight import recognise


def require_docker(graph: Graph, options: RunOptions) -> bool:
    """Refuse a pipeline that needs a Docker engine when none answers.

    Args:
        graph: the pipeline.
        options: the user's options.

    Returns:
        Whether the pipeline needs a Docker engine.

    Raises:
        Unsupported: the pipeline needs a Docker engine and none answers.
    """
    component = _find_component_in_docker(graph, options)
    if component is None:
        return False
    from kfgcp.services.docker_engine import connect

    try:
        connect().close()
    except Unsupported as error:
        raise Unsupported(
            f"{component} runs a container. {error.message}", hint=error.hint
        ) from None
    return True


def _find_component_in_docker(graph: Graph, options: RunOptions) -> str | None:
    """Return the name of the first component that runs in a container, None when none does.

    Commands come before Python functions, which need a container only with `--executor docker`.
    """
    containers = [
        (component.name, component.executor)
        for component in graph.components.values()
        if isinstance(component.executor, Container)
    ]
    for name, container in containers:
        if recognise(container) is None:
            return name
    if options.executor == "docker" and containers:
        return containers[0][0]
    return None
