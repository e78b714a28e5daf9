"""Errors of client libraries as problems of one line that name the URI."""

from __future__ import annotations

from kfgcp.errors import MissingExtra
from kfgcp.services.storage.client_errors import describe, is_changed
from kfgcp.services.storage.uris import EXTRAS


class StorageProblem(Exception):
    """What is in a bucket cannot be used; the message is one line that names the URI."""


def storage_problem(uri: str, what: str, error: Exception) -> StorageProblem:
    if isinstance(error, ImportError):
        extra = EXTRAS[uri.partition("://")[0]]
        return StorageProblem(
            f"{uri} cannot be {what} without a library: {MissingExtra.installing(extra)}"
        )
    if is_changed(error):
        return StorageProblem(f"{uri} cannot be {what}: it was changed at the same time")
    # What `requests` says of a failed connection begins with the whole request; its reason is what
    # matters.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, Exception):
        return StorageProblem(
            f"{uri} cannot be {what}: no connection, check the network and the proxy:"
            f" {describe(reason)}"
        )
    return StorageProblem(f"{uri} cannot be {what}: {describe(error)}")
