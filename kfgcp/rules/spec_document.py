"""Rules about what the file of a pipeline says: placeholders in commands, names and fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from kfgcp.rules.contexts import ComponentContext, PipelineContext
from kfgcp.rules.findings import Located, Match, Part, Severity
from kfgcp.rules.patterns import LazyPattern
from kfgcp.rules.rule import Target, component_rule, pipeline_rule
from kfgcp.rules.written_texts import texts_in, written_texts
from kfgcp.spec.graph import FromInput
from kfgcp.spec.json_values import format_place
from kfgcp.spec.known_fields import unknown_fields
from kfgcp.spec.wire import CHANNEL

# `{{$.inputs.parameters['x']}}`, or the start of `{{$.outputs.artifacts['x'].uri}}`.
_PLACEHOLDER: Final = LazyPattern(
    r"\{\{\$\.(?P<side>inputs|outputs)\.(?P<kind>parameters|artifacts)"
    r"\[(?P<quote>['\"])(?P<name>[^'\"\\]*)(?P=quote)\]"
)

# The text of an output that the compiler of KFP did not replace by a placeholder.
_NOT_COMPILED: Final = "{{channel:"


# -- placeholders


@component_rule(
    "S103",
    Severity.ERROR,
    "{component} has {placeholder}... in its command, but has no {side} with this name",
    hint="Declare the {side} in the component, or correct the name in the command.",
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
    for word in container.templates:
        for match in _PLACEHOLDER.finditer(word):
            if match["name"] not in names_by_place[match["side"], match["kind"]]:
                return {"placeholder": match[0], "side": match["side"].removesuffix("s")}
    return False


@pipeline_rule(
    "S105",
    Severity.ERROR,
    "{where} contains the output of a task at a place where KFP does not fill it in",
    hint="Pass the output as a separate argument: x=task.output",
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


# -- names, fields and inputs


@pipeline_rule(
    "S140",
    Severity.NOTE,
    "{count} tasks in {where} have the name '{label}'",
    hint="Give each task a different name with set_display_name.",
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
    "{place} is not a field of a PipelineSpec, so Kubeflow Pipelines refuses the file",
    hint="Remove the field. If a newer KFP wrote the field, update kfgcp.",
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
