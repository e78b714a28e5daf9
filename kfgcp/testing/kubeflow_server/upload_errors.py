"""How uploads are refused, which is not how the API refuses: `error_message` and `error_details`.

Since 2.15 the message tells only what failed, and the details have a Go trace; before, both tell
the whole cause (pipeline-upload-taken.json of both versions). A bad spec is 400 from 2.17 on, where
the message is what the server means for users, and 500 before (pipeline-upload-bad.json). The
status of a name that is taken is 409.
"""

from __future__ import annotations

from typing import Final

from kfgcp.testing.kubeflow_server.errors import INVALID, KfpError
from kfgcp.testing.kubeflow_server.versions import ServerVersion
from kfgcp.testing.server import Response

_TRACE: Final = (
    "\ngithub.com/kubeflow/pipelines/backend/src/apiserver/server.(*PipelineUploadServer).uploadPipeline"
    "\n\t/go/src/github.com/kubeflow/pipelines/backend/src/apiserver/server/pipeline_upload_server.go:1"
)


def refused_upload(version: ServerVersion, status: int, error: KfpError, brief: str) -> Response:
    """Return the answer to an upload that is refused.

    Args:
        version: of the server.
        status: of HTTP.
        error: why, with what was being done around it.
        brief: what failed, in the words of servers that do not tell why.
    """
    if version.tells_why_uploads_fail:
        text = error.text
        if status == 409:
            text = f"{brief}. The pipeline already exists.: {text}"
        elif status == 500:
            text = f"{brief}: {text}"
        return Response(status, {"error_message": text, "error_details": text})
    message = brief
    if status == 500 and error.code == INVALID and version.refuses_bad_uploads_with_400:
        status, message = 400, error.message
    return Response(status, {"error_message": message, "error_details": message + _TRACE})


def too_long(kind: str, limit: int) -> Response:
    """Return the answer to a name that is too long: plain text. kind: `Pipeline`."""
    text = f"Invalid input error: {kind}.Name length cannot exceed {limit}\n"
    return Response(400, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
