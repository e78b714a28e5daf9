"""How the server refuses: a gRPC status in JSON, and the text of the cause behind those of the callers around it.

Up to 2.13 the body also has `error`, the same text as `message`: kfp-server-api 2.5.0 has a model with it, 2.14.3 has
none. Which statuses become which HTTP codes is grpc-gateway's table.
"""

from __future__ import annotations

from typing import Any, Final

from kfgcp.testing.server import Response

INVALID: Final = 3
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
DENIED: Final = 7
PRECONDITION: Final = 9
ABORTED: Final = 10
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAUTHENTICATED: Final = 16

_HTTP: Final = {
    INVALID: 400,
    4: 504,
    NOT_FOUND: 404,
    ALREADY_EXISTS: 409,
    DENIED: 403,
    8: 429,
    PRECONDITION: 400,
    ABORTED: 409,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    14: 503,
    UNAUTHENTICATED: 401,
}


class KfpError(Exception):
    """An error that is answered.

    code: of gRPC. message: what a person reads. around: what was being done, the outermost first.
    """

    def __init__(self, code: int, message: str, *around: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.around = around

    def within(self, *around: str) -> KfpError:
        """The same, while something else was being done."""
        return KfpError(self.code, self.message, *around, *self.around)

    @property
    def text(self) -> str:
        return ": ".join((*self.around, self.message))

    @property
    def status(self) -> int:
        return _HTTP.get(self.code, 500)

    def response(self, *, with_error: bool) -> Response:
        """The answer. with_error: as servers before 2.14 do."""
        detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": self.code, "message": self.message}
        body: dict[str, Any] = {"error": self.text} if with_error else {}
        return Response(self.status, {**body, "code": self.code, "message": self.text, "details": [detail]})

    def upload_response(self, status: int) -> Response:
        """The answer of the upload paths, which have a form of their own."""
        return Response(status, {"error_message": self.text, "error_details": self.text})


def of_status(status: int, text: str) -> KfpError:
    """The error that is answered with an HTTP status."""
    code = next((code for code, http in _HTTP.items() if http == status), INTERNAL if status >= 500 else INVALID)
    return KfpError(code, text)


def invalid(message: str, *around: str) -> KfpError:
    return KfpError(INVALID, message, *around, "Invalid input error")


def not_found(kind: str, name: str, *around: str) -> KfpError:
    """kind: `Run`, as the server calls it."""
    return KfpError(NOT_FOUND, f"{kind} {name} not found", *around, "ResourceNotFoundError")


def exists(message: str, *around: str) -> KfpError:
    return KfpError(ALREADY_EXISTS, message, *around, "Already exist error")


def internal(error: KfpError, *around: str) -> KfpError:
    """What a caller makes of an error that it does not expect: 500, whatever it was."""
    return KfpError(INTERNAL, error.text, *around, "InternalServerError")
