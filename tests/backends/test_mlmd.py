"""ML Metadata's messages and their frames, against bytes written by hand from the public field
numbers."""

import math

import pytest

from kfgcp.backends.kubeflow import mlmd

CALL = (
    b"\x00\x00\x00\x00\x1a"  # a frame of data, 26 bytes
    b"\x0a\x12system.PipelineRun"  # 1: type_name
    b"\x12\x04run1"  # 2: context_name
)
EXECUTION = (
    b"\x08\x07"  # 1: id 7
    b"\x10\x0b"  # 2: type_id 11
    b"\x18\x03"  # 3: last_known_state COMPLETE
    b"\x2a\x13\x0a\x09task_name\x12\x06\x1a\x04step"  # 5: custom_properties: string_value 3
    b"\x2a\x11\x0a\x0dparent_dag_id\x12\x00"  # an empty value
    # struct_value 4 with an empty field
    b"\x2a\x13\x0a\x06inputs\x12\x09\x22\x07\x0a\x05\x0a\x01x\x12\x00"
    b"\x32\x05run/a"  # 6: name
    b"\xba\x06\x03new"  # 103: a field that we do not know
)


def test_a_call_is_one_frame_of_the_public_field_numbers() -> None:
    request = mlmd.message_class("GetContextByTypeAndNameRequest")(
        type_name=mlmd.PIPELINE_RUN, context_name="run1"
    )

    assert mlmd.encode_request(request) == CALL
    assert mlmd.decode_request("GetContextByTypeAndNameRequest", CALL).context_name == "run1"
    assert (
        mlmd.method_path("GetContextByTypeAndName")
        == "/ml_metadata.MetadataStoreService/GetContextByTypeAndName"
    )


@pytest.mark.parametrize("status", ["", "x", "-1", "\u0663", "\u00b2", "9" * 5000])
def test_a_status_that_is_not_a_number_is_an_error(status: str) -> None:
    trailer = f"grpc-status:{status}\r\n".encode()

    with pytest.raises(mlmd.MlmdError, match="no gRPC status"):
        mlmd.decode_response("Execution", b"\x80" + len(trailer).to_bytes(4, "big") + trailer, {})


def test_a_text_that_is_not_utf_8_is_not_an_answer() -> None:
    body = b"\x00\x00\x00\x00\x07\x32\x05run\xff\xfe\x80\x00\x00\x00\x0fgrpc-status:0\r\n"

    with pytest.raises(mlmd.MlmdError, match="the answer is not the message Execution"):
        mlmd.decode_response("Execution", body, {})


def test_ids_are_sent_one_by_one_as_proto2_has_them() -> None:
    request = mlmd.message_class("GetEventsByExecutionIDsRequest")(execution_ids=[7, 8])

    assert mlmd.encode_request(request) == b"\x00\x00\x00\x00\x04\x08\x07\x08\x08"


def test_an_answer_is_data_and_trailers() -> None:
    body = (
        b"\x00\x00\x00\x00"
        + bytes([len(EXECUTION)])
        + EXECUTION
        + b"\x80\x00\x00\x00\x0fgrpc-status:0\r\n"
    )

    execution = mlmd.decode_response("Execution", body, {})

    assert (execution.id, execution.type_id, execution.name) == (7, 11, "run/a")
    assert mlmd.STATES[execution.last_known_state] == "COMPLETE"
    assert mlmd.read_properties(execution.custom_properties) == {
        "task_name": "step",
        "parent_dag_id": None,
        "inputs": {"x": None},
    }


def test_events_name_their_artifact_by_a_path() -> None:
    event = b"\x08\x04\x10\x07\x1a\x09\x0a\x07\x12\x05model\x20\x04"
    body = b"\x00\x00\x00\x00" + bytes([len(event) + 2]) + b"\x0a" + bytes([len(event)]) + event

    (decoded_event,) = mlmd.decode_response(
        "GetEventsByExecutionIDsResponse", body, {"grpc-status": "0"}
    ).events

    assert (decoded_event.artifact_id, decoded_event.execution_id, decoded_event.type) == (
        4,
        7,
        mlmd.OUTPUT,
    )
    assert [step.key for step in decoded_event.path.steps] == ["model"]


def test_ids_are_written_one_by_one_and_read_packed_too() -> None:
    request = mlmd.message_class("GetEventsByExecutionIDsRequest")(execution_ids=[1, 300])

    assert mlmd.encode_request(request) == b"\x00\x00\x00\x00\x05\x08\x01\x08\xac\x02"
    packed = b"\x00\x00\x00\x00\x05\x0a\x03\x01\xac\x02"
    assert list(mlmd.decode_request("GetEventsByExecutionIDsRequest", packed).execution_ids) == [
        1,
        300,
    ]


@pytest.mark.parametrize(
    "item",
    [
        {},
        {
            "n": 1,
            "half": 0.5,
            "text": "ü",
            "no": None,
            "yes": True,
            "many": [1, [], {"a": [False]}],
        },
    ],
)
def test_values_come_back_as_they_went(item: object) -> None:
    execution = mlmd.message_class("Execution")()
    mlmd.set_property(execution.custom_properties, "inputs", item)
    mlmd.set_property(execution.custom_properties, "count", 3)
    mlmd.set_property(execution.custom_properties, "share", 0.5)
    mlmd.set_property(execution.custom_properties, "flag", True)

    decoded = mlmd.decode_response("Execution", mlmd.encode_response(execution))

    assert mlmd.read_properties(decoded.custom_properties) == {
        "inputs": item,
        "count": 3,
        "share": 0.5,
        "flag": 1,
    }


def test_values_come_in_the_order_of_their_names() -> None:
    names = [f"metric-{chr(code)}" for code in range(ord("a"), ord("z"))]
    execution = mlmd.message_class("Execution")()
    mlmd.set_property(execution.custom_properties, "inputs", dict.fromkeys(reversed(names), 1))
    for name in reversed(names):
        mlmd.set_property(execution.custom_properties, name, 0.5)

    properties = mlmd.read_properties(
        mlmd.decode_response("Execution", mlmd.encode_response(execution)).custom_properties
    )

    assert list(properties) == ["inputs", *names]
    assert list(properties["inputs"]) == names


def test_numbers_that_json_does_not_know_are_kept() -> None:
    execution = mlmd.message_class("Execution")()
    mlmd.set_property(execution.custom_properties, "inputs", {"n": math.nan, "i": math.inf})

    inputs = mlmd.read_value(
        mlmd.decode_response("Execution", mlmd.encode_response(execution)).custom_properties[
            "inputs"
        ]
    )

    assert math.isnan(inputs["n"])
    assert inputs["i"] == math.inf


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\x80\x00\x00\x00\x34grpc-status:5\r\ngrpc-message:no%20such%20context%21\r\n", {}),
        (b"", {"grpc-status": "5", "grpc-message": "no%20such%20context%21"}),
        (mlmd.encode_error(5, "no such context!"), None),
    ],
)
def test_a_failure_has_its_code_and_text(body: bytes, headers: dict[str, str] | None) -> None:
    with pytest.raises(mlmd.MlmdError, match="no such context!") as caught:
        mlmd.decode_response("GetContextByTypeAndNameResponse", body, headers)

    assert caught.value.code == mlmd.NOT_FOUND


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Sign in</body></html>",
        b"{}",
        CALL[:9],
        b"\x00\x00\x00\x00\x02\x0a\x7f" + CALL,
    ],
)
def test_an_invalid_answer_is_reported(body: bytes) -> None:
    with pytest.raises(mlmd.MlmdError) as caught:
        mlmd.decode_response("GetContextByTypeAndNameResponse", body, {})

    assert caught.value.code is None


def test_the_messages_do_not_clash_with_another_ml_metadata_in_the_process() -> None:
    from google.protobuf import descriptor_pool

    mlmd.message_class("Event.Path.Step")

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("ml_metadata.Value")
