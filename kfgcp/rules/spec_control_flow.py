"""Rules about loops, conditions and the order of tasks that the pipeline itself gets wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from kfgcp.rules.contexts import PipelineContext, TaskContext
from kfgcp.rules.findings import Located, Match, Part, Severity
from kfgcp.rules.inputs import plain_name
from kfgcp.rules.patterns import LazyPattern
from kfgcp.rules.rule import Target, pipeline_rule, task_rule
from kfgcp.semantics import expressions
from kfgcp.semantics.values import ValueProblem, Values, format_value
from kfgcp.spec.graph import Component, FromTask
from kfgcp.spec.records import ParamSpec

if TYPE_CHECKING:
    from kfgcp.rules.conditions import Comparison, Condition

_CONDITION_INPUT: Final = LazyPattern(r"inputs\.parameter_values\[['\"]([^'\"\\]*)['\"]\]")

# Type of a parameter -> the kind of literal that can be equal to it.
_KINDS: Final[Mapping[str, str]] = {
    "STRING": "text",
    "NUMBER_INTEGER": "number",
    "NUMBER_DOUBLE": "number",
    "BOOLEAN": "boolean",
    "LIST": "list",
    "STRUCT": "dict",
}
_ALWAYS: Final = {"==": "is always false", "!=": "is always true"}


# -- loops


@task_rule(
    "S101",
    Severity.WARNING,
    "{task} loops over an empty list, so nothing in it runs",
    hint="Put items into the list, or remove the loop.",
)
def empty_loop(context: TaskContext, target: Target) -> Match:
    """A loop without items is valid and completes (docs/reference/semantics.md, loops)."""
    iterator = context.task.iterator
    if iterator is None or iterator.raw is None:
        return False
    # Most loops have items, so this looks at a few characters before it parses anything.
    return "".join(iterator.raw[:100].split()) == "[]" and _items(iterator.raw) == []


@task_rule(
    "S102",
    Severity.ERROR,
    "{task} loops over items that are not a list: {items}",
    hint="Write the items as a JSON list.",
)
def items_not_a_list(context: TaskContext, target: Target) -> Match:
    """ParameterIteratorSpec.ItemsSpec.raw of pipeline_spec.proto is the JSON text of a list."""
    iterator = context.task.iterator
    if iterator is None or iterator.raw is None or isinstance(_items(iterator.raw), list):
        return False
    return {"items": format_value(iterator.raw, limit=60)}


def _items(raw: str) -> object:
    """Return the items of a loop, None when they are not JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


# -- conditions


@task_rule(
    "S110",
    Severity.ERROR,
    "{task} has a condition that is not a CEL expression: {reason}",
    hint="Write the condition with dsl.If and compile the pipeline again.",
)
def condition_not_cel(context: TaskContext, target: Target) -> Match:
    """TriggerPolicy.condition of pipeline_spec.proto is a CEL expression. A text that cannot be
    parsed fails the task on each backend."""
    condition = context.task.condition
    if not condition or _read_condition(condition) is not None:
        return False
    reason = expressions.find_syntax_error(condition)
    return {"reason": reason} if reason else False


@task_rule(
    "S111",
    Severity.ERROR,
    "{task} has a condition that uses the input '{input}', but the task has no such input",
    hint="Add the input to the task, or correct the name in the condition.",
)
def condition_of_unknown_input(context: TaskContext, target: Target) -> Match:
    """A condition sees only the inputs of its own task (TriggerPolicy.condition of
    pipeline_spec.proto). Without a value it cannot be evaluated, and the task fails."""
    expression = context.task.condition
    if not expression:
        return False
    condition = _read_condition(expression)
    names: Sequence[str] = condition.inputs if condition else _CONDITION_INPUT.findall(expression)
    for name in names:
        if name not in context.task.params:
            return {"input": plain_name(name)}
    return False


@task_rule(
    "S112",
    Severity.WARNING,
    "{task} has a condition without inputs, which is always {value}",
    hint="Remove the condition, or use an input or an output of a task in the condition.",
)
def constant_condition(context: TaskContext, target: Target) -> Match:
    """An expression over constants has the same value in each run (the CEL specification)."""
    condition = context.task.condition
    if not condition or "inputs" in condition:
        return False
    try:
        value = expressions.evaluate_condition(condition, Values())
    except ValueProblem:
        # S110 reports it.
        return False
    return {"value": str(value).lower()}


@task_rule(
    "S113",
    Severity.WARNING,
    "{task} compares '{input}', which is {type}, with {literal}, so the condition {result}",
    hint="Compare the input with a value of the same type.",
)
def comparison_of_types(context: TaskContext, target: Target) -> Match:
    """Values of different types are never equal, and have no order (the CEL specification,
    equality). The input has the type that the component of the task declares."""
    condition = _read_condition(context.task.condition) if context.task.condition else None
    for comparison in condition.comparisons if condition else ():
        match = _mismatch(comparison, context.component.params)
        if match is not None:
            return match
    return False


def _read_condition(expression: str) -> Condition | None:
    """Return a condition that is written as KFP writes it, None for any other text."""
    # Most pipelines have no conditions, and the parser takes time to import.
    from kfgcp.rules.conditions import read_condition

    return read_condition(expression)


def _mismatch(comparison: Comparison, params: Mapping[str, ParamSpec]) -> Mapping[str, str] | None:
    """Return the values of S113 when an input is compared with a literal of another type."""
    sides = (comparison.left, comparison.right)
    inputs = [side for side in sides if side.kind == "input"]
    literals = [side for side in sides if side.kind != "input" and side.text]
    if len(inputs) != 1 or len(literals) != 1 or inputs[0].text not in params:
        return None
    name = inputs[0].text
    kind = _KINDS.get(params[name].type)
    if kind is None or kind == literals[0].kind:
        return None
    return {
        "input": plain_name(name),
        "type": params[name].type,
        "literal": f"the {literals[0].kind} {literals[0].text}",
        "result": _ALWAYS.get(comparison.operator, "cannot be evaluated"),
    }


# -- control flow


@task_rule(
    "S130",
    Severity.WARNING,
    "{task} needs {upstream}: when a condition skips {upstream}, {task} is skipped too",
    hint="Move the task into the branch, or join the outputs of all branches with dsl.OneOf.",
)
def waits_for_condition(context: TaskContext, target: Target) -> Match:
    """A skipped task blocks those below it, which are skipped too (docs/reference/semantics.md,
    control flow)."""
    task = context.task
    if task.runs_always or not task.upstream:
        return False
    for key in task.upstream:
        if context.tasks[key].condition:
            return {"upstream": key}
    return False


@pipeline_rule(
    "S131",
    Severity.WARNING,
    "the output '{output}' of {where} comes from branches that may all be skipped",
    hint="Add dsl.Else to the branches, and its output to dsl.OneOf.",
)
def output_of_skipped_branches(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """dsl.OneOf promises a value, so a DAG whose branches were all skipped fails
    (docs/reference/semantics.md, control flow)."""
    for output in _outputs_without_else(pipeline.graph.root):
        yield {"output": output, "where": "the pipeline"}
    for context in pipeline.tasks:
        for output in _outputs_without_else(context.component):
            values = {"output": plain_name(output), "where": f"task {context.path}"}
            yield Located(values, Part.TASK, context.path, context.component.name)


def _outputs_without_else(component: Component) -> Iterator[str]:
    """Yield the outputs of a DAG that come from several branches, if no branch is the last one."""
    if component.dag is None:
        return
    tasks = component.dag.tasks
    outputs = {**component.dag.param_outputs, **component.dag.artifact_outputs}
    for name, producers in outputs.items():
        if len(producers) < 2:
            continue
        conditions = [tasks[producer.task].condition for producer in producers]
        if not _covers_all_cases(conditions):
            yield name


def _covers_all_cases(conditions: Sequence[str]) -> bool:
    """Return whether one of the conditions is empty, or says that no other condition is true."""
    if "" in conditions:
        return True
    # KFP writes `a`, `!(a) && b` and `!(a) && !(b)`, so each condition is longer than those before.
    *branches, last = sorted(conditions, key=len)
    before = ""
    for condition in branches:
        before += f"!({condition.removeprefix(before)}) && "
    return last == before.removesuffix(" && ")


@task_rule(
    "S132",
    Severity.WARNING,
    "{task} also runs when {upstream} fails, but then its input '{input}' has no value",
    hint="Give the input a default.",
)
def input_of_failed_task(context: TaskContext, target: Target) -> Match:
    """A task with ALL_UPSTREAM_TASKS_COMPLETED runs with the defaults of the inputs that a failed
    task did not give (docs/reference/semantics.md, control flow)."""
    if not context.task.runs_always:
        return False
    for name, binding in context.task.params.items():
        declared = context.component.params.get(name)
        is_required = declared is not None and declared.required
        if is_required and isinstance(binding.source, FromTask):
            return {"upstream": binding.source.task, "input": plain_name(name)}
    return False
