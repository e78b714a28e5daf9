"""ParallelFor: the iterations of a loop, and what is collected from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfgcp.model import TaskKind
from kfgcp.semantics import placeholders
from kfgcp.semantics.nodes import Node, NodeT
from kfgcp.semantics.values import (
    ArtifactValue,
    ValueProblem,
    Values,
    coerce,
    format_value,
    require_json,
)
from kfgcp.spec.graph import Iterator
from kfgcp.spec.json_values import normalize_numbers


def iterations(loop: NodeT, iterator: Iterator, constants: Mapping[str, str]) -> list[NodeT]:
    """Return a node for each item, in their order; each has the loop's inputs and the item.

    Args:
        loop: the node of the loop.
        iterator: what it iterates over.
        constants: values of the placeholders that mean the same in the whole task.

    Raises:
        ValueProblem: the items are not a list, a placeholder in them has no value, or one is not of
            the type that the loop's body declares.
    """
    assert loop.task is not None
    kind = TaskKind.DAG if loop.component.dag is not None else TaskKind.CONTAINER
    task = replace(loop.task, iterator=None, condition="")
    return [
        loop.new_child(f"{loop.path}[{number}]", kind, loop.component, task, values)
        for number, values in enumerate(_values(loop, iterator, constants))
    ]


def collected(loop: Node) -> Values:
    """Return the outputs of the iterations, in the order of the iterations (`dsl.Collected`).

    An iteration that has no such output, because its producer was skipped, is left out; nested
    loops give nested lists of parameters and one flat list of artifacts.
    """
    done = [node for node in loop.children.values() if node.state.ok]
    params = {
        name: [node.outputs.params[name] for node in done if name in node.outputs.params]
        for name in loop.component.output_params
    }
    artifacts = {
        name: tuple(item for node in done for item in node.outputs.artifacts.get(name, ()))
        for name in loop.component.output_artifacts
    }
    return Values(params, artifacts)


def _values(loop: Node, iterator: Iterator, constants: Mapping[str, str]) -> list[Values]:
    inputs = loop.inputs
    if iterator.artifacts:
        items = inputs.artifacts.get(iterator.input or "")
        if items is None:
            raise ValueProblem(f"the loop's list of artifacts '{iterator.input}' has no value")
        return [_with_artifact(inputs, iterator.item, item) for item in items]
    declared = loop.component.params.get(iterator.item)
    values = []
    for number, item in enumerate(_items(inputs, iterator, constants)):
        value = item if declared is None else coerce(item, declared, f"item {number} of the loop")
        values.append(Values({**inputs.params, iterator.item: value}, inputs.artifacts))
    return values


def _with_artifact(inputs: Values, name: str, item: ArtifactValue) -> Values:
    return Values(inputs.params, {**inputs.artifacts, name: (item,)})


def _items(inputs: Values, iterator: Iterator, constants: Mapping[str, str]) -> list[Any]:
    items: Any = (
        iterator.raw if iterator.raw is not None else inputs.params.get(iterator.input or "")
    )
    if isinstance(items, str):
        try:
            items = json.loads(items)
        except (ValueError, RecursionError):
            raise ValueProblem(
                f"the loop's items are no JSON list: {format_value(items)}"
            ) from None
    if not isinstance(items, list):
        raise ValueProblem(f"the loop's items are no list: {format_value(items)}")
    items = normalize_numbers(require_json(items, "the loop's list of items"))
    # Only raw items are text of the spec. An input is data, whatever it looks like.
    if iterator.raw is not None and placeholders.is_template(items):
        items = placeholders.fill_constant(
            items, inputs.params, constants, "the loop's list of items"
        )
    return list(items)
