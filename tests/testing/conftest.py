"""What tests of stand-ins share: compiled pipelines, plain HTTP to Vertex, Google's real
clients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from kfgcp.testing import VertexStandIn, vertex
from patience import REQUEST

FINAL = ("PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")


@dataclass
class Rest:
    """Vertex's REST API as plain HTTP; paths are those below the location."""

    env: VertexStandIn
    session: requests.Session

    def url(self, path: str) -> str:
        place = f"projects/{self.env.project}/locations/{self.env.location}"
        return f"{self.env.api_endpoint}/v1/{place}/{path}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url(path), timeout=REQUEST, **options)

    def get(self, path: str, **query: Any) -> Any:
        """The answer as JSON; it must be 200."""
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **query: Any) -> requests.Response:
        return self.call("POST", path, json=body or {}, params=query)

    def refused(self, answer: requests.Response) -> tuple[int, str, str]:
        """Code, status and message of an error, whose form is checked."""
        error = answer.json()["error"]
        assert set(answer.json()) == {"error"}
        assert error["code"] == answer.status_code
        return error["code"], error["status"], error["message"]

    def logs(self, filter: str, **fields: Any) -> Any:
        body = {"resourceNames": [f"projects/{self.env.project}"], "filter": filter, **fields}
        answer = self.session.post(
            f"{self.env.api_endpoint}/v2/entries:list", json=body, timeout=REQUEST
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["entries"]


@pytest.fixture
def env() -> Iterator[VertexStandIn]:
    """Jobs run on the engine."""
    with vertex() as stand_in:
        yield stand_in


@pytest.fixture
def instant() -> Iterator[VertexStandIn]:
    """Jobs are made up."""
    with vertex(mode="instant") as stand_in:
        yield stand_in


def _rest(env: VertexStandIn) -> Iterator[Rest]:
    with requests.Session() as session:
        yield Rest(env, session)


@pytest.fixture
def rest(env: VertexStandIn) -> Iterator[Rest]:
    yield from _rest(env)


@pytest.fixture
def quick(instant: VertexStandIn) -> Iterator[Rest]:
    """Plain HTTP to the stand-in that makes jobs up."""
    yield from _rest(instant)


@pytest.fixture(scope="session")
def spec_of(pipeline: Callable[[str], Path]) -> Callable[[str], Any]:
    """The PipelineSpec of a pipeline in tests/pipelines."""
    return lambda name: next(iter(yaml.safe_load_all(pipeline(name).read_text())))


@pytest.fixture(scope="session")
def features() -> Any:
    """A PipelineSpec with loops, conditions and nested pipelines."""
    file = Path(__file__).parents[1] / "engine" / "specs" / "features-2.14.6.yaml"
    return next(iter(yaml.safe_load_all(file.read_text())))


@pytest.fixture(scope="session")
def body_of(spec_of: Callable[[str], Any]) -> Callable[..., dict[str, Any]]:
    """The body that creates a job: of a pipeline in tests/pipelines, with parameters and further
    fields."""

    def body(
        name: str, params: dict[str, Any] | None = None, root: str = "", **fields: Any
    ) -> dict[str, Any]:
        runtime = {
            "gcsOutputDirectory": root or "gs://stand-in-project-pipelines/runs",
            "parameterValues": params or {},
        }
        return {
            "displayName": name,
            "pipelineSpec": spec_of(name),
            "runtimeConfig": runtime,
            **fields,
        }

    return body


@pytest.fixture(scope="session")
def ended(eventually: Callable[..., Any]) -> Callable[..., Any]:
    """A job once it has ended."""

    def wait(rest: Rest, job_id: str) -> Any:
        def read_ended_job() -> Any:
            job = rest.get(f"pipelineJobs/{job_id}")
            return job if job["state"] in FINAL else None

        return eventually(read_ended_job)

    return wait


@pytest.fixture
def tasks() -> Callable[[Any], dict[str, Any]]:
    """The task details of a job by their unique names."""
    return lambda job: {
        detail["taskUniqueName"]: detail for detail in job["jobDetail"]["taskDetails"]
    }
