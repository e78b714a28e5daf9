"""Errors of uploads. They have `error_message` and `error_details`, unlike other errors of the API.

Since 2.15 the message names only the step that failed, and the details have a Go trace. Before,
both have the whole cause (pipeline-upload-taken.json of both versions). The status for a bad spec
is 400 since 2.17, with the text for users as the message, and 500 before
(pipeline-upload-bad.json). The status for a name that exists is 409.
"""

from __future__ import annotations

from typing import Final

from kfgcp.testing.kubeflow_server.errors import INVALID, KfpError
from kfgcp.testing.kubeflow_server.versions import ServerVersion
from kfgcp.testing.server import Response

# The form of a Go trace. Real traces have more lines and other line numbers.
_TRACE: Final = (
    "\ngithub.com/kubeflow/pipelines/backend/src/apiserver/server.(*PipelineUploadServer)"
    ".uploadPipeline\n\t/go/src/github.com/kubeflow/pipelines/backend/src/apiserver/server/"
    "pipeline_upload_server.go:1"
)


def refuse_upload(version: ServerVersion, status: int, error: KfpError, summary: str) -> Response:
    """Return the answer to an upload that the server refuses.

    Args:
        version: the version of the server.
        status: the HTTP status.
        error: the reason.
        summary: the step that failed, the whole message of servers that hide the reason.
    """
    if version.tells_why_uploads_fail:
        message = error.chain
        if status == 409:
            message = f"{summary}. The pipeline already exists.: {message}"
        elif status == 500:
            message = f"{summary}: {message}"
        return Response(status, {"error_message": message, "error_details": message})
    message = summary
    if status == 500 and error.code == INVALID and version.refuses_bad_uploads_with_400:
        status = 400
        message = error.message
    return Response(status, {"error_message": message, "error_details": message + _TRACE})


def name_too_long(kind: str, limit: int) -> Response:
    """Return the answer to a name that is too long, which is plain text.

    Args:
        kind: the server's word for the type of the object, such as `Pipeline`.
        limit: the limit in bytes.
    """
    text = f"Invalid input error: {kind}.Name length cannot exceed {limit}\n"
    return Response(400, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
