"""Build the ExecutorInput that a task receives, and read the outputs that it reports.

An executor reports its outputs in one output file. It may instead write each output parameter to a
file of its own. The formats are ExecutorInput and ExecutorOutput in pipeline_spec.proto; see also
semantics.md, Artifacts and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kfgcp.semantics.values import (
    ArtifactValue,
    ValueProblem,
    Values,
    coerce,
    parse_text,
    require_json,
)
from kfgcp.spec.graph import Component
from kfgcp.spec.json_values import JsonObject, normalize_numbers

T = TypeVar("T")


def build_executor_input(
    component: Component,
    inputs: Values,
    *,
    artifact_uri: Callable[[str], str],
    parameter_file: Callable[[str], str],
    output_file: str,
) -> dict[str, Any]:
    """Return the ExecutorInput of an attempt, in its JSON form.

    Args:
        component: the component of the task.
        inputs: the inputs of the task, with their defaults.
        artifact_uri: returns the URI of an output artifact, for its name.
        parameter_file: returns the path of the file of an output parameter, for its name.
        output_file: the path of the executor's output file.

    Example:
        >>> component = Component("comp-count", {}, {}, {}, {})
        >>> build_executor_input(
        ...     component,
        ...     Values({"rate": 0.1}),
        ...     artifact_uri=lambda name: f"gs://bucket/{name}",
        ...     parameter_file=lambda name: f"/tmp/outputs/{name}",
        ...     output_file="/tmp/outputs.json",
        ... )["inputs"]
        {'parameterValues': {'rate': 0.1}, 'artifacts': {}}
    """
    input_artifacts = {}
    for name, items in inputs.artifacts.items():
        input_artifacts[name] = {"artifacts": [item.to_wire() for item in items]}
    output_params = {}
    for name in component.output_params:
        output_params[name] = {"outputFile": parameter_file(name)}
    output_artifacts = {}
    for name, declared in component.output_artifacts.items():
        artifact = ArtifactValue(
            name=name,
            type=declared.type,
            uri=artifact_uri(name),
            metadata=declared.metadata,
            version=declared.version,
        )
        output_artifacts[name] = {"artifacts": [artifact.to_wire()]}
    return {
        "inputs": {"parameterValues": dict(inputs.params), "artifacts": input_artifacts},
        "outputs": {
            "parameters": output_params,
            "artifacts": output_artifacts,
            "outputFile": output_file,
        },
    }


def read_output_params(
    component: Component,
    executor_output: JsonObject,
    read_parameter_file: Callable[[str], str | None],
) -> dict[str, Any]:
    """Return the output parameters of an attempt that succeeded.

    When a parameter is in the executor's output file and also in its own file, the value in the
    output file counts (semantics.md, Artifacts and outputs).

    Args:
        component: the component, which declares the outputs.
        executor_output: the content of the executor's output file, {} when there is no such file.
        read_parameter_file: returns the text in the file of a parameter, for its name. None when
            there is no such file.

    Raises:
        ValueProblem: a parameter is missing or has the wrong type.
    """
    values = _read_field(executor_output, "parameterValues", dict, "the task")
    params = {}
    for name, declared in component.output_params.items():
        label = f"output '{name}'"
        if name in values:
            params[name] = coerce(require_json(values[name], label), declared, label)
            continue
        text = read_parameter_file(name)
        if text is not None:
            params[name] = parse_text(text, declared, label)
        elif not declared.may_be_missing:
            raise ValueProblem(f"{label} is missing: the task ended without writing it")
    return params


@dataclass(frozen=True, slots=True)
class ReportedArtifact:
    """An output artifact of an attempt that succeeded.

    Attributes:
        value: the artifact.
        custom_path: the path where the executor wrote the artifact instead of its URI, "" for no
            such path.
    """

    value: ArtifactValue
    custom_path: str


def read_output_artifacts(
    name: str, declared: Sequence[dict[str, Any]], executor_output: JsonObject
) -> list[ReportedArtifact]:
    """Return the artifacts of one output of an attempt that succeeded.

    These are the artifacts of the executor's output file. A field that is not in the output file
    has the value from the ExecutorInput.

    Args:
        name: the name of the output.
        declared: the artifacts of this output in the ExecutorInput.
        executor_output: the content of the executor's output file, {} when there is no such file.

    Raises:
        ValueProblem: a field in the output file has the wrong type.
    """
    label = f"output artifact '{name}'"
    artifacts_by_name = _read_field(executor_output, "artifacts", dict, label)
    output = _read_field(artifacts_by_name, name, dict, label)
    items = _read_field(output, "artifacts", list, label)
    artifacts = items or declared
    return [_read_artifact(name, artifact, declared[0], label) for artifact in artifacts]


def _read_artifact(name: str, item: Any, declared: JsonObject, label: str) -> ReportedArtifact:
    """Return an artifact of the output file, with the missing fields from `declared`."""
    if not isinstance(item, dict):
        raise ValueProblem(f"{label} is not a JSON object in the executor's output file")
    type_fields = _read_field(item, "type", dict, label) or declared["type"]
    schema_title = _read_field(type_fields, "schemaTitle", str, label)
    artifact_type = schema_title or declared["type"]["schemaTitle"]
    uri = require_json(_read_field(item, "uri", str, label), f"the URI of {label}")
    metadata = _read_field(item, "metadata", dict, label)
    value = ArtifactValue(
        name=_read_field(item, "name", str, label) or name,
        type=artifact_type,
        uri=uri or declared["uri"],
        metadata=_check_metadata(metadata, artifact_type, label),
        version=_read_field(type_fields, "schemaVersion", str, label),
    )
    # KFP's executor writes custom_path; customPath is the field of RuntimeArtifact.
    custom_path = _read_field(item, "custom_path", str, label)
    if not custom_path:
        custom_path = _read_field(item, "customPath", str, label)
    return ReportedArtifact(value, custom_path)


def _check_metadata(metadata: dict[str, Any], artifact_type: str, label: str) -> dict[str, Any]:
    """Return the metadata of an artifact, with integers instead of integral floats.

    Raises:
        ValueProblem: JSON cannot represent the metadata, for example because a metric is NaN or
            infinite. The message has the name of the metric.
    """
    kind = "metric" if artifact_type.endswith("Metrics") else "metadata"
    for name, value in metadata.items():
        require_json(value, f"the {kind} '{name}' of {label}")
    require_json(metadata, f"the metadata of {label}")
    normal: dict[str, Any] = normalize_numbers(metadata)
    return normal


def _read_field(body: JsonObject, key: str, python_type: type[T], label: str) -> T:
    """Return a field of the executor's output file, an empty value when it is missing or null."""
    value = body.get(key)
    if value is None:
        return python_type()
    if not isinstance(value, python_type):
        raise ValueProblem(
            f"{label} has a '{key}' that is not a {python_type.__name__} in the executor's output"
            " file"
        )
    return value
