"""What ML Metadata answers, written by hand as messages, and as bytes that are no answer."""

import math
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_types import JsonDict
from kfgcp.backends.kubeflow import executions_from_mlmd as metadata
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.execution import StoredArtifact
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.backends.kubeflow.states import EXECUTION_STATES
from kfgcp.errors import AuthError, BackendError, BadAnswer, NotFound, Unreachable
from kfgcp.model import TaskState
from kfgcp.services.client import ServiceClient
from kfgcp.spec.json_values import JsonObject
from patience import REQUEST
from service_fixtures import ReceivedRequest, Reply, Server

GRPC_WEB = {"Content-Type": mlmd.CONTENT_TYPE}
OK = b"\x80\x00\x00\x00\x0fgrpc-status:0\r\n"
STATES_OF_ML_METADATA = {
    "UNKNOWN": 0,
    "NEW": 1,
    "RUNNING": 2,
    "COMPLETE": 3,
    "FAILED": 4,
    "CACHED": 5,
    "CANCELED": 6,
}
"""Execution.State of metadata_store.proto."""


@pytest.fixture
def ml_metadata(client: Callable[..., ServiceClient]) -> Metadata:
    return Metadata(client(service="ML Metadata"))


@pytest.fixture
def says(server: Server, reply: type[Reply]) -> Callable[..., None]:
    """Queues the answers of the four calls; those that are not given are empty."""

    def queue(
        executions: Any = (), artifacts: Any = (), events: Any = (), types: Any = None
    ) -> None:
        context = mlmd.message_class("GetContextByTypeAndNameResponse")()
        context.context.id = 7
        first = mlmd.message_class("GetExecutionsByContextResponse")(executions=executions)
        second = mlmd.message_class("GetArtifactsByContextResponse")(artifacts=artifacts)
        named = (
            []
            if types is None
            else [mlmd.message_class("GetArtifactTypesByIDResponse")(artifact_types=types)]
        )
        third = mlmd.message_class("GetEventsByExecutionIDsResponse")(events=events)
        answers = [context, first, second, third, *named]
        server.answers(
            *(reply(mlmd.encode_response(answer), headers=GRPC_WEB) for answer in answers)
        )

    return queue


def stored(number: int, state: int = 3, **properties: object) -> mlmd.Message:
    """An execution; properties that are no JSON value are set as they are."""
    message = mlmd.message_class("Execution")(
        id=number,
        last_known_state=state,
        create_time_since_epoch=1767322800000 + number,
        last_update_time_since_epoch=1767322860000,
    )
    for name, value in properties.items():
        mlmd.set_property(message.custom_properties, name, value)
    return message


def artifact(number: int, kind: str = "system.Metrics", **properties: object) -> mlmd.Message:
    message = mlmd.message_class("Artifact")(
        id=number, type=kind, uri=f"gs://b/{number}", state=mlmd.LIVE
    )
    for name, value in properties.items():
        mlmd.set_property(message.custom_properties, name, value)
    return message


def event(
    execution: int,
    artifact: int,
    key: str | None,
    kind: int = mlmd.OUTPUT,
    index: int | None = None,
) -> mlmd.Message:
    message = mlmd.message_class("Event")(execution_id=execution, artifact_id=artifact, type=kind)
    if key is not None:
        message.path.steps.add(key=key)
    if index is not None:
        message.path.steps.add(index=index)
    return message


def test_the_states_are_all_that_ml_metadata_has() -> None:
    """Numbers and names of `Execution.State`; CANCELED is what KFP's driver writes for a condition
    that was false."""
    assert {name: number for number, name in enumerate(mlmd.STATES)} == STATES_OF_ML_METADATA
    assert set(EXECUTION_STATES) == set(mlmd.STATES)
    assert EXECUTION_STATES["CANCELED"] is TaskState.SKIPPED
    assert EXECUTION_STATES["CACHED"] is TaskState.CACHED
    assert EXECUTION_STATES["COMPLETE"] is TaskState.SUCCEEDED


@pytest.mark.parametrize(
    ("number", "name"), [(-1, "UNKNOWN"), (7, "UNKNOWN"), (2**31 - 1, "UNKNOWN"), (6, "CANCELED")]
)
def test_a_state_of_a_newer_service_is_unknown(
    ml_metadata: Metadata, says: Callable[..., None], number: int, name: str
) -> None:
    says([stored(1, number)])

    (execution,) = ml_metadata.read_executions("run-1")

    assert execution.state == name


def test_an_execution_has_what_the_driver_and_the_launcher_wrote(
    ml_metadata: Metadata, says: Callable[..., None]
) -> None:
    says(
        [
            stored(
                12,
                task_name="train",
                parent_dag_id=11,
                iteration_index=0,
                pod_name="train-x-1",
                cached_execution_id="4",
                inputs={"lr": 0.5, "n": 3, "items": [1, {"a": None}], "text": "\u00fc\U0001f600"},
                outputs={"Output": 7},
            )
        ]
    )

    (execution,) = ml_metadata.read_executions("run-1")

    assert (execution.id, execution.task, execution.parent, execution.iteration, execution.pod) == (
        12,
        "train",
        11,
        0,
        "train-x-1",
    )
    assert (execution.cached, execution.state) == (True, "COMPLETE")
    assert execution.params == {
        "lr": 0.5,
        "n": 3,
        "items": [1, {"a": None}],
        "text": "\u00fc\U0001f600",
    }
    assert execution.output_params == {"Output": 7}
    assert (execution.started_at, execution.ended_at) == (1767322800.012, 1767322860.0)


@pytest.mark.parametrize(
    ("properties", "parent", "iteration"),
    [
        ({}, 0, None),
        ({"parent_dag_id": "11", "iteration_index": "0"}, 0, None),
        ({"parent_dag_id": 1.5, "iteration_index": 0.0}, 0, None),
        ({"parent_dag_id": {}, "iteration_index": {"a": 1}}, 0, None),
        ({"parent_dag_id": -3, "iteration_index": -1}, -3, -1),
    ],
)
def test_properties_of_another_type_are_none(
    ml_metadata: Metadata,
    says: Callable[..., None],
    properties: JsonDict,
    parent: int,
    iteration: int | None,
) -> None:
    says([stored(1, inputs="text", outputs=3, task_name={"a": 1}, **properties)])

    (execution,) = ml_metadata.read_executions("run-1")

    assert (execution.parent, execution.iteration, execution.params, execution.output_params) == (
        parent,
        iteration,
        {},
        {},
    )


@pytest.mark.parametrize(
    ("millis", "seconds"),
    [
        (0, 0.0),
        (-1, 0.0),
        (-(2**63), 0.0),
        (2**63 - 1, 0.0),
        (253402300799999, 253402300799.999),
        (1500, 1.5),
    ],
)
def test_invalid_times(
    ml_metadata: Metadata, says: Callable[..., None], millis: int, seconds: float
) -> None:
    says(
        [
            mlmd.message_class("Execution")(
                id=1, create_time_since_epoch=millis, last_update_time_since_epoch=millis
            )
        ]
    )

    (execution,) = ml_metadata.read_executions("run-1")

    assert (execution.started_at, execution.ended_at) == (seconds, seconds)


def test_executions_are_in_the_order_they_were_made(
    ml_metadata: Metadata, says: Callable[..., None]
) -> None:
    says([stored(3), stored(1), stored(2)])

    assert [execution.id for execution in ml_metadata.read_executions("run-1")] == [1, 2, 3]


def test_artifacts_belong_to_tasks_by_events(
    ml_metadata: Metadata, says: Callable[..., None]
) -> None:
    metrics = artifact(
        5,
        accuracy=0.5,
        bad=math.nan,
        most=math.inf,
        rows=3,
        whole=4.0,
        kept=True,
        dropped=False,
        note="x",
        display_name="m",
        store_session_info="{}",
        matrix={"struct": {"rows": [[1, 2]]}},
        names={"list": ["a", 1]},
        other={"list": [], "struct": {}},
    )
    says(
        [stored(1), stored(2)],
        [metrics, artifact(6, "system.Model"), artifact(8, "")],
        [
            event(1, 5, "metrics"),
            event(1, 6, "models", index=1),
            event(1, 5, "models", index=0),
            event(2, 6, "model", mlmd.INPUT),
            event(2, 6, None),
            event(2, 99, "of another run"),
            event(9, 5, "of an execution that is not here"),
            event(1, 5, "declared", kind=5),
        ],
        types=[mlmd.message_class("ArtifactType")(id=0, name="acme.Report")],
    )

    first, second = ml_metadata.read_executions("run-1")

    (stored_metrics,) = first.outputs["metrics"]
    assert (stored_metrics.type, stored_metrics.uri) == ("system.Metrics", "gs://b/5")
    bad = stored_metrics.metadata["bad"]
    assert math.isnan(bad)
    assert {**stored_metrics.metadata, "bad": None} == {
        "accuracy": 0.5,
        "bad": None,
        "most": math.inf,
        "rows": 3,
        "whole": 4,
        "kept": True,
        "dropped": False,
        "note": "x",
        "matrix": {"rows": [[1, 2]]},
        "names": ["a", 1],
        "other": {"list": [], "struct": {}},
    }
    assert [type(stored_metrics.metadata[name]) for name in ("whole", "kept", "dropped")] == [
        int,
        bool,
        bool,
    ]
    assert [model.uri for model in first.outputs["models"]] == ["gs://b/5", "gs://b/6"], (
        "by their places in the list"
    )
    assert second.inputs["model"] == [StoredArtifact("system.Model", "gs://b/6", {})]
    assert [*second.outputs] == [""]
    assert first.inputs == {}


def test_names_of_types_are_asked_for_where_artifacts_have_only_their_ids(
    ml_metadata: Metadata, says: Callable[..., None], server: Server
) -> None:
    metrics = artifact(5, "", accuracy=0.5)
    metrics.type_id = 21
    unknown = artifact(6, "")
    unknown.type_id = 22
    says(
        [stored(1)],
        [metrics, unknown],
        [event(1, 5, "metrics"), event(1, 6, "other")],
        types=[mlmd.message_class("ArtifactType")(id=21, name="system.Metrics")],
    )

    (execution,) = ml_metadata.read_executions("run-1")

    assert [artifact.type for artifact in execution.outputs["metrics"]] == ["system.Metrics"]
    assert [artifact.type for artifact in execution.outputs["other"]] == ["system.Artifact"]
    assert server.asked[-1].path.endswith("/GetArtifactTypesByID")
    assert list(
        mlmd.decode_request("GetArtifactTypesByIDRequest", server.asked[-1].body).type_ids
    ) == [
        21,
        22,
    ]


def test_pages_follow_one_another(
    ml_metadata: Metadata, server: Server, reply: type[Reply]
) -> None:
    context = mlmd.message_class("GetContextByTypeAndNameResponse")()
    context.context.id = 7
    page = mlmd.message_class("GetExecutionsByContextResponse")
    tokens = ("a", "b", "")
    pages = [
        page(executions=[stored(number)], next_page_token=token)
        for number, token in enumerate(tokens, 1)
    ]
    rest = [
        mlmd.message_class(f"{method}Response")()
        for method in ("GetArtifactsByContext", "GetEventsByExecutionIDs")
    ]
    server.answers(
        *(
            reply(mlmd.encode_response(answer), headers=GRPC_WEB)
            for answer in (context, *pages, *rest)
        )
    )

    assert [execution.id for execution in ml_metadata.read_executions("run-1")] == [1, 2, 3]
    asked = [
        mlmd.decode_request("GetExecutionsByContextRequest", request.body)
        for request in server.asked[1:4]
    ]
    assert [request.options.next_page_token for request in asked] == ["", "a", "b"]
    assert {(request.context_id, request.options.max_result_size) for request in asked} == {
        (7, 100)
    }


@pytest.mark.parametrize("tokens", [("a", "a"), ("a", "b", "a")])
def test_a_page_token_that_comes_again_is_an_error(
    ml_metadata: Metadata, server: Server, reply: type[Reply], tokens: tuple[str, ...]
) -> None:
    context = mlmd.message_class("GetContextByTypeAndNameResponse")()
    context.context.id = 7
    page = mlmd.message_class("GetExecutionsByContextResponse")
    pages = [
        page(executions=[stored(number)], next_page_token=token)
        for number, token in enumerate(tokens, 1)
    ]
    server.answers(
        *(reply(mlmd.encode_response(message), headers=GRPC_WEB) for message in (context, *pages))
    )

    with pytest.raises(
        BadAnswer, match="ML Metadata sent the token of a page that was read before"
    ):
        ml_metadata.read_executions("run-1")


@pytest.mark.parametrize(
    "body",
    [mlmd.encode_error(5, "no context"), mlmd.encode_response(mlmd.message_class("Context")())],
)
def test_a_run_unknown_to_ml_metadata_has_no_executions(
    ml_metadata: Metadata, server: Server, reply: type[Reply], body: bytes
) -> None:
    server.answers(reply(body, headers=GRPC_WEB))

    assert ml_metadata.read_executions("run-1") == []
    assert len(server.asked) == 1


# -- what is no answer


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
    says: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metadata, "LATER", -1.0)
    server.answers(reply({}, status=404))
    says([stored(1)])

    with pytest.raises(NotFound):
        ml_metadata.read_executions("run-1")
    assert [execution.id for execution in ml_metadata.read_executions("run-1")] == [1]


def test_an_error_for_one_run_does_not_stand_for_others(
    ml_metadata: Metadata, server: Server, reply: type[Reply], says: Callable[..., None]
) -> None:
    server.answers(reply(mlmd.encode_error(13, "mysql: gone"), headers=GRPC_WEB))
    says([stored(1)])

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
