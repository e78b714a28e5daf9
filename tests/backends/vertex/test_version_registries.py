"""Registries of versions that cannot be used, and the requests to those that can."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from hostile_http import Connection, hostile_server
from kfgcp import testing
from kfgcp.backends.versions import RegisteredVersion, SupportsVersions
from kfgcp.errors import ConfigError, KfgcpError, Refused, Unreachable
from registered_versions import OTHER_VERSION, PACKAGE, REGISTRY, UPLOAD, open_registry, tags

# -- registries that cannot be used

Act = Callable[[SupportsVersions], object]
ENTRY = RegisteredVersion("churn", "sha256:" + "0" * 64, "", "", "", (), "", "")
ACTS: dict[str, Act] = {
    "list_versions": lambda registry: registry.list_versions("churn"),
    "list_pipelines": lambda registry: registry.list_pipelines(),
    "read_text": lambda registry: registry.read_text(ENTRY),
    "upload": lambda registry: registry.upload(UPLOAD),
    "set_tag": lambda registry: registry.set_tag(ENTRY, "v1"),
    "remove_tag": lambda registry: registry.remove_tag(ENTRY, "v1"),
}
# A repository without the package answers these with an empty result.
ACTS_THAT_FAIL = [name for name in ACTS if name != "remove_tag"]


def set_registry(address: str | None) -> SupportsVersions:
    """Write the setting pipeline_registry, and return the registry of the environment."""
    file = Path("kfgcp.toml")
    lines = [line for line in file.read_text().splitlines() if "pipeline_registry" not in line]
    if address is not None:
        lines.append(f'pipeline_registry = "{address}"')
    file.write_text("\n".join(lines))
    return open_registry()


@pytest.mark.parametrize("name", ACTS)
def test_an_environment_without_a_registry_says_which_setting_is_missing(
    cloud: testing.VertexStandIn, name: str
) -> None:
    registry = set_registry(None)

    with pytest.raises(ConfigError) as error:
        ACTS[name](registry)

    assert error.value.message == ("Environment 'dev' has no registry for versions of pipelines.")
    assert error.value.hint == (
        'Set pipeline_registry = "https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY" in [env.dev] of'
        " kfgcp.toml."
    )
    assert len(cloud.requests) == 0


@pytest.mark.parametrize("name", ACTS_THAT_FAIL)
def test_a_repository_that_does_not_exist_is_created_with_the_command_in_the_hint(
    cloud: testing.VertexStandIn, name: str
) -> None:
    registry = set_registry(f"{REGISTRY}-2")

    with pytest.raises(ConfigError) as error:
        ACTS[name](registry)

    assert error.value.message == f"Artifact Registry has no repository {REGISTRY}-2."
    assert error.value.hint == (
        "gcloud artifacts repositories create pipelines-2 --repository-format=kfp"
        " --location=europe-west4 --project=stand-in-project"
    )


@pytest.mark.parametrize("name", ["list_versions", "upload", "set_tag", "read_text"])
def test_a_repository_of_another_format_is_named(cloud: testing.VertexStandIn, name: str) -> None:
    cloud.artifact_registry.make_repository("images", "DOCKER")
    registry = set_registry("https://europe-west4-kfp.pkg.dev/stand-in-project/images")

    with pytest.raises(
        ConfigError, match="/images in Artifact Registry has the format 'DOCKER', not KFP"
    ):
        ACTS[name](registry)


@pytest.mark.parametrize(
    "name", ["list_versions", "list_pipelines", "upload", "set_tag", "remove_tag"]
)
def test_a_repository_of_another_format_with_packages_is_neither_listed_nor_written_to(
    cloud: testing.VertexStandIn, name: str
) -> None:
    cloud.artifact_registry.make_repository("images", "DOCKER")
    image = cloud.artifact_registry.publish("stand-in-project", "images", "churn", "x", ["v1"])
    registry = set_registry("https://europe-west4-kfp.pkg.dev/stand-in-project/images")
    entry = replace(ENTRY, ref=image.rpartition("/")[2])
    acts = ACTS | {
        "set_tag": lambda registry: registry.set_tag(entry, "stable"),
        "remove_tag": lambda registry: registry.remove_tag(entry, "v1"),
    }

    with pytest.raises(
        ConfigError, match="/images in Artifact Registry has the format 'DOCKER', not KFP"
    ):
        acts[name](registry)

    assert cloud.artifact_registry.tags("images", "churn") == {"v1": entry.ref}
    assert {request.method for request in cloud.requests} == {"GET"}


def test_the_format_is_checked_once(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    registry.set_tag(registry.upload(UPLOAD), "stable")
    registry.list_pipelines()

    path = PACKAGE.removesuffix("/packages/churn")
    assert cloud.requests.count("GET", path) == 1


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("list_versions", "reader"),
        ("list_pipelines", "reader"),
        ("read_text", "reader"),
        ("upload", "writer"),
        ("set_tag", "writer"),
        ("remove_tag", "repoAdmin"),
    ],
)
def test_a_missing_permission_names_the_role(
    cloud: testing.VertexStandIn, registry: SupportsVersions, name: str, role: str
) -> None:
    cloud.fail_next("403", times=1)

    with pytest.raises(Refused) as error:
        ACTS[name](registry)

    assert error.value.hint == (
        f"Check that {REGISTRY} is right, and ask for roles/artifactregistry.{role}: gcloud"
        " artifacts repositories add-iam-policy-binding pipelines --location=europe-west4"
        " --project=stand-in-project --member=user:YOUR_ACCOUNT"
        f" --role=roles/artifactregistry.{role}"
    )


@pytest.mark.parametrize(
    "address",
    [
        "",
        "europe-west4-kfp.pkg.dev/acme/pipelines",
        "http://europe-west4-kfp.pkg.dev/acme/pipelines",
        "https://europe-west4-docker.pkg.dev/acme/pipelines",
        "https://europe-west4-kfp.pkg.dev/acme",
        "https://europe-west4-kfp.pkg.dev/acme/pipelines/churn",
        "https://europe-west4-kfp.pkg.dev/../pipelines",
        "https://evil.example/europe-west4-kfp.pkg.dev/acme/pipelines",
    ],
)
def test_a_setting_that_is_not_the_address_of_a_repository_is_refused(
    cloud: testing.VertexStandIn, address: str
) -> None:
    with pytest.raises(ConfigError, match="not the address of a repository"):
        set_registry(address)


# -- what is sent


def test_the_requests_are_those_of_the_client_of_kfp(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    """kfp's own file has the paths and the queries. Pages have a size (ListVersionsRequest)."""
    first = registry.upload(UPLOAD)
    registry.upload(replace(UPLOAD, version=OTHER_VERSION))
    registry.set_tag(first, "v1")
    registry.set_tag(registry.list_versions("churn")[0], "v1")
    registry.remove_tag(registry.list_versions("churn")[0], "v1")
    registry.list_pipelines()
    context = json.loads(
        (package_files("kfp.registry") / "context" / "kfp_pkg_dev.json").read_text()
    )
    # `get_repository` of artifactregistry_v1. The client of kfp does not ask for the repository.
    known = {("GET", PACKAGE.removesuffix("/packages/churn"), ())}
    values = {
        "host": REGISTRY,
        "project_id": "stand-in-project",
        "repo_id": "pipelines",
        "location": "europe-west4",
        "package_name": "churn",
    }
    refs = [entry.ref for entry in registry.list_versions("churn")]
    tag_names = ["v1", *tags(cloud)]
    for key, template in context.items():
        verb = key.partition("_")[0]
        method = {"upload": "POST", "create": "POST", "update": "PATCH", "delete": "DELETE"}
        for ref, tag in itertools.product(refs, tag_names):
            url = urlsplit(template.format(**values, version=ref, tag=tag))
            query = tuple(sorted(parse_qsl(url.query)))
            known.add((method.get(verb, "GET"), url.path, query))

    for request in cloud.requests:
        query = {name: text for name, text in request.query.items() if name != "pageSize"}
        assert (request.method, request.path, tuple(sorted(query.items()))) in known
    bodies = [request.body for request in cloud.requests if isinstance(request.body, dict)]
    assert len(bodies) == 2
    assert all(set(body) == {"name", "version"} for body in bodies)


def test_kfp_s_client_reads_what_was_uploaded(
    cloud: testing.VertexStandIn, registry: SupportsVersions, tmp_path: Path
) -> None:
    from kfp import components
    from kfp.registry import ApiAuth, RegistryClient

    entry = registry.upload(UPLOAD)
    registry.set_tag(entry, "v1")
    client = RegistryClient(
        host=f"{cloud.api_endpoint}/stand-in-project/pipelines", auth=ApiAuth("token")
    )

    file = client.download_pipeline("churn", tag="v1", file_name=str(tmp_path / "churn.yaml"))

    assert components.load_component_from_file(file).name == "churn"


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("fault", ["garbage", "500"])
def test_a_server_that_answers_nonsense_ends_in_an_error_that_names_the_service(
    cloud: testing.VertexStandIn, registry: SupportsVersions, name: str, fault: str
) -> None:
    cloud.faults(1.0, [fault])

    with pytest.raises(KfgcpError, match="Artifact Registry") as error:
        ACTS[name](registry)

    assert error.value.exit_code == 5


@pytest.mark.parametrize("name", ACTS)
def test_a_body_that_never_ends_stops_at_the_limit_of_the_environment(
    cloud: testing.VertexStandIn, name: str
) -> None:
    def trickle(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        connection.trickle(b" " * 100_000)

    with hostile_server(trickle) as server:
        file = Path("kfgcp.toml")
        text = file.read_text().replace(cloud.api_endpoint, server.url)
        file.write_text(f"{text}request_seconds = 1\n")
        registry = open_registry()

        with pytest.raises(Unreachable, match="Artifact Registry"):
            ACTS[name](registry)
