"""The errors that the server answers: a gRPC status in JSON.

- `message` is a chain: what the server was doing, the error, and its cause. `details[0].message`
  has only the text for users. For each 500 this text is "Internal Server Error"
  (backend/src/common/util/error.go; recorded in run-create-unknown-field.json).
- Errors of the HTTP gateway, which checks a request before the server does, have no `details`
  (run-create-not-json.json, path-unknown.json).
- Up to 2.13 the body also has `error`, with the same text as `message` (recorded from 2.5.0).
"""

from __future__ import annotations

from typing import Any, Final

from kfgcp.testing.server import Response

# The codes of gRPC (google/rpc/code.proto).
UNKNOWN: Final = 2
INVALID: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
FAILED_PRECONDITION: Final = 9
ABORTED: Final = 10
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

# The table of grpc-gateway: the HTTP status for each code of gRPC.
_HTTP_STATUSES: Final = {
    INVALID: 400,
    DEADLINE_EXCEEDED: 504,
    NOT_FOUND: 404,
    ALREADY_EXISTS: 409,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 429,
    FAILED_PRECONDITION: 400,
    ABORTED: 409,
    UNIMPLEMENTED: 501,
    INTERNAL: 500,
    UNAVAILABLE: 503,
    UNAUTHENTICATED: 401,
}
_INTERNAL_TEXT: Final = "Internal Server Error"


class KfpError(Exception):
    """An error that the server answers.

    Attributes:
        code: the code of gRPC.
        message: the text for users.
        contexts: what the server was doing, the outermost step first.
        cause: the text after `message` in the chain, empty without a cause.
        detail: the code and the message of `details[0]`, by default `code` and `message`.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *contexts: str,
        cause: str = "",
        detail: tuple[int, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.contexts = contexts
        self.cause = cause
        self.detail = detail or (code, message)

    def within(self, *contexts: str) -> KfpError:
        """Return a copy of the error, with more contexts before the contexts that it has."""
        return type(self)(
            self.code,
            self.message,
            *contexts,
            *self.contexts,
            cause=self.cause,
            detail=self.detail,
        )

    @property
    def chain(self) -> str:
        """The whole text: the contexts, the message and the cause."""
        parts = [*self.contexts, self.message]
        if self.cause:
            parts.append(self.cause)
        return ": ".join(parts)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _HTTP_STATUSES.get(self.code, 500)

    def response(self, *, with_error: bool) -> Response:
        """Return the response.

        Args:
            with_error: whether the body has the field `error`, as before 2.14.
        """
        body: dict[str, Any] = {}
        if with_error:
            body["error"] = self.chain
        body["code"] = self.code
        body["message"] = self.chain
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
    """An error of the HTTP gateway in front of the server, which has no `details`."""

    def within(self, *contexts: str) -> KfpError:
        """Return the error unchanged: the gateway refuses a request before the server reads it."""
        return self

    def _details(self) -> dict[str, Any]:
        return {}


def error_for_status(status: int, message: str) -> KfpError:
    """Return an error that the server answers with this HTTP status."""
    for code, http_status in _HTTP_STATUSES.items():
        if http_status == status:
            return KfpError(code, message)
    return KfpError(INTERNAL if status >= 500 else INVALID, message)


# The prefixes of the messages below, such as "Invalid input error", are those of
# backend/src/common/util/error.go.


def invalid_input(message: str, *contexts: str) -> KfpError:
    """Return the error for a value that the server does not accept: 400."""
    return KfpError(INVALID, message, *contexts, "Invalid input error")


def not_found(kind: str, name: str, *contexts: str) -> KfpError:
    """Return the error for an object that does not exist: 404.

    Args:
        kind: the server's word for the type of the object, such as `Run`.
        name: the name or the id of the object.
        contexts: what the server was doing, the outermost step first.
    """
    return KfpError(NOT_FOUND, f"{kind} {name} not found", *contexts, "ResourceNotFoundError")


def already_exists(message: str, *contexts: str) -> KfpError:
    """Return the error for a name that another object has: 409."""
    return KfpError(ALREADY_EXISTS, message, *contexts, "Already exist error")


def bad_request(message: str, cause: str) -> KfpError:
    """Return the error for a request that does not fit the state of a run: 409."""
    return KfpError(ABORTED, message, "BadRequestError", cause=cause)


def internal_error(problem: KfpError | str, *contexts: str) -> KfpError:
    """Return the error 500 with which the server wraps another error, or a problem of its own.

    The status is 500 whatever the wrapped error is. The text for users does not name the problem.
    """
    message = problem if isinstance(problem, str) else problem.chain
    detail = (INTERNAL, _INTERNAL_TEXT)
    return KfpError(INTERNAL, message, "InternalServerError", *contexts, detail=detail)
