"""The runs recorded on a complete Kubeflow Pipelines 2.17.0, and a server that replays them."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

from google.protobuf import json_format

from json_types import JsonDict
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.messages import check_run
from kfgcp.spec.json_values import JsonObject
from patience import REQUEST

FOLDER: Final = Path(__file__).parents[1] / "recorded" / "cluster-2.17.0"
RUNS: Final = "/apis/v2beta1/runs/"
EXPERIMENTS: Final = "/apis/v2beta1/experiments/"
EVENT_TYPES: Final = {"INPUT": mlmd.INPUT, "OUTPUT": mlmd.OUTPUT}
NO_SUCH_CONTEXT: Final = 5
"""The gRPC status NOT_FOUND."""


def names() -> list[str]:
    """Return the names of the recorded runs."""
    return sorted(path.parent.name for path in FOLDER.glob("*/workflow.json"))


def pipeline(name: str) -> Path:
    """Return the compiled pipeline of a recorded run."""
    return FOLDER / name / "pipeline.yaml"


def run_answer(name: str) -> JsonDict:
    """Return a new copy of the answer of the server to GET of a run."""
    return json.loads((FOLDER / name / "run.json").read_text())


def metadata(name: str) -> JsonDict:
    """Return a new copy of the data of ML Metadata about a run."""
    return json.loads((FOLDER / name / "mlmd.json").read_text())


def workflow(name: str) -> JsonDict:
    """Return a new copy of Argo's record of a run."""
    return json.loads((FOLDER / name / "workflow.json").read_text())


def read(name: str) -> JsonDict:
    """Return the answer to GET of a run as the backend reads it."""
    return check_run(run_answer(name))


class RecordedMetadata:
    """Answers the calls of ML Metadata for recorded runs.

    Args:
        recordings: what ML Metadata holds, as `metadata` returns it.

    Attributes:
        failures: what is answered instead when the context of a run is asked for, by run id.
    """

    def __init__(self, recordings: list[JsonDict]) -> None:
        self._by_run = {}
        self._by_context = {}
        self._by_execution = {}
        self._types: dict[int, Any] = {}
        self.failures: dict[str, bytes] = {}
        for recording in recordings:
            context = recording["run_context"]
            self._by_run[context["name"]] = recording
            self._by_context[int(context["id"])] = recording
            for execution in recording["executions"]:
                self._by_execution[int(execution["id"])] = recording
            for kind in recording["types"]["artifacts"]:
                self._types[int(kind["id"])] = kind

    def answer(self, method: str, body: bytes) -> bytes:
        """Return the body of an answer: a message and its trailers, or trailers with an error."""
        request = mlmd.decode_request(f"{method}Request", body)
        if method == "GetContextByTypeAndName":
            if request.context_name in self.failures:
                return self.failures[request.context_name]
            recording = self._by_run.get(request.context_name)
            if recording is None:
                return mlmd.encode_error(NO_SUCH_CONTEXT, "there is no such context")
            return _reply(method, {"context": recording["run_context"]})
        if method == "GetExecutionsByContext":
            return _reply(
                method, {"executions": self._by_context[request.context_id]["executions"]}
            )
        if method == "GetArtifactsByContext":
            return _reply(method, {"artifacts": self._by_context[request.context_id]["artifacts"]})
        if method == "GetEventsByExecutionIDs":
            return _reply(method, {"events": self._events(request.execution_ids)})
        if method == "GetArtifactTypesByID":
            types = [self._types[type_id] for type_id in request.type_ids]
            return _reply(method, {"artifact_types": types})
        raise AssertionError(f"no recording answers {method}")

    def _events(self, execution_ids: Iterable[int]) -> list[JsonDict]:
        numbers = set(execution_ids)
        recordings = {
            id(self._by_execution[number]): self._by_execution[number] for number in numbers
        }
        events = [event for recording in recordings.values() for event in recording["events"]]
        return [event for event in events if int(event["execution_id"]) in numbers]


def _reply(method: str, content: JsonObject) -> bytes:
    message = mlmd.message_class(f"{method}Response")()
    json_format.ParseDict(_with_numbers(content), message, ignore_unknown_fields=True)
    return mlmd.encode_response(message)


def _with_numbers(content: Any) -> Any:
    """Return a message in JSON with the numbers of enums instead of their names."""
    if isinstance(content, list):
        return [_with_numbers(item) for item in content]
    if not isinstance(content, Mapping):
        return content
    changed = {
        name: _with_numbers(value) for name, value in content.items() if name != "struct_value"
    }
    if "struct_value" in content:
        changed["struct_value"] = content["struct_value"]
    if changed.get("last_known_state") in mlmd.STATES:
        changed["last_known_state"] = mlmd.STATES.index(changed["last_known_state"])
    if "execution_id" in changed and changed.get("type") in EVENT_TYPES:
        changed["type"] = EVENT_TYPES[changed["type"]]
    if changed.get("state") == "LIVE":
        changed["state"] = mlmd.LIVE
    return changed


class RecordedServer:
    """Answers on loopback like the recorded Kubeflow Pipelines: runs, experiments, ML Metadata and
    logs of pods.

    A test may change what is answered before it asks.

    Attributes:
        runs: the answers by run id.
        later_runs: what takes the place of an answer after each look.
        url: the address.
        metadata: ML Metadata; None when there is none.
        has_pods: whether the pods are still there.
        lost_pods: the names of the pods that are gone while others are still there.
        logs: what pods have instead of what was recorded, by their names.
        objects: what `/artifacts/get` has, by source, bucket and key.
        asked: method and path of each request.
        queries: the parameters of each request.
    """

    def __init__(self, recorded: list[str]) -> None:
        answers = [run_answer(name) for name in recorded]
        self.runs = {answer["run_id"]: answer for answer in answers}
        self.later_runs: dict[str, list[dict[str, Any]]] = {}
        self.metadata: RecordedMetadata | None = RecordedMetadata(
            [metadata(name) for name in recorded]
        )
        self.has_pods = True
        self.lost_pods: set[str] = set()
        self.objects: dict[tuple[str, str, str], bytes] = {}
        self.logs: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.url = ""

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, str, bytes]:
        """Return status, content type and body of an answer."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        self.asked.append((method, url.path))
        self.queries.append(query)
        if url.path.startswith(f"/{mlmd.SERVICE}/") and self.metadata is not None:
            return 200, mlmd.CONTENT_TYPE, self.metadata.answer(url.path.rpartition("/")[2], body)
        if url.path == "/k8s/pod/logs":
            pod = query["podname"]
            is_gone = pod in self.lost_pods or not self.has_pods
            if is_gone or not (pod in self.logs or pod in pod_logs()):
                return 404, "text/plain", b"pod not found"
            log = self.logs[pod] if pod in self.logs else pod_logs()[pod].read_bytes()
            return 200, "text/plain", log
        if url.path == "/artifacts/get":
            content = self.objects.get((query["source"], query["bucket"], query["key"]))
            if content is None:
                return 500, "text/plain", b"Failed to get object in bucket: NoSuchKey"
            peek = int(query.get("peek") or 0)
            return 200, "text/plain", content[:peek] if peek else content
        answer: Any = None
        if url.path.startswith(RUNS):
            run_id = url.path.removeprefix(RUNS)
            answer = self.runs.get(run_id)
            if self.later_runs.get(run_id):
                self.runs[run_id] = self.later_runs[run_id].pop(0)
        elif url.path.startswith(EXPERIMENTS):
            answer = {
                "experiment_id": url.path.removeprefix(EXPERIMENTS),
                "display_name": "default",
            }
        if answer is None:
            return 404, "application/json", b'{"code": 5, "message": "not found"}'
        return 200, "application/json", json.dumps(answer).encode()


@cache
def pod_logs() -> dict[str, Path]:
    """Return the recorded logs by the names of their pods."""
    return {path.stem: path for path in FOLDER.glob("*/pod-logs/*.log")}


Server = TypeVar("Server", bound=RecordedServer)


def serve(recorded: list[str]) -> contextlib.AbstractContextManager[RecordedServer]:
    """Start a server for some recorded runs; it ends with the context."""
    return listen(RecordedServer(recorded))


@contextlib.contextmanager
def listen(server: Server) -> Iterator[Server]:
    """Answer on loopback as a server says, and yield it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = REQUEST

        def do_GET(self) -> None:
            self._reply(b"")

        def do_POST(self) -> None:
            self._reply(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _reply(self, body: bytes) -> None:
            status, kind, content = server.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
