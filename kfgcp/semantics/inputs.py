"""The inputs of a task, from constants, the inputs of its DAG and the outputs of the tasks before
it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kfgcp.semantics import placeholders
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values, coerce
from kfgcp.spec.graph import (
    ArtifactDef,
    Binding,
    Component,
    Constant,
    FinalStatus,
    FromInput,
    FromTask,
    TaskDef,
)

Outputs = Callable[[str], Values]
"""The outputs of a task of the same DAG, by its key."""

Status = Callable[[str], Mapping[str, Any]]
"""The PipelineTaskFinalStatus of a task of the same DAG, by its key."""

Select = Callable[[str, Any], Any]
"""A CEL expression over a value."""


def build_root_inputs(
    root: Component, values: Mapping[str, Any], locate: Callable[[str, str], str]
) -> Values:
    """Return the inputs that a run starts with; an artifact has the type that the pipeline
    declares.

    Args:
        root: the pipeline's root.
        values: the result of `kfgcp.spec.params.resolve`; for an artifact its URI, or a list of
            URIs.
        locate: gives the URI that tasks receive for the URI of an artifact, by that URI and the
            name of the input.
    """
    params = {name: value for name, value in values.items() if name not in root.artifacts}
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name, definition in root.artifacts.items():
        given = values.get(name)
        if given is None:
            continue
        uris = given if isinstance(given, list) else [given]
        artifacts[name] = tuple(_root_artifact(name, definition, locate(uri, name)) for uri in uris)
    return Values(params, artifacts)


def _root_artifact(name: str, definition: ArtifactDef, uri: str) -> ArtifactValue:
    return ArtifactValue(
        name=name,
        type=definition.type,
        uri=uri,
        metadata=definition.metadata,
        version=definition.version,
    )


def resolve(
    task: TaskDef,
    component: Component,
    scope: Values,
    outputs: Outputs,
    status: Status,
    select: Select,
    constants: Mapping[str, str],
) -> Values:
    """The values that a task's inputs have.

    Args:
        task: whose inputs.
        component: what the task runs; declares the types.
        scope: the inputs of the DAG that the task stands in.
        outputs: gives what a task before it put out.
        status: gives how a task before it ended.
        select: applies a parameterExpressionSelector.
        constants: values of the placeholders that mean the same in the whole task,
            `pipeline_job_name` for example.

    Raises:
        ValueProblem: a required input or a placeholder has no value, or a value is of the wrong
            type.
    """
    raw: dict[str, Any] = {}
    templates: dict[str, Any] = {}
    for name, binding in task.params.items():
        source = binding.source
        if (
            isinstance(source, Constant)
            and placeholders.is_template(source.value)
            and not binding.selector
        ):
            templates[name] = source.value
        else:
            raw[name] = _param(binding, scope, outputs, status, select)
    filled = {
        name: placeholders.fill_constant(template, raw, constants, f"input '{name}'")
        for name, template in templates.items()
    }
    raw |= filled
    params = {}
    for name, value in raw.items():
        declared = component.params.get(name)
        if value is None:
            if declared is not None and not declared.may_be_missing:
                raise ValueProblem(f"input '{name}' has no value: {_origin(task.params[name])}")
        else:
            params[name] = value if declared is None else coerce(value, declared, f"input '{name}'")
    item = task.iterator.item if task.iterator is not None else None
    _refuse_missing(component, {*raw, item})
    return Values(params, _artifacts(task, component, scope, outputs))


def add_defaults(inputs: Values, component: Component) -> Values:
    """The inputs with the component's defaults for those that have no value."""
    params = dict(inputs.params)
    for name, declared in component.params.items():
        if name not in params and declared.has_default and declared.default is not None:
            params[name] = declared.default
    return Values(params, inputs.artifacts)


def _param(
    binding: Binding, scope: Values, outputs: Outputs, status: Status, select: Select
) -> Any:
    source = binding.source
    value: Any
    if isinstance(source, Constant):
        value = source.value
    elif isinstance(source, FromInput):
        value = scope.params.get(source.name)
    elif isinstance(source, FromTask):
        value = outputs(source.task).params.get(source.output)
    else:
        value = dict(status(source.task))
    return select(binding.selector, value) if binding.selector else value


def _artifacts(
    task: TaskDef, component: Component, scope: Values, outputs: Outputs
) -> dict[str, tuple[ArtifactValue, ...]]:
    artifacts = {}
    for name, binding in task.artifacts.items():
        source = binding.source
        if isinstance(source, FromTask):
            found = outputs(source.task).artifacts.get(source.output)
        else:
            assert isinstance(source, FromInput)
            found = scope.artifacts.get(source.name)
        if found is not None:
            artifacts[name] = found
        elif (declared := component.artifacts.get(name)) is not None and not declared.optional:
            raise ValueProblem(f"input artifact '{name}' has no value: {_origin(binding)}")
    item = task.iterator.item if task.iterator is not None else None
    for name, definition in component.artifacts.items():
        if name not in (*task.artifacts, item) and not definition.optional:
            raise ValueProblem(f"input artifact '{name}' has no value: the task does not set it")
    return artifacts


def _refuse_missing(component: Component, given: Collection[str | None]) -> None:
    for name, declared in component.params.items():
        if name not in given and not declared.may_be_missing:
            raise ValueProblem(f"input '{name}' has no value: the task does not set it")


def _origin(binding: Binding) -> str:
    source = binding.source
    if isinstance(source, FromTask):
        return f"task '{source.task}' has no output '{source.output}'"
    if isinstance(source, FromInput):
        return f"the pipeline's input '{source.name}' has none"
    if isinstance(source, FinalStatus):
        return f"task '{source.task}' has no final status"
    return "its constant is null"
