"""The ExecutorInput that a task receives, and the outputs that it reports.

An executor reports outputs in its output file, and parameters also in a file each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from kfgcp.spec.json_values import normalize_numbers

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
        component: what the task runs.
        inputs: its values, defaults filled in.
        artifact_uri: gives the URI of an output artifact by its name.
        parameter_file: gives the path of the file of an output parameter by its name.
        output_file: the path of the executor's output file.
    """
    output_artifacts = {
        name: ArtifactValue(name, kind.type, artifact_uri(name), kind.metadata, kind.version)
        for name, kind in component.output_artifacts.items()
    }
    input_artifacts = {
        name: {"artifacts": [item.to_wire() for item in items]}
        for name, items in inputs.artifacts.items()
    }
    return {
        "inputs": {"parameterValues": dict(inputs.params), "artifacts": input_artifacts},
        "outputs": {
            "parameters": {
                name: {"outputFile": parameter_file(name)} for name in component.output_params
            },
            "artifacts": {
                name: {"artifacts": [item.to_wire()]} for name, item in output_artifacts.items()
            },
            "outputFile": output_file,
        },
    }


def read_output_params(
    component: Component, executor_output: Mapping[str, Any], text_of: Callable[[str], str | None]
) -> dict[str, Any]:
    """Return the output parameters of an attempt that succeeded.

    Values in the executor's output file win over the parameters' own files (semantics.md,
    Artifacts and outputs).

    Args:
        component: declares the outputs.
        executor_output: what the executor's output file has, {} without one.
        text_of: gives the text in the file of a parameter, None when there is no file.

    Raises:
        ValueProblem: a parameter is missing or has the wrong type.
    """
    values = _field(executor_output, "parameterValues", dict, "the task")
    params = {}
    for name, declared in component.output_params.items():
        what = f"output '{name}'"
        if name in values:
            params[name] = coerce(require_json(values[name], what), declared, what)
            continue
        text = text_of(name)
        if text is not None:
            params[name] = parse_text(text, declared, what)
        elif not declared.may_be_missing:
            raise ValueProblem(f"{what} is missing: the task ended without writing it")
    return params


@dataclass(frozen=True, slots=True)
class ReportedArtifact:
    """An output artifact of an attempt that succeeded.

    Attributes:
        value: the artifact.
        custom_path: where the executor wrote it instead of its place, "" when it did not.
    """

    value: ArtifactValue
    custom_path: str


def read_output_artifacts(
    name: str, declared: Sequence[dict[str, Any]], executor_output: Mapping[str, Any]
) -> list[ReportedArtifact]:
    """Return the artifacts of one output: as the ExecutorInput has them, with what the executor
    changed.

    Args:
        name: of the output.
        declared: the artifacts of this output in the ExecutorInput.
        executor_output: what the executor's output file has, {} without one.

    Raises:
        ValueProblem: the output file has something of the wrong type.
    """
    what = f"output artifact '{name}'"
    base = declared[0]
    by_name = _field(executor_output, "artifacts", dict, what)
    items = _field(_field(by_name, name, dict, what), "artifacts", list, what)
    reported = []
    for item in items or declared:
        if not isinstance(item, dict):
            raise ValueProblem(f"{what} is no JSON object in the executor's output file")
        kind = _field(item, "type", dict, what) or base["type"]
        artifact_type = _field(kind, "schemaTitle", str, what) or base["type"]["schemaTitle"]
        uri = require_json(_field(item, "uri", str, what), f"the URI of {what}") or base["uri"]
        value = ArtifactValue(
            name=_field(item, "name", str, what) or name,
            type=artifact_type,
            uri=uri,
            metadata=_metadata(_field(item, "metadata", dict, what), artifact_type, what),
            version=_field(kind, "schemaVersion", str, what),
        )
        custom_path = _field(item, "custom_path", str, what) or _field(
            item, "customPath", str, what
        )
        reported.append(ReportedArtifact(value, custom_path))
    return reported


def _metadata(written: dict[str, Any], artifact_type: str, what: str) -> dict[str, Any]:
    """Return metadata as the component left it, with whole numbers as int.

    Raises:
        ValueProblem: JSON cannot carry it; of a metric that is NaN or infinite the message has its
            name.
    """
    for name, value in written.items():
        kind = "metric" if artifact_type.endswith("Metrics") else "metadata"
        require_json(value, f"the {kind} '{name}' of {what}")
    require_json(written, f"the metadata of {what}")
    metadata: dict[str, Any] = normalize_numbers(written)
    return metadata


def _field(body: Mapping[str, Any], key: str, kind: type[T], what: str) -> T:
    """Return a field that the executor wrote, an empty value when it did not."""
    value = body.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ValueProblem(
            f"{what} has a '{key}' that is no {kind.__name__} in the executor's output file"
        )
    return value
