"""Return a job as an object of Vertex AI's official client, for features that kfgcp lacks."""

from __future__ import annotations

from typing import Any, Final

from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.deadlines import DeadlineError, call_within
from kfgcp.errors import BackendError, MissingExtra, NotFound, Unreachable
from kfgcp.services.redact import redacted_line

# The HTTP status of an unknown job.
NOT_FOUND: Final = 404

# The client does not check answers. Its code raises these errors when a field of an answer is
# missing or has another type.
WRONG_FORM: Final = (ValueError, TypeError, AttributeError, LookupError)


# The client is an optional dependency, so signatures here cannot use its types.
def pipeline_job(settings: VertexSettings, job_id: str) -> Any:
    """Return a job as a `google.cloud.aiplatform.PipelineJob`.

    The client signs in with Application Default Credentials. When the environment has an
    `api_endpoint`, this function sets that address for the client in the whole process.

    Raises:
        MissingExtra: the client is not installed.
        NotFound: Vertex AI has no such job.
        Unreachable: Vertex AI did not answer the client within `request_seconds`.
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
                "Check your network connection. To give requests more time, set request_seconds"
                " in [env.NAME] of kfgcp.toml."
            ),
        ) from None
    except GoogleAPICallError as error:
        if error.code == NOT_FOUND:
            raise NotFound(
                f"Vertex AI does not have the run {job_id} any more.",
                hint="See the recorded runs: kfgcp list",
            ) from None
        raise _client_error(error) from None
    except (GoogleAuthError, ParseError, RequestException, *WRONG_FORM) as error:
        raise _client_error(error) from None


def _client_error(error: Exception) -> BackendError:
    error_text = redacted_line(str(error), limit=300) or type(error).__name__
    return BackendError(f"The official client of Vertex AI failed: {error_text}")
