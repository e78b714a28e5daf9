"""Interpret the error messages of Kubeflow Pipelines.

A message is a text in which the cause follows a description of what the server was doing.

The server answers with status 500 both to a bad pipeline and in an outage (see the recorded answers
tests/recorded/*/run-create-*.json). kfgcp distinguishes the two by the server's own classes of
errors, and by a few texts of the libraries that the server uses. The class `InternalServerError`
does not help, because it occurs in both kinds of messages.
"""

from __future__ import annotations

import re
from typing import Final

from kfgcp.errors import Remedy
from kfgcp.services.error_rules import NO_ADVICE, Advice, ErrorBody
from kfgcp.services.google_errors import GoogleErrors

# The beginning of all paths of the API of Kubeflow Pipelines.
PATH_PREFIX: Final = "apis/v"

# The server's classes of errors for a bad request (backend/src/common/util/error.go).
_REQUEST_ERRORS: Final = "|".join(
    (
        "Invalid input error",
        "InvalidInputError",
        "ResourceNotFoundError",
        "NotFoundError",
        "BadRequestError",
        "Already exist error",
        "FailedPreconditionError",
        "PermissionDenied",
        "Unauthenticated",
    )
)
_NO_WORKFLOW: Final = r'workflows\.argoproj\.io "[^"]*" not found'

_NO_VERSION: Final = r"PipelineVersion [\w-]+ not found"

# The text before the cause in a message.
_CONTEXT: Final = re.compile(
    rf".*\b(?:{_REQUEST_ERRORS}|InternalServerError|Internal error): (?=\S)|.*(?={_NO_WORKFLOW})"
)
_BAD_PIPELINE: Final = r"invalid pipeline spec manifest|\nFailed to compile job\n"
_REFUSALS: Final = re.compile(
    rf"\b(?:{_REQUEST_ERRORS}): "
    rf"|{_BAD_PIPELINE}"
    # Kubernetes: an object that is too large, and a Workflow that does not exist any more.
    r"|etcdserver: request is too large|Request entity too large"
    rf"|{_NO_WORKFLOW}"
    # MySQL and PostgreSQL, when a column is too short.
    r"|Data too long for column|value too long for type"
)

# The hints for users, by patterns in the message of the server.
_HINTS: Final = {
    r"Namespace:([\w-]+)": (
        r"Ask for the role kubeflow-edit in the namespace \1, or set another namespace in"
        " [env.NAME] of kfgcp.toml. For details: kfgcp doctor"
    ),
    r"empty namespace in multi-user mode": (
        "Set namespace in the environment of kfgcp.toml: this server is in multi-user mode."
    ),
    r"parameter length exceed": (
        "Put large values into a file in a bucket, and pass its address. Or ask the "
        "administrator of the server for a higher limit."
    ),
    r"longer than \d+ bytes|larger than max|request is too large|entity too large": (
        "Make the pipeline smaller: move "
        "code out of components into their images, and large values into files."
    ),
}

# The message of the UI server when a pod does not exist any more.
_NO_POD: Final = "pod not found"

# Texts in the message of the UI server when its store does not have an object. Before 2.17, the
# status of this answer is 500.
_NO_OBJECT: Final = ("NoSuchKey", "specified key does not exist")


def is_refusal(message: str) -> bool:
    """Return whether an answer with status 500 refuses the request.

    If it does, the same request would fail again.
    """
    return _REFUSALS.search(message) is not None


def says_workflow_is_gone(message: str) -> bool:
    """Return whether the Workflow of a run is not in the cluster any more."""
    return re.search(_NO_WORKFLOW, message) is not None


def says_version_is_gone(message: str) -> bool:
    """Return whether a run was refused because its pipeline version does not exist.

    The status is 500 (recorded: run-create-unknown-version.json).
    """
    return re.search(_NO_VERSION, message) is not None


def says_pod_is_gone(message: str) -> bool:
    """Return whether the UI server says that a pod is gone."""
    return _NO_POD in message


def says_object_is_missing(message: str) -> bool:
    """Return whether the UI server says that its store has no such object."""
    return any(text in message for text in _NO_OBJECT)


def find_cause(message: str) -> str:
    """Return only the cause in a message, in one line.

    The description of what the server was doing, and the stack trace of Go, are left out.

    Example:
        >>> find_cause("Failed to create a run: InternalServerError: Invalid input error: No name")
        'No name'
    """
    # When the message contains a stack trace of Go, only its first line has the cause. Each later
    # line says what the server was doing, and where in its source.
    first_line = message.partition("\n")[0]
    return _CONTEXT.sub("", first_line)


def find_advice(status: int, message: str, host: str) -> Advice:
    """Return what the user can do about an error.

    Args:
        status: the HTTP status of the answer.
        message: the whole message of the server.
        host: the host of the server.
    """
    for pattern, template in _HINTS.items():
        match = re.search(pattern, message)
        if match is not None:
            return Advice(match.expand(template))
    if re.search(_BAD_PIPELINE, message):
        return Advice(
            "Compile the pipeline with the kfp of the server's release, or remove features that"
            " this server does not know.",
            Remedy.RECOMPILE,
        )
    if status == 403:
        return Advice(
            "Ask for access to the namespace, or set another namespace in [env.NAME] of"
            " kfgcp.toml. For details: kfgcp doctor",
            Remedy.GRANT_ACCESS,
        )
    if status == 404:
        return Advice(f"Check the id, and that {host} is the right address.")
    return NO_ADVICE


class KubeflowErrors(GoogleErrors):
    """The rules for errors of Kubeflow Pipelines.

    An error for another path may come from a proxy of Google, so it has the rules of Google.
    """

    def is_refusal(self, path: str, message: str) -> bool:
        return path.startswith(PATH_PREFIX) and is_refusal(message)

    def cause(self, path: str, message: str) -> str:
        return find_cause(message) if path.startswith(PATH_PREFIX) else message

    def advice(self, status: int, error: ErrorBody, text: str, *, path: str, host: str) -> Advice:
        if path.startswith(PATH_PREFIX):
            return find_advice(status, error.message, host)
        return super().advice(status, error, text, path=path, host=host)
