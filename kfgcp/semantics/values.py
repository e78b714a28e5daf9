"""What flows between tasks: parameter values and artifacts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kfgcp import file_uris
from kfgcp.spec.json_values import (
    NotJsonError,
    check_json,
    format_place,
    normalize_numbers,
    normalize_parameter,
)
from kfgcp.spec.records import ParamSpec


class ValueProblem(Exception):
    """A value is missing or of the wrong type; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class ArtifactValue:
    """An artifact at run time.

    type: schema title. uri: a path of this machine or a remote URI. made_by: tells artifacts of one
    URI apart. stored: there was something at its URI when the task that made it had ended.
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
        """The same for artifacts that are one and the same."""
        return (
            f"{self.type} {self.uri} {self.made_by}"
            f" {json.dumps(dict(self.metadata), sort_keys=True)}"
        )

    def to_wire(self) -> dict[str, Any]:
        """The artifact as a RuntimeArtifact of the ExecutorInput."""
        kind = {"schemaTitle": self.type} | (
            {"schemaVersion": self.version} if self.version else {}
        )
        wire = {"name": self.name, "uri": self.uri, "type": kind, "metadata": dict(self.metadata)}
        return wire | ({"customPath": self.custom_path} if self.custom_path else {})


@dataclass(frozen=True, slots=True)
class Values:
    """Parameters and artifacts by name; an input or output that is not there has no value."""

    params: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[ArtifactValue, ...]] = field(default_factory=dict)


def as_record(values: Values) -> dict[str, Any]:
    """Return values as the record of a run has them: parameters as they are, artifacts as their
    URIs."""
    record: dict[str, Any] = dict(values.params)
    for name, items in values.artifacts.items():
        uris = [file_uris.to_uri(item.uri) for item in items]
        record[name] = uris[0] if len(uris) == 1 else uris
    return record


_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = {
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
    "TASK_FINAL_STATUS": (dict,),
    "TASK_CONFIG": (dict,),
}


def coerce(value: Any, declared: ParamSpec, what: str) -> Any:
    """The value as a component that declares it so receives it.

    A STRING that is given another kind of value receives its JSON text; every other type must
    match, and the value must be one of the literals where there are some (semantics.md, Values).

    Raises:
        ValueProblem: it does not match; `what` names the input or output in the message.
    """
    value = normalize_parameter(declared.type, value)
    if declared.type == "STRING":
        value = value if isinstance(value, str) else format_json(value)
    elif not _fits(value, _PYTHON_TYPES.get(declared.type)):
        raise ValueProblem(f"{what} must be {declared.type}, but is {format_value(value)}")
    if declared.literals and format_json(value) not in map(format_json, declared.literals):
        allowed = ", ".join(map(format_value, declared.literals))
        raise ValueProblem(f"{what} must be one of {allowed}, but is {format_value(value)}")
    return value


def _fits(value: Any, types: tuple[type, ...] | None) -> bool:
    return types is None or (
        isinstance(value, types) and (bool in types or not isinstance(value, bool))
    )


def parse_text(text: str, declared: ParamSpec, what: str) -> Any:
    """The value of an output parameter that a component wrote to its file as text.

    Raises:
        ValueProblem: the text is not of the declared type.
    """
    if declared.type == "STRING":
        return text
    try:
        if declared.type == "NUMBER_INTEGER":
            return int(text)
        value = (
            float(text)
            if declared.type == "NUMBER_DOUBLE"
            else json.loads(text.lower() if declared.type == "BOOLEAN" else text)
        )
    except (ValueError, RecursionError):
        raise ValueProblem(
            f"{what} must be {declared.type}, but its file holds {format_value(text)}"
        ) from None
    return coerce(require_json(value, what), declared, what)


def format_json(value: Any) -> str:
    """Compact JSON; numbers without trailing zeros, text as it is."""
    return json.dumps(normalize_numbers(value), ensure_ascii=False, separators=(",", ":"))


def format_value(value: Any, limit: int = 80) -> str:
    """A value as JSON text short enough for an error message."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def require_json(value: Any, what: str) -> Any:
    """Return the output of a component if JSON can hold it.

    The launcher of Kubeflow refuses the whole output of a task that holds NaN or an infinite number
    (recorded on 2.17.0: "proto: syntax error: invalid value NaN").

    Args:
        value: the value.
        what: names it in messages.

    Raises:
        ValueProblem: it nests too deep, or holds NaN, an infinite number or characters that are not
            Unicode text.
    """
    try:
        check_json(value)
    except NotJsonError as unfit:
        where = f" at {format_place(unfit.place)}" if unfit.place else ""
        raise ValueProblem(f"{what}{where} {unfit.problem}") from None
    return value


def replace_non_finite(value: Any) -> Any:
    """The value with NaN and infinities as text, as proto JSON has them, so that it is valid
    JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_non_finite(item) for item in value]
    return value
