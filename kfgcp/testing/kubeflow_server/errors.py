"""How the server refuses: a gRPC status in JSON, and the text of the cause behind those of the
callers around it.

- `message` has the whole chain, `details[0].message` only the text that the server means for users:
  of every 500 that is "Internal Server Error" (backend/src/common/util/error.go; recorded in
  run-create-unknown-field.json).
- What the HTTP gateway refuses before the server sees it has no `details`
  (run-create-not-json.json, path-unknown.json).
- Up to 2.13 the body also has `error`, the same text as `message` (recorded from 2.5.0).
- Which statuses become which HTTP codes is grpc-gateway's table.
"""

from __future__ import annotations

from typing import Any, Final

from kfgcp.testing.server import Response

UNKNOWN: Final = 2
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
_INTERNAL_TEXT: Final = "Internal Server Error"


class KfpError(Exception):
    """An error that is answered.

    Attributes:
        code: of gRPC.
        message: what the server means for users.
        around: what was being done, the outermost first.
        cause: what follows `message` in the whole text, empty for nothing.
        detail: (code, message) of `details[0]` where it is not that of `code` and `message`.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *around: str,
        cause: str = "",
        detail: tuple[int, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.around = around
        self.cause = cause
        self.detail = detail or (code, message)

    def within(self, *around: str) -> KfpError:
        """Return the same error, while something else was being done."""
        return type(self)(
            self.code, self.message, *around, *self.around, cause=self.cause, detail=self.detail
        )

    @property
    def text(self) -> str:
        """The whole text."""
        parts = [*self.around, self.message]
        if self.cause:
            parts.append(self.cause)
        return ": ".join(parts)

    @property
    def status(self) -> int:
        return _HTTP.get(self.code, 500)

    def response(self, *, with_error: bool) -> Response:
        """Return the answer. with_error: as servers before 2.14 do."""
        body: dict[str, Any] = {"error": self.text} if with_error else {}
        body |= {"code": self.code, "message": self.text}
        return Response(self.status, body | self._details())

    def _details(self) -> dict[str, Any]:
        code, message = self.detail
        status = {
            "@type": "type.googleapis.com/google.rpc.Status",
            "code": code,
            "message": message,
        }
        return {"details": [status]}


class GatewayError(KfpError):
    """An error of the HTTP gateway in front of the server: it has no `details`."""

    def within(self, *around: str) -> KfpError:
        """Return the error as it is: the gateway refuses before the server does anything."""
        return self

    def _details(self) -> dict[str, Any]:
        return {}


def of_status(status: int, text: str) -> KfpError:
    """Return the error that is answered with an HTTP status."""
    default = INTERNAL if status >= 500 else INVALID
    code = next((code for code, http in _HTTP.items() if http == status), default)
    return KfpError(code, text)


def invalid(message: str, *around: str) -> KfpError:
    return KfpError(INVALID, message, *around, "Invalid input error")


def not_found(kind: str, name: str, *around: str) -> KfpError:
    """Return the error that something is not there. kind: `Run`, as the server calls it."""
    return KfpError(NOT_FOUND, f"{kind} {name} not found", *around, "ResourceNotFoundError")


def exists(message: str, *around: str) -> KfpError:
    return KfpError(ALREADY_EXISTS, message, *around, "Already exist error")


def bad_request(message: str, cause: str) -> KfpError:
    """Return the error of a request that does not fit the state of a run: 409."""
    return KfpError(ABORTED, message, "BadRequestError", cause=cause)


def internal(error: KfpError | str, *around: str) -> KfpError:
    """Return what a caller makes of an error that it does not expect: 500, whatever it was."""
    text = error if isinstance(error, str) else error.text
    detail = (INTERNAL, _INTERNAL_TEXT)
    return KfpError(INTERNAL, text, "InternalServerError", *around, detail=detail)
