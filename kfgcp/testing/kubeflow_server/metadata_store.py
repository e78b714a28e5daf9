"""ML Metadata beside the API: the calls of `ml_metadata.MetadataStoreService` that tell what a run
has done.

Confirmed by the public source of the server (v2/metadata/client.go and converter.go, v2/driver):
the contexts system.Pipeline and system.PipelineRun, named by the pipeline and the run's id; one
execution for each driver that has run, with the custom properties task_name, display_name, inputs,
outputs, parent_dag_id, iteration_index, iteration_count, total_dag_tasks, pod_name, image,
cached_execution_id and others; `parameter_producer_task` instead of outputs for DAGs; the root DAG
is called `run/ID` and stays RUNNING; CANCELED is a condition that was false; artifacts are named by
the path of their events, metadata are custom properties (bool as int, list and dict in a struct
under `list` and `struct`). An iteration has the name of its loop. What is not reached has no
execution, and nothing says why a task failed.

Since 2.14 task_name is the key of the task and display_name its label, and DAGs other than the root
end COMPLETE or FAILED; before, task_name is the label, and DAGs stay RUNNING. Which version changed
that is not confirmed, neither are: that containers which were killed stay RUNNING, that `type` is
filled beside type_id (`names_types` leaves it out), and what cache_fingerprint is made of.
`options` without max_result_size means 20 items, as the proto says.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.execution import EXECUTOR_LOGS
from kfgcp.testing.kubeflow_server.executions import Unit, units
from kfgcp.testing.kubeflow_server.records import Record
from kfgcp.testing.server import Request, Response

T = TypeVar("T")

MAX_EXECUTIONS: Final = 100_000
"""Of a run; what their ids leave room for."""
_PAGE: Final = 20
_MAX_PAGE: Final = 100
_INVALID: Final = 3
_UNIMPLEMENTED: Final = 12
_PARENT: Final = re.compile(r"\s*custom_properties\.parent_dag_id\.int_value\s*=\s*(\d+)\s*")
_EXECUTION_TYPES: Final = {mlmd.DAG: 11, mlmd.CONTAINER: 12, mlmd.IMPORTER: 13}
_CONTEXT_TYPES: Final = {mlmd.PIPELINE: 9, mlmd.PIPELINE_RUN: 10}
_FIRST_ARTIFACT_TYPE: Final = 20


class MetadataStore:
    """The metadata of runs, made when it is asked for.

    Args:
        find: gives the run of an id, None when there is none.
        by_number: gives the run of a number.
        runs: gives all of them, oldest first.
        modern: whether the server is 2.14 or newer.
        log_uri: gives the artifact with the log of a container's last attempt, empty when there is
            none.

    Attributes:
        names_types: whether executions, artifacts and contexts have the name of their type beside
            its id.
    """

    def __init__(
        self,
        find: Callable[[str], Record | None],
        by_number: Callable[[int], Record | None],
        runs: Callable[[], Sequence[Record]],
        modern: bool,
        log_uri: Callable[[Record, str], str] = lambda record, path: "",
    ) -> None:
        self.names_types = True
        self._log_uri = log_uri
        self._find, self._by_number, self._runs = find, by_number, runs
        self._modern = modern
        self._artifacts: dict[str, int] = {}
        self._artifact_types: dict[str, int] = {}
        self._pipelines: dict[str, int] = {}
        self._lock = threading.RLock()
        self._methods: Mapping[str, Callable[[Any, Any], None]] = {
            "GetContextByTypeAndName": self._context,
            "GetExecutionsByContext": self._executions_by_context,
            "GetArtifactsByContext": self._artifacts_by_context,
            "GetEventsByExecutionIDs": self._events,
            "GetArtifactTypes": self._all_artifact_types,
            "GetArtifactTypesByID": self._some_artifact_types,
            "GetExecutionTypes": self._all_execution_types,
            "GetExecutionTypesByID": self._some_execution_types,
        }

    def call(self, request: Request) -> Response:
        """The answer to a call: always 200, a failure is in its trailers."""
        method = request.path.rpartition("/")[2]
        headers = {"Content-Type": mlmd.CONTENT_TYPE}
        try:
            if method not in self._methods:
                raise mlmd.MlmdError(f"the stand-in has no {method}", _UNIMPLEMENTED)
            answer = mlmd.message(f"{method}Response")()
            self._methods[method](mlmd.received(f"{method}Request", request.body), answer)
        except mlmd.MlmdError as error:
            return Response(body=mlmd.failure(error.code or _INVALID, str(error)), headers=headers)
        return Response(body=mlmd.answer(answer), headers=headers)

    def execution_id(self, record: Record, path: str) -> int:
        """The id of the execution of a task; the root's path is empty."""
        return record.number * MAX_EXECUTIONS + record.execution_number(path)

    def execution_ids(self, record: Record) -> dict[str, int]:
        """path -> id, of what was reached."""
        return {unit.path: self.execution_id(record, unit.path) for unit in units(record)}

    # -- calls

    def _context(self, request: Any, answer: Any) -> None:
        name, kind = request.context_name, request.type_name
        if (
            kind == mlmd.PIPELINE_RUN
            and (record := self._find(name)) is not None
            and record.run().started_at
        ):
            answer.context.id = record.number * 2
            self._typed(answer.context, kind, _CONTEXT_TYPES)
            answer.context.name = name
            for key, item in {
                "namespace": record.namespace or "kubeflow",
                "resource_name": "run-resource",
                "pipeline_root": f"{record.root.rstrip('/')}/{record.graph.name}/{record.id}",
                "store_session_info": "{}",
            }.items():
                mlmd.store(answer.context.custom_properties, key, item)
        elif kind == mlmd.PIPELINE and any(record.graph.name == name for record in self._runs()):
            with self._lock:
                answer.context.id = self._pipelines.setdefault(name, len(self._pipelines)) * 2 + 1
            self._typed(answer.context, kind, _CONTEXT_TYPES)
            answer.context.name = name

    def _executions_by_context(self, request: Any, answer: Any) -> None:
        found = [
            self._execution(record, unit)
            for record in self._records(request.context_id)
            for unit in units(record)
        ]
        if request.options.filter_query:
            match = _PARENT.fullmatch(request.options.filter_query)
            if match is None:
                raise mlmd.MlmdError(
                    "the stand-in filters by custom_properties.parent_dag_id only", _UNIMPLEMENTED
                )
            wanted = int(match[1])
            found = [
                item
                for item in found
                if item.custom_properties["parent_dag_id"].int_value == wanted
            ]
        found.sort(key=lambda item: item.id)
        items, answer.next_page_token = _page(request, found)
        answer.executions.extend(items)

    def _artifacts_by_context(self, request: Any, answer: Any) -> None:
        made: dict[int, Any] = {}
        for record in self._records(request.context_id):
            for unit in units(record):
                for name, uri in self._outputs(record, unit):
                    number = self._artifact_id(uri)
                    made.setdefault(number, self._artifact(record, unit, name, uri, number))
        items, answer.next_page_token = _page(request, list(made.values()))
        answer.artifacts.extend(items)

    def _events(self, request: Any, answer: Any) -> None:
        numbers = {number // MAX_EXECUTIONS for number in request.execution_ids}
        records = [record for number in numbers if (record := self._by_number(number)) is not None]
        known = {
            self.execution_id(each, unit.path): (each, unit)
            for each in records
            for unit in units(each)
        }
        for number in request.execution_ids:
            if number not in known:
                continue
            record, unit = known[number]
            for kind, pairs in (
                (mlmd.INPUT, unit.input_artifacts),
                (mlmd.OUTPUT, self._outputs(record, unit)),
            ):
                for name, uri in pairs:
                    event = answer.events.add(
                        artifact_id=self._artifact_id(uri),
                        execution_id=number,
                        type=kind,
                        milliseconds_since_epoch=unit.ended
                        if kind == mlmd.OUTPUT
                        else unit.started,
                    )
                    event.path.steps.add(key=name)

    def _outputs(self, record: Record, unit: Unit) -> tuple[tuple[str, str], ...]:
        """The artifacts that a task put out, with that of its log."""
        uri = self._log_uri(record, unit.path) if unit.pod and unit.ended else ""
        return (*unit.output_artifacts, *([(EXECUTOR_LOGS, uri)] if uri else []))

    def _all_artifact_types(self, request: Any, answer: Any) -> None:
        for name, number in sorted(self._artifact_types.items()):
            answer.artifact_types.add(id=number, name=name)

    def _some_artifact_types(self, request: Any, answer: Any) -> None:
        for name, number in self._artifact_types.items():
            if number in request.type_ids:
                answer.artifact_types.add(id=number, name=name)

    def _all_execution_types(self, request: Any, answer: Any) -> None:
        for name, number in _EXECUTION_TYPES.items():
            answer.execution_types.add(id=number, name=name)

    def _some_execution_types(self, request: Any, answer: Any) -> None:
        for name, number in _EXECUTION_TYPES.items():
            if number in request.type_ids:
                answer.execution_types.add(id=number, name=name)

    # -- messages

    def _execution(self, record: Record, unit: Unit) -> Any:
        number = self.execution_id(record, unit.path)
        made = mlmd.message("Execution")(
            id=number,
            last_known_state=mlmd.STATES.index(unit.state(self._modern)),
            create_time_since_epoch=unit.started,
            last_update_time_since_epoch=unit.ended or unit.started,
        )
        self._typed(made, unit.kind, _EXECUTION_TYPES)
        if not unit.path:
            made.name = f"run/{record.id}"
        for key, item in self._properties(record, unit):
            mlmd.store(made.custom_properties, key, item)
        return made

    def _properties(self, record: Record, unit: Unit) -> Iterator[tuple[str, Any]]:
        yield "task_name", unit.key if self._modern else unit.label
        yield "display_name", unit.label if self._modern else ""
        if unit.kind != mlmd.IMPORTER:
            yield "inputs", unit.inputs
        if unit.path:
            yield "parent_dag_id", self.execution_id(record, unit.parent)
        if unit.iteration is not None:
            yield "iteration_index", unit.iteration
        if unit.iterations is not None:
            yield "iteration_count", unit.iterations
        if unit.kind == mlmd.DAG and unit.path:
            yield "total_dag_tasks", unit.total
            yield "parameter_producer_task", unit.producers
        if unit.kind == mlmd.CONTAINER:
            yield "pod_name", unit.pod
            yield "pod_uid", unit.pod and str(hashlib.sha256(unit.pod.encode()).hexdigest()[:32])
            yield "namespace", record.namespace or "kubeflow"
            yield "image", unit.image
            if unit.fingerprint:
                yield "cache_fingerprint", unit.fingerprint
            if unit.cached and (first := self._first(record, unit)):
                yield "cached_execution_id", str(first)
        if unit.outputs is not None:
            yield "outputs", unit.outputs

    def _first(self, record: Record, unit: Unit) -> int | None:
        """The execution that a cached one takes its outputs from: the newest earlier success of the
        same task."""
        for other in reversed(self._runs()):
            if other.number >= record.number or other.graph.name != record.graph.name:
                continue
            for earlier in units(other):
                if (
                    earlier.path == unit.path
                    and earlier.succeeded
                    and earlier.inputs == unit.inputs
                ):
                    return self.execution_id(other, earlier.path)
        return None

    def _artifact(self, record: Record, unit: Unit, name: str, uri: str, number: int) -> Any:
        kind, metadata = unit.artifact(name, uri)
        made = mlmd.message("Artifact")(
            id=number,
            uri=uri,
            state=mlmd.LIVE,
            create_time_since_epoch=unit.ended,
            last_update_time_since_epoch=unit.ended,
        )
        with self._lock:
            self._artifact_types.setdefault(kind, _FIRST_ARTIFACT_TYPE + len(self._artifact_types))
        self._typed(made, kind, self._artifact_types)
        for key, item in metadata.items():
            if item is not None:
                mlmd.store(made.custom_properties, key, _stored(item))
        for key, item in (("display_name", name), ("store_session_info", "{}")):
            if key not in metadata:
                mlmd.store(made.custom_properties, key, item)
        return made

    def _typed(self, made: Any, kind: str, types: Mapping[str, int]) -> None:
        made.type_id = types[kind]
        if self.names_types:
            made.type = kind

    def _artifact_id(self, uri: str) -> int:
        with self._lock:
            return self._artifacts.setdefault(uri, len(self._artifacts) + 1)

    def _records(self, context: int) -> list[Record]:
        """The runs of a context."""
        if context % 2 == 0:
            record = self._by_number(context // 2)
            return [record] if record is not None else []
        names = {number: name for name, number in self._pipelines.items()}
        return [record for record in self._runs() if record.graph.name == names.get(context // 2)]


def _stored(item: Any) -> Any:
    """A metadata value as the server stores it: numbers are double, a bool is int."""
    if isinstance(item, bool):
        return int(item)
    if isinstance(item, int):
        return float(item)
    if isinstance(item, Mapping):
        return {"struct": item}
    return {"list": item} if isinstance(item, (list, tuple)) else item


def _page(request: Any, items: list[T]) -> tuple[list[T], str]:
    if not request.HasField("options"):
        return items, ""
    options = request.options
    size = options.max_result_size if options.HasField("max_result_size") else _PAGE
    if size < 1 or (options.next_page_token and not options.next_page_token.isdigit()):
        raise mlmd.MlmdError("max_result_size or next_page_token is invalid", _INVALID)
    start = int(options.next_page_token or 0)
    end = start + min(size, _MAX_PAGE)
    return items[start:end], str(end) if end < len(items) else ""
