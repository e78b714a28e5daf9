"""The official client, for whatever kfgcp lacks."""

from __future__ import annotations

from typing import Any

from kfgcp.config import Environment
from kfgcp.errors import MissingExtra


def pipeline_job(env: Environment, job_id: str) -> Any:
    """The job as a `google.cloud.aiplatform.PipelineJob`, which signs in by itself, as Google's clients do.

    For an emulator the client is set to its address, for the whole process.

    Raises:
        MissingExtra: the client is not installed.
    """
    try:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import aiplatform
    except ImportError:
        raise MissingExtra("The official client of Vertex AI", "gcp") from None
    place = {"project": env.get("project"), "location": env.get("location")}
    if endpoint := env.get("api_endpoint"):
        anonymous = {"credentials": AnonymousCredentials()} if env.get("auth") == "anonymous" else {}
        aiplatform.init(**place, api_endpoint=endpoint, api_transport="rest", **anonymous)
    return aiplatform.PipelineJob.get(job_id, **place)
