"""The values that tasks pass to each other: parameters and artifacts.

semantics.md, Values, has the rules for their types.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp import file_uris
from kfgcp.model import JsonValue
from kfgcp.spec.json_values import (
    NotJsonError,
    check_json,
    format_place,
    normalize_numbers,
    normalize_parameter,
)
from kfgcp.spec.records import ParamSpec

METADATA_ONLY: Final = frozenset(
    {
        "system.Metrics",
        "system.ClassificationMetrics",
        "system.SlicedClassificationMetrics",
    }
)
"""The types of artifacts whose contents are their metadata. Usually they have no file."""


class ValueProblem(Exception):
    """A value is missing or has the wrong type. The message is one line for the user."""


@dataclass(frozen=True, slots=True)
class ArtifactValue:
    """An artifact at run time.

    Attributes:
        name: the name of the output that the artifact was created for.
        type: the schema title, for example `system.Dataset`.
        uri: a path of this machine or a remote URI.
        metadata: the metadata that the component has set.
        version: the version of the schema, "" for no version.
        custom_path: the path where the executor wrote the artifact instead of its URI, "" for no
            such path.
        made_by: a text that makes this artifact different from others with the same URI, "" for no
            such text.
        stored: whether a file or object existed at the URI when the task that made the artifact
            ended.
    """

    name: str
    type: str
    uri: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    custom_path: str = ""
    made_by: str = ""
    stored: bool = False

    @property
    def identity(self) -> str:
        """A text that is equal for equal artifacts. It is a part of cache keys."""
        metadata = json.dumps(dict(self.metadata), sort_keys=True)
        return f"{self.type} {self.uri} {self.made_by} {metadata}"

    def to_wire(self) -> dict[str, Any]:
        """Return the artifact as a RuntimeArtifact of the ExecutorInput (pipeline_spec.proto).

        Example:
            >>> ArtifactValue("data", "system.Dataset", "gs://bucket/data").to_wire()["type"]
            {'schemaTitle': 'system.Dataset'}
        """
        artifact_type = {"schemaTitle": self.type}
        if self.version:
            artifact_type["schemaVersion"] = self.version
        wire: dict[str, Any] = {
            "name": self.name,
            "uri": self.uri,
            "type": artifact_type,
            "metadata": dict(self.metadata),
        }
        if self.custom_path:
            wire["customPath"] = self.custom_path
        return wire


@dataclass(frozen=True, slots=True)
class Values:
    """The inputs or outputs of a task: parameters and artifacts by name.

    An input or output without a value is left out.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[ArtifactValue, ...]] = field(default_factory=dict)


def as_record(values: Values) -> dict[str, Any]:
    """Return values in the form of the record of a run: parameters, and the URIs of artifacts.

    Example:
        >>> artifact = ArtifactValue("data", "system.Dataset", "gs://bucket/data")
        >>> as_record(Values({"rate": 0.1}, {"data": (artifact,)}))
        {'rate': 0.1, 'data': 'gs://bucket/data'}
    """
    record: dict[str, Any] = dict(values.params)
    for name, artifacts in values.artifacts.items():
        uris = [file_uris.to_uri(artifact.uri) for artifact in artifacts]
        record[name] = uris[0] if len(uris) == 1 else uris
    return record


# Type of a parameter in the spec -> its type in Python.
_PYTHON_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
    "TASK_FINAL_STATUS": dict,
    "TASK_CONFIG": dict,
}


def coerce(value: JsonValue, declared: ParamSpec, label: str) -> Any:
    """Return the value that a component receives for a declared parameter.

    If the parameter is a STRING and the value has another type, the result is the JSON text of the
    value. For any other type, the value must have the type of the parameter. If the parameter
    declares literals, the value must be one of them (semantics.md, Values).

    Args:
        value: the value.
        declared: the declaration of the parameter.
        label: the name of the input or output in messages.

    Raises:
        ValueProblem: the value has another type, or is not one of the literals.

    Example:
        >>> coerce([1, 2.0], ParamSpec("x", "STRING"), "input 'x'")
        '[1,2]'
        >>> coerce(2.5, ParamSpec("x", "NUMBER_INTEGER"), "input 'x'")
        Traceback (most recent call last):
        ...
        kfgcp.semantics.values.ValueProblem: input 'x' must be NUMBER_INTEGER, but is 2.5
    """
    value = normalize_parameter(declared.type, value)
    if declared.type == "STRING":
        value = value if isinstance(value, str) else format_json(value)
    elif not _has_type(value, declared.type):
        raise ValueProblem(f"{label} must be {declared.type}, but is {format_value(value)}")
    allowed = [format_json(literal) for literal in declared.literals]
    if allowed and format_json(value) not in allowed:
        choices = ", ".join(format_value(literal) for literal in declared.literals)
        raise ValueProblem(f"{label} must be one of {choices}, but is {format_value(value)}")
    return value


def parse_text(text: str, declared: ParamSpec, label: str) -> Any:
    """Return the value of an output parameter for the text that a component wrote to its file.

    Args:
        text: the content of the file.
        declared: the declaration of the parameter.
        label: the name of the output in messages.

    Raises:
        ValueProblem: the text does not have the declared type.

    Example:
        >>> parse_text("True", ParamSpec("ok", "BOOLEAN"), "output 'ok'")
        True
    """
    if declared.type == "STRING":
        return text
    try:
        if declared.type == "NUMBER_INTEGER":
            return int(text)
        value = _parse_value(text, declared.type)
    except (ValueError, RecursionError):
        raise ValueProblem(
            f"{label} must be {declared.type}, but its file contains {format_value(text)}"
        ) from None
    return coerce(require_json(value, label), declared, label)


def format_json(value: JsonValue) -> str:
    """Return a value as compact JSON text. Numbers in it have no trailing zeros.

    Example:
        >>> format_json({"rates": [0.1, 2.0]})
        '{"rates":[0.1,2]}'
    """
    return json.dumps(normalize_numbers(value), ensure_ascii=False, separators=(",", ":"))


def format_value(value: object, limit: int = 80) -> str:
    """Return a value as JSON text that is short enough for an error message.

    Args:
        value: the value.
        limit: the length of the longest text, in characters. A longer text is cut.

    Example:
        >>> format_value("a long text", limit=8)
        '"a long…'
    """
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def require_json(value: Any, label: str) -> Any:
    """Return a value unchanged if it is valid JSON, otherwise raise an error.

    The launcher of Kubeflow refuses all outputs of a task when one of them contains NaN or an
    infinite number (recorded on 2.17.0: "proto: syntax error: invalid value NaN").

    Args:
        value: the output of a component.
        label: the name of the value in messages.

    Raises:
        ValueProblem: the value is nested too deep, or contains NaN, an infinite number or
            characters that are not valid Unicode text.
    """
    try:
        check_json(value)
    except NotJsonError as problem:
        where = f" at {format_place(problem.place)}" if problem.place else ""
        raise ValueProblem(f"{label}{where} {problem.problem}") from None
    return value


def replace_non_finite(value: Any) -> Any:
    """Return a value with texts instead of NaN and infinite numbers, so that it is valid JSON.

    Proto JSON uses the same texts.

    Example:
        >>> replace_non_finite({"loss": [float("inf"), 0.5]})
        {'loss': ['Infinity', 0.5]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return "NaN"
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_non_finite(item) for item in value]
    return value


def _has_type(value: JsonValue, parameter_type: str) -> bool:
    """Return whether a value has the type of a parameter."""
    python_type = _PYTHON_TYPES.get(parameter_type)
    # A type of a newer version of KFP is not known here, so any value is accepted.
    if python_type is None:
        return True
    # In Python, True is also an int.
    if isinstance(value, bool):
        return python_type is bool
    return isinstance(value, python_type)


def _parse_value(text: str, parameter_type: str) -> Any:
    """Return the value of a text. Raise ValueError when the text is not a number or not JSON."""
    if parameter_type == "NUMBER_DOUBLE":
        return float(text)
    # A component may write Python's "True" instead of JSON's "true".
    return json.loads(text.lower() if parameter_type == "BOOLEAN" else text)
