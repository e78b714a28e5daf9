"""What ML Metadata knows of a run: its executions, each with its inputs, outputs and artifacts.

Four calls of gRPC-Web on the host of the pipelines API. Keys of the executions are those that KFP's driver and launcher
write (backend/src/v2/metadata/client.go).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.backends.http import Http
from kfgcp.backends.kubeflow import mlmd
from kfgcp.errors import BackendError

PAGE: Final = 100
_SECONDS: Final = 10.0
"""How long a call may take: a run is shown without it when the service hangs."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact. type: schema title."""

    type: str
    uri: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """A task, DAG, loop or iteration of a run.

    parent: the execution that it stands in, 0 for none. iteration: its number in its loop, None for what is no
    iteration. state: one of `mlmd.STATES`. inputs, outputs: artifacts by name.
    """

    id: int
    type: str
    task: str
    parent: int
    iteration: int | None
    state: str
    params: Mapping[str, Any]
    output_params: Mapping[str, Any]
    started_at: float
    ended_at: float
    inputs: Mapping[str, Sequence[StoredArtifact]] = field(default_factory=dict)
    outputs: Mapping[str, Sequence[StoredArtifact]] = field(default_factory=dict)
    pod: str = ""
    cached: bool = False


class Metadata:
    """The ML Metadata service of a host. Threads may share it."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def executions(self, run_id: str, *, artifacts: bool = True) -> list[Execution]:
        """All of a run, in the order they were made; none when it is not known there.

        Args:
            run_id: of the run.
            artifacts: theirs too, by two more calls.

        Raises:
            BackendError: the service does not answer, or not with gRPC-Web.
        """
        asked = mlmd.message("GetContextByTypeAndNameRequest")(type_name=mlmd.PIPELINE_RUN, context_name=run_id)
        context = self._call("GetContextByTypeAndName", asked).context
        if not context.id:
            return []
        executions = self._all("GetExecutionsByContext", "executions", context.id)
        if not artifacts:
            return [_execution(each, {}, {}) for each in sorted(executions, key=_made)]
        stored = {each.id: each for each in self._all("GetArtifactsByContext", "artifacts", context.id)}
        ids = [each.id for each in executions]
        events = self._call(
            "GetEventsByExecutionIDs", mlmd.message("GetEventsByExecutionIDsRequest")(execution_ids=ids)
        )
        sides: dict[tuple[int, int], dict[str, list[StoredArtifact]]] = defaultdict(lambda: defaultdict(list))
        for event in sorted(events.events, key=_index):
            if event.artifact_id in stored:
                sides[event.execution_id, event.type][_key(event)].append(_artifact(stored[event.artifact_id]))
        return [
            _execution(each, sides[each.id, mlmd.INPUT], sides[each.id, mlmd.OUTPUT])
            for each in sorted(executions, key=_made)
        ]

    def _all(self, method: str, items: str, context_id: int) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            options = {"max_result_size": PAGE, **({"next_page_token": token} if token else {})}
            answer = self._call(method, mlmd.message(f"{method}Request")(context_id=context_id, options=options))
            found += getattr(answer, items)
            if not answer.next_page_token or answer.next_page_token == token:
                return found
            token = answer.next_page_token

    def _call(self, method: str, request: Any) -> Any:
        reply = self._http.exchange(
            "POST",
            mlmd.path(method).lstrip("/"),
            data=mlmd.encode(request),
            content_type=mlmd.CONTENT_TYPE,
            repeatable=True,
            read_timeout=_SECONDS,
            budget=_SECONDS,
        )
        try:
            return mlmd.decode(f"{method}Response", reply.body, reply.headers)
        except mlmd.MlmdError as error:
            if error.code == mlmd.NOT_FOUND:
                return mlmd.message(f"{method}Response")()
            raise BackendError(f"ML Metadata: {error}.") from None


def _made(stored: Any) -> tuple[int, int]:
    return stored.create_time_since_epoch, stored.id


def _execution(
    stored: Any, inputs: Mapping[str, Sequence[StoredArtifact]], outputs: Mapping[str, Sequence[StoredArtifact]]
) -> Execution:
    values = mlmd.values(stored.custom_properties)
    state = mlmd.STATES[stored.last_known_state] if stored.last_known_state < len(mlmd.STATES) else "UNKNOWN"
    return Execution(
        id=stored.id,
        type=stored.type,
        task=str(values.get("task_name") or ""),
        parent=int(values.get("parent_dag_id") or 0),
        iteration=values.get("iteration_index"),
        state=state,
        params=_struct(values.get("inputs")),
        output_params=_struct(values.get("outputs")),
        started_at=stored.create_time_since_epoch / 1000,
        ended_at=stored.last_update_time_since_epoch / 1000,
        inputs=dict(inputs),
        outputs=dict(outputs),
        pod=str(values.get("pod_name") or ""),
        cached=state == "CACHED" or bool(values.get("cached_execution_id")),
    )


def _struct(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _artifact(stored: Any) -> StoredArtifact:
    hidden = ("display_name", "store_session_info", "parameter_producer_task")
    values = {name: value for name, value in mlmd.values(stored.custom_properties).items() if name not in hidden}
    return StoredArtifact(stored.type or "system.Artifact", stored.uri, values)


def _key(event: Any) -> str:
    return next((step.key for step in event.path.steps if step.WhichOneof("value") == "key"), "")


def _index(event: Any) -> int:
    return next((step.index for step in event.path.steps if step.WhichOneof("value") == "index"), 0)
