"""A server whose answers a test writes, and the findings of an environment that leads there."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from kfgcp import doctor
from kfgcp.diagnosis.checks import Finding
from kfgcp.spec.load import Spec, from_documents
from kfgcp.testing.server import Request, Response
from kfgcp.testing.stand_in import StandIn


class Scripted(StandIn):
    """Answers `METHOD path` patterns with what the test says, the newest that matches first; 404
    else."""

    def __init__(self, answers: Mapping[str, Response] | None = None) -> None:
        self._answers = dict(answers or {})
        super().__init__(host_names=["ml-pipeline.kubeflow.svc", "ml-pipeline-ui.kubeflow.svc"])

    def says(self, what: str, body: Any = None, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        others = {each: answer for each, answer in self._answers.items() if each != what}
        self._answers = {what: Response(status, {} if body is None else body, named)} | others

    def takes_type(self, request: Request, content_type: str) -> bool:
        return True

    def handle(self, request: Request) -> Response:
        asked = f"{request.method} {request.path}"
        found = next(
            (answer for what, answer in self._answers.items() if fnmatchcase(asked, what)), None
        )
        return found or self.refusal(404, "not found")

    def refusal(self, status: int, text: str) -> Response:
        return Response(status, {"error": text, "code": 5, "message": text})


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as opened:
        yield opened


@pytest.fixture
def tls(certificates: Any) -> Callable[[Scripted], str]:
    """Makes a server one of https with the certificate of a private authority; its address then."""

    def wrap(server: Scripted) -> str:
        http = server._server._http
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.leaf, certificates.key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
        return server.api_endpoint.replace("http:", "https:")

    return wrap


Diagnose = Callable[..., dict[str, Finding]]


@pytest.fixture
def diagnose(home: Path) -> Diagnose:
    """The findings of an environment with these settings, and for a pipeline, by the names of the
    checks, in order."""

    def look(pipeline: Any = None, **settings: Any) -> dict[str, Finding]:
        lines = [f'{key} = "{value}"' for key, value in settings.items()]
        (home / "kfgcp.toml").write_text("\n".join(["[env.dev]", *lines]), encoding="utf-8")
        found = doctor("dev", pipeline)
        assert len({each.check for each in found}) == len(found)
        assert all(
            each.ok is not False for each in found[:-1]
        )  # it stops at the first that is broken
        return {each.check: each for each in found}

    return look


@pytest.fixture(scope="session")
def with_images() -> Callable[..., Spec]:
    """A pipeline whose tasks run in these images."""

    def make(*images: str) -> Spec:
        executors = {
            f"exec-{number}": {"container": {"image": image}} for number, image in enumerate(images)
        }
        components = {
            f"comp-{number}": {"executorLabel": f"exec-{number}"} for number in range(len(images))
        }
        tasks = {
            f"task-{number}": {"componentRef": {"name": f"comp-{number}"}}
            for number in range(len(images))
        }
        document = {
            "schemaVersion": "2.1.0",
            "pipelineInfo": {"name": "images"},
            "deploymentSpec": {"executors": executors},
            "components": components,
            "root": {
                "dag": {
                    "tasks": {
                        key: {"taskInfo": {"name": key}, **task} for key, task in tasks.items()
                    }
                }
            },
        }
        return from_documents([document], "images")

    return make


@pytest.fixture(scope="session")
def broken() -> Callable[[dict[str, Finding]], Finding]:
    """The link that is broken: the last one."""

    def last(found: dict[str, Finding]) -> Finding:
        finding = list(found.values())[-1]
        assert finding.ok is False, finding
        assert finding.hint
        assert "\n" not in finding.detail
        return finding

    return last
