"""The rules K1xx: what Kubeflow Pipelines cannot run.

Paths in docstrings are those of the server's source (github.com/kubeflow/pipelines), and numbers
such as #12390 are its issues and pull requests. Recordings are in tests/recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from kfgcp.backends.kubeflow.limits import (
    MAX_ARGUMENT_BYTES,
    MAX_RUN_NAME,
    SCHEMA,
    is_too_deep,
)
from kfgcp.backends.kubeflow.spec_parts import arguments, pipeline_settings
from kfgcp.backends.shared_rules import match_inexact_integer
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Match, Severity, match_texts
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.spec.graph import Constant, FromInput, Importer, OtherExecutor

# The name of a run that the user does not name ends with a hyphen and the id of the submission,
# which has 12 characters.
_SUBMISSION_SUFFIX: Final = 13

# The server searches for its pattern anywhere in the name, so one such character is enough.
_PLAIN_CHARACTER: Final = re.compile("[a-z0-9]")

# The types of parameters for which the driver refuses a text.
_JSON_TYPES: Final = frozenset({"NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT"})


@component_rule(
    "K101",
    Severity.ERROR,
    "{component} is a custom job, which only Vertex AI runs",
    hint="Use a container component, or run the pipeline on Vertex AI: --env NAME",
)
def custom_job(context: ComponentContext, target: Target) -> Match:
    """The server's compiler refuses it: "custom job executors is Google Cloud only"
    (argocompiler/dag.go)."""
    return _is_other_executor(context, "customJob")


@component_rule(
    "K102",
    Severity.ERROR,
    "{component} uses a resolver to find artifacts, which only Vertex AI supports",
    hint="Import the artifact by its URI: dsl.importer(artifact_uri=...)",
)
def resolver(context: ComponentContext, target: Target) -> Match:
    """The server's compiler refuses it: "resolver executors not implemented"
    (argocompiler/dag.go)."""
    return _is_other_executor(context, "resolver")


def _is_other_executor(context: ComponentContext, kind: str) -> bool:
    executor = context.component.executor
    return isinstance(executor, OtherExecutor) and executor.kind == kind


@task_rule(
    "K103",
    Severity.ERROR,
    "{task} is a loop over artifacts, which Kubeflow Pipelines does not support",
    hint="Loop over the URIs, and import each artifact with dsl.importer in the loop.",
)
def loop_over_artifacts(context: TaskContext, target: Target) -> Match:
    """The server's compiler refuses artifactIterator: "artifact iterator not implemented yet"
    (argocompiler/dag.go, driver/dag.go)."""
    return context.task.iterator is not None and context.task.iterator.artifacts


@task_rule(
    "K104",
    Severity.ERROR,
    "{task} is an importer with a condition, which Kubeflow Pipelines does not support",
    hint="Put any second task into the same dsl.If. KFP makes a group of the two tasks, and the"
    " condition is then on the group and not on the importer.",
)
def conditional_importer(context: TaskContext, target: Target) -> Match:
    """The server's compiler refuses it: "triggerPolicy.condition on importer task is not
    supported" (argocompiler/dag.go)."""
    return isinstance(context.component.executor, Importer) and bool(context.task.condition)


@pipeline_rule(
    "K105",
    Severity.ERROR,
    "Kubeflow Pipelines accepts specs of schema 2.1.0, but this spec has schema {schema}",
    hint="Compile the pipeline again with a current kfp.",
)
def other_schema(pipeline: PipelineContext, target: Target) -> Match:
    """The server takes a spec of another schema for a workflow of version 1 (api-2.17.0; template
    InferTemplateFormat in apiserver/template/template.go)."""
    version = pipeline.document.get("schemaVersion")
    return {"schema": str(version)} if version != SCHEMA else False


@pipeline_rule(
    "K106",
    Severity.ERROR,
    "Kubeflow Pipelines cannot take input artifacts of a pipeline: {names}",
    hint="Pass the URI as a parameter, and import the artifact: dsl.importer(artifact_uri=...)",
)
def input_artifact(pipeline: PipelineContext, target: Target) -> Match:
    """RuntimeConfig of v2beta1 has no field for artifacts (v2beta1/runtime_config.proto)."""
    artifacts = pipeline.graph.root.artifacts
    return match_texts(
        "names", [name for name, artifact in artifacts.items() if not artifact.optional]
    )


@pipeline_rule(
    "K107",
    Severity.ERROR,
    "the default of {parameter} is nested too deeply: the ML Metadata of Kubeflow Pipelines reads"
    " at most 47 nested lists or 31 nested dicts",
    hint="Pass the value as JSON text (str), and parse the text in the task.",
)
def deep_default(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The driver writes parameters into ML Metadata, a C++ program whose protobuf reads 100 nested
    messages (CodedInputStream::SetRecursionLimit). Not recorded."""
    for name, param in pipeline.graph.root.params.items():
        if is_too_deep(param.default):
            yield {"parameter": name}


@pipeline_rule(
    "K108",
    Severity.ERROR,
    "the name of the run has {size} characters; Kubeflow Pipelines takes at most 255",
    hint="Give the pipeline a shorter name, or choose a shorter --name.",
)
def long_name(pipeline: PipelineContext, target: Target) -> Match:
    """The column of the server's database has 255 characters. The server starts the run before it
    writes the row, so the run would be in no list (run_details in apiserver/model/run.go)."""
    size = len(target.options.name)
    if not size:
        size = len(pipeline.spec.name) + _SUBMISSION_SUFFIX
    return {"size": str(size)} if size > MAX_RUN_NAME else False


@component_rule(
    "K109",
    Severity.ERROR,
    "{component} has a command or argument of {size} bytes; Linux allows at most 131,071",
    hint="Put the code into a package or an image, or read the data from a file.",
)
def long_argument(context: ComponentContext, target: Target) -> Match:
    """The launcher starts the program with these arguments, and Linux limits each of them
    (MAX_ARG_STRLEN, 32 pages of 4 KiB with the final NUL)."""
    size = max((_byte_size(argument) for argument in arguments(context)), default=0)
    return {"size": f"{size:,}"} if size > MAX_ARGUMENT_BYTES else False


@task_rule(
    "K110",
    Severity.ERROR,
    "{task} has constants of {size} bytes, but its whole definition may have at most 131,071 bytes",
    hint="Put large values into a file in a bucket, and pass its address.",
)
def long_constants(context: TaskContext, target: Target) -> Match:
    """The driver gets the definition of a task as one argument, --task (argocompiler/container.go),
    and Linux limits an argument (MAX_ARG_STRLEN)."""
    size = 0
    for binding in context.task.params.values():
        if isinstance(binding.source, Constant):
            size += _constant_size(binding.source.value)
    if context.task.iterator is not None:
        size += _byte_size(context.task.iterator.raw or "")
    return {"size": f"{size:,}"} if size > MAX_ARGUMENT_BYTES else False


def _constant_size(value: object) -> int:
    if isinstance(value, str):
        return _byte_size(value)
    if isinstance(value, (list, dict)):
        return _byte_size(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return 0


def _byte_size(text: str) -> int:
    # Most texts are ASCII, and then need no copy to be counted.
    return len(text) if text.isascii() else len(text.encode())


@pipeline_rule(
    "K111",
    Severity.ERROR,
    "the pipeline contains {number}, which a task would get as a different number: {place}",
    hint="Kubeflow Pipelines keeps numbers as doubles, which are exact up to 2**53. Pass the number"
    " as text (STRING) instead.",
)
def inexact_integer(pipeline: PipelineContext, target: Target) -> Match:
    """A spec is a google.protobuf.Struct, whose numbers are doubles (struct.proto)."""
    return match_inexact_integer(pipeline)


@task_rule(
    "K112",
    Severity.ERROR,
    "{task} gets {parameter} from a list without a type for its items: the task gets each item as"
    " text, and fails because it expects {type}",
    hint="Declare the type of the items where the list is made, such as List[int].",
)
def untyped_loop_item(context: TaskContext, target: Target) -> Match:
    """kfp declares such an item as STRING, and the driver refuses: "input parameter type mismatch:
    expect NUMBER_INTEGER, got string" (driver/resolve.go). Recorded: cluster-2.17.0/loop-output,
    cluster-2.17.0/loop-nested."""
    if not context.in_loop:
        return False
    for name, binding in context.task.params.items():
        if not isinstance(binding.source, FromInput) or binding.selector:
            continue
        declared = context.parent.params.get(binding.source.name)
        expected = context.component.params.get(name)
        if declared is None or expected is None or declared.type != "STRING":
            continue
        if expected.type in _JSON_TYPES:
            return {"parameter": name, "type": expected.type}
    return False


@pipeline_rule(
    "K113",
    Severity.ERROR,
    "the pipeline has {names}, which Kubeflow Pipelines 2.15 removed",
    hint="Compile the pipeline again with a current kfp, or remove the setting.",
    since=(2, 15),
)
def removed_lock(pipeline: PipelineContext, target: Target) -> Match:
    """2.15 removed semaphoreKey and mutexName from PipelineConfig, and the server refuses unknown
    fields of a platform spec (pipeline_spec.proto; protojson in apiserver/template/v2_template.go).
    """
    return match_texts("names", pipeline_settings(pipeline, ("semaphoreKey", "mutexName")))


@pipeline_rule(
    "K114",
    Severity.ERROR,
    "the pipeline has {names}, which Kubeflow Pipelines 2.17 removed",
    hint="Compile the pipeline again with a current kfp, or remove the setting.",
    since=(2, 17),
)
def removed_time_to_live(pipeline: PipelineContext, target: Target) -> Match:
    """2.17 replaced resourceTtl by resourceTtlOnCompletion (#13184), and the server refuses unknown
    fields of a platform spec (protojson in apiserver/template/v2_template.go)."""
    return match_texts("names", pipeline_settings(pipeline, ("resourceTtl",)))


@pipeline_rule(
    "K115",
    Severity.ERROR,
    "the name of the pipeline, {name!r}, has no lower-case letter and no digit, and Kubeflow"
    " Pipelines refuses it",
    hint="Name the pipeline in lower-case letters, digits, hyphens and dots.",
)
def other_name(pipeline: PipelineContext, target: Target) -> Match:
    """ "name should consist of lower case alphanumeric characters", says the server, which searches
    for one of them (ValidateAndParse in apiserver/template/v2_template.go)."""
    name = pipeline.spec.name
    return {"name": name} if _PLAIN_CHARACTER.search(name) is None else False
