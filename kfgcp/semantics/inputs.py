"""The inputs of a task: constants, inputs of its DAG, and outputs of the tasks before it.

The sources are those of TaskInputsSpec in pipeline_spec.proto; the rules are in semantics.md,
Values.
"""

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
from kfgcp.spec.json_values import JsonObject

ReadOutputs = Callable[[str], Values]
"""Returns the outputs of a task of the same DAG, by its key."""

ReadStatus = Callable[[str], Mapping[str, Any]]
"""Returns the PipelineTaskFinalStatus of a task of the same DAG, by its key."""

ApplySelector = Callable[[str, Any], Any]
"""Applies a CEL expression to a value."""


def build_root_inputs(
    root: Component, values: JsonObject, locate: Callable[[str, str], str]
) -> Values:
    """Return the inputs that a run starts with.

    Artifacts have the types that the pipeline declares.

    Args:
        root: the pipeline's root.
        values: the result of `kfgcp.spec.params.resolve`; for an artifact its URI, or a list of
            URIs.
        locate: returns the URI that tasks receive, for the URI of an artifact and the name of the
            input.
    """
    params = {name: value for name, value in values.items() if name not in root.artifacts}
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name, definition in root.artifacts.items():
        value = values.get(name)
        if value is None:
            continue
        uris = value if isinstance(value, list) else [value]
        artifacts[name] = tuple(_root_artifact(name, definition, locate(uri, name)) for uri in uris)
    return Values(params, artifacts)


def resolve(
    task: TaskDef,
    component: Component,
    scope: Values,
    outputs: ReadOutputs,
    status: ReadStatus,
    select: ApplySelector,
    constants: Mapping[str, str],
) -> Values:
    """Return the values of a task's inputs.

    Args:
        task: the task.
        component: what the task runs; declares the types.
        scope: the inputs of the DAG that the task is in.
        outputs: returns the outputs of a task before it.
        status: returns the final status of a task before it.
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
        if _is_template(binding):
            assert isinstance(binding.source, Constant)
            templates[name] = binding.source.value
        else:
            raw[name] = _read_param(binding, scope, outputs, status, select)
    # Templates refer to the other inputs by name, so these come first. They cannot refer to each
    # other: the filled values join the others only after all are filled.
    filled = {
        name: placeholders.fill_constant(template, raw, constants, f"input '{name}'")
        for name, template in templates.items()
    }
    raw |= filled
    params = _check_params(raw, task, component)
    _refuse_missing_params(component, {*raw, _item_name(task)})
    return Values(params, _resolve_artifacts(task, component, scope, outputs))


def add_defaults(inputs: Values, component: Component) -> Values:
    """Return the inputs with the component's defaults for those that have no value.

    Example:
        >>> from kfgcp.spec.graph import ParamSpec
        >>> rate = ParamSpec("rate", "NUMBER_DOUBLE", default=0.1, has_default=True)
        >>> component = Component("comp-train", {"rate": rate}, {}, {}, {})
        >>> add_defaults(Values(), component).params
        {'rate': 0.1}
    """
    params = dict(inputs.params)
    for name, declared in component.params.items():
        if name not in params and declared.has_default and declared.default is not None:
            params[name] = declared.default
    return Values(params, inputs.artifacts)


def _root_artifact(name: str, definition: ArtifactDef, uri: str) -> ArtifactValue:
    return ArtifactValue(
        name=name,
        type=definition.type,
        uri=uri,
        metadata=definition.metadata,
        version=definition.version,
    )


def _is_template(binding: Binding) -> bool:
    """Return whether an input is a constant that holds placeholders."""
    source = binding.source
    if not isinstance(source, Constant) or binding.selector:
        return False
    return placeholders.is_template(source.value)


def _read_param(
    binding: Binding, scope: Values, outputs: ReadOutputs, status: ReadStatus, select: ApplySelector
) -> Any:
    """Return the value that an input parameter is bound to, None without one."""
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


def _check_params(values: JsonObject, task: TaskDef, component: Component) -> dict[str, Any]:
    """Return the values as the component declares them, without null."""
    params = {}
    for name, value in values.items():
        declared = component.params.get(name)
        if value is not None:
            # A parameter that the component does not declare is passed on as it is.
            params[name] = value if declared is None else coerce(value, declared, f"input '{name}'")
        # Recorded on Kubeflow (param-none): null for a required input fails the task.
        elif declared is not None and not declared.may_be_missing:
            reason = _explain_missing(task.params[name])
            raise ValueProblem(f"input '{name}' has no value: {reason}")
    return params


def _refuse_missing_params(component: Component, names: Collection[str | None]) -> None:
    for name, declared in component.params.items():
        if name not in names and not declared.may_be_missing:
            raise ValueProblem(f"input '{name}' has no value: the task does not set it")


def _resolve_artifacts(
    task: TaskDef, component: Component, scope: Values, outputs: ReadOutputs
) -> dict[str, tuple[ArtifactValue, ...]]:
    resolved = {}
    for name, binding in task.artifacts.items():
        source = binding.source
        if isinstance(source, FromTask):
            artifacts = outputs(source.task).artifacts.get(source.output)
        else:
            assert isinstance(source, FromInput)
            artifacts = scope.artifacts.get(source.name)
        declared = component.artifacts.get(name)
        if artifacts is not None:
            resolved[name] = artifacts
        elif declared is not None and not declared.optional:
            reason = _explain_missing(binding)
            raise ValueProblem(f"input artifact '{name}' has no value: {reason}")
    item_name = _item_name(task)
    for name, definition in component.artifacts.items():
        is_set = name in task.artifacts or name == item_name
        if not is_set and not definition.optional:
            raise ValueProblem(f"input artifact '{name}' has no value: the task does not set it")
    return resolved


def _item_name(task: TaskDef) -> str | None:
    """Return the input that receives the items of a loop, None when the task is not a loop.

    It gets its value later, in each iteration.
    """
    return task.iterator.item if task.iterator is not None else None


def _explain_missing(binding: Binding) -> str:
    source = binding.source
    if isinstance(source, FromTask):
        return f"task '{source.task}' has no output '{source.output}'"
    if isinstance(source, FromInput):
        return f"the pipeline's input '{source.name}' has none"
    if isinstance(source, FinalStatus):
        return f"task '{source.task}' has no final status"
    return "its constant is null"
