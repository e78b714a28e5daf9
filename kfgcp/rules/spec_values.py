"""Rules about the values of parameters and inputs: wrong, missing, or changed on their way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Located, Match, Part, Severity
from kfgcp.rules.inputs import plain_name, read_constant
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.semantics.placeholders import is_template
from kfgcp.semantics.values import ValueProblem, coerce
from kfgcp.spec.graph import FromInput
from kfgcp.spec.json_values import EXACT_DOUBLES
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.records import ParamSpec

# A decimal number with up to 15 digits is the same after it was stored as a double (IEEE 754).
_DIGITS_OF_DOUBLES: Final = 15


@pipeline_rule(
    "S120",
    Severity.WARNING,
    "{where} is {value}, and KFP keeps only about 16 digits of a number",
    hint="Pass the number as text (str), and convert the text in the component.",
)
def rounded_integer(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The compiler of KFP writes numbers as doubles, which hold each integer only up to 2**53
    (google.protobuf.Value; docs/reference/semantics.md, values)."""
    for param in pipeline.graph.root.params.values():
        for number in _rounded(param.default, param):
            subject = f"the default of the pipeline's parameter '{param.name}'"
            yield {"where": subject, "value": str(number)}
    for context in pipeline.tasks:
        for name, binding in context.task.params.items():
            value = read_constant(binding)
            # Most inputs have no constant, and a text contains no number.
            if value is None or isinstance(value, str):
                continue
            for number in _rounded(value, context.component.params.get(name)):
                where = f"input '{plain_name(name)}' of task {context.path}"
                values = {"where": where, "value": str(number)}
                yield Located(values, Part.TASK, context.path, context.component.name)


def _rounded(value: object, declared: ParamSpec | None) -> Iterator[int]:
    """Yield the integers in a value that may have been written with other last digits."""
    # A NUMBER_DOUBLE is a double in any case. Most inputs are not constants.
    if value is None or (declared is not None and declared.type == "NUMBER_DOUBLE"):
        return
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, int) and abs(item) >= EXACT_DOUBLES:
            digits = str(abs(item)).rstrip("0")
            if len(digits) > _DIGITS_OF_DOUBLES:
                yield item
        elif isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


@pipeline_rule(
    "S121",
    Severity.WARNING,
    "the default of the parameter {problem}, so each run must set another value",
    hint="Change the default, or the type of the parameter.",
)
def wrong_default_of_pipeline(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """A parameter accepts only values of its type, and with literals only these (ParameterSpec of
    pipeline_spec.proto, literals). STRING accepts every value."""
    for param in pipeline.graph.root.params.values():
        problem = _problem_of(param.default, param)
        if problem:
            yield {"problem": problem}


@component_rule(
    "S122",
    Severity.WARNING,
    "the default of an input of {component} is wrong: {problem}",
    hint="Change the default, or the type of the input.",
)
def wrong_default_of_component(context: ComponentContext, target: Target) -> Match:
    """As S121. The component gets such a default as it is, so it has a value of another type than
    it declares."""
    for param in context.component.params.values():
        problem = _problem_of(param.default, param)
        if problem:
            return {"problem": problem}
    return False


@task_rule(
    "S123",
    Severity.ERROR,
    "{task} cannot start: {problem}",
    hint="Pass a value that the component accepts.",
)
def wrong_constant(context: TaskContext, target: Target) -> Match:
    """The type of an argument and the literals are checked before a task starts
    (docs/reference/semantics.md, values)."""
    declared_params = context.component.params
    for name, binding in context.task.params.items():
        value = read_constant(binding)
        declared = declared_params.get(name)
        if value is None or declared is None or is_template(value):
            continue
        problem = _problem_of(value, declared)
        if problem:
            return {"problem": problem}
    return False


def _problem_of(value: object, declared: ParamSpec) -> str:
    """Return why a parameter does not accept a value, "" when it does."""
    # A STRING accepts everything.
    if value is None or (declared.type == "STRING" and not declared.literals):
        return ""
    try:
        coerce(value, declared, f"'{plain_name(declared.name)}'")  # type: ignore[arg-type]
    except ValueProblem as problem:
        return str(problem)
    return ""


@task_rule(
    "S125",
    Severity.ERROR,
    "{task} does not set the input '{input}', which its component needs",
    hint="Pass a value, or give the input a default.",
)
def input_not_set(context: TaskContext, target: Target) -> Match:
    """A required input without a value fails the task before it starts
    (docs/reference/semantics.md, values)."""
    task = context.task
    item = task.iterator.item if task.iterator is not None else None
    for name, param in context.component.params.items():
        if name not in task.params and name != item and param.required:
            return {"input": plain_name(name)}
    for name, artifact in context.component.artifacts.items():
        if name not in task.artifacts and name != item and not artifact.optional:
            return {"input": plain_name(name)}
    return False


@task_rule(
    "S126",
    Severity.WARNING,
    "{task} needs '{input}', but the pipeline's input '{source}' may have no value",
    hint="Make the input of the component optional too, or give the pipeline's input a default.",
)
def optional_to_required(context: TaskContext, target: Target) -> Match:
    """Recorded on Kubeflow Pipelines 2.17 (param-none): null for a required input fails the
    task. This is not known of loops, branches and nested pipelines: Vertex AI runs pipelines of
    Google that pass null to them."""
    root = context.graph.root
    if context.parent is not root or context.component.dag is not None:
        return False
    for name, binding in context.task.params.items():
        if not isinstance(binding.source, FromInput):
            continue
        source = root.params.get(binding.source.name)
        declared = context.component.params.get(name)
        may_be_null = source is not None and source.optional and source.default is None
        if source is not None and source.type == "TASK_FINAL_STATUS":
            # S127 reports it.
            continue
        if may_be_null and declared is not None and declared.required:
            return {"input": plain_name(name), "source": binding.source.name}
    return False


@task_rule(
    "S127",
    Severity.ERROR,
    "{task} needs the final status of other tasks as '{input}', but gets no value",
    hint="Use the component as the exit task of dsl.ExitHandler.",
)
def final_status_without_value(context: TaskContext, target: Target) -> Match:
    """No run can give a value for the pipeline's own input of this type. The program that KFP
    starts reads fields of the status, and fails without one (kfp/dsl/executor.py)."""
    root = context.graph.root
    if context.parent is not root:
        return False
    for name, binding in context.task.params.items():
        if not isinstance(binding.source, FromInput):
            continue
        source = root.params.get(binding.source.name)
        declared = context.component.params.get(name)
        if source is None or declared is None or source.type != "TASK_FINAL_STATUS":
            continue
        is_read = declared.type == "TASK_FINAL_STATUS" and _is_function(context)
        if is_read or declared.required:
            return {"input": name}
    return False


def _is_function(context: TaskContext) -> bool:
    """Return whether a task runs a Python function that KFP compiled."""
    return context.container is not None and recognise(context.container) is not None
