"""Read the executions of a run from ML Metadata, on servers before 3.0.

This takes four calls of gRPC-Web to the host of the pipelines API. `mlmd` implements the protocol.
KFP's driver and launcher write the properties of the executions
(backend/src/v2/metadata/client.go).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.addresses import Addresses
from kfgcp.backends.kubeflow.execution import (
    EXECUTOR_LOGS,
    Execution,
    StoredArtifact,
    without_launcher_metadata,
)
from kfgcp.errors import AuthError, BackendError, Refused, Unreachable
from kfgcp.services.client import ServiceClient
from kfgcp.services.paging import PageLimit
from kfgcp.spec.json_values import normalize_numbers

# How many executions or artifacts a page has.
PAGE: Final = 100

# The time limit of one call, in seconds. When ML Metadata hangs, a run is shown without its values.
SECONDS: Final = 10.0

# The time limit of all calls for one run, in seconds. Each page of executions or artifacts is a
# call.
ALL_SECONDS: Final = 60.0

# After an outage, the seconds without further calls to ML Metadata. Without this pause, a list of
# runs would wait once for each of its runs.
LATER: Final = 30.0

# The start of the year 10000, in milliseconds since 1970. Times in protobuf are int64, but the last
# year in Python is 9999.
_YEAR_10000: Final = 253_402_300_800_000

# Messages of `mlmd`. The classes are made at run time, so type checkers do not know them.
Message: TypeAlias = Any

ArtifactsByName: TypeAlias = Mapping[str, Sequence[StoredArtifact]]


class Metadata:
    """The ML Metadata of a server. Threads may share this object.

    Args:
        http: the client of ML Metadata.
    """

    def __init__(self, http: ServiceClient | Addresses) -> None:
        self._http = http
        # The end of the pause after an outage, in monotonic seconds, and the error of the outage.
        self._outage: tuple[float, BackendError] | None = None

    def read_executions(self, run_id: str, *, with_artifacts: bool = True) -> list[Execution]:
        """Return the executions of a run in the order in which they were created.

        The list is empty when ML Metadata does not know the run.

        Args:
            run_id: the id of the run.
            with_artifacts: also read the artifacts, with two more calls.

        Raises:
            BackendError: the service does not answer, or its answer is not gRPC-Web. For `LATER`
                seconds after that, each call raises the same error without a request.
        """
        if self._outage is not None:
            pause_end, error = self._outage
            if time.monotonic() < pause_end:
                raise BackendError(error.message, hint=error.hint)
        try:
            return self._read(run_id, with_artifacts, time.monotonic() + ALL_SECONDS)
        except (Unreachable, AuthError, Refused) as error:
            self._outage = (time.monotonic() + LATER, error)
            raise

    def _read(self, run_id: str, with_artifacts: bool, deadline: float) -> list[Execution]:
        """Return the executions of a run.

        Args:
            run_id: the id of the run.
            with_artifacts: also read the artifacts.
            deadline: when all calls must have ended, in monotonic seconds.
        """
        request = mlmd.message_class("GetContextByTypeAndNameRequest")(
            type_name=mlmd.PIPELINE_RUN, context_name=run_id
        )
        context = self._call("GetContextByTypeAndName", request, deadline).context
        if not context.id:
            return []
        executions = self._read_pages("GetExecutionsByContext", "executions", context.id, deadline)
        inputs: dict[int, ArtifactsByName] = {}
        outputs: dict[int, ArtifactsByName] = {}
        if with_artifacts:
            messages = self._read_pages("GetArtifactsByContext", "artifacts", context.id, deadline)
            events = self._read_events(executions, deadline)
            artifacts = self._make_artifacts(messages, deadline)
            inputs = _group_artifacts(events, mlmd.INPUT, artifacts)
            outputs = _group_artifacts(events, mlmd.OUTPUT, artifacts)
        return [
            _make_execution(execution, inputs.get(execution.id, {}), outputs.get(execution.id, {}))
            for execution in sorted(executions, key=_creation_sort_key)
        ]

    def _make_artifacts(
        self, messages: Sequence[Message], deadline: float
    ) -> dict[int, StoredArtifact]:
        """Return the artifacts of a run by their ids."""
        # In older services, artifacts have only the ids of their types.
        unnamed_types = {artifact.type_id for artifact in messages if not artifact.type}
        name_by_type = self._read_type_names(unnamed_types, deadline)
        artifacts: dict[int, StoredArtifact] = {}
        for artifact in messages:
            title = artifact.type or name_by_type.get(artifact.type_id, "")
            artifacts[artifact.id] = _make_artifact(artifact, title)
        return artifacts

    def _read_type_names(self, type_ids: Collection[int], deadline: float) -> dict[int, str]:
        """Return the names of artifact types by their ids."""
        if not type_ids:
            return {}
        request = mlmd.message_class("GetArtifactTypesByIDRequest")(type_ids=sorted(type_ids))
        response = self._call("GetArtifactTypesByID", request, deadline)
        return {artifact_type.id: artifact_type.name for artifact_type in response.artifact_types}

    def _read_events(self, executions: Sequence[Message], deadline: float) -> list[Message]:
        """Return the events of executions: each says which artifact was read or written.

        The events are in the order of the artifacts.
        """
        ids = [execution.id for execution in executions]
        request = mlmd.message_class("GetEventsByExecutionIDsRequest")(execution_ids=ids)
        response = self._call("GetEventsByExecutionIDs", request, deadline)
        return sorted(response.events, key=_event_sort_key)

    def _read_pages(
        self, method: str, field: str, context_id: int, deadline: float
    ) -> list[Message]:
        """Return the items of all pages of a list."""
        items: list[Message] = []
        limit = PageLimit("ML Metadata", method)
        options: dict[str, object] = {"max_result_size": PAGE}
        while True:
            request = mlmd.message_class(f"{method}Request")(context_id=context_id, options=options)
            response = self._call(method, request, deadline)
            page = list(getattr(response, field))
            items += page
            token = response.next_page_token
            if not token:
                return items
            limit.check(tuple(item.id for item in page), token)
            options["next_page_token"] = token

    def _call(self, method: str, request: Message, deadline: float) -> Message:
        """Return the response of a method, an empty response when the object does not exist."""
        seconds = round(min(deadline - time.monotonic(), SECONDS), 1)
        if seconds <= 0:
            raise Unreachable(f"ML Metadata did not list the whole run within {ALL_SECONDS:g} s.")
        response = self._http.exchange(
            "POST",
            mlmd.method_path(method).lstrip("/"),
            data=mlmd.encode_request(request),
            content_type=mlmd.CONTENT_TYPE,
            repeatable=True,
            read_timeout=seconds,
            budget=seconds,
            seconds=seconds,
        )
        try:
            return mlmd.decode_response(f"{method}Response", response.body, response.headers)
        except mlmd.MlmdError as error:
            if error.code == mlmd.NOT_FOUND:
                return mlmd.message_class(f"{method}Response")()
            if error.code is None:
                raise Unreachable(
                    f"ML Metadata did not answer {method}: {error}.",
                    hint="Check whether the environment can reach ML Metadata: kfgcp doctor",
                ) from None
            raise BackendError(f"ML Metadata refused {method}: {error}.") from None


def _group_artifacts(
    events: Iterable[Message], event_type: int, artifacts: Mapping[int, StoredArtifact]
) -> dict[int, ArtifactsByName]:
    """Return the input artifacts or the output artifacts of executions, by execution id.

    Args:
        events: the events in the order of the artifacts.
        event_type: `mlmd.INPUT` or `mlmd.OUTPUT`.
        artifacts: the artifacts by their ids.
    """
    by_execution: dict[int, dict[str, list[StoredArtifact]]] = defaultdict(dict)
    for event in events:
        if event.type == event_type and event.artifact_id in artifacts:
            by_name = by_execution[event.execution_id]
            by_name.setdefault(_artifact_name(event), []).append(artifacts[event.artifact_id])
    return dict(by_execution)


def _artifact_name(event: Message) -> str:
    """Return the name of the input or output in an event, "" when the event has no name."""
    for step in event.path.steps:
        if step.WhichOneof("value") == "key":
            return str(step.key)
    return ""


def _event_sort_key(event: Message) -> tuple[int, int]:
    """Return the sort key of an event: the index of the artifact, and the time of the event.

    The artifacts of a list have an index. The logs of attempts have no index, so their times decide
    the order.
    """
    index = 0
    for step in event.path.steps:
        if step.WhichOneof("value") == "index":
            index = step.index
            break
    return index, event.milliseconds_since_epoch


def _creation_sort_key(execution: Message) -> tuple[int, int]:
    """Return the sort key of an execution: its time of creation, and its id."""
    return execution.create_time_since_epoch, execution.id


def _make_execution(
    stored: Message, inputs: ArtifactsByName, outputs: ArtifactsByName
) -> Execution:
    properties = mlmd.read_properties(stored.custom_properties)
    state = "UNKNOWN"
    if 0 <= stored.last_known_state < len(mlmd.STATES):
        state = mlmd.STATES[stored.last_known_state]
    logs = outputs.get(EXECUTOR_LOGS, ())
    return Execution(
        id=stored.id,
        type=stored.type,
        task=str(properties.get("task_name") or ""),
        parent=_read_number(properties.get("parent_dag_id")) or 0,
        iteration=_read_number(properties.get("iteration_index")),
        state=state,
        params=_read_struct(properties.get("inputs")),
        output_params=_read_struct(properties.get("outputs")),
        started_at=_read_seconds(stored.create_time_since_epoch),
        ended_at=_read_seconds(stored.last_update_time_since_epoch),
        inputs=dict(inputs),
        outputs={name: items for name, items in outputs.items() if name != EXECUTOR_LOGS},
        logs=tuple(artifact.uri for artifact in logs),
        pod=str(properties.get("pod_name") or ""),
        iterations=_read_number(properties.get("iteration_count")),
        cached=state == "CACHED" or bool(properties.get("cached_execution_id")),
    )


def _read_struct(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _read_number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _read_seconds(milliseconds: int) -> float:
    """Return a time in seconds since 1970, 0 when the number is out of the range of times."""
    return milliseconds / 1000 if 0 <= milliseconds < _YEAR_10000 else 0.0


def _make_artifact(stored: Message, title: str) -> StoredArtifact:
    metadata = without_launcher_metadata(mlmd.read_properties(stored.custom_properties))
    as_written = {name: _unwrap(value) for name, value in metadata.items()}
    return StoredArtifact(title or "system.Artifact", stored.uri, as_written)


def _unwrap(value: object) -> object:
    """Return a value of metadata as the task wrote it.

    The launcher stores numbers as doubles, booleans as the integers 0 and 1, and a list or object
    inside another object with the key "list" or "struct" (StructValueToMLMDValue in client.go).
    """
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, Mapping) and len(value) == 1:
        for wrapper in ("list", "struct"):
            if wrapper in value:
                inner: object = value[wrapper]
                return inner
    return normalize_numbers(value)
