"""Resolve the inputs of a task: constants, inputs of its DAG, and outputs of earlier tasks.

pipeline_spec.proto (TaskInputsSpec) defines the sources of inputs, and semantics.md (Values) the
rules.
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
"""Returns the outputs of a task in the same DAG. The argument is the key of the task."""

ReadStatus = Callable[[str], Mapping[str, Any]]
"""Returns the PipelineTaskFinalStatus of a task in the same DAG. The argument is its key."""

ApplySelector = Callable[[str, Any], Any]
"""Returns the result of a CEL expression for a value. The arguments are the expression and the
value."""


def build_root_inputs(
    root: Component, values: JsonObject, locate: Callable[[str, str], str]
) -> Values:
    """Return the inputs that a run starts with.

    Artifacts get the types that the pipeline declares.

    Args:
        root: the root component of the pipeline.
        values: the result of `kfgcp.spec.params.resolve`. The value of an artifact is a URI or a
            list of URIs.
        locate: returns the URI that tasks receive. The arguments are the URI in `values` and the
            name of the input.
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
        component: the component of the task, which declares the types.
        scope: the inputs of the DAG that the task is in.
        outputs: returns the outputs of an earlier task.
        status: returns the final status of an earlier task.
        select: applies a parameterExpressionSelector.
        constants: the values of the placeholders of the job and the task, for example
            `pipeline_job_name`.

    Raises:
        ValueProblem: a required input or a placeholder has no value, or a value has the wrong
            type.
    """
    values: dict[str, Any] = {}
    templates: dict[str, Any] = {}
    for name, binding in task.params.items():
        if _is_template(binding):
            assert isinstance(binding.source, Constant)
            templates[name] = binding.source.value
        else:
            values[name] = _read_param(binding, scope, outputs, status, select)
    # Placeholders in templates name other inputs, so the values of these come first. A template
    # cannot name another template, because `values` gets the filled templates all at once.
    filled_templates = {
        name: placeholders.fill_constant(template, values, constants, f"input '{name}'")
        for name, template in templates.items()
    }
    values |= filled_templates
    params = _check_params(values, task, component)
    # The item of a loop gets its value later, in each iteration.
    names = values.keys() | {_item_name(task)}
    _refuse_missing_params(component, names)
    return Values(params, _resolve_artifacts(task, component, scope, outputs))


def add_defaults(inputs: Values, component: Component) -> Values:
    """Return inputs, with the component's default for each parameter that has no value.

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
    """Return whether an input is a constant that contains placeholders."""
    source = binding.source
    if not isinstance(source, Constant) or binding.selector:
        return False
    return placeholders.is_template(source.value)


def _read_param(
    binding: Binding, scope: Values, outputs: ReadOutputs, status: ReadStatus, select: ApplySelector
) -> Any:
    """Return the value of the source of an input parameter, None when the source has no value."""
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
    """Return the values in the types that the component declares, without those that are null.

    Raises:
        ValueProblem: a value has the wrong type, or the value of a required input is null.
    """
    params = {}
    for name, value in values.items():
        declared = component.params.get(name)
        if value is not None:
            # A parameter that the component does not declare keeps its value.
            params[name] = value if declared is None else coerce(value, declared, f"input '{name}'")
        # Recorded on Kubeflow (param-none): null for a required input fails the task.
        elif declared is not None and not declared.may_be_missing:
            reason = _explain_missing(task.params[name])
            raise ValueProblem(f"input '{name}' has no value: {reason}")
    return params


def _refuse_missing_params(component: Component, names: Collection[str | None]) -> None:
    """Raise ValueProblem when a required parameter is not in `names`."""
    for name, declared in component.params.items():
        if name not in names and not declared.may_be_missing:
            raise ValueProblem(f"input '{name}' has no value: the task does not set it")


def _resolve_artifacts(
    task: TaskDef, component: Component, scope: Values, outputs: ReadOutputs
) -> dict[str, tuple[ArtifactValue, ...]]:
    """Return the input artifacts of a task.

    Raises:
        ValueProblem: a required artifact has no value.
    """
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
    """Return the name of the input that receives an item of a loop, None without a loop."""
    return task.iterator.item if task.iterator is not None else None


def _explain_missing(binding: Binding) -> str:
    """Return why the source of an input has no value, for messages."""
    source = binding.source
    if isinstance(source, FromTask):
        return f"task '{source.task}' has no output '{source.output}'"
    if isinstance(source, FromInput):
        return f"the pipeline's input '{source.name}' has no value"
    if isinstance(source, FinalStatus):
        return f"task '{source.task}' has no final status"
    return "its value in the pipeline is null"
