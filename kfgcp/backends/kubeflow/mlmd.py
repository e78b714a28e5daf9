"""ML Metadata as Kubeflow Pipelines serves it beside its API: the messages of four calls, framed as
gRPC-Web.

    call = mlmd.message("GetContextByTypeAndNameRequest")(type_name=mlmd.PIPELINE_RUN,
    context_name=run_id) answer = session.post(host + mlmd.path("GetContextByTypeAndName"),
    mlmd.encode(call), headers=mlmd.HEADERS) found = mlmd.decode("GetContextByTypeAndNameResponse",
    answer.content, answer.headers)

The released ml-metadata wheels do not install beside protobuf 6, so the messages are built here
from their field numbers, those of ml_metadata 1.17.1; fields that we do not read are left out,
which the wire format allows. Enums are plain numbers, see `STATES` and the constants below them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import quote, unquote

SERVICE: Final = "ml_metadata.MetadataStoreService"
CONTENT_TYPE: Final = "application/grpc-web+proto"
HEADERS: Final = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE, "X-Grpc-Web": "1"}

PIPELINE: Final = "system.Pipeline"
PIPELINE_RUN: Final = "system.PipelineRun"
CONTAINER: Final = "system.ContainerExecution"
DAG: Final = "system.DAGExecution"
IMPORTER: Final = "system.ImporterExecution"

STATES: Final = ("UNKNOWN", "NEW", "RUNNING", "COMPLETE", "FAILED", "CACHED", "CANCELED")
"""Of an execution, by number. CANCELED: its condition was false."""
INPUT: Final = 3
OUTPUT: Final = 4
"""Types of an event."""
LIVE: Final = 2
"""State of an artifact."""

OK: Final = 0
NOT_FOUND: Final = 5
TRAILERS: Final = 0x80
_STATUS: Final = re.compile(r"[0-9]{1,9}")

_PACKAGE: Final = "ml_metadata"
_PROPERTIES: Final = "properties=4 <Value>, custom_properties=5 <Value>"
_TIMES: Final = "create_time_since_epoch={} int64, last_update_time_since_epoch={} int64"
_MESSAGES: Final[Mapping[str, str]] = {
    "Value": (
        "int_value=1 int64 |, double_value=2 double |, string_value=3 string |, struct_value=4"
        " Struct |, bool_value=6 bool |"
    ),
    "Artifact": (
        f"id=1 int64, name=7 string, type_id=2 int64, type=8 string, uri=3 string, {_PROPERTIES}, "
        f"state=6 int32, {_TIMES.format(9, 10)}"
    ),
    "ArtifactType": "id=1 int64, name=2 string",
    "Execution": (
        "id=1 int64, name=6 string, type_id=2 int64, type=7 string, last_known_state=3 int32,"
        f" {_PROPERTIES}, {_TIMES.format(8, 9)}"
    ),
    "ExecutionType": "id=1 int64, name=2 string",
    "Context": (
        f"id=1 int64, name=3 string, type_id=2 int64, type=6 string, {_PROPERTIES},"
        f" {_TIMES.format(7, 8)}"
    ),
    "Event.Path.Step": "index=1 int64 |, key=2 string |",
    "Event.Path": "steps=1 Event.Path.Step *",
    "Event": (
        "artifact_id=1 int64, execution_id=2 int64, path=3 Event.Path, type=4 int32, "
        "milliseconds_since_epoch=5 int64"
    ),
    "ListOperationOptions": (
        "max_result_size=1 int32 ?, next_page_token=3 string, filter_query=4 string"
    ),
    "GetContextByTypeAndNameRequest": (
        "type_name=1 string, type_version=3 string, context_name=2 string"
    ),
    "GetContextByTypeAndNameResponse": "context=1 Context",
    "GetExecutionsByContextRequest": "context_id=1 int64, options=2 ListOperationOptions",
    "GetExecutionsByContextResponse": "executions=1 Execution *, next_page_token=2 string",
    "GetArtifactsByContextRequest": "context_id=1 int64, options=2 ListOperationOptions",
    "GetArtifactsByContextResponse": "artifacts=1 Artifact *, next_page_token=2 string",
    "GetEventsByExecutionIDsRequest": "execution_ids=1 int64 *",
    "GetEventsByExecutionIDsResponse": "events=1 Event *",
    "GetArtifactTypesRequest": "",
    "GetArtifactTypesResponse": "artifact_types=1 ArtifactType *",
    "GetArtifactTypesByIDRequest": "type_ids=1 int64 *",
    "GetArtifactTypesByIDResponse": "artifact_types=1 ArtifactType *",
    "GetExecutionTypesRequest": "",
    "GetExecutionTypesResponse": "execution_types=1 ExecutionType *",
    "GetExecutionTypesByIDRequest": "type_ids=1 int64 *",
    "GetExecutionTypesByIDResponse": "execution_types=1 ExecutionType *",
}
"""Message -> `name=NUMBER type`; `*` is repeated, `|` in the oneof `value`, `?` may be missing
where 0 is not the same, `<T>` a map of text to T."""


class MlmdError(Exception):
    """What was answered is no answer. code: of gRPC, None when it is not gRPC-Web at all."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


def path(method: str) -> str:
    """Where a method is on the host: `/ml_metadata.MetadataStoreService/METHOD`."""
    return f"/{SERVICE}/{method}"


@cache
def message(name: str) -> Any:
    """The class of a message: `Event.Path` for one inside another."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


# -- gRPC-Web


def encode(request: Any) -> bytes:
    """A request as the body of a POST: one frame."""
    return _frame(0, request.SerializeToString())


def decode(name: str, body: bytes, headers: Mapping[str, str] | None = None) -> Any:
    """The message in the body of an answer.

    Args:
        name: of the message.
        body: frames of data, and of trailers.
        headers: those of the answer, where the status of an answer without data may be; names are
            looked up in lower case and as `requests` does.

    Raises:
        MlmdError: the status is an error, or the body is something else than gRPC-Web.
    """
    data, trailers = (
        b"",
        {key: (headers or {}).get(key, "") for key in ("grpc-status", "grpc-message")},
    )
    for flag, content in _frames(body):
        if flag & TRAILERS:
            trailers |= _trailers(content)
        else:
            data += content
    status = trailers["grpc-status"]
    if not _STATUS.fullmatch(status):
        raise MlmdError("the answer has no gRPC status")
    if int(status) != OK:
        raise MlmdError(unquote(trailers["grpc-message"]) or f"gRPC status {status}", int(status))
    from google.protobuf.message import DecodeError

    found = message(name)()
    try:
        found.ParseFromString(data)
    except DecodeError as error:
        raise MlmdError(f"the answer is no {name}") from error
    return found


def answer(response: Any) -> bytes:
    """A response as a server sends it: data, then the trailers."""
    return _frame(0, response.SerializeToString()) + failure(OK, "")


def failure(code: int, text: str) -> bytes:
    """A body without data: its trailers say why."""
    return _frame(TRAILERS, f"grpc-status:{code}\r\ngrpc-message:{quote(text)}\r\n".encode())


def received(name: str, body: bytes) -> Any:
    """The request in the body of a POST.

    Raises:
        MlmdError: there is none.
    """
    return decode(name, body, {"grpc-status": "0"})


def _frame(flag: int, content: bytes) -> bytes:
    return struct.pack(">BI", flag, len(content)) + content


def _frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(body):
        flag, size = struct.unpack_from(">BI", body, at) if at + 5 <= len(body) else (0, len(body))
        at += 5 + size
        if at > len(body) or flag & ~TRAILERS:
            raise MlmdError("the answer is not gRPC-Web, or it breaks off")
        yield flag, body[at - size : at]


def _trailers(content: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in content.decode("latin-1").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in lines if name}


# -- values


def value(stored: Any) -> Any:
    """What a Value holds; whole doubles in a Struct are int, as they are in JSON. None when it
    holds nothing."""
    kind = stored.WhichOneof("value")
    found = getattr(stored, kind) if kind else None
    return plain(found) if kind == "struct_value" else found


def values(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties by name, in the order of names: a map of protobuf has none that lasts."""
    return {name: value(properties[name]) for name in sorted(properties)}


def plain(item: Any) -> Any:
    """A google.protobuf Struct, ListValue or Value in the types of JSON."""
    kind = item.DESCRIPTOR.name
    if kind == "Struct":
        return {name: plain(item.fields[name]) for name in sorted(item.fields)}
    if kind == "ListValue":
        return [plain(each) for each in item.values]
    chosen = item.WhichOneof("kind")
    found: Any = getattr(item, chosen) if chosen else None
    if chosen in ("struct_value", "list_value"):
        return plain(found)
    if chosen == "number_value" and found.is_integer():
        return int(found)
    return None if chosen == "null_value" else found


def store(properties: Any, name: str, item: Any) -> None:
    """Sets a property: bool and int as int, a dict as a Struct."""
    if isinstance(item, Mapping):
        fill(properties[name].struct_value, item)
    elif isinstance(item, int):
        properties[name].int_value = int(item)
    elif isinstance(item, float):
        properties[name].double_value = item
    else:
        properties[name].string_value = str(item)


def fill(target: Any, items: Mapping[str, Any]) -> None:
    """Puts JSON values into a Struct, which keeps numbers as doubles, NaN and infinities too."""
    target.SetInParent()
    for name, item in items.items():
        _put(target.fields[name], item)


def _put(target: Any, item: Any) -> None:
    if isinstance(item, Mapping):
        fill(target.struct_value, item)
    elif isinstance(item, (list, tuple)):
        target.list_value.SetInParent()
        for each in item:
            _put(target.list_value.values.add(), each)
    elif isinstance(item, bool):
        target.bool_value = item
    elif isinstance(item, (int, float)):
        target.number_value = item
    elif item is None:
        target.null_value = 0
    else:
        target.string_value = str(item)


# -- descriptors


@cache
def _pool() -> Any:
    """The messages in a pool of their own, so that an ml_metadata in the same process does not
    clash."""
    from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2

    # The service's own file is proto2. As proto3 the messages are the same on the wire, and a text
    # that is not UTF-8 makes the answer unreadable; in proto2 it would come out as bytes.
    file = descriptor_pb2.FileDescriptorProto(
        name="kfgcp/mlmd.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        if "." not in name:
            _describe(file.message_type.add(), name, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _describe(target: Any, name: str, fields: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    target.name = name.rpartition(".")[2]
    for inner, its in _MESSAGES.items():
        if inner.rpartition(".")[0] == name:
            _describe(target.nested_type.add(), inner, its)
    for text in filter(None, fields.split(", ")):
        label, kind, *mark = text.split()
        field = target.field.add(name=label.partition("=")[0], number=int(label.partition("=")[2]))
        field.label = (
            Field.LABEL_REPEATED if "*" in mark or kind[0] == "<" else Field.LABEL_OPTIONAL
        )
        if kind[0] == "<":
            entry = target.nested_type.add(
                name="".join(map(str.title, field.name.split("_"))) + "Entry"
            )
            entry.options.map_entry = True
            for number, (inner, of) in enumerate((("key", "string"), ("value", kind[1:-1])), 1):
                _set_type(
                    entry.field.add(name=inner, number=number, label=Field.LABEL_OPTIONAL), of
                )
            kind = f"{name}.{entry.name}"
        _set_type(field, kind)
        if "*" in mark and kind[0].islower():
            field.options.packed = False
        if "?" in mark:
            field.proto3_optional = True
            field.oneof_index = len(target.oneof_decl)
            target.oneof_decl.add(name=f"_{field.name}")
        if "|" in mark:
            if not target.oneof_decl:
                target.oneof_decl.add(name="value")
            field.oneof_index = 0


def _set_type(field: Any, kind: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    if kind[0].islower():
        field.type = Field.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type = Field.TYPE_MESSAGE
        field.type_name = ".google.protobuf.Struct" if kind == "Struct" else f".{_PACKAGE}.{kind}"
