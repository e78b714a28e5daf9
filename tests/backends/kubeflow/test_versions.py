"""Versions of pipelines on Kubeflow Pipelines: what is written, and what is read back."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import requests
import yaml

from json_types import JsonDict
from kfgcp import testing
from kfgcp.backends.kubeflow.request import parse_description
from kfgcp.backends.versions import SupportsVersions, digits
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import from_text
from kfgcp.testing import KubeflowStandIn
from kfgcp.testing.server import Request, Response
from kubeflow_registries import MakeUpload, OpenRegistry
from patience import REQUEST

if TYPE_CHECKING:
    import kfp

HAS_TAGS = ("2.17.0", "3.0.0")
VERSIONS = "*/versions"


def read(server: KubeflowStandIn, path: str) -> JsonDict:
    """Return an answer of the API."""
    answer = requests.get(f"{server.host}/apis/v2beta1/{path}", timeout=REQUEST)
    answer.raise_for_status()
    body: JsonDict = answer.json()
    return body


def stored_versions(server: KubeflowStandIn) -> list[JsonDict]:
    """Return the versions of the only pipeline of a server, the oldest first."""
    (pipeline,) = read(server, "pipelines")["pipelines"]
    versions = read(server, f"pipelines/{pipeline['pipeline_id']}/versions")["pipeline_versions"]
    return sorted(versions, key=lambda version: (version["created_at"], version["display_name"]))


def test_an_uploaded_pipeline_is_an_entry_with_markers(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    upload = upload_of()

    entry = open_registry(registry_server.host).upload(upload)

    registry = open_registry(registry_server.host)
    (listed,) = registry.list_versions("churn")
    (stored,) = stored_versions(registry_server)
    assert stored["display_name"] == f"sha256-{digits(upload.version, 12)}"
    fields = parse_description(stored.get("description"))
    if registry_server.version in HAS_TAGS:
        assert "description" not in stored
        fields = stored["tags"]
    assert fields == dict(upload.markers)
    assert listed.has_version(upload.version)
    assert listed.has_text(upload.text_digest)
    ids = (stored["pipeline_id"], stored["pipeline_version_id"])
    assert listed == replace(
        entry,
        version=f"sha256:{digits(upload.version)}",
        text_digest=f"sha256:{digits(upload.text_digest)}",
        ref="/".join(ids),
        project="acme",
        tags=(),
        created_at=stored["created_at"],
        address=f"{registry_server.host}/#/pipelines/details/{ids[0]}/version/{ids[1]}",
    )
    assert registry.list_pipelines() == ["churn"]
    assert isinstance(registry, SupportsVersions)


def test_a_pipeline_has_the_markers_of_its_project(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    open_registry(registry_server.host).upload(upload_of())

    (pipeline,) = read(registry_server, "pipelines")["pipelines"]

    fields = pipeline.get("tags") or parse_description(pipeline.get("description"))
    assert fields == {"kfgcp-project": "acme", "kfgcp-name": "churn"}
    assert ("tags" in pipeline) == (registry_server.version in HAS_TAGS)


def test_the_same_content_makes_no_write(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    first = open_registry(registry_server.host).upload(upload_of())
    before = len(registry_server.requests)

    second = open_registry(registry_server.host).upload(upload_of())

    assert second == first
    requests_since = registry_server.requests.select(since=before)
    assert {request.method for request in requests_since} == {"GET"}


def test_another_text_of_the_same_version_is_another_entry(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    """All three are in the same second, so the order is by the number in the name."""
    registry_server.creation.clock = lambda: 1_800_000_000.0
    uploads = [upload_of("# a\n"), upload_of("# b\n"), upload_of("# a\n")]

    refs = [open_registry(registry_server.host).upload(upload).ref for upload in uploads]

    listed = open_registry(registry_server.host).list_versions("churn")
    assert [entry.ref for entry in listed] == refs[::-1]
    assert all(entry.has_version(uploads[0].version) for entry in listed)
    assert [entry.has_text(uploads[0].text_digest) for entry in listed] == [True, False, False]
    # Only the newest entry has the text that the environment runs.
    assert [bool(entry.text_digest) for entry in listed] == [True, False, False]
    short_version = digits(uploads[0].version, 12)
    names = [version["display_name"] for version in stored_versions(registry_server)]
    assert names == [
        f"sha256-{short_version}",
        f"sha256-{short_version}-2-{digits(uploads[1].text_digest, 6)}",
        f"sha256-{short_version}-3-{digits(uploads[0].text_digest, 6)}",
    ]


@pytest.mark.parametrize(("count", "pages"), [(99, 1), (100, 1), (101, 2)])
def test_the_versions_of_a_pipeline_are_one_request_up_to_100(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    count: int,
    pages: int,
) -> None:
    upload = upload_of()
    pipeline_id = open_registry(tag_server.host).upload(upload).ref.partition("/")[0]
    spec = from_text(upload.text, "churn")
    for number in range(count - 1):
        tag_server.pipelines.add_version(pipeline_id, f"v{number}", f"v{number}", "", spec, {})
    registry = open_registry(tag_server.host)
    registry.list_pipelines()
    before = len(tag_server.requests)

    listed = registry.list_versions("churn")

    assert len(listed) == count
    assert [entry.version for entry in listed if entry.version] == [
        f"sha256:{digits(upload.version)}"
    ]
    assert tag_server.requests.count(since=before) == pages


def test_the_ids_of_all_pipelines_are_one_request(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    names = [f"p{number}" for number in range(5)]
    for name in names:
        open_registry(tag_server.host).upload(upload_of(pipeline=name))
    registry = open_registry(tag_server.host)
    before = len(tag_server.requests)

    versions = [registry.list_versions(name) for name in [*names, "other"]]

    assert [len(entries) for entries in versions] == [1, 1, 1, 1, 1, 0]
    assert tag_server.requests.count("GET", "*/pipelines", since=before) == 1
    assert tag_server.requests.count("GET", VERSIONS, since=before) == 5
    assert tag_server.requests.count(since=before) == 6


def test_the_text_has_the_documents_that_were_uploaded(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    echo: JsonObject,
) -> None:
    config = {"nodeSelector": {"labels": {"pool": "1e-7", "on": "yes"}}, "enabled": False, "n": 0.5}
    platform = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-say": config}}}}
    }
    text = "# a comment\n" + yaml.safe_dump_all([dict(echo), platform], sort_keys=False)
    registry = open_registry(registry_server.host)

    entry = registry.upload(replace(upload_of(), text=text))

    assert list(yaml.safe_load_all(registry.read_text(entry))) == [echo, platform]
    assert from_text(registry.read_text(entry), "churn").version == upload_of().version


def test_default_values_that_the_server_leaves_out_are_no_change(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    echo: JsonObject,
) -> None:
    """The server stores messages, which have no field for `isOptional: false`."""
    spec = json.loads(json.dumps(echo))
    spec["root"]["inputDefinitions"]["parameters"]["text"] |= {"isOptional": False}
    spec["root"]["dag"]["tasks"]["say"]["cachingOptions"] = {"enableCache": False}
    spec["root"]["inputDefinitions"]["parameters"]["rate"] = {
        "parameterType": "NUMBER_DOUBLE",
        "defaultValue": 0.0,
    }
    registry = open_registry(registry_server.host)

    entry = registry.upload(replace(upload_of(), text=json.dumps(spec)))

    stored = yaml.safe_load(registry.read_text(entry))
    parameters = stored["root"]["inputDefinitions"]["parameters"]
    assert "isOptional" not in parameters["text"]
    assert parameters["rate"]["defaultValue"] == 0
    assert stored["root"]["dag"]["tasks"]["say"]["cachingOptions"] == {}


def test_a_server_without_a_version_gets_the_markers_in_descriptions(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    """So they can be read after an upgrade, too: tags do not replace them."""
    tag_server.tells_version = False
    registry = open_registry(tag_server.host)
    entry = registry.upload(upload_of())
    registry.set_tag(entry, "main")

    tag_server.tells_version = True
    upgraded = open_registry(tag_server.host)
    before = len(tag_server.requests)

    (listed,) = upgraded.list_versions("churn")
    assert (listed.ref, listed.tags) == (entry.ref, ("main",))
    assert listed.has_text(upload_of().text_digest)
    assert upgraded.upload(upload_of()).ref == entry.ref
    assert tag_server.requests.count("POST", since=before) == 0


def test_markers_that_are_too_long_for_tags_are_in_the_description(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    name = "p" * 128
    registry = open_registry(tag_server.host)

    entry = registry.upload(upload_of(pipeline=name))

    assert open_registry(tag_server.host).list_versions(name) == registry.list_versions(name)
    assert registry.list_versions(name)[0].ref == entry.ref
    assert stored_versions(tag_server)[0].get("tags") is None


def test_versions_that_kfgcp_did_not_make_are_listed_without_a_version(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    """Also one whose name looks like ours."""
    upload = upload_of()
    files = {"uploadfile": ("a.yaml", upload.text)}
    params = {"name": f"sha256-{digits(upload.version, 12)}", "description": "by hand"}
    requests.post(
        f"{registry_server.host}/apis/v2beta1/pipelines/upload",
        files=files,
        params=params,
        timeout=REQUEST,
    ).raise_for_status()

    (entry,) = open_registry(registry_server.host).list_versions(params["name"])

    assert (entry.version, entry.text_digest, entry.project) == ("", "", "")


def test_a_namespace_has_its_own_pipelines(
    open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    with testing.kubeflow(mode="instant", multi_user=True, namespaces=["growth", "risk"]) as server:
        growth = open_registry(server.host, "growth")
        risk = open_registry(server.host, "risk")
        first = growth.upload(upload_of())
        second = risk.upload(upload_of())

        assert first.ref != second.ref
        assert [entry.ref for entry in growth.list_versions("churn")] == [first.ref]
        assert growth.registry == f"{server.host} (namespace growth)"


def test_a_deleted_pipeline_has_no_versions(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    registry = open_registry(registry_server.host)
    entry = registry.upload(upload_of())
    pipeline_id = entry.ref.partition("/")[0]
    registry_server.pipelines.remove_pipeline(pipeline_id, "", with_versions=True)

    assert registry.list_versions("churn") == []
    assert registry.list_pipelines() == []


@pytest.fixture
def kfp_client(tag_server: KubeflowStandIn, home: object) -> "kfp.Client":
    import kfp

    return kfp.Client(tag_server.host, existing_token="any")  # noqa: S106


def test_kfp_client_reads_and_runs_what_was_uploaded(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    kfp_client: "kfp.Client",
    echo: JsonObject,
) -> None:
    entry = open_registry(tag_server.host).upload(upload_of())
    pipeline_id, _, version_id = entry.ref.partition("/")

    (version,) = kfp_client.list_pipeline_versions(pipeline_id).pipeline_versions
    read_version = kfp_client.get_pipeline_version(pipeline_id, version_id)
    experiment = kfp_client.create_experiment("churn")
    run = kfp_client.run_pipeline(
        experiment.experiment_id, "run", pipeline_id=pipeline_id, version_id=version_id
    )

    assert kfp_client.get_pipeline_id("churn") == pipeline_id
    assert version.pipeline_version_id == version_id
    assert read_version.pipeline_spec == echo
    assert run.pipeline_version_reference.pipeline_version_id == version_id


def test_the_entry_with_the_highest_number_is_the_newest_when_the_clock_goes_back(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = open_registry(tag_server.host)
    first = registry.upload(upload_of())
    second = registry.upload(upload_of("# other\n"))
    handle = tag_server.handle

    def with_old_time(request: Request) -> Response:
        response = handle(request)
        if isinstance(response.body, dict):
            for version in response.body.get("pipeline_versions", ()):
                if version["pipeline_version_id"] == second.ref.partition("/")[2]:
                    version["created_at"] = "2001-01-01T00:00:00Z"
        return response

    monkeypatch.setattr(tag_server, "handle", with_old_time)

    listed = registry.list_versions("churn")

    assert [entry.ref for entry in listed] == [second.ref, first.ref]
    assert registry.upload(upload_of("# other\n")).ref == second.ref
