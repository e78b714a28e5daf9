"""The fixtures of tests of stand-ins: pipelines, plain HTTP to Vertex AI, Google's own clients."""

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
    """Vertex AI's REST API over plain HTTP. Paths are relative to the location."""

    env: VertexStandIn
    session: requests.Session

    def url(self, path: str) -> str:
        place = f"projects/{self.env.project}/locations/{self.env.location}"
        return f"{self.env.api_endpoint}/v1/{place}/{path}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url(path), timeout=REQUEST, **options)

    def get(self, path: str, **query: Any) -> Any:
        """Return the answer as JSON. It must have the status 200."""
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, **query: Any) -> requests.Response:
        return self.call("POST", path, json=body or {}, params=query)

    def refused(self, answer: requests.Response) -> tuple[int, str, str]:
        """Return the code, the status and the message of an error. Check its form."""
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
    """Return a stand-in that runs jobs on the engine."""
    with vertex() as stand_in:
        yield stand_in


@pytest.fixture
def instant() -> Iterator[VertexStandIn]:
    """Return a stand-in that invents the results of jobs."""
    with vertex(mode="instant") as stand_in:
        yield stand_in


@pytest.fixture
def aiplatform(env: VertexStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the client of Vertex AI, initialised for the stand-in.

    Before each submission the client asks Cloud Resource Manager for the number of the project.
    That is a gRPC service at a fixed address, which the stand-in cannot replace. So this fixture
    answers the question.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google.cloud.aiplatform import initializer, pipeline_jobs
    from google.cloud.aiplatform.utils import resource_manager_utils

    monkeypatch.setattr(
        resource_manager_utils, "get_project_number", lambda *_, **__: str(env.project_number)
    )
    monkeypatch.setattr(
        pipeline_jobs, "_JOB_WAIT_TIME", 0.1
    )  # seconds between two looks, 5 otherwise
    aiplatform.init(
        project=env.project,
        location=env.location,
        api_endpoint=env.api_endpoint,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    yield aiplatform
    initializer.global_config.__init__()


def _rest(env: VertexStandIn) -> Iterator[Rest]:
    with requests.Session() as session:
        yield Rest(env, session)


@pytest.fixture
def rest(env: VertexStandIn) -> Iterator[Rest]:
    yield from _rest(env)


@pytest.fixture
def quick(instant: VertexStandIn) -> Iterator[Rest]:
    """Return plain HTTP to the stand-in that invents results."""
    yield from _rest(instant)


@pytest.fixture(scope="session")
def spec_of(pipeline: Callable[[str], Path]) -> Callable[[str], Any]:
    """Return a function that gives the PipelineSpec of a pipeline in tests/pipelines."""
    return lambda name: next(iter(yaml.safe_load_all(pipeline(name).read_text())))


@pytest.fixture(scope="session")
def features() -> Any:
    """Return a PipelineSpec with loops, conditions and nested pipelines."""
    file = Path(__file__).parents[1] / "engine" / "specs" / "features-2.14.6.yaml"
    return next(iter(yaml.safe_load_all(file.read_text())))


@pytest.fixture(scope="session")
def body_of(spec_of: Callable[[str], Any]) -> Callable[..., dict[str, Any]]:
    """Return a function that builds the request for a job of a pipeline in tests/pipelines."""

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
    """Return a function that waits for the end of a job and returns the job."""

    def wait(rest: Rest, job_id: str) -> Any:
        def read_ended_job() -> Any:
            job = rest.get(f"pipelineJobs/{job_id}")
            return job if job["state"] in FINAL else None

        return eventually(read_ended_job)

    return wait


@pytest.fixture
def tasks() -> Callable[[Any], dict[str, Any]]:
    """Return a function that gives the task details of a job by their unique names."""
    return lambda job: {
        detail["taskUniqueName"]: detail for detail in job["jobDetail"]["taskDetails"]
    }
