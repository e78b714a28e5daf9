"""The limits of Vertex AI: the rules V2xx."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kfgcp.backends.shared_rules import match_inexact_integer
from kfgcp.labels import EXPERIMENT, SUBMISSION, label_value
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Match, NotJudged, Part, Severity
from kfgcp.rules.rule import Target, component_rule, pipeline_rule, task_rule
from kfgcp.spec.graph import Constant, Container, FromTask, Graph, TaskDef
from kfgcp.spec.graph import Iterator as Loop

# Limits of the service: characters, labels, processors, gigabytes, artifacts. The limits for names
# and labels are in the documentation of the fields of PipelineJob.
MAX_NAME_LENGTH: Final = 128
MAX_LABELS: Final = 64
MAX_CPU: Final = 96
MAX_MEMORY: Final = 624
MAX_COLLECTED: Final = 100

# The names and the values that Google Cloud accepts for labels.
_LABEL_KEY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE: Final = re.compile(r"[a-z0-9_-]{0,63}")


@component_rule(
    "V201",
    Severity.ERROR,
    "{component} asks for {cpu} CPUs, and Vertex AI has at most 96",
    hint="Lower the limit: set_cpu_limit('96')",
    methods=("set_cpu_limit",),
    part=Part.TASK,
)
def too_many_cpus(context: ComponentContext, target: Target) -> Match:
    """A task has at most 96 CPUs.

    Source: Google's page "Specify the machine configuration for a pipeline step".
    """
    cpu = _read_limit(context.container, "cpuLimit")
    return {"cpu": f"{cpu:g}"} if cpu > MAX_CPU else False


@component_rule(
    "V202",
    Severity.ERROR,
    "{component} asks for {memory} GB of memory, and Vertex AI has at most 624 GB",
    hint="Lower the limit: set_memory_limit('624G')",
    methods=("set_memory_limit",),
    part=Part.TASK,
)
def too_much_memory(context: ComponentContext, target: Target) -> Match:
    """A task has at most 624 GB of memory. The field of the spec is in GB.

    Source: Google's page "Specify the machine configuration for a pipeline step".
    """
    memory = _read_limit(context.container, "memoryLimit")
    return {"memory": f"{memory:g}"} if memory > MAX_MEMORY else False


@task_rule(
    "V203",
    Severity.ERROR,
    "{task} takes {count} artifacts of a loop as one input, and Vertex AI accepts at most 100",
    hint="Collect the URIs as parameters, or write a list of the URIs to one artifact.",
)
def too_many_collected(context: TaskContext, target: Target) -> Match:
    """Vertex AI answers "Maximum number of artifacts exceeded. Maximum allowed: 100".

    Source: kubeflow/kubeflow#7513.
    """
    largest = 0
    for binding in context.task.artifacts.values():
        if not isinstance(binding.source, FromTask):
            continue
        counts = _collected_counts(context.graph, context.tasks, binding.source)
        if None in counts:
            return NotJudged(
                "{task} takes the artifacts of a loop as one input; Vertex AI accepts at most"
                f" {MAX_COLLECTED}, and only the run shows how many items the loop has"
            )
        largest = max(largest, *(count for count in counts if count is not None))
    return {"count": str(largest)} if largest > MAX_COLLECTED else False


@pipeline_rule(
    "V204",
    Severity.ERROR,
    "the pipeline contains {number}, which a task would get as a different number: {place}",
    hint="Vertex AI keeps numbers as doubles, which are exact up to 2**53. Pass the number as text"
    " (STRING) instead.",
)
def inexact_integer(context: PipelineContext, target: Target) -> Match:
    """PipelineJob.pipeline_spec is a google.protobuf.Struct, whose numbers are doubles."""
    return match_inexact_integer(context)


@pipeline_rule(
    "V205",
    Severity.ERROR,
    "the name of the run has {length} characters, and Vertex AI accepts at most 128",
    hint="Use a shorter name (--name), and keep the other information in labels (--label).",
)
def long_name(context: PipelineContext, target: Target) -> Match:
    """The display name has at most 128 characters (PipelineJob.display_name)."""
    length = len(target.options.name)
    return {"length": str(length)} if length > MAX_NAME_LENGTH else False


@pipeline_rule(
    "V206",
    Severity.ERROR,
    "the run has {count} labels, and Vertex AI accepts at most 64",
    hint="Use fewer labels: check --label and the labels in kfgcp.toml.",
)
def too_many_labels(context: PipelineContext, target: Target) -> Match:
    """A resource of Vertex AI has at most 64 labels of the user (PipelineJob.labels)."""
    # The request adds these two labels.
    names = set(run_labels(target)) | {EXPERIMENT, SUBMISSION}
    return {"count": str(len(names))} if len(names) > MAX_LABELS else False


@pipeline_rule(
    "V207",
    Severity.ERROR,
    "Google refuses the label {name}={value}",
    hint="For the name and for the value, use at most 63 lowercase letters, digits, _ and -. The"
    " name must start with a letter.{example}",
)
def wrong_label(context: PipelineContext, target: Target) -> Iterator[Match]:
    """The names and values of labels have at most 63 characters (PipelineJob.labels)."""
    for name, value in run_labels(target).items():
        if _LABEL_KEY.fullmatch(name) and _LABEL_VALUE.fullmatch(value):
            continue
        example = ""
        if label_value(name)[:1].isalpha():
            example = f" For example: {label_value(name)}={label_value(value)}"
        yield {"name": name, "value": value, "example": example}


# -- helpers


def run_labels(target: Target) -> dict[str, str]:
    """Return the labels that a run gets, as far as the environment and the options say."""
    own_labels = target.settings.labels if target.settings is not None else {}
    return {**own_labels, **target.options.labels}


def _read_limit(container: Container | None, field: str) -> float:
    """Return a limit of a container, in CPUs or GB. 0 when there is none, or it is a parameter."""
    if container is None:
        return 0
    limit = container.resources.get(field)
    return limit if isinstance(limit, int | float) else 0


def _collected_counts(
    graph: Graph, tasks: Mapping[str, TaskDef], source: FromTask
) -> set[int | None]:
    """Return how many artifacts an output of a task may have because of loops.

    Args:
        graph: the whole pipeline.
        tasks: the tasks of the DAG with the task.
        source: the output.

    Returns:
        A number for each task that may produce the output; None when the number is known only in a
        run. A task that is not in a loop counts as 1.
    """
    task = tasks[source.task]
    dag = graph.component(task).dag
    counts: set[int | None] = {1}
    if dag is not None:
        counts = set()
        for producer in dag.artifact_outputs.get(source.output, ()):
            counts |= _collected_counts(graph, dag.tasks, producer)
    if task.iterator is None:
        return counts or {1}
    iterations = _count_items(task, task.iterator)
    products: set[int | None] = set()
    for count in counts:
        if count is None or iterations is None:
            products.add(None)
        else:
            products.add(count * iterations)
    return products or {1}


def _count_items(task: TaskDef, loop: Loop) -> int | None:
    """Return how many items a loop has, None when this is known only in a run."""
    items: Any = loop.raw
    if loop.input is not None and loop.input in task.params:
        source = task.params[loop.input].source
        items = source.value if isinstance(source, Constant) else None
    if isinstance(items, str):
        try:
            items = json.loads(items)
        except ValueError:
            return None
    return len(items) if isinstance(items, list) else None
