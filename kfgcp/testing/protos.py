"""Read the bodies of requests with the message types of google.cloud.aiplatform_v1.

The types check the fields of a body. A body becomes a message and then JSON again. So the stand-in
loses the same precision as the service: numbers in a Struct are doubles, and an integer beyond
2**53 becomes the nearest double.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from kfgcp.errors import MissingExtra
from kfgcp.spec.json_values import EXACT_DOUBLES, JsonObject
from kfgcp.testing.google import GoogleError, JsonBody, camel_case, invalid

# The fields that aiplatform_v1 marks as output only, and `name`. The service sets these fields, and
# ignores them in a request.
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
    "Model": (
        "name",
        "versionId",
        "versionCreateTime",
        "versionUpdateTime",
        "supportedExportFormats",
        "trainingPipeline",
        "supportedDeploymentResourcesTypes",
        "supportedInputStorageFormats",
        "supportedOutputStorageFormats",
        "createTime",
        "updateTime",
        "deployedModels",
        "etag",
        "modelSourceInfo",
        "originalModelInfo",
        "metadataArtifact",
        "satisfiesPzs",
        "satisfiesPzi",
        "checkpoints",
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
# The error of google.protobuf.json_format for an unknown field. The groups are its name and path.
_UNKNOWN_FIELD: Final = re.compile(r'has no field named "([^"]+)" at "([^"]*)"')


def require() -> None:
    """Import google.cloud.aiplatform_v1, so that a missing package is an error at the start.

    Raises:
        MissingExtra: google-cloud-aiplatform is not installed.
    """
    try:
        _message_class("PipelineJob")
    except ImportError:
        raise MissingExtra("The stand-in of Vertex AI", "testing") from None


def read_message(kind: str, body: JsonObject, field: str) -> JsonBody:
    """Return a body as JSON in camelCase, without the fields that only the service sets.

    Args:
        kind: a type of google.cloud.aiplatform_v1, such as `PipelineJob`.
        body: the body that the client sent.
        field: the name of the body in errors, such as `pipeline_job`.

    Raises:
        GoogleError: 400, a field is unknown or has the wrong type.
    """
    from google.protobuf import json_format

    try:
        message = json_format.ParseDict(body, _message_class(kind)())
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise _parse_error(str(error), field) from None
    message_json = whole_numbers(json_format.MessageToDict(message))
    assert isinstance(message_json, dict)
    output_only = _OUTPUT_ONLY.get(kind, ())
    return {name: value for name, value in message_json.items() if name not in output_only}


def parse_mask(kind: str, text: str, field: str) -> list[tuple[str, ...]]:
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
        if names != ("*",) and not _has_field(_message_class(kind).DESCRIPTOR, names):
            raise invalid(f'Invalid field mask: "{path}" is not a field of {kind}.', field)
        paths.append(names)
    return paths


def apply_mask(message: JsonObject, paths: Iterable[tuple[str, ...]]) -> JsonBody:
    """Return the fields of a message that a mask selects. paths: the result of `parse_mask`."""
    selected: JsonBody = {}
    for path in paths:
        if path == ("*",):
            return dict(message)
        _copy_path(message, selected, path)
    return selected


def whole_numbers(value: Any) -> Any:
    """Return a JSON value with doubles such as 3.0 as integers, as Google writes them.

    Numbers beyond 2**53 become floats, such as `1e+300`.

    Example:
        >>> whole_numbers({"epochs": 3.0, "rate": 0.1})
        {'epochs': 3, 'rate': 0.1}
    """
    # A bool is also an int for isinstance, so compare the type itself.
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
    """Copy the field at a path, if the source has the field."""
    name = path[0]
    inner_path = path[1:]
    if name not in source:
        return
    if inner_path and isinstance(source[name], dict):
        _copy_path(source[name], target.setdefault(name, {}), inner_path)
    else:
        target[name] = source[name]


def _has_field(descriptor: Any, names: tuple[str, ...]) -> bool:
    """Return whether a message type has the field at a path. descriptor: of the message type."""
    # The keys of a Struct are data, so every path fits.
    if not names or descriptor.full_name == "google.protobuf.Struct":
        return True
    fields = {field.camelcase_name: field for field in descriptor.fields}
    field = fields.get(names[0])
    if field is None:
        return False
    inner_names = names[1:]
    if not inner_names:
        return True
    if field.message_type is None:
        return False
    # The keys of a map are data too.
    is_map = field.message_type.GetOptions().map_entry
    return is_map or _has_field(field.message_type, inner_names)


@cache
def _message_class(kind: str) -> Any:
    """Return the Protocol Buffers class of a message type."""
    from google.cloud.aiplatform_v1 import types

    return getattr(types, kind).pb()


def _parse_error(problem: str, field: str) -> GoogleError:
    """Return the error of the service for a message of google.protobuf.json_format."""
    match = _UNKNOWN_FIELD.search(problem)
    if match:
        name, path = match.groups()
        # The path begins with the message type.
        inner_path = path.partition(".")[2]
        full_path = f"{field}.{inner_path}" if inner_path else field
        return invalid(
            f"Invalid JSON payload received. Unknown name \"{name}\" at '{full_path}': Cannot find"
            " field.",
            full_path,
        )
    line = problem.splitlines()[0] if problem else "unreadable"
    return invalid(f"Invalid value at '{field}': {line}", field)
