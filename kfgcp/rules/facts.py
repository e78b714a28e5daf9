"""Facts about a pipeline that the rules of several backends need.

What a backend does about them differs, or was recorded for some backends only. So each backend has
a rule of its own, with its own severity.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kfgcp.rules.contexts import ComponentContext, TaskContext
from kfgcp.rules.inputs import plain_name, read_constant
from kfgcp.rules.patterns import LazyPattern
from kfgcp.rules.rule import Target
from kfgcp.semantics.placeholders import is_template
from kfgcp.spec.graph import FromInput, FromTask
from kfgcp.spec.records import ParamSpec
from kfgcp.spec.whole_artifacts import WHOLE_ARTIFACT

_INPUT_PLACEHOLDER: Final = LazyPattern(r"\{\{\$\.inputs\.parameters\[['\"]([^'\"\\]*)['\"]\]\}\}")
_GOOGLE_COMPONENTS: Final = "google-cloud-pipeline-components"


@dataclass(frozen=True, slots=True)
class InnerValue:
    """A value of the run inside a list or dict that the pipeline writes.

    Attributes:
        source: the name of the value, as its author knows it.
        type: its declared type, such as NUMBER_INTEGER.
        container: "list" or "dict".
        input: the input of the task that gets the list or dict.
    """

    source: str
    type: str
    container: str
    input: str

    def to_dict(self) -> dict[str, str]:
        """Return the values of the placeholders in the message of a rule."""
        return {
            "source": self.source,
            "type": self.type,
            "container": self.container,
            "input": self.input,
        }


def inner_values(context: TaskContext) -> Iterator[InnerValue]:
    """Yield the values of the run, which are not texts, inside the constants of a task.

    KFP writes `[4, n.output]` as a list with a placeholder in a text.
    """
    for name, binding in context.task.params.items():
        constant = read_constant(binding)
        if not isinstance(constant, (list, dict)) or not is_template(constant):
            continue
        for source in _INPUT_PLACEHOLDER.findall(json.dumps(constant, ensure_ascii=False)):
            source_type = _type_of_input(context, source)
            if source_type not in ("", "STRING"):
                container = "list" if isinstance(constant, list) else "dict"
                yield InnerValue(plain_name(source), source_type, container, plain_name(name))


def whole_artifact(context: ComponentContext) -> str:
    """Return the artifact that a command gets as a whole, "" without one.

    `args=[data]` for `data: Input[List[Dataset]]` compiles to `{{$.inputs.artifacts['data']}}`
    (InputListOfArtifactsPlaceholder in kfp/dsl/placeholders.py).
    """
    container = context.container
    if container is None:
        return ""
    for word in container.templates:
        match = WHOLE_ARTIFACT.search(word)
        if match is not None:
            return str(match[3])
    return ""


def is_cached(context: TaskContext, target: Target) -> bool:
    """Return whether the outputs of a task may come from the cache in the run that is planned."""
    if context.container is None:
        return False
    cache = target.options.cache
    return context.task.cache if cache is None else cache


def has_cached_variables(context: TaskContext, target: Target) -> bool:
    """Return whether a task has environment variables, and its outputs may come from the cache."""
    container = context.container
    return container is not None and bool(container.env) and is_cached(context, target)


def is_google_component(context: ComponentContext) -> bool:
    """Return whether a component is one of google-cloud-pipeline-components.

    They start jobs of Vertex AI, BigQuery and Dataflow. All of them run the same image
    (google_cloud_pipeline_components/_image.py).
    """
    container = context.container
    return container is not None and _GOOGLE_COMPONENTS in container.image


def _type_of_input(context: TaskContext, name: str) -> str:
    """Return the type of the value that an input of a task gets, "" when it is not known."""
    binding = context.task.params.get(name)
    if binding is None or binding.selector:
        return ""
    source = binding.source
    declared: ParamSpec | None = None
    if isinstance(source, FromInput):
        declared = context.parent.params.get(source.name)
    elif isinstance(source, FromTask):
        producer = context.graph.component(context.tasks[source.task])
        declared = producer.output_params.get(source.output)
    return declared.type if declared is not None else ""
