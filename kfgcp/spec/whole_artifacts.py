"""Refuse commands that take a whole artifact instead of its URI, path or metadata.

`dsl.Input[list[Dataset]]` as an argument of a container component compiles to
`{{$.inputs.artifacts['data']}}`. KFP does not document what the command then gets, and backends
differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kfgcp.errors import Unsupported
from kfgcp.spec.graph import Container, Graph

WHOLE_ARTIFACT: Final = re.compile(
    r"\{\{\$\.(inputs|outputs)\.artifacts\[(['\"])([^'\"{}]*)\2\]\}\}"
)


def refuse_whole_artifacts(graph: Graph) -> None:
    """Refuse a pipeline with a command that takes a whole artifact or list of artifacts.

    Raises:
        Unsupported: names the component and the artifact.
    """
    for component, artifact in _whole_artifacts(graph):
        task_name = component.removeprefix("comp-")
        raise Unsupported(
            f"{task_name} passes the whole artifact '{artifact}' to its command. KFP does not"
            " define what the command gets: backends pass different texts, or none.",
            hint=(
                f"Pass {artifact}.uri or {artifact}.path of one artifact. To read a list, use a"
                f" Python component: {artifact}: Input[list[Dataset]]."
            ),
        )


def _whole_artifacts(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield the component and the name of each artifact that a command takes as a whole."""
    for component in graph.components.values():
        container = component.executor
        if not isinstance(container, Container):
            continue
        for word in container.command + container.args:
            match = WHOLE_ARTIFACT.search(word)
            if match is not None:
                yield component.name, match[3]
