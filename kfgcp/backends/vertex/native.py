"""The official client of Vertex AI, for what kfgcp itself does not have."""

from __future__ import annotations

from typing import Any, Final

from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.deadlines import DeadlineError, call_within
from kfgcp.errors import BackendError, MissingExtra, NotFound, Unreachable
from kfgcp.services.redact import redacted_line

NOT_FOUND: Final = 404

# The client does not check the form of answers. These errors come from its code when a field is
# missing or has another type.
WRONG_FORM: Final = (ValueError, TypeError, AttributeError, LookupError)


# The client is an optional dependency, so its types cannot be named here.
def pipeline_job(settings: VertexSettings, job_id: str) -> Any:
    """Return a job as a `google.cloud.aiplatform.PipelineJob`.

    The client signs in with Application Default Credentials, like all clients of Google. When the
    environment has an `api_endpoint`, the client is set to it for the whole process.

    Raises:
        MissingExtra: the client is not installed.
        NotFound: the job was deleted.
        Unreachable: the client got no answer in `request_seconds`.
        BackendError: the client failed in another way.
    """
    try:
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.credentials import AnonymousCredentials
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import aiplatform
        from google.protobuf.json_format import ParseError
        from requests import RequestException
    except ImportError:
        raise MissingExtra("The official client of Vertex AI", "gcp") from None
    project, location = settings.project, settings.location
    if settings.api_endpoint:
        is_anonymous = settings.auth == "anonymous"
        aiplatform.init(
            project=project,
            location=location,
            api_endpoint=settings.api_endpoint,
            api_transport="rest",
            credentials=AnonymousCredentials() if is_anonymous else None,
        )
    try:
        return call_within(
            settings.request_seconds,
            lambda: aiplatform.PipelineJob.get(job_id, project=project, location=location),
        )
    except DeadlineError:
        raise Unreachable(
            f"Vertex AI did not answer its official client within {settings.request_seconds} s.",
            hint=(
                "Check the connection to the network. request_seconds of the environment gives"
                " requests more time."
            ),
        ) from None
    except GoogleAPICallError as error:
        if error.code == NOT_FOUND:
            raise NotFound(
                f"Vertex AI does not have the run {job_id} any more.",
                hint="See what was recorded: kfgcp list",
            ) from None
        raise _client_error(error) from None
    except (GoogleAuthError, ParseError, RequestException, *WRONG_FORM) as error:
        raise _client_error(error) from None


def _client_error(error: Exception) -> BackendError:
    error_text = redacted_line(str(error), limit=300) or type(error).__name__
    return BackendError(f"The official client of Vertex AI failed: {error_text}")
