"""A scripted server and the types of fixtures, for the tests of `kfgcp doctor`."""

import base64
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from kfgcp.diagnosis.checks import Finding
from kfgcp.spec.load import Spec
from kfgcp.testing.server import Request, Response
from kfgcp.testing.stand_in import StandIn

TOKEN = "ya29.a-token-that-must-not-show"  # noqa: S105

# The requests of the checks for Kubeflow Pipelines, for `ScriptedServer.answer`.
HEALTH = "GET /apis/v2beta1/healthz"
HEALTH_V1 = "GET /apis/v1beta1/healthz"
RUNS = "GET /apis/v2beta1/runs"
METADATA = "POST /ml_metadata.*"


class ScriptedServer(StandIn):
    """A server with the answers that a test sets, and 404 for all other requests."""

    def __init__(self) -> None:
        # The newest answer comes first.
        self._answers: dict[str, Response] = {}
        super().__init__(host_names=["ml-pipeline.kubeflow.svc", "ml-pipeline-ui.kubeflow.svc"])

    def answer(self, pattern: str, body: Any = None, status: int = 200, **headers: str) -> None:
        """Set the answer to the requests `METHOD PATH` that fit a glob. The newest answer wins.

        Args:
            pattern: the glob.
            body: bytes, or a value that is sent as JSON; {} when it is None.
            status: the HTTP status.
            headers: the headers, with underscores in place of dashes.
        """
        response_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        response = Response(status, {} if body is None else body, response_headers)
        self._answers.pop(pattern, None)
        self._answers = {pattern: response} | self._answers

    def takes_type(self, request: Request, content_type: str) -> bool:
        return True

    def handle(self, request: Request) -> Response:
        request_line = f"{request.method} {request.path}"
        for pattern, response in self._answers.items():
            if fnmatchcase(request_line, pattern):
                return response
        return self.refusal(404, "not found")

    def refusal(self, status: int, text: str) -> Response:
        return Response(status, {"error": text, "code": 5, "message": text})


Diagnose = Callable[..., dict[str, Finding]]
"""The fixture `diagnose`: from a pipeline and settings to the findings by the names of checks."""

Broken = Callable[[Mapping[str, Finding]], Finding]
"""The fixture `broken`: from findings to the last one, which has failed."""

WithImages = Callable[..., Spec]
"""The fixture `with_images`: from the names of images to a pipeline with these images."""

WithTls = Callable[[ScriptedServer], str]
"""The fixture `tls`: from a server to its new address, where it uses TLS."""


def make_jwt(**claims: str) -> str:
    """Return a JSON Web Token with these claims. Its signature is not valid."""
    segments = []
    for part in ({"alg": "RS256"}, claims):
        encoded_part = base64.urlsafe_b64encode(json.dumps(part).encode())
        segments.append(encoded_part.decode().rstrip("="))
    return ".".join([*segments, "signature"])
