"""Bytes of ML Metadata that are not an answer, and a service that is away."""

import struct
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_types import JsonDict
from kfgcp.backends.kubeflow import executions_from_mlmd as metadata
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.errors import AuthError, BackendError, NotFound, Unreachable
from kfgcp.services.client import ServiceClient
from kfgcp.spec.json_values import JsonObject
from metadata_messages import GRPC_WEB, stored
from patience import REQUEST
from service_fixtures import ReceivedRequest, Reply, Server

OK = b"\x80\x00\x00\x00\x0fgrpc-status:0\r\n"


def frame(flag: int, content: bytes) -> bytes:
    return struct.pack(">BI", flag, len(content)) + content


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00",
        frame(0, b"\x0a\x02\x08\x07"),  # without trailers
        frame(0, b"\x0a\x02\x08\x07")[:-1] + OK,
        b"\x00\xff\xff\xff\xff" + OK,  # four gigabytes are announced
        b"\x80\xff\xff\xff\xffgrpc-status:0\r\n",
        frame(0x80, b""),
        frame(0x80, b"grpc-status:\r\n"),
        frame(0x80, b"grpc-status:-1\r\n"),
        frame(0x80, b"grpc-status:zero\r\n"),
        frame(0x80, b"grpc-status:\xb2\r\n"),  # a digit of Latin-1 that int() does not know
        frame(0x80, b"grpc-message:no status\r\n"),
        frame(0x81, b"grpc-status:0\r\n"),  # compressed
        frame(1, b"\x0a\x02\x08\x07") + OK,
        frame(0, b"\xff") + OK,
        frame(0, b"\x0a\x7f") + OK,
        frame(0, b"\x0a\x02\x08") + OK,
        b"<html><body>Sign in</body></html>",
        b'{"error": "no such method"}',
        OK + b"x",
    ],
)
def test_bytes_that_are_not_an_answer(
    ml_metadata: Metadata, server: Server, reply: type[Reply], body: bytes
) -> None:
    server.answers(reply(body, headers=GRPC_WEB))

    with pytest.raises(
        Unreachable, match=r"ML Metadata did not answer GetContextByTypeAndName: the answer"
    ) as caught:
        ml_metadata.read_executions("run-1")
    assert "kfgcp doctor" in caught.value.hint


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda data: frame(0, data) + OK))
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    for name in ("GetExecutionsByContextResponse", "GetEventsByExecutionIDsResponse"):
        try:
            mlmd.decode_response(name, body, {})
        except mlmd.MlmdError:
            continue


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(-(2**31), 2**31 - 1),
    st.dictionaries(
        st.sampled_from(
            ["task_name", "parent_dag_id", "iteration_index", "inputs", "outputs", "pod_name", "x"]
        ),
        st.integers(-(2**63), 2**63 - 1)
        | st.floats()
        | st.text(max_size=5)
        | st.dictionaries(st.text(), JSON),
        max_size=5,
    ),
)
def test_any_execution_is_read(state: int, properties: JsonObject) -> None:
    execution = metadata._make_execution(stored(1, state, **properties), {}, {})

    assert isinstance(execution.parent, int)
    assert execution.iteration is None or isinstance(execution.iteration, int)
    assert isinstance(execution.task, str)
    assert execution.state in mlmd.STATES


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_values_of_parameters_come_back_as_they_went(values: JsonDict) -> None:
    """Every value of JSON, in a Struct: its numbers are doubles, whole ones come back as int."""
    message = mlmd.message_class("Execution")()
    mlmd.set_property(message.custom_properties, "inputs", values)

    assert (
        mlmd.read_value(
            mlmd.decode_response("Execution", mlmd.encode_response(message)).custom_properties[
                "inputs"
            ]
        )
        == values
    )


def test_a_struct_that_is_nested_without_end_is_not_an_answer() -> None:
    inner = b""
    for _ in range(200):  # list_value of a Value: 6, values of a ListValue: 1
        inner = (
            b"\x32"
            + _size(len(inner) + 1 + len(_size(len(inner))))
            + b"\x0a"
            + _size(len(inner))
            + inner
        )
    field = b"\x0a\x01x\x12" + _size(len(inner)) + inner
    struct_value = b"\x0a" + _size(len(field)) + field
    value = b"\x22" + _size(len(struct_value)) + struct_value
    entry = b"\x0a\x01i\x12" + _size(len(value)) + value
    body = frame(0, b"\x2a" + _size(len(entry)) + entry) + OK

    with pytest.raises(mlmd.MlmdError, match="is not the message Execution"):
        mlmd.decode_response("Execution", body, {})


def _size(number: int) -> bytes:
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


# -- a service that is away


@pytest.mark.parametrize("status", [404, 405, 403, 401, 400])
def test_a_refusal_is_final_for_a_while(
    ml_metadata: Metadata, server: Server, reply: type[Reply], status: int
) -> None:
    """Whoever lists a thousand runs does not ask a thousand times."""
    server.answers(reply({"message": "no"}, status=status))

    messages = set()
    for _ in range(3):
        with pytest.raises(BackendError) as caught:
            ml_metadata.read_executions("run-1")
        messages.add(caught.value.message)

    assert len(messages) == 1
    assert f"({status}" in messages.pop()


def test_a_service_that_was_away_is_asked_again_later(
    ml_metadata: Metadata,
    server: Server,
    reply: type[Reply],
    queue_metadata: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "LATER", -1.0)
    server.answers(reply({}, status=404))
    queue_metadata([stored(1)])

    with pytest.raises(NotFound):
        ml_metadata.read_executions("run-1")
    assert [execution.id for execution in ml_metadata.read_executions("run-1")] == [1]


def test_an_error_for_one_run_does_not_stand_for_others(
    ml_metadata: Metadata, server: Server, reply: type[Reply], queue_metadata: Callable[..., None]
) -> None:
    server.answers(reply(mlmd.encode_error(13, "mysql: gone"), headers=GRPC_WEB))
    queue_metadata([stored(1)])

    with pytest.raises(
        BackendError, match=r"^ML Metadata refused GetContextByTypeAndName: mysql: gone\.$"
    ):
        ml_metadata.read_executions("run-1")
    assert [execution.id for execution in ml_metadata.read_executions("run-2")] == [1]


def test_the_calls_of_a_run_share_their_time(
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that is slow costs as long as is set for all calls together, not for each."""
    now = 1000.0
    monkeypatch.setattr(metadata, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(metadata, "SECONDS", REQUEST)
    context = mlmd.message_class("GetContextByTypeAndNameResponse")()
    context.context.id = 7

    def slow(_: ReceivedRequest) -> Reply:
        nonlocal now
        now += metadata.ALL_SECONDS - 0.3
        return reply(mlmd.encode_response(context), headers=GRPC_WEB)

    server.answers(slow, reply(silent=True))
    ml_metadata = Metadata(client(service="ML Metadata", retries=0))

    with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
        ml_metadata.read_executions("run-1")

    assert [request.path.rpartition("/")[2] for request in server.asked] == [
        "GetContextByTypeAndName",
        "GetExecutionsByContext",
    ]


def test_a_sign_in_page_is_not_an_answer(
    ml_metadata: Metadata, server: Server, reply: type[Reply]
) -> None:
    server.answers(
        reply(
            b"<html><title>Sign in</title></html>",
            status=403,
            headers={"Content-Type": "text/html"},
        )
    )

    with pytest.raises(AuthError, match="'Sign in'"):
        ml_metadata.read_executions("run-1")


def test_a_call_that_hangs_ends_before_the_time_of_all(
    client: Callable[..., ServiceClient],
    server: Server,
    reply: type[Reply],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "SECONDS", REQUEST)
    context = mlmd.message_class("GetContextByTypeAndNameResponse")()
    context.context.id = 7

    def first(_: ReceivedRequest) -> Reply:
        # Only the second call, which never ends, has a short time.
        monkeypatch.setattr(metadata, "SECONDS", 0.3)
        return reply(mlmd.encode_response(context), headers=GRPC_WEB)

    server.answers(first, reply(silent=True))
    ml_metadata = Metadata(client(service="ML Metadata", retries=0))

    with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
        ml_metadata.read_executions("run-1")
