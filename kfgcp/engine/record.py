"""Nodes of a run as the store keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfgcp.engine.inputs import with_defaults
from kfgcp.engine.nodes import Node
from kfgcp.engine.values import Values, finite
from kfgcp.model import Artifact, Metric, Task, TaskKind, TaskState


def task_record(node: Node) -> Task:
    """The task as it is now; inputs as the component receives them, defaults included."""
    return Task(
        path=node.path,
        kind=node.kind,
        state=node.state,
        attempts=node.attempts,
        cache=node.cache if node.kind is TaskKind.CONTAINER else None,
        started_at=node.started_at,
        ended_at=node.ended_at if node.state.final else None,
        inputs=shown(with_defaults(node.inputs, node.component)),
        outputs=shown(node.outputs),
        error=node.error if node.state is TaskState.FAILED else None,
    )


def outputs_record(node: Node) -> tuple[list[Artifact], list[Metric]]:
    """The artifacts of a finished task, and the metrics in their metadata; none of a DAG or loop."""
    artifacts: list[Artifact] = []
    metrics: list[Metric] = []
    if node.kind in (TaskKind.DAG, TaskKind.LOOP) or not node.state.ok or node.recorded:
        return artifacts, metrics
    for name, items in node.outputs.artifacts.items():
        for item in items:
            artifacts.append(Artifact(node.path, name, item.type, _uri(item.uri), finite(dict(item.metadata))))
            if item.type == "system.Metrics":
                metrics.extend(_metrics(node.path, name, item.metadata))
    return artifacts, metrics


def shown(values: Values) -> dict[str, Any]:
    """Parameters as they are, artifacts as their URIs."""
    found: dict[str, Any] = dict(values.params)
    for name, items in values.artifacts.items():
        uris = [_uri(item.uri) for item in items]
        found[name] = uris[0] if len(uris) == 1 else uris
    return found


def _uri(uri: str) -> str:
    return Path(uri).as_uri() if uri.startswith("/") else uri


def _metrics(task: str, artifact: str, metadata: Mapping[str, Any]) -> list[Metric]:
    return [
        Metric(task, artifact, name, value)
        for name, value in metadata.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
