"""Rules about the pipeline itself: what it says is wrong, or does not do what it seems to."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from kfgcp.rules.conditions import Comparison, read_condition
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.rule import (
    Located,
    Match,
    Part,
    Severity,
    Target,
    component_rule,
    pipeline_rule,
    task_rule,
)
from kfgcp.rules.written_texts import texts_in, written_texts
from kfgcp.semantics import expressions
from kfgcp.semantics.placeholders import is_template
from kfgcp.semantics.values import ValueProblem, Values, coerce, format_value
from kfgcp.spec.graph import Binding, Component, Constant, FromInput, FromTask
from kfgcp.spec.json_values import EXACT_DOUBLES, format_place
from kfgcp.spec.known_fields import unknown_fields
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.records import ParamSpec
from kfgcp.spec.wire import CHANNEL

# `{{$.inputs.parameters['x']}}`, or the start of `{{$.outputs.artifacts['x'].uri}}`.
_PLACEHOLDER: Final = re.compile(
    r"\{\{\$\.(?P<side>inputs|outputs)\.(?P<kind>parameters|artifacts)"
    r"\[(?P<quote>['\"])(?P<name>[^'\"\\]*)(?P=quote)\]"
)
_CONDITION_INPUT: Final = re.compile(r"inputs\.parameter_values\[['\"]([^'\"\\]*)['\"]\]")

# The text of an output that the compiler of KFP did not replace by a placeholder.
_NOT_COMPILED: Final = "{{channel:"

# A decimal number with up to 15 digits is the same after it was stored as a double (IEEE 754).
_DIGITS_OF_DOUBLES: Final = 15

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
    hint="Give the loop items, or remove it.",
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


# -- commands


@component_rule(
    "S103",
    Severity.ERROR,
    "{component} has {placeholder}... in its command, but no such {side}",
    hint="Declare the {side} in the component, or correct its name in the command.",
)
def unknown_name_in_command(context: ComponentContext, target: Target) -> Match:
    """A placeholder that cannot be filled in fails the task (docs/reference/semantics.md). The
    launcher of Kubeflow Pipelines passes it on as text (component/launcher_v2.go)."""
    container = context.container
    # The command of a Python function has its source, where such a text is data.
    if container is None or context.lightweight is not None:
        return False
    component = context.component
    names_by_place: dict[tuple[str, str], Mapping[str, object]] = {
        ("inputs", "parameters"): component.params,
        ("inputs", "artifacts"): component.artifacts,
        ("outputs", "parameters"): component.output_params,
        ("outputs", "artifacts"): component.output_artifacts,
    }
    for word in container.command + container.args:
        if "{{$." not in word:
            continue
        for match in _PLACEHOLDER.finditer(word):
            if match["name"] not in names_by_place[match["side"], match["kind"]]:
                return {"placeholder": match[0], "side": match["side"].removesuffix("s")}
    return False


@pipeline_rule(
    "S105",
    Severity.ERROR,
    "{where} contains the output of a task at a place where KFP does not fill it in",
    hint="Pass the output as an argument of its own: x=task.output.",
)
def output_not_compiled(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """KFP replaces outputs in the values of arguments. In keys of dicts, items of loops and
    environment variables it leaves {{channel:...}} (kfp/dsl/pipeline_channel.py)."""
    for text in written_texts(pipeline):
        if _NOT_COMPILED in text.text:
            yield text.locate()
    for context in pipeline.tasks:
        iterator = context.task.iterator
        if iterator is not None and iterator.raw is not None and _NOT_COMPILED in iterator.raw:
            values = {"where": f"the list of items of task {context.path}"}
            yield Located(values, Part.TASK, context.path, context.component.name)


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
    if not condition or read_condition(condition) is not None:
        return False
    reason = expressions.find_syntax_error(condition)
    return {"reason": reason} if reason else False


@task_rule(
    "S111",
    Severity.ERROR,
    "{task} has a condition about the input '{input}', which the task does not have",
    hint="Add the input to the task, or correct its name in the condition.",
)
def condition_of_unknown_input(context: TaskContext, target: Target) -> Match:
    """A condition sees only the inputs of its own task (TriggerPolicy.condition of
    pipeline_spec.proto). Without a value it cannot be evaluated, and the task fails."""
    expression = context.task.condition
    if not expression:
        return False
    condition = read_condition(expression)
    names: Sequence[str] = condition.inputs if condition else _CONDITION_INPUT.findall(expression)
    for name in names:
        if name not in context.task.params:
            return {"input": _plain(name)}
    return False


@task_rule(
    "S112",
    Severity.WARNING,
    "{task} has a condition without inputs, which is always {value}",
    hint="Remove the condition, or compare an input or an output of a task in it.",
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
    hint="Compare it with a value of its own type.",
)
def comparison_of_types(context: TaskContext, target: Target) -> Match:
    """Values of different types are never equal, and have no order (the CEL specification,
    equality). The input has the type that the component of the task declares."""
    condition = read_condition(context.task.condition) if context.task.condition else None
    for comparison in condition.comparisons if condition else ():
        match = _mismatch(comparison, context.component.params)
        if match is not None:
            return match
    return False


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
        "input": _plain(name),
        "type": params[name].type,
        "literal": f"the {literals[0].kind} {literals[0].text}",
        "result": _ALWAYS.get(comparison.operator, "cannot be evaluated"),
    }


# -- values


@pipeline_rule(
    "S120",
    Severity.WARNING,
    "{where} is {value}, and KFP keeps only about 16 digits of a number",
    hint="Pass it as text and convert it in the component.",
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
            declared = context.component.params.get(name)
            for number in _rounded(_constant(binding), declared):
                where = f"input '{_plain(name)}' of task {context.path}"
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
    "the default of the parameter {problem}, so a run needs another value",
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
        value = _constant(binding)
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
        coerce(value, declared, f"'{_plain(declared.name)}'")  # type: ignore[arg-type]
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
            return {"input": _plain(name)}
    for name, artifact in context.component.artifacts.items():
        if name not in task.artifacts and name != item and not artifact.optional:
            return {"input": _plain(name)}
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
            return {"input": _plain(name), "source": binding.source.name}
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


# -- control flow


@task_rule(
    "S130",
    Severity.WARNING,
    "{task} waits for {upstream}, which a condition may skip, so {task} is skipped with it",
    hint="Move the task into the branch, or use dsl.OneOf for a value of several branches.",
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
            values = {"output": _plain(output), "where": f"task {context.path}"}
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
            return {"upstream": binding.source.task, "input": _plain(name)}
    return False


# -- the document


@pipeline_rule(
    "S140",
    Severity.NOTE,
    "{count} tasks in {where} have the name '{label}'",
    hint="Give each task a name of its own with set_display_name.",
)
def equal_names(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """Lists and graphs of the backends show PipelineTaskInfo.name (pipeline_spec.proto), so tasks
    with the same name look the same there."""
    components = [pipeline.graph.root] + list(pipeline.graph.components.values())
    for component in components:
        if component.dag is None:
            continue
        labels = Counter(task.label for task in component.dag.tasks.values())
        if len(labels) == len(component.dag.tasks):
            continue
        where = "the pipeline" if component is pipeline.graph.root else component.name
        for label, count in labels.items():
            if count > 1:
                yield {"count": str(count), "where": where, "label": label}


@pipeline_rule(
    "S141",
    Severity.WARNING,
    "{place} is not a field of a PipelineSpec; Kubeflow Pipelines refuses the file because of it",
    hint="Remove the field, or update kfgcp if a newer KFP has written it.",
)
def unknown_field(pipeline: PipelineContext, target: Target) -> Iterable[Match]:
    """Recorded on Kubeflow Pipelines 2.5, 2.14 and 2.17 (pipeline-upload-bad); the API server
    parses with DiscardUnknown: false (apiserver/common/utils.go)."""
    for place in unknown_fields(pipeline.document):
        yield {"place": format_place(place)}


@pipeline_rule(
    "S142",
    Severity.NOTE,
    "the pipeline does not use its input '{name}'",
    hint="Remove the input, or pass it to a task.",
)
def unused_input(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """A task gets the inputs of the pipeline only by componentInputParameter and
    componentInputArtifact (pipeline_spec.proto)."""
    root = pipeline.graph.root
    # Settings for Kubernetes name inputs of the pipeline too, for example for a secret's name.
    platform_texts = texts_in(pipeline.spec.platform_spec, "")
    used = {text.removeprefix(CHANNEL) for _, text in platform_texts}
    for task in root.dag.tasks.values() if root.dag is not None else ():
        for binding in chain(task.params.values(), task.artifacts.values()):
            if isinstance(binding.source, FromInput):
                used.add(binding.source.name)
    for name in list(root.params) + list(root.artifacts):
        if name not in used:
            yield {"name": name}


# -- shared by several rules


def _constant(binding: Binding) -> object:
    """Return the constant that an input is set to, None when it is not set to a constant."""
    source = binding.source
    if isinstance(source, Constant) and not binding.selector:
        value: object = source.value
        return value
    return None


def _plain(name: str) -> str:
    """Return the name of an input as its author knows it, without the prefix of KFP."""
    return name.removeprefix(CHANNEL)
