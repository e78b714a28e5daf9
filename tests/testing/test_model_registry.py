"""The Model Registry of the stand-in, driven by Google's own client and by plain HTTP."""

from typing import Any

import pytest

from kfgcp.testing import VertexStandIn

IMAGE = "europe-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest"


@pytest.fixture
def upload(aiplatform: Any, env: VertexStandIn) -> Any:
    """Return a function that registers a model with Google's client, and returns the model."""

    def upload_model(**options: Any) -> Any:
        return aiplatform.Model.upload(
            display_name="churn",
            artifact_uri=f"{env.pipeline_root}/model",
            serving_container_image_uri=IMAGE,
            **options,
        )

    return upload_model


def test_the_first_version_of_a_model_is_the_default(upload: Any, env: VertexStandIn) -> None:
    model = upload(model_id="churn", labels={"team": "growth"}, version_description="first")

    name = f"projects/{env.project_number}/locations/{env.location}/models/churn"
    assert env.models() == [name]
    assert model.resource_name == name
    assert (model.version_id, list(model.version_aliases)) == ("1", ["default"])
    assert (model.display_name, model.version_description) == ("churn", "first")
    assert model.uri == f"{env.pipeline_root}/model"
    assert model.container_spec.image_uri == IMAGE
    assert model.labels == {"team": "growth"}
    assert model.create_time == model.version_create_time


def test_a_new_version_becomes_the_default_only_when_asked(aiplatform: Any, upload: Any) -> None:
    first = upload(model_id="churn")
    second = upload(parent_model=first.resource_name, is_default_version=False)
    third = upload(parent_model="churn", is_default_version=True, version_aliases=["golden"])

    versions = third.versioning_registry.list_versions()
    assert {version.version_id: sorted(version.version_aliases) for version in versions} == {
        "1": [],
        "2": [],
        "3": ["default", "golden"],
    }
    assert second.version_id == "2"
    assert aiplatform.Model("churn").version_id == "3"
    assert aiplatform.Model("churn@golden").version_id == "3"
    assert aiplatform.Model("churn@1").version_id == "1"
    assert [model.version_id for model in aiplatform.Model.list()] == ["3"]


def test_an_alias_moves_and_is_removed(upload: Any) -> None:
    first = upload(model_id="churn", version_aliases=["champion"])
    upload(parent_model="churn", is_default_version=False)
    registry = first.versioning_registry

    registry.add_version_aliases(["champion", "tested"], "2")
    assert sorted(registry.get_version_info("2").version_aliases) == ["champion", "tested"]
    assert registry.get_version_info("1").version_aliases == ["default"]
    registry.remove_version_aliases(["tested"], "2")
    assert registry.get_version_info("champion").version_id == "2"
    assert registry.get_version_info("2").version_aliases == ["champion"]


def test_models_are_filtered_changed_and_deleted(aiplatform: Any, upload: Any) -> None:
    model = upload(model_id="churn", labels={"team": "growth"})
    upload(model_id="fraud")

    assert [item.name for item in aiplatform.Model.list(filter="labels.team=growth")] == ["churn"]
    assert [item.name for item in aiplatform.Model.list(filter="model=fraud")] == ["fraud"]
    model.update(description="who leaves", labels={"team": "sales"})
    assert aiplatform.Model("churn").description == "who leaves"
    assert aiplatform.Model("churn").labels == {"team": "sales"}
    upload(parent_model="churn", is_default_version=True)
    model.versioning_registry.delete_version("1")
    assert [info.version_id for info in model.versioning_registry.list_versions()] == ["2"]
    # The number of a deleted version is not used again.
    assert upload(parent_model="churn").version_id == "3"
    model.delete()
    assert [item.name for item in aiplatform.Model.list()] == ["fraud"]


def model_body(**fields: Any) -> dict[str, Any]:
    return {"displayName": "churn", **fields}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"model": {}}, "display_name is required"),
        ({"model": model_body(displayName="x" * 129)}, "at most 128"),
        ({"model": model_body(artifactUri="gs://stand-in-project-pipelines/m")}, "image_uri"),
        ({"model": model_body(versionAliases=["2"])}, 'Invalid version alias "2"'),
        ({"model": model_body(labels={"Team": "x"})}, 'Invalid label key "Team"'),
        ({"model": model_body(unknown=1)}, "Unknown name"),
        ({"model": model_body(), "modelId": "1st"}, 'Invalid model_id "1st"'),
        ({"model": model_body(), "parentModel": "projects/p/locations/l/models/x"}, "not found"),
    ],
)
def test_a_model_that_cannot_be_registered(rest: Any, body: dict[str, Any], message: str) -> None:
    answer = rest.post("models:upload", body)

    assert answer.status_code in (400, 404)
    assert message in answer.json()["error"]["message"]
    assert rest.get("models") == {"models": []}


def test_a_bucket_that_does_not_exist_is_refused(rest: Any) -> None:
    model = model_body(artifactUri="gs://no-bucket/m", containerSpec={"imageUri": IMAGE})
    answer = rest.post("models:upload", {"model": model})

    assert answer.status_code == 400
    assert "gs://no-bucket does not exist" in answer.json()["error"]["message"]


def test_an_id_that_exists_needs_a_parent_model(rest: Any) -> None:
    body = {"model": model_body(), "modelId": "churn"}

    assert rest.post("models:upload", body).status_code == 200
    assert rest.post("models:upload", body).status_code == 409


def test_the_default_alias_and_version_cannot_be_removed(rest: Any) -> None:
    rest.post("models:upload", {"model": model_body(), "modelId": "churn"})
    parent = rest.get("models/churn")["name"]
    rest.post("models:upload", {"model": model_body(), "parentModel": parent})

    merge = "models/churn@1:mergeVersionAliases"
    assert rest.post(merge, {"versionAliases": ["-default"]}).status_code == 400
    assert rest.post(merge, {"versionAliases": []}).status_code == 400
    no_version = "models/churn:mergeVersionAliases"
    assert rest.post(no_version, {"versionAliases": ["best"]}).status_code == 400
    unknown_version = "models/churn@7:mergeVersionAliases"
    assert rest.post(unknown_version, {"versionAliases": ["best"]}).status_code == 404
    assert rest.call("DELETE", "models/churn@1:deleteVersion").status_code == 400
    assert rest.call("DELETE", "models/churn@2:deleteVersion").status_code == 200
    assert rest.call("DELETE", "models/churn@1:deleteVersion").status_code == 400


def test_an_alias_that_is_added_and_removed_at_once_stays_as_it_was(rest: Any) -> None:
    rest.post("models:upload", {"model": model_body(), "modelId": "churn"})
    merge = "models/churn@1:mergeVersionAliases"

    model = rest.post(merge, {"versionAliases": ["best", "-best"]}).json()

    assert model["versionAliases"] == ["default"]


def test_a_change_with_an_old_etag_is_refused(rest: Any) -> None:
    rest.post("models:upload", {"model": model_body(), "modelId": "churn"})
    etag = rest.get("models/churn")["etag"]
    mask = {"updateMask": "description"}

    statuses = []
    for description in ("a", "b"):
        body = {"description": description, "etag": etag}
        answer = rest.call("PATCH", "models/churn", params=mask, json=body)
        statuses.append(answer.status_code)

    assert statuses == [200, 409]
    assert rest.get("models/churn")["description"] == "a"


def test_versions_come_in_pages(rest: Any) -> None:
    rest.post("models:upload", {"model": model_body(), "modelId": "churn"})
    parent = rest.get("models/churn")["name"]
    for _ in range(4):
        rest.post("models:upload", {"model": model_body(), "parentModel": parent})

    path = "models/churn:listVersions"
    version_ids: list[str] = []
    token = ""
    while True:
        query = {"pageSize": 2, "pageToken": token, "orderBy": "create_time"}
        page = rest.get(path, **query)
        version_ids += [version["versionId"] for version in page["models"]]
        token = page.get("nextPageToken", "")
        if not token:
            break

    assert sorted(version_ids) == ["1", "2", "3", "4", "5"]
    newest = rest.get(path, pageSize=1, readMask="name,versionId")["models"]
    assert set(newest[0]) == {"name", "versionId"}
