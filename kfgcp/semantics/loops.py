"""Create the iterations of a loop (`dsl.ParallelFor`), and collect their outputs.

The rules are in pipeline_spec.proto (ParameterIteratorSpec, ArtifactIteratorSpec) and in
semantics.md (Control flow).
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
    """Return a node for each iteration, in the order of the items.

    The inputs of an iteration are the inputs of the loop and the item of the iteration.

    Args:
        loop: the node of the loop.
        iterator: the definition of the items.
        constants: the values of the placeholders of the job and the task.

    Raises:
        ValueProblem: the items are not a list, a placeholder in them has no value, or an item does
            not have the type that the loop's body declares.
    """
    assert loop.task is not None
    kind = TaskKind.DAG if loop.component.dag is not None else TaskKind.CONTAINER
    # The condition belongs to the whole loop and is evaluated already, so an iteration has none.
    task = replace(loop.task, iterator=None, condition="")
    iterations = []
    for number, inputs in enumerate(_iteration_inputs(loop, iterator, constants)):
        path = f"{loop.path}[{number}]"
        iterations.append(loop.new_child(path, kind, loop.component, task, inputs))
    return iterations


def collect_outputs(loop: Node) -> Values:
    """Return lists of the outputs of the iterations, in the order of the iterations.

    These are the values of `dsl.Collected`. An iteration without an output, because the task that
    produces it was skipped, is left out. Nested loops give nested lists of parameters, and one flat
    list of artifacts.
    """
    successful = [node for node in loop.children.values() if node.state.ok]
    params: dict[str, Any] = {}
    for name in loop.component.output_params:
        outputs = [node.outputs.params for node in successful]
        params[name] = [output[name] for output in outputs if name in output]
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
    iteration_inputs = []
    if iterator.artifacts:
        artifacts = inputs.artifacts.get(iterator.input or "")
        if artifacts is None:
            raise ValueProblem(f"the loop's list of artifacts '{iterator.input}' has no value")
        for artifact in artifacts:
            artifacts_with_item = {**inputs.artifacts, iterator.item: (artifact,)}
            iteration_inputs.append(Values(inputs.params, artifacts_with_item))
        return iteration_inputs
    declared = loop.component.params.get(iterator.item)
    for number, item in enumerate(_read_items(inputs, iterator, constants)):
        value = item
        if declared is not None:
            value = coerce(item, declared, f"item {number} of the loop")
        params_with_item = {**inputs.params, iterator.item: value}
        iteration_inputs.append(Values(params_with_item, inputs.artifacts))
    return iteration_inputs


def _read_items(inputs: Values, iterator: Iterator, constants: Mapping[str, str]) -> list[Any]:
    """Return the items of a loop over parameters, with their placeholders filled in."""
    items: Any = iterator.raw
    if items is None:
        items = inputs.params.get(iterator.input or "")
    # As in KFP, the input may be a STRING that contains a JSON list.
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
    # Raw items are part of the spec and may contain placeholders. The value of an input is data: a
    # text in it that looks like a placeholder stays as it is.
    if iterator.raw is not None and placeholders.is_template(items):
        items = placeholders.fill_constant(
            items, inputs.params, constants, "the loop's list of items"
        )
    return list(items)
