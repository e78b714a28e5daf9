"""Encode and decode the calls of ML Metadata, which Kubeflow Pipelines serves beside its API.

A call is a protobuf message in a frame of gRPC-Web:

    request = mlmd.message_class("GetContextByTypeAndNameRequest")(
        type_name=mlmd.PIPELINE_RUN, context_name=run_id
    )
    url = host + mlmd.method_path("GetContextByTypeAndName")
    answer = session.post(url, mlmd.encode_request(request), headers=mlmd.HEADERS)
    name = "GetContextByTypeAndNameResponse"
    response = mlmd.decode_response(name, answer.content, answer.headers)

The released ml-metadata wheels cannot be installed beside protobuf 6. So this module builds the
messages from the field numbers of ml_metadata 1.17.1. The messages here leave out the fields that
kfgcp does not read, which the wire format allows. Enums are plain numbers, see `STATES` and the
constants below it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias
from urllib.parse import quote, unquote

SERVICE: Final = "ml_metadata.MetadataStoreService"
CONTENT_TYPE: Final = "application/grpc-web+proto"
HEADERS: Final = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE, "X-Grpc-Web": "1"}

# The types of contexts and executions.
PIPELINE: Final = "system.Pipeline"
PIPELINE_RUN: Final = "system.PipelineRun"
CONTAINER: Final = "system.ContainerExecution"
DAG: Final = "system.DAGExecution"
IMPORTER: Final = "system.ImporterExecution"

# The states of an execution, by number. CANCELED means that the condition of the task was false.
STATES: Final = ("UNKNOWN", "NEW", "RUNNING", "COMPLETE", "FAILED", "CACHED", "CANCELED")

# The types of an event: an execution read or wrote an artifact.
INPUT: Final = 3
OUTPUT: Final = 4

# The state of an artifact that exists.
LIVE: Final = 2

# Status codes of gRPC.
OK: Final = 0
NOT_FOUND: Final = 5

# A frame of gRPC-Web begins with a flag and the size of its content. If the flag has this bit, the
# content is trailers, which are headers at the end of an answer.
TRAILERS: Final = 0x80
_FRAME_HEADER: Final = ">BI"
_FRAME_HEADER_SIZE: Final = struct.calcsize(_FRAME_HEADER)
_STATUS: Final = re.compile(r"[0-9]{1,9}")

# Messages and their descriptors. The classes are made at run time, so type checkers do not know
# them.
Message: TypeAlias = Any
Descriptor: TypeAlias = Any

_PACKAGE: Final = "ml_metadata"
_PROPERTIES: Final = "properties=4 <Value>, custom_properties=5 <Value>"
_TIMES: Final = "create_time_since_epoch={} int64, last_update_time_since_epoch={} int64"
# The fields of each message as `name=NUMBER type`. After the type, `*` means that the field is
# repeated, `|` means that it is in the oneof `value`, and `?` means that a missing field differs
# from 0. `<T>` is a map from text to T.
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


class MlmdError(Exception):
    """The error for an answer with an error status, and for an answer that cannot be decoded.

    Attributes:
        code: the status code of gRPC, None when the answer has no status or cannot be decoded.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


def method_path(method: str) -> str:
    """Return the path of a method on the host.

    Example:
        >>> method_path("GetArtifactTypes")
        '/ml_metadata.MetadataStoreService/GetArtifactTypes'
    """
    return f"/{SERVICE}/{method}"


@cache
def message_class(name: str) -> Message:
    """Return the class of a message.

    Args:
        name: the name of the message, such as `Execution`. `Event.Path` is a message inside
            `Event`.
    """
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(
        _descriptor_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}")
    )


# -- gRPC-Web


def encode_request(request: Message) -> bytes:
    """Return the body of the POST for a request, which is one frame."""
    return _frame(0, request.SerializeToString())


def decode_response(name: str, body: bytes, headers: Mapping[str, str] | None = None) -> Message:
    """Return the message in the body of an answer.

    Args:
        name: the name of the message.
        body: frames of data and of trailers.
        headers: the headers of the answer, with names in lower case. An answer without data may
            have its status in the headers.

    Raises:
        MlmdError: the status is an error, or the body is not gRPC-Web.
    """
    data = b""
    trailers = {key: (headers or {}).get(key, "") for key in ("grpc-status", "grpc-message")}
    for flag, content in _frames(body):
        if flag & TRAILERS:
            trailers |= _parse_trailers(content)
        else:
            data += content
    status = trailers["grpc-status"]
    if not _STATUS.fullmatch(status):
        raise MlmdError("the answer has no gRPC status")
    if int(status) != OK:
        raise MlmdError(unquote(trailers["grpc-message"]) or f"gRPC status {status}", int(status))
    from google.protobuf.message import DecodeError

    decoded = message_class(name)()
    try:
        decoded.ParseFromString(data)
    except DecodeError as error:
        raise MlmdError(f"the answer is not the message {name}") from error
    return decoded


def encode_response(response: Message) -> bytes:
    """Return a response as a server sends it: a frame of data, then the trailers."""
    return _frame(0, response.SerializeToString()) + encode_error(OK, "")


def encode_error(code: int, text: str) -> bytes:
    """Return an answer without data. Its trailers have the status code and the message."""
    return _frame(TRAILERS, f"grpc-status:{code}\r\ngrpc-message:{quote(text)}\r\n".encode())


def decode_request(name: str, body: bytes) -> Message:
    """Return the request in the body of a POST.

    Args:
        name: the name of the message.
        body: the body.

    Raises:
        MlmdError: the body does not contain the message.
    """
    # A request has no status.
    return decode_response(name, body, {"grpc-status": "0"})


def _frame(flag: int, content: bytes) -> bytes:
    return struct.pack(_FRAME_HEADER, flag, len(content)) + content


def _frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the flag and the content of each frame."""
    position = 0
    while position < len(body):
        start = position + _FRAME_HEADER_SIZE
        if start > len(body):
            raise _not_grpc_web()
        flag, size = struct.unpack_from(_FRAME_HEADER, body, position)
        end = start + size
        # Another bit of the flag means compression, which our requests do not accept.
        if end > len(body) or flag & ~TRAILERS:
            raise _not_grpc_web()
        yield flag, body[start:end]
        position = end


def _not_grpc_web() -> MlmdError:
    return MlmdError("the answer is not gRPC-Web, or it breaks off")


def _parse_trailers(content: bytes) -> dict[str, str]:
    trailers: dict[str, str] = {}
    for line in content.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name:
            trailers[name.strip().lower()] = value.strip()
    return trailers


# -- values


def read_value(stored: Message) -> Any:
    """Return the content of a `Value`, None when the `Value` is empty.

    Integral doubles in a Struct become integers, as in JSON.
    """
    field = stored.WhichOneof("value")
    if field is None:
        return None
    content = getattr(stored, field)
    return convert_struct(content) if field == "struct_value" else content


def read_properties(properties: Mapping[str, Message]) -> dict[str, Any]:
    """Return the values of properties by name, in the order of the names."""
    # The order of a map in protobuf is not defined.
    return {name: read_value(properties[name]) for name in sorted(properties)}


def convert_struct(item: Message) -> Any:
    """Return a google.protobuf Struct, ListValue or Value in the types of JSON."""
    kind = item.DESCRIPTOR.name
    if kind == "Struct":
        return {name: convert_struct(item.fields[name]) for name in sorted(item.fields)}
    if kind == "ListValue":
        return [convert_struct(element) for element in item.values]
    field = item.WhichOneof("kind")
    if field is None or field == "null_value":
        return None
    content: Any = getattr(item, field)
    if field in ("struct_value", "list_value"):
        return convert_struct(content)
    if field == "number_value" and content.is_integer():
        return int(content)
    return content


def set_property(properties: Any, name: str, item: object) -> None:
    """Set a property. A bool is stored as an int, and a dict as a Struct."""
    if isinstance(item, Mapping):
        fill_struct(properties[name].struct_value, item)
    elif isinstance(item, int):
        properties[name].int_value = int(item)
    elif isinstance(item, float):
        properties[name].double_value = item
    else:
        properties[name].string_value = str(item)


def fill_struct(target: Message, items: Mapping[str, object]) -> None:
    """Put JSON values into a Struct. It keeps numbers as doubles, including NaN and infinities."""
    # Without this call, a Struct without items would be a missing field.
    target.SetInParent()
    for name, item in items.items():
        _fill_value(target.fields[name], item)


def _fill_value(target: Message, item: object) -> None:
    """Put a JSON value into a google.protobuf.Value."""
    if isinstance(item, Mapping):
        fill_struct(target.struct_value, item)
    elif isinstance(item, (list, tuple)):
        target.list_value.SetInParent()
        for element in item:
            _fill_value(target.list_value.values.add(), element)
    # In Python a bool is an int, so the test for bool comes before the test for int.
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
def _descriptor_pool() -> Any:
    """Return a pool with the descriptors of the messages.

    The pool is separate, so its messages do not clash with the messages of an installed
    ml_metadata.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2

    # The file of ML Metadata is proto2. In proto3, the messages have the same form on the wire, and
    # a text that is not UTF-8 raises an error. In proto2 this text would become bytes.
    file = descriptor_pb2.FileDescriptorProto(
        name="kfgcp/mlmd.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        if "." not in name:
            _describe_message(file.message_type.add(), name, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _describe_message(target: Descriptor, name: str, fields: str) -> None:
    """Fill the descriptor of a message, and add the messages inside it.

    Args:
        target: the descriptor.
        name: the name of the message.
        fields: the fields of the message, in the form of `_MESSAGES`.
    """
    target.name = name.rpartition(".")[2]
    for inner_name, inner_fields in _MESSAGES.items():
        if inner_name.rpartition(".")[0] == name:
            _describe_message(target.nested_type.add(), inner_name, inner_fields)
    if not fields:
        return
    for text in fields.split(", "):
        _describe_field(target, name, text)


def _describe_field(target: Descriptor, message_name: str, text: str) -> None:
    """Add a field to a message.

    Args:
        target: the descriptor of the message.
        message_name: the name of the message.
        text: the field in the form of `_MESSAGES`, such as `steps=1 Event.Path.Step *`.
    """
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    declaration, kind, *marks = text.split()
    name, _, number = declaration.partition("=")
    is_map = kind.startswith("<")
    is_repeated = is_map or "*" in marks
    field = target.field.add(name=name, number=int(number))
    field.label = FieldDescriptorProto.LABEL_OPTIONAL
    if is_repeated:
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if is_map:
        kind = _describe_map_entry(target, message_name, name, kind.strip("<>"))
    _set_type(field, kind)
    is_number = kind[0].islower()
    # proto3 packs repeated numbers, proto2 does not.
    if "*" in marks and is_number:
        field.options.packed = False
    if "?" in marks:
        field.proto3_optional = True
        field.oneof_index = len(target.oneof_decl)
        target.oneof_decl.add(name=f"_{name}")
    if "|" in marks:
        if not target.oneof_decl:
            target.oneof_decl.add(name="value")
        field.oneof_index = 0


def _describe_map_entry(
    target: Descriptor, message_name: str, field_name: str, value_kind: str
) -> str:
    """Add the message for the entries of a map, and return the name of that message.

    As in `protoc`, the name is the name of the field in camel case, followed by `Entry`.
    """
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    words = [word.title() for word in field_name.split("_")]
    entry = target.nested_type.add(name="".join(words) + "Entry")
    entry.options.map_entry = True
    for number, (name, kind) in enumerate((("key", "string"), ("value", value_kind)), 1):
        field = entry.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        _set_type(field, kind)
    return f"{message_name}.{entry.name}"


def _set_type(field: Descriptor, kind: str) -> None:
    """Set the type of a field.

    Args:
        field: the descriptor of the field.
        kind: a type of protobuf, or the name of a message, which begins with a capital letter.
    """
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto

    if kind[0].islower():
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        return
    field.type = FieldDescriptorProto.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{kind}"
    if kind == "Struct":
        field.type_name = ".google.protobuf.Struct"
