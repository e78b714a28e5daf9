"""Bodies as Google's own message types see them: google.cloud.aiplatform_v1 is the truth about
fields and types.

A body goes through its message and comes back as JSON, so that what the service loses is lost here
too: numbers in a Struct are doubles, and a whole number beyond 2**53 becomes its neighbour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from kfgcp.errors import MissingExtra
from kfgcp.testing.google import GoogleError, camel_case, invalid

_OUTPUT_ONLY = {
    "PipelineJob": (
        *(
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
    ),
    "Schedule": (
        *(
            "name",
            "createTime",
            "updateTime",
            "state",
            "nextRunTime",
            "lastPauseTime",
            "lastResumeTime",
        ),
        *("startedRunCount", "catchUp", "lastScheduledRunResponse"),
    ),
}
_UNKNOWN = re.compile(r'has no field named "([^"]+)" at "([^"]*)"')


def require() -> None:
    """Loads Google's types, so that a missing package is noticed at the start.

    Raises:
        MissingExtra: google-cloud-aiplatform is not installed.
    """
    try:
        _message("PipelineJob")
    except ImportError:
        raise MissingExtra("The stand-in of Vertex AI", "testing") from None


def read(kind: str, body: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The body of a message type, as JSON in camelCase without what only the service may set.

    Args:
        kind: `PipelineJob`, a type of google.cloud.aiplatform_v1.
        body: what the client sent.
        field: what errors call it: `pipeline_job`.

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
    return {name: value for name, value in data.items() if name not in _OUTPUT_ONLY.get(kind, ())}


def mask_paths(kind: str, text: str, field: str) -> list[tuple[str, ...]]:
    """The paths of a field mask in camelCase: `labels,jobDetail.pipelineContext`.

    Raises:
        GoogleError: 400, one is no field of the message type.
    """
    paths = []
    for path in filter(None, (part.strip() for part in text.split(","))):
        names = tuple(camel_case(name) for name in path.split("."))
        if names != ("*",) and not _is_path(_message(kind).DESCRIPTOR, names):
            raise invalid(f'Invalid field mask: "{path}" is no field of {kind}.', field)
        paths.append(names)
    return paths


def masked(data: Mapping[str, Any], paths: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """What the paths of a mask leave of a message in JSON."""
    found: dict[str, Any] = {}
    for path in paths:
        if path == ("*",):
            return dict(data)
        _copy(data, found, path)
    return found


def whole_numbers(value: Any) -> Any:
    """Doubles without a fraction as integers, as JSON from Google has them; beyond 2**53 as floats:
    `1e+300`."""
    if type(value) in (int, float) and abs(value) > 2**53:
        return float(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    return value


def _copy(data: Mapping[str, Any], found: dict[str, Any], path: tuple[str, ...]) -> None:
    name, rest = path[0], path[1:]
    if name not in data:
        return
    if rest and isinstance(data[name], dict):
        _copy(data[name], found.setdefault(name, {}), rest)
    else:
        found[name] = data[name]


def _is_path(descriptor: Any, names: tuple[str, ...]) -> bool:
    if not names or descriptor is None or descriptor.full_name == "google.protobuf.Struct":
        return True
    field = next((field for field in descriptor.fields if field.camelcase_name == names[0]), None)
    if field is None:
        return False
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    return (
        is_map
        or not names[1:]
        or (field.message_type is not None and _is_path(field.message_type, names[1:]))
    )


@cache
def _message(kind: str) -> Any:
    from google.cloud.aiplatform_v1 import types

    return getattr(types, kind).pb()


def _unreadable(problem: str, field: str) -> GoogleError:
    if match := _UNKNOWN.search(problem):
        name, at = match.groups()
        inner = at.partition(".")[2]
        place = f"{field}.{inner}" if inner else field
        return invalid(
            f"Invalid JSON payload received. Unknown name \"{name}\" at '{place}': Cannot find"
            " field.",
            place,
        )
    line = problem.splitlines()[0] if problem else "unreadable"
    return invalid(f"Invalid value at '{field}': {line}", field)
