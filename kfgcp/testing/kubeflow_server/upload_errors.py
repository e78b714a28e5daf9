"""Errors of uploads. Unlike other errors, they have `error_message` and `error_details`.

- Before 2.15 the message and the details have the whole cause. Since 2.15 the message names only
  the step that failed, and the details add a Go trace (pipeline-upload-taken.json of both
  versions).
- The status for a bad spec is 500 before 2.17. Since 2.17 it is 400, and the message is the text
  for users (pipeline-upload-bad.json).
- The status for a name that already exists is 409.
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
        summary: the step that failed. Since 2.15 the message of most errors is only this text.
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


def refuse_long_name(kind: str, limit: int) -> Response:
    """Return the error for a name that is too long, which is plain text.

    Args:
        kind: the server's word for the type of the object, such as `Pipeline`.
        limit: the limit in bytes.
    """
    text = f"Invalid input error: {kind}.Name length cannot exceed {limit}\n"
    return Response(400, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
