"""What the errors of the client libraries mean."""

from __future__ import annotations


class ChangedError(Exception):
    """An object is not the version that was listed."""


_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

_CONNECTION_ERRORS = frozenset(
    {
        "ConnectionError",  # of Python, of requests, and of botocore
        "TimeoutError",
        "Timeout",  # of requests
        "HTTPClientError",  # of botocore
        "IncompleteReadError",  # of botocore
        "ResponseStreamingError",  # of botocore
        "ChunkedEncodingError",  # of requests
        "ContentDecodingError",  # of requests
        "HTTPError",  # of urllib3; that of requests has a response
        "TransportError",  # of google.auth
        "HTTPException",  # of http.client
        "DataCorruption",  # of google.cloud.storage: a checksum is wrong
    }
)
_LASTING_ERRORS = frozenset({"SSLError", "ProxyConnectionError", "InvalidProxiesConfigError"})


def is_answer(error: Exception) -> bool:
    """Return whether an error is the answer of the store: only then it has a response."""
    return getattr(error, "response", None) is not None


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error of a client library, 0 when there was no answer."""
    response = getattr(error, "response", None)
    status: object = getattr(error, "code", None)
    if isinstance(response, dict):  # of botocore
        status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode")
    elif not isinstance(status, int):
        status = getattr(response, "status_code", None)
    return int(status) if isinstance(status, int) else 0


def is_changed(error: Exception) -> bool:
    """Return whether an object is not the version that was asked for."""
    return isinstance(error, ChangedError) or status_of(error) == 412


def is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed when it is sent again."""
    status = status_of(error)
    if status:
        return status in _TRANSIENT_STATUSES
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & _CONNECTION_ERRORS) and not names & _LASTING_ERRORS


def describe(error: Exception) -> str:
    """Return what an error says, in one line."""
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, dict) else None
    if details and details.get("Message"):  # of botocore, whose own text names its retries too
        text = f"{details['Message']} ({details.get('Code', '')})"
    else:
        text = str(error)
    return (" ".join(text.split()) or type(error).__name__)[:500]
