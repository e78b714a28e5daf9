"""What ML Metadata answers, written by hand as messages."""

import math
from collections.abc import Callable

import pytest

from json_types import JsonDict
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.execution import StoredArtifact
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.backends.kubeflow.states import EXECUTION_STATES
from kfgcp.errors import BadAnswer
from kfgcp.model import TaskState
from metadata_messages import GRPC_WEB, artifact, event, stored
from service_fixtures import Reply, Server

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
    ml_metadata: Metadata, queue_metadata: Callable[..., None], number: int, name: str
) -> None:
    queue_metadata([stored(1, number)])

    (execution,) = ml_metadata.read_executions("run-1")

    assert execution.state == name


def test_an_execution_has_what_the_driver_and_the_launcher_wrote(
    ml_metadata: Metadata, queue_metadata: Callable[..., None]
) -> None:
    queue_metadata(
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
    queue_metadata: Callable[..., None],
    properties: JsonDict,
    parent: int,
    iteration: int | None,
) -> None:
    queue_metadata([stored(1, inputs="text", outputs=3, task_name={"a": 1}, **properties)])

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
    ml_metadata: Metadata, queue_metadata: Callable[..., None], millis: int, seconds: float
) -> None:
    queue_metadata(
        [
            mlmd.message_class("Execution")(
                id=1, create_time_since_epoch=millis, last_update_time_since_epoch=millis
            )
        ]
    )

    (execution,) = ml_metadata.read_executions("run-1")

    assert (execution.started_at, execution.ended_at) == (seconds, seconds)


def test_executions_are_in_the_order_they_were_made(
    ml_metadata: Metadata, queue_metadata: Callable[..., None]
) -> None:
    queue_metadata([stored(3), stored(1), stored(2)])

    assert [execution.id for execution in ml_metadata.read_executions("run-1")] == [1, 2, 3]


def test_artifacts_belong_to_tasks_by_events(
    ml_metadata: Metadata, queue_metadata: Callable[..., None]
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
    queue_metadata(
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
        "the artifacts are not sorted by their indexes"
    )
    assert second.inputs["model"] == [StoredArtifact("system.Model", "gs://b/6", {})]
    assert [*second.outputs] == [""]
    assert first.inputs == {}


def test_names_of_types_are_asked_for_where_artifacts_have_only_their_ids(
    ml_metadata: Metadata, queue_metadata: Callable[..., None], server: Server
) -> None:
    metrics = artifact(5, "", accuracy=0.5)
    metrics.type_id = 21
    unknown = artifact(6, "")
    unknown.type_id = 22
    queue_metadata(
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

    with pytest.raises(BadAnswer, match="ML Metadata sent the same page token twice"):
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
