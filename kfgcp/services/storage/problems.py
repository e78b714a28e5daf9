"""Errors of client libraries as a `StorageProblem`: one line that names the URI."""

from __future__ import annotations

from kfgcp.errors import MissingExtra
from kfgcp.services.storage.client_errors import describe_error, is_changed
from kfgcp.services.storage.uris import EXTRAS, split_uri


class StorageProblem(Exception):
    """A problem with something in a bucket. The message is one line that names the URI."""


def storage_problem(uri: str, action: str, error: Exception) -> StorageProblem:
    """Return the problem that an error of a client library means.

    Args:
        uri: of the object, the folder or the bucket.
        action: what failed, as a participle: `read`, `written`.
        error: the error of the library, an `ImportError`, or an `OSError` of this machine.
    """
    if isinstance(error, ImportError):
        scheme, _, _ = split_uri(uri)
        command = MissingExtra.installing(EXTRAS[scheme])
        return StorageProblem(f"{uri} cannot be {action} without a library: {command}")
    if is_changed(error):
        return StorageProblem(f"{uri} cannot be {action}: it was changed at the same time")
    connection_error = _connection_error(error)
    if connection_error is not None:
        return StorageProblem(
            f"{uri} cannot be {action}: no connection, check the network and the proxy:"
            f" {describe_error(connection_error)}"
        )
    return StorageProblem(f"{uri} cannot be {action}: {describe_error(error)}")


def _connection_error(error: Exception) -> Exception | None:
    """Return why an exception of `requests` got no connection, None when it is another error."""
    # The message of a ConnectionError of `requests` begins with the whole request. Its argument is
    # an error of urllib3, whose `reason` is the error of the socket.
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", None)
    return reason if isinstance(reason, Exception) else None
