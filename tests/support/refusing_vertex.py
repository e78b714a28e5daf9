"""A stand-in of Vertex AI that refuses requests with errors of Google."""

from fnmatch import fnmatchcase

from kfgcp.testing.google import GoogleError
from kfgcp.testing.server import Request, Response
from kfgcp.testing.vertex_ai import VertexStandIn

RUNNER = "runner@acme.iam.gserviceaccount.com"


class Vertex(VertexStandIn):
    """The stand-in, with errors of Google for the requests that a test chooses."""

    def __init__(self) -> None:
        self.refusals: dict[str, GoogleError] = {}
        super().__init__(mode="instant")

    def refuse(
        self, pattern: str, code: int, message: str, reason: str = "", **metadata: str
    ) -> None:
        """Refuse the requests `METHOD PATH` that fit a glob.

        Args:
            pattern: the glob.
            code: the HTTP status.
            message: the text of the error.
            reason: the reason in google.rpc.ErrorInfo, empty for an error without this detail.
            metadata: the metadata in google.rpc.ErrorInfo.
        """
        error_info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "metadata": metadata,
        }
        details = [error_info] if reason else []
        self.refusals[pattern] = GoogleError(code, message, details=details)

    def handle(self, request: Request) -> Response:
        request_line = f"{request.method} {request.path}"
        for pattern, error in self.refusals.items():
            if fnmatchcase(request_line, pattern):
                return error.response
        return super().handle(request)
