"""What tests of the Kubeflow stand-in share: plain HTTP to its API, ML Metadata, kfp's own
client."""

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
    """The API as plain HTTP; paths are those below /apis/v2beta1."""

    env: KubeflowStandIn
    session: requests.Session = field(default_factory=requests.Session)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(
            method, f"{self.env.host}/apis/v2beta1/{path}", timeout=REQUEST, **options
        )

    def get(self, path: str, **query: Any) -> Any:
        """The answer as JSON; it must be 200."""
        return self.good(self.call("GET", path, params=query))

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """The answer as JSON; it must be 200."""
        return self.good(self.call("POST", path, json=body or {}, params=query))

    def good(self, answer: requests.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(
        self, method: str, path: str, body: Any = None, **query: Any
    ) -> tuple[int, int, str]:
        """HTTP status, gRPC code and message of an error, whose form is checked."""
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
        """Starts a run; its id."""
        run_id: str = self.post("runs", {"display_name": name, **body})["run_id"]
        return run_id

    def upload(self, text: str, name: str = "pipeline", **query: Any) -> requests.Response:
        """Upload a pipeline of that name."""
        files = {"uploadfile": (f"{name}.yaml", text)}
        return self.call("POST", "pipelines/upload", files=files, params={"name": name, **query})

    def metadata(self, method: str, **fields: Any) -> Any:
        """The answer of ML Metadata."""
        request = mlmd.message_class(f"{method}Request")(**fields)
        answer = self.session.post(
            self.env.host + mlmd.method_path(method),
            data=mlmd.encode_request(request),
            headers=mlmd.HEADERS,
            timeout=REQUEST,
        )
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, mlmd.CONTENT_TYPE)
        return mlmd.decode_response(f"{method}Response", answer.content, answer.headers)

    def executions(self, run_id: str) -> list[tuple[Any, dict[str, Any]]]:
        """The executions of a run with their custom properties, in the order of their ids."""
        context = self.metadata(
            "GetContextByTypeAndName", type_name=mlmd.PIPELINE_RUN, context_name=run_id
        ).context
        found = self.metadata("GetExecutionsByContext", context_id=context.id).executions
        return [
            (each, mlmd.read_properties(each.custom_properties))
            for each in sorted(found, key=lambda execution: execution.id)
        ]


@pytest.fixture
def env() -> Iterator[KubeflowStandIn]:
    """Runs run on the engine."""
    with kubeflow() as opened:
        yield opened


@pytest.fixture
def instant() -> Iterator[KubeflowStandIn]:
    """Runs are made up."""
    with kubeflow(mode="instant") as opened:
        yield opened


@pytest.fixture
def api(env: KubeflowStandIn) -> Api:
    return Api(env)


@pytest.fixture
def quick(instant: KubeflowStandIn) -> Api:
    """The API of the stand-in that makes runs up."""
    return Api(instant)


@pytest.fixture
def api_of() -> type[Api]:
    """Makes the API of a stand-in that a test opens itself."""
    return Api


@pytest.fixture(scope="session")
def spec_of(pipeline: Callable[[str], Path]) -> Callable[[str], Any]:
    """The PipelineSpec of a pipeline in tests/pipelines, a new one each time."""
    return lambda name: next(iter(yaml.safe_load_all(pipeline(name).read_text())))


@pytest.fixture(scope="session")
def features_file() -> Path:
    """A compiled pipeline with loops, conditions and nested pipelines."""
    return Path(__file__).parents[2] / "engine" / "specs" / "features-2.14.6.yaml"


@pytest.fixture(scope="session")
def guarded_file() -> Path:
    """A compiled pipeline with an exit task that learns the final status, and a retry that does not
    help."""
    return Path(__file__).parents[2] / "engine" / "specs" / "guarded-2.14.6.yaml"


@pytest.fixture(scope="session")
def ended(eventually: Callable[..., Any]) -> Callable[..., Any]:
    """A run once it has ended."""

    def wait(api: Api, run_id: str) -> Any:
        def done() -> Any:
            run = api.get(f"runs/{run_id}")
            return run if run["state"] in FINAL else None

        return eventually(done)

    return wait


@pytest.fixture
def client(env: KubeflowStandIn, home: Path) -> Any:
    """kfp's own client, unmodified."""
    import kfp

    return kfp.Client(env.host, existing_token="any")  # noqa: S106
