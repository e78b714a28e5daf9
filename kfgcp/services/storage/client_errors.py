"""Answer questions about an error of a client library: its status, its text, and is it temporary?

The libraries are imported only where a client is made, because their imports are slow. So this
module cannot use their classes. It compares attributes and the names of classes instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# The longest description of an error that a message shows, in characters.
MAX_DESCRIPTION: Final = 500

# The HTTP statuses after which the same request may succeed.
_TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})

# The classes of errors after which the same request may succeed.
_CONNECTION_ERRORS: Final = frozenset(
    {
        # Python, requests and botocore have classes with this name.
        "ConnectionError",
        "TimeoutError",
        # requests
        "Timeout",
        "ChunkedEncodingError",
        "ContentDecodingError",
        # botocore
        "HTTPClientError",
        "IncompleteReadError",
        "ResponseStreamingError",
        # urllib3. The HTTPError of requests has a response, so its status decides.
        "HTTPError",
        # google.auth
        "TransportError",
        # http.client
        "HTTPException",
        # google.cloud.storage: a checksum is wrong
        "DataCorruption",
    }
)

# Subclasses of these classes whose errors stay until the user changes a setting.
_LASTING_ERRORS: Final = frozenset(
    {"SSLError", "ProxyConnectionError", "InvalidProxiesConfigError"}
)


class ChangedError(Exception):
    """The error for an object that has changed since `find` or `pages` returned it."""


def has_response(error: Exception) -> bool:
    """Return whether an error was caused by an answer of the store."""
    return getattr(error, "response", None) is not None


def http_status(error: Exception) -> int:
    """Return the HTTP status of an error of a client library, 0 when there was no answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        # An error of botocore.
        metadata = response.get("ResponseMetadata") or {}
        status: object = metadata.get("HTTPStatusCode")
    else:
        # An error of google.api_core has `code`. An error of requests has the status in `response`.
        status = getattr(error, "code", None)
        if not isinstance(status, int):
            status = getattr(response, "status_code", None)
    return int(status) if isinstance(status, int) else 0


def s3_error_code(error: Exception) -> str:
    """Return the code of an error of S3, such as `NoSuchBucket`, "" for other errors."""
    return str(_s3_details(error).get("Code") or "")


def is_changed(error: Exception) -> bool:
    """Return whether a read failed because the object has changed."""
    # Stores answer 412 (Precondition Failed) to If-Match and to ifGenerationMatch.
    return isinstance(error, ChangedError) or http_status(error) == 412


def is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed when it is sent again."""
    status = http_status(error)
    if status:
        return status in _TRANSIENT_STATUSES
    class_names = {kind.__name__ for kind in type(error).__mro__}
    if class_names & _LASTING_ERRORS:
        return False
    return bool(class_names & _CONNECTION_ERRORS)


def describe_error(error: Exception) -> str:
    """Return the message of an error in one line."""
    details = _s3_details(error)
    text = str(error)
    # `str` of an error of botocore also has the number of retries, which is always 0 here.
    if details.get("Message"):
        text = f"{details['Message']} ({details.get('Code', '')})"
    line = " ".join(text.split()) or type(error).__name__
    return line[:MAX_DESCRIPTION]


def _s3_details(error: Exception) -> Mapping[str, object]:
    """Return the code and the message in an error of botocore, {} for other errors."""
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, dict) else None
    return details if isinstance(details, dict) else {}
