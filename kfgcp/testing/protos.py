"""Read bodies with Google's own message types: google.cloud.aiplatform_v1 knows fields and types.

A body becomes a message and then JSON again. So the stand-in loses what the service loses: numbers
in a Struct are doubles, and an integer beyond 2**53 becomes the nearest double.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from kfgcp.errors import MissingExtra
from kfgcp.spec.json_values import EXACT_DOUBLES, JsonObject
from kfgcp.testing.google import GoogleError, JsonBody, camel_case, invalid

# The fields that aiplatform_v1 marks as output only, and `name`, which the service sets. A request
# may have them, without effect.
_OUTPUT_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "PipelineJob": (
        "name",
        "createTime",
        "startTime",
        "endTime",
        "updateTime",
        "state",
        "jobDetail",
        "error",
        "scheduleName",
    ),
    "Schedule": (
        "name",
        "createTime",
        "updateTime",
        "state",
        "nextRunTime",
        "lastPauseTime",
        "lastResumeTime",
        "startedRunCount",
        "catchUp",
        "lastScheduledRunResponse",
    ),
}
# The text of google.protobuf.json_format for an unknown field: its name and where it is.
_UNKNOWN_FIELD: Final = re.compile(r'has no field named "([^"]+)" at "([^"]*)"')


def require() -> None:
    """Load Google's types, so that a missing package is an error at the start.

    Raises:
        MissingExtra: google-cloud-aiplatform is not installed.
    """
    try:
        _message("PipelineJob")
    except ImportError:
        raise MissingExtra("The stand-in of Vertex AI", "testing") from None


def read(kind: str, body: JsonObject, field: str) -> JsonBody:
    """Return a body as JSON in camelCase, without the fields that only the service may set.

    Args:
        kind: a type of google.cloud.aiplatform_v1, such as `PipelineJob`.
        body: the body that the client sent.
        field: the name of the body in errors, such as `pipeline_job`.

    Raises:
        GoogleError: 400, a field is unknown or has the wrong type.
    """
    from google.protobuf import json_format

    try:
        message = json_format.ParseDict(body, _message(kind)())
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(str(error), field) from None
    data = whole_numbers(json_format.MessageToDict(message))
    assert isinstance(data, dict)
    output_only = _OUTPUT_ONLY.get(kind, ())
    return {name: value for name, value in data.items() if name not in output_only}


def mask_paths(kind: str, text: str, field: str) -> list[tuple[str, ...]]:
    """Return the paths of a field mask, such as `labels,jobDetail.pipelineContext`, in camelCase.

    Args:
        kind: the type of the message.
        text: the mask.
        field: the name of the mask in errors.

    Raises:
        GoogleError: 400, a path is not a field of the message type.
    """
    paths = []
    for part in text.split(","):
        path = part.strip()
        if not path:
            continue
        names = tuple(camel_case(name) for name in path.split("."))
        if names != ("*",) and not _is_path(_message(kind).DESCRIPTOR, names):
            raise invalid(f'Invalid field mask: "{path}" is not a field of {kind}.', field)
        paths.append(names)
    return paths


def masked(message: JsonObject, paths: Iterable[tuple[str, ...]]) -> JsonBody:
    """Return the fields of a message that a mask selects. paths: from `mask_paths`."""
    selected: JsonBody = {}
    for path in paths:
        if path == ("*",):
            return dict(message)
        _copy_path(message, selected, path)
    return selected


def whole_numbers(value: Any) -> Any:
    """Return a JSON value whose doubles without a fraction are integers, as Google writes them.

    Numbers beyond 2**53 are floats, such as `1e+300`.

    Example:
        >>> whole_numbers({"epochs": 3.0, "rate": 0.1})
        {'epochs': 3, 'rate': 0.1}
    """
    # True is an integer in Python, so the type is compared.
    if type(value) in (int, float) and abs(value) > EXACT_DOUBLES:
        return float(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    return value


def _copy_path(source: JsonObject, target: JsonBody, path: tuple[str, ...]) -> None:
    """Copy the field at a path, if the source has it."""
    name, *rest = path
    if name not in source:
        return
    if rest and isinstance(source[name], dict):
        _copy_path(source[name], target.setdefault(name, {}), tuple(rest))
    else:
        target[name] = source[name]


def _is_path(descriptor: Any, names: tuple[str, ...]) -> bool:
    """Return whether a path leads to a field. descriptor: of a message type."""
    # A Struct has no fields of its own: its keys are data.
    if not names or descriptor.full_name == "google.protobuf.Struct":
        return True
    fields = {field.camelcase_name: field for field in descriptor.fields}
    field = fields.get(names[0])
    if field is None:
        return False
    rest = names[1:]
    if not rest:
        return True
    if field.message_type is None:
        return False
    # The keys of a map are data too.
    return field.message_type.GetOptions().map_entry or _is_path(field.message_type, rest)


@cache
def _message(kind: str) -> Any:
    from google.cloud.aiplatform_v1 import types

    return getattr(types, kind).pb()


def _unreadable(problem: str, field: str) -> GoogleError:
    """Return the error for a text of google.protobuf.json_format."""
    match = _UNKNOWN_FIELD.search(problem)
    if match:
        name, path = match.groups()
        # The path begins with the message type.
        inner_path = path.partition(".")[2]
        place = f"{field}.{inner_path}" if inner_path else field
        return invalid(
            f"Invalid JSON payload received. Unknown name \"{name}\" at '{place}': Cannot find"
            " field.",
            place,
        )
    line = problem.splitlines()[0] if problem else "unreadable"
    return invalid(f"Invalid value at '{field}': {line}", field)
