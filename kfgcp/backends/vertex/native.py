"""The official client, for whatever kfgcp lacks."""

from __future__ import annotations

from typing import Any, Final

from kfgcp.config import Environment
from kfgcp.deadlines import DeadlineError, call_within
from kfgcp.errors import BackendError, MissingExtra, NotFound, Unreachable
from kfgcp.services.redact import redacted_line

NOT_FOUND: Final = 404
UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError)
"""What the client raises when an answer is not of the form that it expects: it does not check
answers."""


def pipeline_job(env: Environment, job_id: str) -> Any:
    """The job as a `google.cloud.aiplatform.PipelineJob`, which signs in by itself, as Google's
    clients do.

    For an emulator the client is set to its address, for the whole process.

    Raises:
        MissingExtra: the client is not installed.
        NotFound: the job was deleted.
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
    place = {"project": env.get("project"), "location": env.get("location")}
    if endpoint := env.get("api_endpoint"):
        anonymous = (
            {"credentials": AnonymousCredentials()} if env.get("auth") == "anonymous" else {}
        )
        aiplatform.init(**place, api_endpoint=endpoint, api_transport="rest", **anonymous)
    try:
        return call_within(env.request_seconds, lambda: aiplatform.PipelineJob.get(job_id, **place))
    except DeadlineError:
        raise Unreachable(
            f"Vertex AI did not answer its official client within {env.request_seconds:g} s.",
            hint=(
                "Check the connection to the network. request_seconds of the environment gives"
                " requests more time."
            ),
        ) from None
    except (GoogleAPICallError, GoogleAuthError) as error:
        if isinstance(error, GoogleAPICallError) and error.code == NOT_FOUND:
            raise NotFound(
                f"Vertex AI has no run {job_id} any more.", hint="See what was recorded: kfgcp list"
            ) from None
        raise _failed(error) from None
    except (ParseError, RequestException, *UNREADABLE) as error:
        raise _failed(error) from None


def _failed(error: Exception) -> BackendError:
    error_text = redacted_line(str(error), limit=300) or type(error).__name__
    return BackendError(f"The official client of Vertex AI failed: {error_text}")
