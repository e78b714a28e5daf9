"""ParallelFor: the iterations of a loop, and the outputs that are collected from them.

The rules are those of ParameterIteratorSpec and ArtifactIteratorSpec in pipeline_spec.proto, and of
semantics.md, Control flow.
"""

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


def create_iterations(loop: NodeT, iterator: Iterator, constants: Mapping[str, str]) -> list[NodeT]:
    """Return a node for each item, in their order. Each has the loop's inputs and its item.

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
    # The condition belongs to the loop as a whole, and was evaluated before.
    task = replace(loop.task, iterator=None, condition="")
    iterations = []
    for number, inputs in enumerate(_iteration_inputs(loop, iterator, constants)):
        path = f"{loop.path}[{number}]"
        iterations.append(loop.new_child(path, kind, loop.component, task, inputs))
    return iterations


def collect_outputs(loop: Node) -> Values:
    """Return the outputs of the iterations, in the order of the iterations (`dsl.Collected`).

    An iteration that has no such output, because its producer was skipped, is left out. Nested
    loops give nested lists of parameters and one flat list of artifacts.
    """
    successful = [node for node in loop.children.values() if node.state.ok]
    params: dict[str, Any] = {}
    for name in loop.component.output_params:
        outputs = [node.outputs.params for node in successful]
        params[name] = [values[name] for values in outputs if name in values]
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name in loop.component.output_artifacts:
        items: list[ArtifactValue] = []
        for node in successful:
            items.extend(node.outputs.artifacts.get(name, ()))
        artifacts[name] = tuple(items)
    return Values(params, artifacts)


def _iteration_inputs(loop: Node, iterator: Iterator, constants: Mapping[str, str]) -> list[Values]:
    """Return the inputs of each iteration."""
    inputs = loop.inputs
    all_values = []
    if iterator.artifacts:
        artifacts = inputs.artifacts.get(iterator.input or "")
        if artifacts is None:
            raise ValueProblem(f"the loop's list of artifacts '{iterator.input}' has no value")
        for artifact in artifacts:
            with_item = {**inputs.artifacts, iterator.item: (artifact,)}
            all_values.append(Values(inputs.params, with_item))
        return all_values
    declared = loop.component.params.get(iterator.item)
    for number, item in enumerate(_read_items(inputs, iterator, constants)):
        value = item
        if declared is not None:
            value = coerce(item, declared, f"item {number} of the loop")
        all_values.append(Values({**inputs.params, iterator.item: value}, inputs.artifacts))
    return all_values


def _read_items(inputs: Values, iterator: Iterator, constants: Mapping[str, str]) -> list[Any]:
    items: Any = iterator.raw
    if items is None:
        items = inputs.params.get(iterator.input or "")
    # An input may be a STRING with JSON, as KFP itself allows.
    if isinstance(items, str):
        try:
            items = json.loads(items)
        except (ValueError, RecursionError):
            raise ValueProblem(
                f"the loop's items are not a JSON list: {format_value(items)}"
            ) from None
    if not isinstance(items, list):
        raise ValueProblem(f"the loop's items are not a list: {format_value(items)}")
    items = normalize_numbers(require_json(items, "the loop's list of items"))
    # Only raw items are text of the spec. An input is data, whatever it looks like.
    if iterator.raw is not None and placeholders.is_template(items):
        items = placeholders.fill_constant(
            items, inputs.params, constants, "the loop's list of items"
        )
    return list(items)
