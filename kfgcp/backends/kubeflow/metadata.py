"""What ML Metadata knows of a run: its executions, each with its inputs, outputs and artifacts.

Four calls of gRPC-Web on the host of the pipelines API. Keys of the executions are those that KFP's
driver and launcher write (backend/src/v2/metadata/client.go).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.addresses import Addresses
from kfgcp.errors import AuthError, BackendError, Refused, Unreachable
from kfgcp.services.client import ServiceClient
from kfgcp.services.paging import PageLimit
from kfgcp.spec.json_values import normalize_numbers

PAGE: Final = 100
LOG: Final = "executor-logs"
"""Name of the artifact that a launcher with PUBLISH_LOGS makes of a task's log (servers since
2.5)."""
_HIDDEN: Final = ("display_name", "store_session_info", "parameter_producer_task")
"""Metadata of artifacts that the launcher adds for itself."""
_YEAR_10000: Final = 253_402_300_800_000
SECONDS: Final = 10.0
"""How long a call may take: a run is shown without its values when the service hangs."""
ALL_SECONDS: Final = 60.0
"""How long the calls of a run may take together: there is one for each hundred executions and
artifacts."""
LATER: Final = 30.0
"""Seconds until a service that could not be reached is asked again."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact. type: schema title."""

    type: str
    uri: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """A task, DAG, loop or iteration of a run.

    parent: the execution that it stands in, 0 for none. iteration: its number in its loop, None for
    what is no iteration. state: one of `mlmd.STATES`. inputs, outputs: artifacts by name. pod: of
    the last attempt. log: where the launcher put what the last attempt wrote, empty when it did
    not. logs: the same of all attempts, first to last; a run that was continued keeps those from
    before. iterations: how many a loop has, None for what is not a loop. pods: of all attempts,
    first to last, where they are known; ML Metadata knows the last one only. error: why it failed,
    empty where that is not known, as in ML Metadata. is_reused: whether a retry of the run uses it
    again with the start that it had.
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
    logs: tuple[str, ...] = ()
    iterations: int | None = None
    pods: tuple[str, ...] = ()
    error: str = ""
    is_reused: bool = True

    @property
    def log(self) -> str:
        return self.logs[-1] if self.logs else ""


class Metadata:
    """The ML Metadata service of a host. Threads may share it."""

    def __init__(self, http: ServiceClient | Addresses) -> None:
        self._http = http
        self._lost: tuple[float, BackendError] | None = None

    def executions(self, run_id: str, *, artifacts: bool = True) -> list[Execution]:
        """All of a run, in the order they were made; none when it is not known there.

        Args:
            run_id: of the run.
            artifacts: theirs too, by two more calls.

        Raises:
            BackendError: the service does not answer, or not with gRPC-Web; for `LATER` seconds it
                is not asked then.
        """
        if self._lost is not None and time.monotonic() < self._lost[0]:
            raise BackendError(self._lost[1].message, hint=self._lost[1].hint)
        try:
            return self._executions(run_id, artifacts, time.monotonic() + ALL_SECONDS)
        except (Unreachable, AuthError, Refused) as error:
            self._lost = (time.monotonic() + LATER, error)
            raise

    def _executions(self, run_id: str, artifacts: bool, until: float) -> list[Execution]:
        asked = mlmd.message("GetContextByTypeAndNameRequest")(
            type_name=mlmd.PIPELINE_RUN, context_name=run_id
        )
        context = self._call("GetContextByTypeAndName", asked, until).context
        if not context.id:
            return []
        executions = self._all("GetExecutionsByContext", "executions", context.id, until)
        if not artifacts:
            return [_execution(execution, {}, {}) for execution in sorted(executions, key=_made)]
        stored = {
            artifact.id: artifact
            for artifact in self._all("GetArtifactsByContext", "artifacts", context.id, until)
        }
        ids = [execution.id for execution in executions]
        asked = mlmd.message("GetEventsByExecutionIDsRequest")(execution_ids=ids)
        events = self._call("GetEventsByExecutionIDs", asked, until)
        types = self._types(
            {artifact.type_id for artifact in stored.values() if not artifact.type}, until
        )
        sides: dict[tuple[int, int], dict[str, list[StoredArtifact]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for event in sorted(events.events, key=_position):
            if (artifact := stored.get(event.artifact_id)) is not None:
                made = _artifact(artifact, artifact.type or types.get(artifact.type_id, ""))
                sides[event.execution_id, event.type][_key(event)].append(made)
        return [
            _execution(execution, sides[execution.id, mlmd.INPUT], sides[execution.id, mlmd.OUTPUT])
            for execution in sorted(executions, key=_made)
        ]

    def _types(self, ids: Collection[int], until: float) -> dict[int, str]:
        """Names of types of artifacts; older services leave them out of the artifacts."""
        if not ids:
            return {}
        asked = mlmd.message("GetArtifactTypesByIDRequest")(type_ids=sorted(ids))
        return {
            artifact_type.id: artifact_type.name
            for artifact_type in self._call("GetArtifactTypesByID", asked, until).artifact_types
        }

    def _all(self, method: str, items: str, context_id: int, until: float) -> list[Any]:
        stored: list[Any] = []
        token = ""
        limit = PageLimit("ML Metadata", method)
        while True:
            options = {"max_result_size": PAGE, **({"next_page_token": token} if token else {})}
            asked = mlmd.message(f"{method}Request")(context_id=context_id, options=options)
            answer = self._call(method, asked, until)
            page = list(getattr(answer, items))
            stored += page
            token = answer.next_page_token
            if not token:
                return stored
            limit.check(tuple(stored_item.id for stored_item in page), token)

    def _call(self, method: str, request: Any, until: float) -> Any:
        left = round(min(until - time.monotonic(), SECONDS), 1)
        if left <= 0:
            raise Unreachable(f"ML Metadata did not list the whole run within {ALL_SECONDS:g} s.")
        reply = self._http.exchange(
            "POST",
            mlmd.path(method).lstrip("/"),
            data=mlmd.encode(request),
            content_type=mlmd.CONTENT_TYPE,
            repeatable=True,
            read_timeout=left,
            budget=left,
            seconds=left,
        )
        try:
            return mlmd.decode(f"{method}Response", reply.body, reply.headers)
        except mlmd.MlmdError as error:
            if error.code == mlmd.NOT_FOUND:
                return mlmd.message(f"{method}Response")()
            if error.code is None:
                raise Unreachable(
                    f"ML Metadata did not answer {method}: {error}.",
                    hint="Is it served at the address of the pipelines? kfgcp doctor",
                ) from None
            raise BackendError(f"ML Metadata refused {method}: {error}.") from None


def _made(stored: Any) -> tuple[int, int]:
    return stored.create_time_since_epoch, stored.id


def _execution(
    stored: Any,
    inputs: Mapping[str, Sequence[StoredArtifact]],
    outputs: Mapping[str, Sequence[StoredArtifact]],
) -> Execution:
    values = mlmd.values(stored.custom_properties)
    state = dict(enumerate(mlmd.STATES)).get(stored.last_known_state, "UNKNOWN")
    return Execution(
        id=stored.id,
        type=stored.type,
        task=str(values.get("task_name") or ""),
        parent=_number(values.get("parent_dag_id")) or 0,
        iteration=_number(values.get("iteration_index")),
        state=state,
        params=_struct(values.get("inputs")),
        output_params=_struct(values.get("outputs")),
        started_at=_seconds(stored.create_time_since_epoch),
        ended_at=_seconds(stored.last_update_time_since_epoch),
        inputs=dict(inputs),
        outputs={name: items for name, items in outputs.items() if name != LOG},
        logs=tuple(artifact.uri for artifact in outputs.get(LOG, ())),
        pod=str(values.get("pod_name") or ""),
        iterations=_number(values.get("iteration_count")),
        cached=state == "CACHED" or bool(values.get("cached_execution_id")),
    )


def _struct(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _seconds(millis: int) -> float:
    """Unix time; 0 for what is none."""
    return millis / 1000 if 0 <= millis < _YEAR_10000 else 0.0


def _artifact(stored: Any, kind: str) -> StoredArtifact:
    values = shown_metadata(mlmd.values(stored.custom_properties))
    shown = {name: _unwrapped(value) for name, value in values.items()}
    return StoredArtifact(kind or "system.Artifact", stored.uri, shown)


def shown_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an artifact without what the launcher adds for itself."""
    return {name: value for name, value in metadata.items() if name not in _HIDDEN}


def _unwrapped(value: Any) -> Any:
    """A value of metadata as a task gave it: numbers are kept as doubles, booleans as the integers
    0 and 1, lists and objects in an object of their own (StructValueToMLMDValue in client.go)."""
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in ("list", "struct"):
        return next(iter(value.values()))
    return normalize_numbers(value)


def _key(event: Any) -> str:
    return next((step.key for step in event.path.steps if step.WhichOneof("value") == "key"), "")


def _position(event: Any) -> tuple[int, int]:
    """Return what orders the artifacts of a name: those of a list have an index, and logs of
    attempts come in time."""
    index = next(
        (step.index for step in event.path.steps if step.WhichOneof("value") == "index"), 0
    )
    return index, event.milliseconds_since_epoch
