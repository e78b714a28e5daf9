"""Convert an error of a client library to a `StorageProblem`, a message of one line."""

from __future__ import annotations

from kfgcp.errors import MissingExtra
from kfgcp.services.storage.client_errors import describe_error, is_changed
from kfgcp.services.storage.uris import EXTRAS, split_uri


class StorageProblem(Exception):
    """A problem with something in a bucket. The message is one line that names the URI."""


class NothingStored(StorageProblem):
    """A bucket has no object with a URI, and no object below it."""


def storage_problem(uri: str, action: str, error: Exception) -> StorageProblem:
    """Return the problem for an error of a client library.

    Args:
        uri: the URI of the object, the folder or the bucket.
        action: the verb for the message "URI cannot be ACTION": `read`, `written`.
        error: the error of the library, an `ImportError`, or an `OSError` of this machine.
    """
    if isinstance(error, ImportError):
        scheme, _, _ = split_uri(uri)
        command = MissingExtra.installing(EXTRAS[scheme])
        return StorageProblem(f"{uri} cannot be {action} without a library: {command}")
    if is_changed(error):
        return StorageProblem(
            f"{uri} cannot be {action}: something else changed the file at the same time"
        )
    connection_error = _connection_error(error)
    if connection_error is not None:
        return StorageProblem(
            f"{uri} cannot be {action}: no connection, check the network and the proxy:"
            f" {describe_error(connection_error)}"
        )
    return StorageProblem(f"{uri} cannot be {action}: {describe_error(error)}")


def _connection_error(error: Exception) -> Exception | None:
    """Return the error of the socket inside an exception of `requests`, None for other errors."""
    # The message of the ConnectionError in `requests` contains the whole request. The argument of
    # the ConnectionError is an error of urllib3, and `reason` of that error is the socket's error.
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    return reason if isinstance(reason, Exception) else None
