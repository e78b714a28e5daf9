"""The fixtures of tests of the Kubeflow stand-in: its API, ML Metadata, kfp's own client."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from kfgcp.backends.kubeflow import mlmd
from kfgcp.testing import KubeflowStandIn, kubeflow
from patience import REQUEST

FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass
class Api:
    """The API over plain HTTP. Paths are relative to /apis/v2beta1."""

    env: KubeflowStandIn
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(
            method, f"{self.env.host}/apis/v2beta1/{path}", timeout=REQUEST, **options
        )

    def get(self, path: str, **query: Any) -> Any:
        """Return the answer as JSON. It must have the status 200."""
        return self.good(self.call("GET", path, params=query))

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Return the answer as JSON. It must have the status 200."""
        return self.good(self.call("POST", path, json=body or {}, params=query))

    def good(self, answer: requests.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(
        self, method: str, path: str, body: Any = None, **query: Any
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

    def run(self, name: str = "run", **body: Any) -> str:
        """Start a run, and return its id."""
        run_id: str = self.post("runs", {"display_name": name, **body})["run_id"]
        return run_id

    def upload(self, text: str, name: str = "pipeline", **query: Any) -> requests.Response:
        """Upload a pipeline with a name."""
        files = {"uploadfile": (f"{name}.yaml", text)}
        return self.call("POST", "pipelines/upload", files=files, params={"name": name, **query})

    def metadata(self, method: str, **fields: Any) -> Any:
        """Return the answer of ML Metadata."""
        request = mlmd.message(f"{method}Request")(**fields)
        answer = self.session.post(
            self.env.host + mlmd.method_path(method),
            data=mlmd.encode_request(request),
            headers=mlmd.HEADERS,
            timeout=REQUEST,
        )
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, mlmd.CONTENT_TYPE)
        return mlmd.decode_response(f"{method}Response", answer.content, answer.headers)

    def executions(self, run_id: str) -> list[tuple[Any, dict[str, Any]]]:
        """Return the executions of a run with their custom properties, sorted by id."""
        context = self.metadata(
            "GetContextByTypeAndName", type_name=mlmd.PIPELINE_RUN, context_name=run_id
        ).context
        executions = self.metadata("GetExecutionsByContext", context_id=context.id).executions
        return [
            (execution, mlmd.values(execution.custom_properties))
            for execution in sorted(executions, key=lambda execution: execution.id)
        ]


@pytest.fixture
def env() -> Iterator[KubeflowStandIn]:
    """Return a stand-in that runs pipelines on the engine."""
    with kubeflow() as stand_in:
        yield stand_in


@pytest.fixture
def instant() -> Iterator[KubeflowStandIn]:
    """Return a stand-in that invents the results of runs."""
    with kubeflow(mode="instant") as stand_in:
        yield stand_in


@pytest.fixture
def api(env: KubeflowStandIn) -> Api:
    return Api(env)


@pytest.fixture
def quick(instant: KubeflowStandIn) -> Api:
    """Return the API of the stand-in that invents results."""
    return Api(instant)


@pytest.fixture
def api_of() -> type[Api]:
    """Return a function that gives the API of a stand-in that a test starts itself."""
    return Api


@pytest.fixture(scope="session")
def spec_of(pipeline: Callable[[str], Path]) -> Callable[[str], Any]:
    """Return a function that gives a new PipelineSpec of a pipeline in tests/pipelines."""
    return lambda name: next(iter(yaml.safe_load_all(pipeline(name).read_text())))


@pytest.fixture(scope="session")
def features_file() -> Path:
    """Return a compiled pipeline with loops, conditions and nested pipelines."""
    return Path(__file__).parents[2] / "engine" / "specs" / "features-2.14.6.yaml"


@pytest.fixture(scope="session")
def guarded_file() -> Path:
    """Return a compiled pipeline with an exit task and a task that fails in spite of its retry."""
    return Path(__file__).parents[2] / "engine" / "specs" / "guarded-2.14.6.yaml"


@pytest.fixture(scope="session")
def ended(eventually: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that waits for the end of a run and returns the run."""

    def wait(api: Api, run_id: str) -> Any:
        def read_ended_run() -> Any:
            run = api.get(f"runs/{run_id}")
            return run if run["state"] in FINAL else None

        return eventually(read_ended_run)

    return wait


@pytest.fixture
def client(env: KubeflowStandIn, home: Path) -> Any:
    """Return kfp's own client, unmodified."""
    import kfp

    return kfp.Client(env.host, existing_token="any")  # noqa: S106
