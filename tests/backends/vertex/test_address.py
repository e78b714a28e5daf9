"""Where Vertex AI is: by its location, as Google's own client has it, or at an address of its
own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kfgcp import testing
from kfgcp.backends.base import LogFilter, RunRef, SupportsLogs, capability
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.backends.vertex.addresses import address
from kfgcp.backends.vertex.service import LATE_SECONDS
from kfgcp.errors import Remedy
from kfgcp.services.error_rules import Advice, ErrorBody
from kfgcp.services.google_errors import GoogleErrors
from kfgcp_command import Command
from service_fixtures import Reply, Server


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

    text = "It has not been used in project 5."
    advice = GoogleErrors().advice(
        403, ErrorBody(text), text, path="v1/projects/acme/locations/x/pipelineJobs", host=host
    )

    assert advice == Advice(
        "Enable the API, then wait a minute: gcloud services enable aiplatform.googleapis.com"
        " --project acme",
        Remedy.ENABLE_API,
    )


RUN = "the id of a run"


@pytest.fixture
def private(
    home: Path, server: Server, reply: type[Reply], monkeypatch: pytest.MonkeyPatch
) -> Iterator[testing.VertexStandIn]:
    """A Vertex AI at an address of its own, and a proxy for the rest of the world, which lets
    nothing through."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    server.always(lambda _: reply(status=403))
    (home / "token").write_text("a-token-of-google")
    with testing.vertex(mode="instant") as cloud:
        public = ("logging_endpoint", "artifact_registry_endpoint", "auth")
        settings = {key: value for key, value in cloud.settings().items() if key not in public}
        settings |= {"auth": "token-file", "token_file": "token"}
        lines = [f'{key} = "{value}"' for key, value in settings.items()]
        (home / "kfgcp.toml").write_text("\n".join(["[env.cloud]", *lines]))
        yield cloud


@pytest.mark.parametrize(
    ("arguments", "host"),
    [
        (("logs", RUN), "logging.googleapis.com"),
        (
            (
                "run",
                "https://europe-west4-kfp.pkg.dev/acme/pipelines/doubled/latest",
                "--env",
                "cloud",
            ),
            "artifactregistry.googleapis.com",
        ),
        (
            (
                "run",
                f"https://europe-west4-kfp.pkg.dev/acme/pipelines/doubled/sha256:{'0' * 64}",
                "--env",
                "cloud",
            ),
            "europe-west4-kfp.pkg.dev",
        ),
    ],
)
def test_an_address_of_vertex_ai_does_not_move_other_services(
    private: testing.VertexStandIn,
    server: Server,
    fails: Callable[..., tuple[str, str]],
    kfgcp: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    host: str,
) -> None:
    [run_id] = private.seed(1)
    words = [run_id if word == RUN else word for word in arguments]
    monkeypatch.setattr("kfgcp.services.client.CONNECT_RETRIES", 0)

    error, _ = fails(5, *words)

    assert host.removesuffix("") in error
    assert {asked.method for asked in server.asked} == {"CONNECT"}
    paths = {request.path for request in private.requests}
    assert all("/pipelineJobs" in path for path in paths)


@pytest.mark.parametrize(
    ("address_of_logs", "late"),
    [
        ("", LATE_SECONDS),
        ("https://logging-acme.p.googleapis.com", LATE_SECONDS),
        ("http://127.0.0.1:9", 0.0),
    ],
)
def test_last_lines_are_waited_for_unless_a_stand_in_has_them(
    home: Path, address_of_logs: str, late: float
) -> None:
    """Cloud Logging behind Private Service Connect has lines as late as at its public address."""
    settings = {"project": "acme", "location": "europe-west4", "pipeline_root": "gs://acme/runs"}
    if address_of_logs:
        settings["logging_endpoint"] = address_of_logs
    lines = [f'{key} = "{value}"' for key, value in settings.items()]
    (home / "kfgcp.toml").write_text("\n".join(["[env.dev]", 'backend = "vertex"', *lines]))
    project = load_project()

    backend = open_backend(project, project.env("dev"))

    logs = capability(backend, SupportsLogs)
    assert logs is not None
    assert logs.tail(RunRef("dev", "a-job"), LogFilter()).late_seconds == late
