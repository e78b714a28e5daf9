"""What tests of the backend kubeflow share: an environment, a stand-in, ML Metadata as bytes."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfgcp import testing
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.server_errors import KubeflowErrors
from kfgcp.backends.kubeflow.server_version import Server as KubeflowServer
from kfgcp.backends.kubeflow.versions import KubeflowVersions
from kfgcp.backends.versions import VersionUpload
from kfgcp.config import Environment
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.settings import Setting
from kfgcp.spec.digest import digest
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from kfgcp.testing import KubeflowStandIn
from kubeflow_registries import MakeUpload, OpenRegistry
from metadata_messages import GRPC_WEB
from service_fixtures import Reply, Server


@pytest.fixture(scope="session")
def environment_of() -> Callable[..., Environment]:
    """An environment of the backend kubeflow with further settings."""

    def make(**more: Any) -> Environment:
        settings = {"host": "https://kfp.acme.example"} | more
        return Environment(
            "gke", "kubeflow", {key: Setting(value, "test") for key, value in settings.items()}
        )

    return make


@pytest.fixture
def cluster(home: Path) -> Iterator[KubeflowStandIn]:
    """A stand-in that makes results up; the environment `cloud` of the current project leads there.

    Its host name is for any port, because kubectl forwards another one.
    """
    with testing.kubeflow(mode="instant", host_names=["127.0.0.1"]) as env:
        (home / "kfgcp.toml").write_text(env.toml("cloud"))
        yield env
        assert env.unused_faults == []


@pytest.fixture(scope="session")
def execution() -> Callable[..., Execution]:
    """An execution that is complete, of a task below another execution."""

    def make(number: int, task: str, parent: int = 0, **more: Any) -> Execution:
        plain: dict[str, Any] = {
            "type": mlmd.CONTAINER,
            "iteration": None,
            "state": "COMPLETE",
            "params": {},
            "output_params": {},
            "started_at": 1767322800.0 + number,
            "ended_at": 1767322860.0 + number,
        }
        return Execution(id=number, task=task, parent=parent, **plain | more)

    return make


@pytest.fixture
def echo(compiled: Callable[[str], Spec]) -> JsonObject:
    """Return the PipelineSpec of the pipeline `echo`."""
    return compiled("tests/pipelines/echo.py").pipeline_spec


@pytest.fixture
def ml_metadata(client: Callable[..., ServiceClient]) -> Metadata:
    """Return the reader of ML Metadata, which asks the scripted server."""
    return Metadata(client(service="ML Metadata"))


@pytest.fixture
def queue_metadata(server: Server, reply: type[Reply]) -> Callable[..., None]:
    """Return a function that queues the answers of the four calls. They are empty by default."""

    def queue(
        executions: Sequence[mlmd.Message] = (),
        artifacts: Sequence[mlmd.Message] = (),
        events: Sequence[mlmd.Message] = (),
        types: Sequence[mlmd.Message] | None = None,
    ) -> None:
        context = mlmd.message_class("GetContextByTypeAndNameResponse")()
        context.context.id = 7
        first = mlmd.message_class("GetExecutionsByContextResponse")(executions=executions)
        second = mlmd.message_class("GetArtifactsByContextResponse")(artifacts=artifacts)
        named = (
            []
            if types is None
            else [mlmd.message_class("GetArtifactTypesByIDResponse")(artifact_types=types)]
        )
        third = mlmd.message_class("GetEventsByExecutionIDsResponse")(events=events)
        answers = [context, first, second, third, *named]
        server.answers(
            *(reply(mlmd.encode_response(answer), headers=GRPC_WEB) for answer in answers)
        )

    return queue


@pytest.fixture
def open_registry(client: Callable[..., ServiceClient]) -> OpenRegistry:
    """Return a function that opens the registry of a server. Its retries do not wait."""

    def open_registry(host: str, namespace: str = "") -> KubeflowVersions:
        http = client(host, Anonymous(), service=SERVICE, paging=PAGE_KEYS, errors=KubeflowErrors())
        return KubeflowVersions(http, KubeflowServer(http), host, namespace)

    return open_registry


@pytest.fixture(params=["2.5.0", "2.14.3", "2.17.0", "3.0.0"])
def registry_server(request: pytest.FixtureRequest) -> Iterator[KubeflowStandIn]:
    """Return a stand-in of each version of the server that has other rules."""
    with testing.kubeflow(mode="instant", version=request.param) as stand_in:
        yield stand_in
        assert stand_in.unused_faults == []


@pytest.fixture
def tag_server() -> Iterator[KubeflowStandIn]:
    """Return a stand-in of the first version with tags."""
    with testing.kubeflow(mode="instant", version="2.17.0") as stand_in:
        yield stand_in
        assert stand_in.unused_faults == []


@pytest.fixture
def upload_of(echo: JsonObject) -> MakeUpload:
    """Return a function that makes an upload of the pipeline `echo`.

    Another comment makes another text of the same version.
    """
    spec = json.loads(json.dumps(echo))

    def make(comment: str = "", pipeline: str = "churn", project: str = "acme") -> VersionUpload:
        text = yaml.safe_dump(spec, sort_keys=False) + comment
        return VersionUpload(project, pipeline, digest(spec), text)

    return make
