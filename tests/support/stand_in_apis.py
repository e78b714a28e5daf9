"""The APIs of the stand-ins over plain HTTP, for tests that send requests without a client."""

from dataclasses import dataclass, field
from typing import Any

import requests

from json_types import JsonDict
from kfgcp.backends.kubeflow import mlmd
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from patience import REQUEST


@dataclass
class VertexApi:
    """Vertex AI's REST API over plain HTTP. Paths are relative to the location."""

    env: VertexStandIn
    session: requests.Session

    def url(self, path: str) -> str:
        place = f"projects/{self.env.project}/locations/{self.env.location}"
        return f"{self.env.api_endpoint}/v1/{place}/{path}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url(path), timeout=REQUEST, **options)

    def get(self, path: str, **query: object) -> JsonDict:
        """Return the answer as JSON. It must have the status 200."""
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        body: JsonDict = answer.json()
        return body

    def post(self, path: str, body: object = None, **query: object) -> requests.Response:
        return self.call("POST", path, json=body or {}, params=query)

    def refused(self, answer: requests.Response) -> tuple[int, str, str]:
        """Return the code, the status and the message of an error. Check its form."""
        error = answer.json()["error"]
        assert set(answer.json()) == {"error"}
        assert error["code"] == answer.status_code
        return error["code"], error["status"], error["message"]

    def logs(self, filter: str, **fields: object) -> list[JsonDict]:
        body = {"resourceNames": [f"projects/{self.env.project}"], "filter": filter, **fields}
        answer = self.session.post(
            f"{self.env.api_endpoint}/v2/entries:list", json=body, timeout=REQUEST
        )
        assert answer.status_code == 200, answer.text
        entries: list[JsonDict] = answer.json()["entries"]
        return entries


@dataclass
class KubeflowApi:
    """The API over plain HTTP. Paths are relative to /apis/v2beta1."""

    env: KubeflowStandIn
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(
            method, f"{self.env.host}/apis/v2beta1/{path}", timeout=REQUEST, **options
        )

    def get(self, path: str, **query: object) -> JsonDict:
        """Return the answer as JSON. It must have the status 200."""
        return self.good(self.call("GET", path, params=query))

    def post(self, path: str, body: object = None, **query: object) -> JsonDict:
        """Return the answer as JSON. It must have the status 200."""
        return self.good(self.call("POST", path, json=body or {}, params=query))

    def good(self, answer: requests.Response) -> JsonDict:
        assert answer.status_code == 200, answer.text
        body: JsonDict = answer.json()
        return body

    def refused(
        self, method: str, path: str, body: object = None, **query: object
    ) -> tuple[int, int, str]:
        """Return the HTTP status, the gRPC code and the message of an error. Check its form."""
        answer = self.call(method, path, json=body, params=query)
        error = answer.json()
        old = {"error"} if self.env.version < "2.14" else set()
        assert set(error) - {"details"} == {"code", "message"} | old
        assert error.get("error", error["message"]) == error["message"]
        for detail in error.get("details", ()):
            assert detail["@type"] == "type.googleapis.com/google.rpc.Status"
            if detail["code"] != 13:
                assert detail["message"] in error["message"]
        return answer.status_code, error["code"], error["message"]

    def run(self, name: str = "run", **body: object) -> str:
        """Start a run, and return its id."""
        run_id: str = self.post("runs", {"display_name": name, **body})["run_id"]
        return run_id

    def upload(self, text: str, name: str = "pipeline", **query: object) -> requests.Response:
        """Upload a pipeline with a name."""
        files = {"uploadfile": (f"{name}.yaml", text)}
        return self.call("POST", "pipelines/upload", files=files, params={"name": name, **query})

    def metadata(self, method: str, **fields: object) -> Any:
        """Return the answer of ML Metadata."""
        request = mlmd.message_class(f"{method}Request")(**fields)
        answer = self.session.post(
            self.env.host + mlmd.method_path(method),
            data=mlmd.encode_request(request),
            headers=mlmd.HEADERS,
            timeout=REQUEST,
        )
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, mlmd.CONTENT_TYPE)
        return mlmd.decode_response(f"{method}Response", answer.content, answer.headers)

    def executions(self, run_id: str) -> list[tuple[Any, JsonDict]]:
        """Return the executions of a run with their custom properties, sorted by id."""
        context = self.metadata(
            "GetContextByTypeAndName", type_name=mlmd.PIPELINE_RUN, context_name=run_id
        ).context
        executions = self.metadata("GetExecutionsByContext", context_id=context.id).executions
        return [
            (execution, mlmd.read_properties(execution.custom_properties))
            for execution in sorted(executions, key=lambda execution: execution.id)
        ]
