"""Artifact Registry of the stand-in, driven by the registry client of kfp and by plain HTTP."""

import hashlib
import itertools
import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import requests

from json_types import JsonDict
from kfgcp.testing import VertexStandIn
from patience import REQUEST

REGISTRY = "stand-in-project/pipelines"
LOCATION_NAME = "projects/stand-in-project/locations/europe-west4"
REPOSITORY_NAME = f"{LOCATION_NAME}/repositories/pipelines"


def pipeline_text(name: str = "churn", sdk: str = "kfp-2.17.0") -> str:
    """Return a pipeline as text. Another `sdk` makes another file of the same pipeline."""
    return (
        f"pipelineInfo: {{name: {name}}}\n"
        "root: {dag: {tasks: {say: {componentRef: {name: comp-say}}}}}\n"
        "components: {comp-say: {executorLabel: exec-say}}\n"
        "deploymentSpec: {executors: {exec-say: {container: {image: 'python:3.12'}}}}\n"
        "schemaVersion: 2.1.0\n"
        f"sdkVersion: {sdk}\n"
    )


def digest_of(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def kfp_client(instant: VertexStandIn, tmp_path: Path) -> Any:
    """Return kfp's own client, with the addresses of its file for Artifact Registry.

    Only the two hosts are replaced, so all paths, queries and bodies are those of the client.
    """
    from kfp.registry import ApiAuth, RegistryClient

    text = (files("kfp.registry") / "context" / "kfp_pkg_dev.json").read_text()
    context = json.loads(
        text.replace("https://artifactregistry.googleapis.com", instant.api_endpoint).replace(
            "{location}", instant.location
        )
    )
    context["regex"] = r"http://[^/]+/(?P<project_id>[^/]+)/(?P<repo_id>[^/]+)"
    config = tmp_path / "registry.json"
    config.write_text(json.dumps(context))
    return RegistryClient(
        host=f"{instant.api_endpoint}/{REGISTRY}", auth=ApiAuth("token"), config_file=str(config)
    )


@pytest.fixture
def pipeline_file(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a pipeline, and returns the name of the file."""
    numbers = itertools.count()

    def write(text: str) -> str:
        file = tmp_path / f"pipeline-{next(numbers)}.yaml"
        file.write_bytes(text.encode())
        return str(file)

    return write


Send = Callable[..., requests.Response]


@pytest.fixture
def send(instant: VertexStandIn) -> Send:
    """Return a function that sends a request to a path of the stand-in."""

    def send_request(method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, f"{instant.api_endpoint}/{path}", timeout=REQUEST, **options
        )

    return send_request


# -- the client of kfp


def test_an_upload_names_the_package_for_the_pipeline_and_the_version_for_the_file(
    kfp_client: Any, pipeline_file: Callable[..., str]
) -> None:
    text = pipeline_text("churn-model")

    assert kfp_client.upload_pipeline(pipeline_file(text)) == ("churn-model", digest_of(text))


@pytest.mark.parametrize(
    "text",
    [
        pipeline_text() + "# Umlaute: äöü, 日本語 and 🚀\n",
        pipeline_text().replace("\n", "\r\n"),
        pipeline_text().rstrip("\n"),
        pipeline_text() + "\n\n\n",
        pipeline_text() + "# --boundary\n#\r\n",
    ],
    ids=["not ASCII", "CRLF", "no line feed at the end", "empty lines at the end", "mixed"],
)
def test_a_download_has_the_bytes_of_the_upload(
    kfp_client: Any, pipeline_file: Callable[..., str], tmp_path: Path, text: str
) -> None:
    package, version = kfp_client.upload_pipeline(pipeline_file(text), tags=["v1", "latest"])
    by_version = kfp_client.download_pipeline(
        package, version=version, file_name=str(tmp_path / "by-version")
    )
    by_tag = kfp_client.download_pipeline(package, tag="v1", file_name=str(tmp_path / "by-tag"))

    assert Path(by_version).read_bytes() == Path(by_tag).read_bytes() == text.encode()


def test_an_upload_of_the_same_file_is_the_same_version_and_moves_tags(
    kfp_client: Any, pipeline_file: Callable[..., str], instant: VertexStandIn
) -> None:
    first, second = pipeline_text(), pipeline_text(sdk="kfp-2.16.0")
    kfp_client.upload_pipeline(pipeline_file(first), tags="latest")
    kfp_client.upload_pipeline(pipeline_file(second), tags=["latest", "v2"])
    kfp_client.upload_pipeline(pipeline_file(first), tags="v1")

    assert len(kfp_client.list_versions("churn")) == 2
    assert instant.artifact_registry.tags("pipelines", "churn") == {
        "latest": digest_of(second),
        "v1": digest_of(first),
        "v2": digest_of(second),
    }


def test_packages_versions_and_tags_are_read(
    kfp_client: Any, pipeline_file: Callable[..., str]
) -> None:
    text = pipeline_text()
    digest = digest_of(text)
    kfp_client.upload_pipeline(pipeline_file(pipeline_text("another")))
    kfp_client.upload_pipeline(pipeline_file(text), tags=["v1", "latest"])
    package_name = f"{REPOSITORY_NAME}/packages/churn"
    tags = [
        {"name": f"{package_name}/tags/{tag}", "version": f"{package_name}/versions/{digest}"}
        for tag in ("latest", "v1")
    ]

    packages = kfp_client.list_packages()
    version = kfp_client.get_version("churn", digest)

    assert [package["name"] for package in packages] == [
        f"{REPOSITORY_NAME}/packages/another",
        package_name,
    ]
    assert kfp_client.get_package("churn") == packages[1]
    assert version["name"] == f"{package_name}/versions/{digest}"
    assert version["relatedTags"] == kfp_client.list_tags("churn") == tags
    assert kfp_client.list_versions("churn") == [version]
    assert kfp_client.get_tag("churn", "v1") == tags[1]


def test_tags_are_created_moved_and_deleted(
    kfp_client: Any, pipeline_file: Callable[..., str], instant: VertexStandIn
) -> None:
    _, first = kfp_client.upload_pipeline(pipeline_file(pipeline_text()))
    _, second = kfp_client.upload_pipeline(pipeline_file(pipeline_text(sdk="kfp-2.16.0")))

    created = kfp_client.create_tag("churn", first, "v1.0.0")
    with pytest.raises(requests.HTTPError, match="409"):
        kfp_client.create_tag("churn", second, "v1.0.0")
    moved = kfp_client.update_tag("churn", second, "v1.0.0")
    tags_after_move = instant.artifact_registry.tags("pipelines", "churn")
    kfp_client.delete_tag("churn", "v1.0.0")

    package_name = f"{REPOSITORY_NAME}/packages/churn"
    assert created["version"] == f"{package_name}/versions/{first}"
    assert moved["version"] == f"{package_name}/versions/{second}"
    assert tags_after_move == {"v1.0.0": second}
    assert kfp_client.list_tags("churn") == {}
    for method in (kfp_client.get_tag, kfp_client.delete_tag):
        with pytest.raises(requests.HTTPError, match="404"):
            method("churn", "v1.0.0")
    with pytest.raises(requests.HTTPError, match="404"):
        kfp_client.update_tag("churn", first, "v1.0.0")


def test_a_version_with_tags_is_deleted_only_by_force(
    kfp_client: Any, pipeline_file: Callable[..., str], send: Send
) -> None:
    _, digest = kfp_client.upload_pipeline(pipeline_file(pipeline_text()), tags="v1")

    with pytest.raises(requests.HTTPError, match="400"):
        kfp_client.delete_version("churn", digest)
    path = f"v1/{REPOSITORY_NAME}/packages/churn/versions/{digest}"
    forced = send("DELETE", path, params={"force": "true"}).json()

    assert forced["done"] is True
    assert kfp_client.list_versions("churn") == {}
    assert kfp_client.list_tags("churn") == {}


def test_a_package_is_deleted_with_its_versions(
    kfp_client: Any, pipeline_file: Callable[..., str]
) -> None:
    kfp_client.upload_pipeline(pipeline_file(pipeline_text()), tags="v1")

    assert kfp_client.delete_package("churn") is True
    assert kfp_client.list_packages() == {}
    with pytest.raises(requests.HTTPError, match="404"):
        kfp_client.get_package("churn")


# -- plain HTTP


def test_a_repository_has_a_format(instant: VertexStandIn, send: Send) -> None:
    instant.artifact_registry.make_repository("images", "DOCKER")

    def answer(name: str) -> JsonDict:
        body: JsonDict = send("GET", f"v1/{LOCATION_NAME}/repositories/{name}").json()
        return body

    assert answer("pipelines")["format"] == "KFP"
    assert answer("images")["format"] == "DOCKER"
    assert answer("missing")["error"]["status"] == "NOT_FOUND"


def test_only_a_repository_of_the_format_kfp_takes_uploads(
    instant: VertexStandIn, send: Send
) -> None:
    instant.artifact_registry.make_repository("images", "DOCKER")
    form = {"content": pipeline_text()}

    assert send("POST", "stand-in-project/images", files=form).status_code == 400
    assert send("POST", "stand-in-project/missing", files=form).status_code == 404


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "pipelineInfo: {}\n",
        "pipelineInfo: {name: 3}\n",
        "pipelineInfo: {name: ../churn}\n",
        f"pipelineInfo: {{name: {'x' * 129}}}\n",
        "- pipelineInfo\n",
    ],
)
def test_a_file_that_is_not_a_pipeline_is_refused(
    send: Send, instant: VertexStandIn, content: str
) -> None:
    answer = send("POST", REGISTRY, files={"content": content})

    assert answer.status_code == 400
    assert send("GET", f"v1/{REPOSITORY_NAME}/packages").json() == {}


def test_an_upload_without_a_file_is_refused(send: Send) -> None:
    assert send("POST", REGISTRY, files={"tags": "v1"}).status_code == 400


@pytest.mark.parametrize("tags", ["a b", "../v1", "v1,sha256:12", "x" * 129])
def test_an_upload_with_a_tag_of_another_form_is_refused(
    send: Send, instant: VertexStandIn, tags: str
) -> None:
    answer = send("POST", REGISTRY, data={"tags": tags}, files={"content": pipeline_text()})

    assert answer.status_code == 400
    assert instant.artifact_registry.tags("pipelines", "churn") == {}


def test_lists_have_pages(instant: VertexStandIn, send: Send) -> None:
    for number in range(7):
        tag = f"v{number}"
        instant.publish("churn", pipeline_text(sdk=f"kfp-2.{number}.0"), tag)
    path = f"v1/{REPOSITORY_NAME}/packages/churn"
    for field in ("versions", "tags"):
        names: list[str] = []
        token = ""
        page_sizes: list[int] = []
        while len(page_sizes) == 0 or token:
            params = {"pageSize": 3, "pageToken": token}
            page = send("GET", f"{path}/{field}", params=params).json()
            names += [item["name"] for item in page[field]]
            page_sizes.append(len(page[field]))
            token = page.get("nextPageToken", "")
        assert page_sizes == [3, 3, 1]
        assert len(set(names)) == 7


def test_only_the_view_full_has_tags_and_at_most_a_hundred(
    instant: VertexStandIn, send: Send
) -> None:
    instant.publish("churn", pipeline_text(), *(f"v{number:03}" for number in range(120)))
    path = f"v1/{REPOSITORY_NAME}/packages/churn/versions"

    [basic] = send("GET", path).json()["versions"]
    [full] = send("GET", path, params={"view": "FULL"}).json()["versions"]

    assert "relatedTags" not in basic
    assert len(full["relatedTags"]) == 100
    assert send("GET", path, params={"view": "HALF"}).status_code == 400


def test_tags_are_filtered_by_version_and_by_name(instant: VertexStandIn, send: Send) -> None:
    digest = instant.publish("churn", pipeline_text(), "v1", "latest").rpartition("/")[2]
    instant.publish("churn", pipeline_text(sdk="kfp-2.16.0"), "v2")
    package_name = f"{REPOSITORY_NAME}/packages/churn"

    def names(text: str) -> list[str]:
        answer = send("GET", f"v1/{package_name}/tags", params={"filter": text})
        return [tag["name"].rpartition("/")[2] for tag in answer.json()["tags"]]

    assert names(f'version="{package_name}/versions/{digest}"') == ["latest", "v1"]
    assert names(f'name="{package_name}/tags/v*"') == ["v1", "v2"]
    assert send("GET", f"v1/{package_name}/tags", params={"filter": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("tag", "body", "status"),
    [
        ("", {"version": "DIGEST"}, 400),
        ("../v1", {"version": "DIGEST"}, 400),
        ("v1", {}, 400),
        ("v1", {"version": 3}, 400),
        ("v1", {"version": "projects/other/versions/sha256:12"}, 400),
        ("v1", {"version": "DIGEST", "labels": {}}, 400),
        ("v1", {"version": "MISSING"}, 404),
    ],
)
def test_a_tag_that_cannot_be_is_refused(
    instant: VertexStandIn, send: Send, tag: str, body: JsonDict, status: int
) -> None:
    digest = instant.publish("churn", pipeline_text()).rpartition("/")[2]
    versions = f"{REPOSITORY_NAME}/packages/churn/versions"
    names = {"DIGEST": f"{versions}/{digest}", "MISSING": f"{versions}/sha256:{'0' * 64}"}
    version = body.get("version")
    if version in names:
        body = body | {"version": names[version]}

    answer = send("POST", f"v1/{REPOSITORY_NAME}/packages/churn/tags?tagId={tag}", json=body)

    assert answer.status_code == status
    assert instant.artifact_registry.tags("pipelines", "churn") == {}


def test_an_unknown_query_parameter_is_refused(send: Send) -> None:
    assert send("GET", f"v1/{REPOSITORY_NAME}/packages?size=3").status_code == 400


def test_the_form_of_a_foreign_web_page_is_refused(send: Send, instant: VertexStandIn) -> None:
    answer = send(
        "POST",
        REGISTRY,
        files={"content": pipeline_text()},
        headers={"Origin": "http://evil.example"},
    )

    assert answer.status_code == 403
    assert instant.artifact_registry.files("pipelines", "churn") == {}
