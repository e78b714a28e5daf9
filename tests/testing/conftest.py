"""The fixtures of tests of stand-ins: pipelines, plain HTTP to Vertex AI, Google's own clients."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from json_types import JsonDict
from kfgcp.testing import VertexStandIn, vertex
from patience import WaitFor
from stand_in_apis import VertexApi

FINAL = ("PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")


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


def _rest(env: VertexStandIn) -> Iterator[VertexApi]:
    with requests.Session() as session:
        yield VertexApi(env, session)


@pytest.fixture
def rest(env: VertexStandIn) -> Iterator[VertexApi]:
    yield from _rest(env)


@pytest.fixture
def quick(instant: VertexStandIn) -> Iterator[VertexApi]:
    """Return plain HTTP to the stand-in that invents results."""
    yield from _rest(instant)


@pytest.fixture(scope="session")
def spec_of(pipeline: Callable[[str], Path]) -> Callable[[str], JsonDict]:
    """Return a function that gives the PipelineSpec of a pipeline in tests/pipelines."""
    return lambda name: next(iter(yaml.safe_load_all(pipeline(name).read_text())))


@pytest.fixture(scope="session")
def features() -> JsonDict:
    """Return a PipelineSpec with loops, conditions and nested pipelines."""
    file = Path(__file__).parents[1] / "engine" / "specs" / "features-2.14.6.yaml"
    return next(iter(yaml.safe_load_all(file.read_text())))


@pytest.fixture(scope="session")
def body_of(spec_of: Callable[[str], JsonDict]) -> Callable[..., JsonDict]:
    """Return a function that builds the request for a job of a pipeline in tests/pipelines."""

    def body(
        name: str, params: JsonDict | None = None, root: str = "", **fields: object
    ) -> JsonDict:
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
def ended(eventually: WaitFor) -> Callable[[VertexApi, str], JsonDict]:
    """Return a function that waits for the end of a job and returns the job."""

    def wait(rest: VertexApi, job_id: str) -> JsonDict:
        def read_ended_job() -> JsonDict | None:
            job = rest.get(f"pipelineJobs/{job_id}")
            return job if job["state"] in FINAL else None

        return eventually(read_ended_job)

    return wait


@pytest.fixture
def tasks() -> Callable[[JsonDict], dict[str, JsonDict]]:
    """Return a function that gives the task details of a job by their unique names."""
    return lambda job: {
        detail["taskUniqueName"]: detail for detail in job["jobDetail"]["taskDetails"]
    }
