"""The stand-in of ML Metadata: the calls of `ml_metadata.MetadataStoreService` that read runs.

The public source of the server confirms (v2/metadata/client.go and converter.go, v2/driver):

- The contexts are system.Pipeline, with the name of the pipeline, and system.PipelineRun, with the
  id of the run.
- Each driver that has run has created one execution. Its custom properties are task_name,
  display_name, inputs, outputs, parent_dag_id, iteration_index, iteration_count, total_dag_tasks,
  pod_name, image, cached_execution_id and others. DAGs have `parameter_producer_task` instead of
  outputs.
- The root DAG has the name `run/ID` and stays RUNNING. CANCELED means that a condition was false.
  An iteration has the name of its loop. A task that was not reached has no execution. An execution
  does not say why its task failed.
- The name of an artifact is in the path of its events. The metadata of an artifact are custom
  properties: a bool is stored as an int, and a list or a dict in a struct with the key `list` or
  `struct`.

Since 2.14 task_name is the key of the task and display_name is its label. DAGs other than the root
end COMPLETE or FAILED. Before 2.14 task_name is the label, and DAGs stay RUNNING.

Not confirmed:

- which version changed this;
- that the execution of a container that was killed stays RUNNING;
- that the server fills both `type` and type_id (a test can set `names_types` to leave out `type`);
- which values the server hashes for cache_fingerprint.

`options` without max_result_size mean 20 items, as the proto says.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.execution import EXECUTOR_LOGS
from kfgcp.testing.kubeflow_server.executions import (
    ArtifactUris,
    TaskExecution,
    list_executions,
)
from kfgcp.testing.kubeflow_server.records import RunRecord
from kfgcp.testing.server import Request, Response

T = TypeVar("T")

# The id of an execution is the number of its run * MAX_EXECUTIONS + its number in the run. So a run
# can have fewer than this many executions.
MAX_EXECUTIONS: Final = 100_000

# The default and the upper bound of ListOperationOptions.max_result_size in metadata_store.proto.
_DEFAULT_PAGE: Final = 20
_MAX_PAGE: Final = 100

# Codes of gRPC.
_INVALID: Final = 3
_UNIMPLEMENTED: Final = 12

_PARENT_FILTER: Final = re.compile(r"\s*custom_properties\.parent_dag_id\.int_value\s*=\s*(\d+)\s*")
# Ids of types. A client must not depend on them: a real server numbers types as they are created.
_EXECUTION_TYPES: Final = {mlmd.DAG: 11, mlmd.CONTAINER: 12, mlmd.IMPORTER: 13}
_CONTEXT_TYPES: Final = {mlmd.PIPELINE: 9, mlmd.PIPELINE_RUN: 10}
_FIRST_ARTIFACT_TYPE: Final = 20

# The namespace of runs in single-user mode.
_NAMESPACE: Final = "kubeflow"


class MetadataStore:
    """The metadata of runs, made from the runs at each call.

    Args:
        find_run: gives the run with an id, None when there is none.
        run_by_number: gives the run with a number, None when there is none.
        list_runs: gives all runs, the oldest first.
        modern: whether the server is 2.14 or newer.
        log_uri: gives the URI of the artifact with the log of a task's last attempt, empty when
            there is none.

    Attributes:
        names_types: whether executions, artifacts and contexts have the name of their type beside
            its id.
    """

    def __init__(
        self,
        find_run: Callable[[str], RunRecord | None],
        run_by_number: Callable[[int], RunRecord | None],
        list_runs: Callable[[], Sequence[RunRecord]],
        modern: bool,
        log_uri: Callable[[RunRecord, str], str] = lambda record, path: "",
    ) -> None:
        self.names_types = True
        self._log_uri = log_uri
        self._find_run = find_run
        self._run_by_number = run_by_number
        self._list_runs = list_runs
        self._modern = modern
        self._artifact_ids: dict[str, int] = {}
        self._artifact_types: dict[str, int] = {}
        self._pipeline_numbers: dict[str, int] = {}
        self._lock = threading.RLock()
        self._methods: Mapping[str, Callable[[mlmd.Message, mlmd.Message], None]] = {
            "GetContextByTypeAndName": self._get_context,
            "GetExecutionsByContext": self._get_executions,
            "GetArtifactsByContext": self._get_artifacts,
            "GetEventsByExecutionIDs": self._get_events,
            "GetArtifactTypes": self._get_artifact_types,
            "GetArtifactTypesByID": self._get_artifact_types_by_id,
            "GetExecutionTypes": self._get_execution_types,
            "GetExecutionTypesByID": self._get_execution_types_by_id,
        }

    def call(self, request: Request) -> Response:
        """Return the answer to a call: HTTP status 200, with the gRPC error of a failed call."""
        method = request.path.rpartition("/")[2]
        headers = {"Content-Type": mlmd.CONTENT_TYPE}
        try:
            if method not in self._methods:
                raise mlmd.MlmdError(f"the stand-in has no {method}", _UNIMPLEMENTED)
            call_request = mlmd.decode_request(f"{method}Request", request.body)
            response = mlmd.message_class(f"{method}Response")()
            self._methods[method](call_request, response)
        except mlmd.MlmdError as error:
            return Response(
                body=mlmd.encode_error(error.code or _INVALID, str(error)), headers=headers
            )
        return Response(body=mlmd.encode_response(response), headers=headers)

    def execution_id(self, record: RunRecord, path: str) -> int:
        """Return the id of the execution of a task. The path of the root DAG is empty."""
        return record.number * MAX_EXECUTIONS + record.execution_number(path)

    def execution_ids(self, record: RunRecord) -> dict[str, int]:
        """Return path -> id for the executions of a run."""
        return {
            execution.path: self.execution_id(record, execution.path)
            for execution in list_executions(record)
        }

    # -- methods of the service: each fills the fields of its response

    def _get_context(self, request: mlmd.Message, response: mlmd.Message) -> None:
        name = request.context_name
        if request.type_name == mlmd.PIPELINE_RUN:
            record = self._find_run(name)
            # The root driver creates the context, so a run that has not started has none.
            if record is not None and record.current_run().started_at:
                self._fill_run_context(response.context, record)
        elif request.type_name == mlmd.PIPELINE and self._has_pipeline(name):
            self._fill_pipeline_context(response.context, name)

    def _get_executions(self, request: mlmd.Message, response: mlmd.Message) -> None:
        executions = []
        for record in self._find_runs_of_context(request.context_id):
            executions += [
                self._format_execution(record, execution) for execution in list_executions(record)
            ]
        if request.options.filter_query:
            parent_id = _read_parent_filter(request.options.filter_query)
            executions = [item for item in executions if _parent_id(item) == parent_id]
        executions.sort(key=lambda item: item.id)
        page, response.next_page_token = _select_page(request, executions)
        response.executions.extend(page)

    def _get_artifacts(self, request: mlmd.Message, response: mlmd.Message) -> None:
        artifacts_by_id: dict[int, mlmd.Message] = {}
        for record in self._find_runs_of_context(request.context_id):
            for execution in list_executions(record):
                for name, uri in self._output_artifacts(record, execution):
                    artifact = self._format_artifact(execution, name, uri)
                    # Tasks and nested pipelines can share an artifact. It keeps the name that the
                    # first of them gives it.
                    artifacts_by_id.setdefault(artifact.id, artifact)
        page, response.next_page_token = _select_page(request, list(artifacts_by_id.values()))
        response.artifacts.extend(page)

    def _get_events(self, request: mlmd.Message, response: mlmd.Message) -> None:
        executions_by_id: dict[int, tuple[RunRecord, TaskExecution]] = {}
        for run_number in {number // MAX_EXECUTIONS for number in request.execution_ids}:
            record = self._run_by_number(run_number)
            if record is None:
                continue
            for execution in list_executions(record):
                execution_id = self.execution_id(record, execution.path)
                executions_by_id[execution_id] = (record, execution)
        for execution_id in request.execution_ids:
            if execution_id not in executions_by_id:
                continue
            record, execution = executions_by_id[execution_id]
            inputs = execution.input_artifacts
            outputs = self._output_artifacts(record, execution)
            self._add_events(response, execution_id, mlmd.INPUT, inputs, execution.started)
            self._add_events(response, execution_id, mlmd.OUTPUT, outputs, execution.ended)

    def _get_artifact_types(self, request: mlmd.Message, response: mlmd.Message) -> None:
        for name, type_id in sorted(self._artifact_types.items()):
            response.artifact_types.add(id=type_id, name=name)

    def _get_artifact_types_by_id(self, request: mlmd.Message, response: mlmd.Message) -> None:
        for name, type_id in self._artifact_types.items():
            if type_id in request.type_ids:
                response.artifact_types.add(id=type_id, name=name)

    def _get_execution_types(self, request: mlmd.Message, response: mlmd.Message) -> None:
        for name, type_id in _EXECUTION_TYPES.items():
            response.execution_types.add(id=type_id, name=name)

    def _get_execution_types_by_id(self, request: mlmd.Message, response: mlmd.Message) -> None:
        for name, type_id in _EXECUTION_TYPES.items():
            if type_id in request.type_ids:
                response.execution_types.add(id=type_id, name=name)

    # -- contexts: the context of a run has an even id, the context of a pipeline an odd id

    def _fill_run_context(self, context: mlmd.Message, record: RunRecord) -> None:
        context.id = record.number * 2
        self._set_type(context, mlmd.PIPELINE_RUN, _CONTEXT_TYPES)
        context.name = record.id
        properties = {
            "namespace": record.namespace or _NAMESPACE,
            "resource_name": "run-resource",
            "pipeline_root": f"{record.root.rstrip('/')}/{record.graph.name}/{record.id}",
            "store_session_info": "{}",
        }
        for key, value in properties.items():
            mlmd.set_property(context.custom_properties, key, value)

    def _fill_pipeline_context(self, context: mlmd.Message, name: str) -> None:
        with self._lock:
            number = self._pipeline_numbers.setdefault(name, len(self._pipeline_numbers))
        context.id = number * 2 + 1
        self._set_type(context, mlmd.PIPELINE, _CONTEXT_TYPES)
        context.name = name

    def _has_pipeline(self, name: str) -> bool:
        """Return whether any run has a pipeline with this name."""
        return any(record.graph.name == name for record in self._list_runs())

    def _find_runs_of_context(self, context_id: int) -> list[RunRecord]:
        if context_id % 2 == 0:
            record = self._run_by_number(context_id // 2)
            return [record] if record is not None else []
        for name, number in self._pipeline_numbers.items():
            if number == context_id // 2:
                return [record for record in self._list_runs() if record.graph.name == name]
        return []

    # -- executions

    def _format_execution(self, record: RunRecord, execution: TaskExecution) -> mlmd.Message:
        message = mlmd.message_class("Execution")(
            id=self.execution_id(record, execution.path),
            last_known_state=mlmd.STATES.index(execution.last_known_state(self._modern)),
            create_time_since_epoch=execution.started,
            last_update_time_since_epoch=execution.ended or execution.started,
        )
        self._set_type(message, execution.execution_type, _EXECUTION_TYPES)
        if not execution.path:
            message.name = f"run/{record.id}"
        for key, value in self._execution_properties(record, execution):
            mlmd.set_property(message.custom_properties, key, value)
        return message

    def _execution_properties(
        self, record: RunRecord, execution: TaskExecution
    ) -> Iterator[tuple[str, object]]:
        yield "task_name", execution.key if self._modern else execution.label
        yield "display_name", execution.label if self._modern else ""
        if execution.execution_type != mlmd.IMPORTER:
            yield "inputs", execution.inputs
        if execution.path:
            yield "parent_dag_id", self.execution_id(record, execution.parent_path)
        if execution.iteration is not None:
            yield "iteration_index", execution.iteration
        if execution.iteration_count is not None:
            yield "iteration_count", execution.iteration_count
        if execution.execution_type == mlmd.DAG and execution.path:
            yield "total_dag_tasks", execution.task_count
            yield "parameter_producer_task", execution.producers
        if execution.execution_type == mlmd.CONTAINER:
            yield from self._container_properties(record, execution)
        if execution.outputs is not None:
            yield "outputs", execution.outputs

    def _container_properties(
        self, record: RunRecord, execution: TaskExecution
    ) -> Iterator[tuple[str, object]]:
        yield "pod_name", execution.pod
        yield "pod_uid", _make_uid(execution.pod) if execution.pod else ""
        yield "namespace", record.namespace or _NAMESPACE
        yield "image", execution.image
        if execution.fingerprint:
            yield "cache_fingerprint", execution.fingerprint
        if execution.is_cached:
            cached_id = self._find_cached_execution(record, execution)
            if cached_id is not None:
                yield "cached_execution_id", str(cached_id)

    def _find_cached_execution(self, record: RunRecord, execution: TaskExecution) -> int | None:
        """Return the id of the execution whose outputs a cached execution reuses.

        This is the newest execution of the same task with the same inputs that succeeded in an
        earlier run.
        """
        for other in reversed(self._list_runs()):
            if other.number >= record.number or other.graph.name != record.graph.name:
                continue
            for earlier in list_executions(other):
                is_same_task = earlier.path == execution.path and earlier.inputs == execution.inputs
                if is_same_task and earlier.has_succeeded:
                    return self.execution_id(other, earlier.path)
        return None

    # -- artifacts

    def _output_artifacts(self, record: RunRecord, execution: TaskExecution) -> ArtifactUris:
        """Return the output artifacts of a task, and the artifact with its log."""
        if not execution.pod or not execution.ended:
            return execution.output_artifacts
        uri = self._log_uri(record, execution.path)
        if not uri:
            return execution.output_artifacts
        return execution.output_artifacts + ((EXECUTOR_LOGS, uri),)

    def _format_artifact(self, execution: TaskExecution, name: str, uri: str) -> mlmd.Message:
        type_name, metadata = execution.describe_artifact(name, uri)
        message = mlmd.message_class("Artifact")(
            id=self._artifact_id(uri),
            uri=uri,
            state=mlmd.LIVE,
            create_time_since_epoch=execution.ended,
            last_update_time_since_epoch=execution.ended,
        )
        with self._lock:
            next_type_id = _FIRST_ARTIFACT_TYPE + len(self._artifact_types)
            self._artifact_types.setdefault(type_name, next_type_id)
        self._set_type(message, type_name, self._artifact_types)
        properties = {
            key: _convert_metadata(value) for key, value in metadata.items() if value is not None
        }
        if "display_name" not in metadata:
            properties["display_name"] = name
        if "store_session_info" not in metadata:
            properties["store_session_info"] = "{}"
        for key, value in properties.items():
            mlmd.set_property(message.custom_properties, key, value)
        return message

    def _artifact_id(self, uri: str) -> int:
        with self._lock:
            return self._artifact_ids.setdefault(uri, len(self._artifact_ids) + 1)

    def _add_events(
        self,
        response: mlmd.Message,
        execution_id: int,
        event_type: int,
        artifacts: ArtifactUris,
        time: int,
    ) -> None:
        """Add the events of the inputs or the outputs of an execution.

        Args:
            response: the response of GetEventsByExecutionIDs.
            execution_id: the id of the execution.
            event_type: `mlmd.INPUT` or `mlmd.OUTPUT`.
            artifacts: the inputs or the outputs.
            time: milliseconds since 1970.
        """
        for name, uri in artifacts:
            event = response.events.add(
                artifact_id=self._artifact_id(uri),
                execution_id=execution_id,
                type=event_type,
                milliseconds_since_epoch=time,
            )
            event.path.steps.add(key=name)

    def _set_type(self, message: mlmd.Message, type_name: str, type_ids: Mapping[str, int]) -> None:
        message.type_id = type_ids[type_name]
        if self.names_types:
            message.type = type_name


def _make_uid(pod: str) -> str:
    return hashlib.sha256(pod.encode()).hexdigest()[:32]


def _read_parent_filter(query: str) -> int:
    """Return the id of the parent DAG that a filter selects. Raise MlmdError for another filter."""
    match = _PARENT_FILTER.fullmatch(query)
    if match is None:
        raise mlmd.MlmdError(
            "the stand-in filters by custom_properties.parent_dag_id only", _UNIMPLEMENTED
        )
    return int(match[1])


def _parent_id(execution: mlmd.Message) -> int:
    return int(execution.custom_properties["parent_dag_id"].int_value)


def _convert_metadata(value: object) -> object:
    """Return a metadata value as the server stores it: numbers are double, a bool is an int."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return float(value)
    if isinstance(value, Mapping):
        return {"struct": value}
    if isinstance(value, (list, tuple)):
        return {"list": value}
    return value


def _select_page(request: mlmd.Message, items: list[T]) -> tuple[list[T], str]:
    """Return a page, and the token of the next page: the number of items before that page."""
    if not request.HasField("options"):
        return items, ""
    options = request.options
    size = options.max_result_size if options.HasField("max_result_size") else _DEFAULT_PAGE
    token = options.next_page_token
    if size < 1 or (token and not token.isdigit()):
        raise mlmd.MlmdError("max_result_size or next_page_token is invalid", _INVALID)
    start = int(token or 0)
    end = start + min(size, _MAX_PAGE)
    next_token = str(end) if end < len(items) else ""
    return items[start:end], next_token
