"""The response of a service, which gives its body as JSON, as bytes, or piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from kfgcp.errors import BackendError, Unreachable
from kfgcp.services.responses import RequestInfo, parse, parse_text
from kfgcp.services.transport import Response, TransportError


@dataclass(frozen=True, slots=True)
class ServiceResponse:
    """A response with status 2xx, and the request that it answers."""

    response: Response
    request: RequestInfo

    @property
    def body(self) -> bytes:
        """The whole body; empty for a stream."""
        return self.response.body

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; their names are in lower case."""
        return self.response.headers

    def chunks(self) -> Generator[bytes]:
        """Yield the body of a stream, piece by piece."""
        try:
            yield from self.response.chunks or ()
        except TransportError as failure:
            raise unreachable_error(failure, self.request, repeatable=True) from None

    def json(self, *, may_be_empty: bool = True) -> dict[str, Any]:
        """Return the JSON object in the body, see `responses.parse`."""
        try:
            return parse(self.response, self.request, may_be_empty=may_be_empty)
        except BackendError as error:
            # The status says success. So the service probably carried out the request, although
            # kfgcp cannot read the answer.
            raise error.amended(unknown=True) from None

    def text(self) -> str:
        """Return the text in the body, see `responses.parse_text`."""
        try:
            return parse_text(self.response, self.request)
        except BackendError as error:
            # See `json`.
            raise error.amended(unknown=True) from None


def unreachable_error(
    failure: TransportError, request: RequestInfo, repeatable: bool
) -> Unreachable:
    """Return the error for a request without a complete response."""
    message = f"{request.service}: {request.host} {failure.problem} ({request})."
    if failure.sent and not repeatable:
        message += " The service may have carried out the request nevertheless."
    error = Unreachable(message, hint=failure.hint)
    error.too_large = failure.too_large
    return error
