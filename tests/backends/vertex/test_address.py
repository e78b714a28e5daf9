"""Where Vertex AI is, by its location: as Google's own client has it."""

import pytest

from kfgcp.backends.hints import hint
from kfgcp.backends.vertex.backend import address


@pytest.mark.parametrize("location", ["europe-west4", "us-central1", "us", "eu"])
def test_the_address_of_a_location(location: str) -> None:
    from google.cloud.aiplatform.initializer import _Config

    official = _Config().get_client_options(location_override=location).api_endpoint

    assert address(location) == f"https://{official}"


def test_the_address_of_no_location() -> None:
    assert address("global") == "https://aiplatform.googleapis.com"


@pytest.mark.parametrize("location", ["europe-west4", "us", "eu", "global"])
def test_the_api_of_an_address_can_be_enabled(location: str) -> None:
    host = address(location).removeprefix("https://")

    said = hint(403, "It has not been used in project 5.", "", {}, "v1/projects/acme/locations/x/pipelineJobs", host)

    assert said == "Enable the API, then wait a minute: gcloud services enable aiplatform.googleapis.com --project acme"
