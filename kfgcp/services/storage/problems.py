"""Errors of client libraries as problems of one line that name the URI."""

from __future__ import annotations

from kfgcp.errors import MissingExtra
from kfgcp.semantics.values import ValueProblem
from kfgcp.services.storage.client_errors import describe, is_changed
from kfgcp.services.storage.uris import EXTRAS


def storage_problem(uri: str, what: str, error: Exception) -> ValueProblem:
    if isinstance(error, ImportError):
        extra = EXTRAS[uri.partition("://")[0]]
        return ValueProblem(
            f"{uri} cannot be {what} without a library: {MissingExtra.installing(extra)}"
        )
    if is_changed(error):
        return ValueProblem(f"{uri} cannot be {what}: it was changed at the same time")
    # What `requests` says of a failed connection begins with the whole request; its reason is what
    # matters.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, Exception):
        return ValueProblem(
            f"{uri} cannot be {what}: no connection, check the network and the proxy:"
            f" {describe(reason)}"
        )
    return ValueProblem(f"{uri} cannot be {what}: {describe(error)}")
