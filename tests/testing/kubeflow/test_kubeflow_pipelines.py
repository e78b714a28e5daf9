"""Pipelines and versions of the stand-in, by the source of the server at tags 2.5.0 to 2.17.0."""

import json
from collections.abc import Callable

import pytest

from json_types import JsonDict
from kfgcp.testing import kubeflow
from stand_in_apis import KubeflowApi

# ValidateTags in apiserver/model/pipeline_tags.go, tag 2.17.0.
REFUSED_TAGS = [
    ({str(number): "" for number in range(21)}, "number of tags (21) exceeds maximum of 20"),
    ({"": "a"}, "tag key cannot be empty"),
    ({"a.b": "c"}, "tag key \"a.b\" must not contain '.' character"),
    ({"k" * 64: "a"}, "exceeds maximum length of 63 characters"),
    ({"k": "é" * 64}, f'tag value "{"é" * 64}" for key "k" exceeds maximum length of 63'),
]
NOT_TAGS = "Failed to parse tags query parameter. Expected JSON object with string keys and values"


@pytest.fixture
def text(spec_of: Callable[[str], JsonDict]) -> str:
    return json.dumps(spec_of("echo"))


@pytest.mark.parametrize(("tags", "problem"), REFUSED_TAGS)
def test_every_way_to_write_tags_has_their_limits(
    quick: KubeflowApi, text: str, tags: dict[str, str], problem: str
) -> None:
    pipeline = quick.post("pipelines", {"display_name": "plain"})

    upload = quick.upload(text, tags=json.dumps(tags))

    assert (upload.status_code, problem in upload.json()["error_message"]) == (400, True)
    for method, path in (("POST", "pipelines"), ("PATCH", f"pipelines/{pipeline['pipeline_id']}")):
        status, code, message = quick.refused(method, path, {"display_name": "new", "tags": tags})
        assert (status, code, problem in message) == (400, 3, True)
    assert quick.get("pipelines")["total_size"] == 1


@pytest.mark.parametrize("tags", ["[]", "x", '{"a": 1}', '{"a": {}}'])
def test_an_upload_refuses_tags_that_are_not_texts(
    quick: KubeflowApi, text: str, tags: str
) -> None:
    upload = quick.upload(text, tags=tags)

    assert (upload.status_code, upload.json()["error_message"]) == (400, NOT_TAGS)


@pytest.mark.parametrize("tags", [{"a": 1}, ["a"], "a"])
def test_a_body_refuses_tags_that_are_not_texts(quick: KubeflowApi, tags: object) -> None:
    assert quick.refused("POST", "pipelines", {"display_name": "a", "tags": tags})[:2] == (400, 3)


def test_tags_are_replaced_as_a_whole_and_only_an_empty_map_clears_them(
    quick: KubeflowApi,
) -> None:
    """`updateEntityFields` in storage/pipeline_store.go, clearTagsMiddleware in main.go."""
    pipeline = quick.post("pipelines", {"display_name": "a", "tags": {"old": "1", "other": "2"}})
    path = f"pipelines/{pipeline['pipeline_id']}"

    def patched(body: str) -> object:
        headers = {"Content-Type": "application/json"}
        return quick.good(quick.call("PATCH", path, data=body, headers=headers)).get("tags")

    assert patched('{"tags": {"new": "3"}}') == {"new": "3"}
    assert patched('{"display_name": "b"}') == {"new": "3"}
    assert patched('{"tags": null}') == {"new": "3"}
    assert patched('{"tags": {}}') is None


@pytest.mark.parametrize("version", ["2.5.0", "2.14.3", "2.16.1"])
def test_older_servers_ignore_the_tags_of_an_upload(
    api_of: type[KubeflowApi], text: str, version: str
) -> None:
    """Their pipeline_upload_server.go does not read the parameter."""
    with kubeflow(mode="instant", version=version) as server:
        api = api_of(server)
        pipeline = api.upload(text, name="echo", tags='{"a.b": 1}').json()
        params = {"pipelineid": pipeline["pipeline_id"], "name": "v2", "tags": "x"}
        added = api.call(
            "POST",
            "pipelines/upload_version",
            files={"uploadfile": ("a.yaml", text)},
            params=params,
        )

        assert "tags" not in pipeline
        assert (added.status_code, "tags" in added.json()) == (200, False)
        created = api.call("POST", "pipelines", json={"display_name": "b", "tags": {"a": "b"}})
        # Since 2.14, the gateway refuses unknown fields (recorded: run-create-unknown-body-field).
        assert created.status_code == (200 if version == "2.5.0" else 400)


def test_the_first_version_has_the_description_but_not_the_tags(
    quick: KubeflowApi, text: str
) -> None:
    """`uploadPipeline` in pipeline_upload_server.go."""
    pipeline = quick.upload(text, name="echo", description="d", tags='{"a": "b"}').json()

    (version,) = quick.get(f"pipelines/{pipeline['pipeline_id']}/versions")["pipeline_versions"]

    assert (pipeline["tags"], "tags" in version) == ({"a": "b"}, False)
    assert (version["name"], version["description"]) == ("echo", "d")


def test_stored_pipelines_have_no_default_values_of_messages(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    """`Bytes` in template/v2_template.go writes the messages PipelineSpec and PlatformSpec."""
    spec = spec_of("echo")
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    inputs["text"] |= {"isOptional": False, "defaultValue": ""}
    spec["deploymentSpec"]["executors"]["exec-say"]["container"]["env"] = []
    config = {"nodeSelector": {"nullable": False}}
    platform = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-say": config}}}}
    }
    other_platform: JsonDict = {"platforms": {"other": {"deploymentSpec": {}}}}

    both = _stored(quick, spec, platform)
    single = _stored(quick, spec, other_platform)

    stored = both["pipeline_spec"]
    # In a Value and in a Struct, defaults stay.
    assert stored["root"]["inputDefinitions"]["parameters"]["text"] == {
        "parameterType": "STRING",
        "defaultValue": "",
    }
    assert stored["deploymentSpec"] == spec["deploymentSpec"]
    assert both["platform_spec"] == platform
    # IsPlatformSpecWithKubernetesConfig decides whether a document is a platform spec.
    assert single == stored


def test_uploads_with_an_unknown_field_inside_are_refused(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    spec = spec_of("echo")
    spec["root"]["dag"]["tasks"]["say"]["unknownField"] = 1

    upload = quick.upload(json.dumps(spec))

    assert (upload.status_code, upload.json()["error_message"]) == (400, "unknown template format")


@pytest.mark.parametrize(("name", "status"), [("Echo", 409), ("echo ", 409), ("echo2", 200)])
def test_names_are_compared_as_mysql_compares_them(
    quick: KubeflowApi, text: str, name: str, status: int
) -> None:
    pipeline_id = quick.upload(text, name="echo").json()["pipeline_id"]

    assert quick.call("POST", "pipelines", json={"display_name": name}).status_code == status
    params = {"pipelineid": pipeline_id, "name": name}
    added = quick.call(
        "POST", "pipelines/upload_version", files={"uploadfile": ("a.yaml", text)}, params=params
    )
    assert added.status_code == status
    if status == 409:
        assert quick.get(f"pipelines/names/{name}")["pipeline_id"] == pipeline_id


def test_the_name_of_a_created_pipeline_that_is_too_long_is_an_internal_error(
    quick: KubeflowApi,
) -> None:
    """`toModelPipeline` in server/api_converter.go."""
    status, code, message = quick.refused("POST", "pipelines", {"display_name": "n" * 129})

    assert (status, code) == (500, 13)
    assert message.endswith("Invalid input error: Pipeline.Name length cannot exceed 128")


def _stored(api: KubeflowApi, spec: JsonDict, platform: JsonDict) -> JsonDict:
    """Return the pipeline_spec of a new version with two documents."""
    text = f"{json.dumps(spec)}\n---\n{json.dumps(platform)}\n"
    pipeline = api.upload(text, name=f"p{len(api.get('pipelines'))}-{len(text)}").json()
    (version,) = api.get(f"pipelines/{pipeline['pipeline_id']}/versions")["pipeline_versions"]
    stored: JsonDict = version["pipeline_spec"]
    return stored
