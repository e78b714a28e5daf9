"""Uploads that are refused before anything is written, with one line and a hint."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from kfgcp.backends.kubeflow.version_checks import MAX_TEXT_BYTES
from kfgcp.backends.versions import VersionUpload
from kfgcp.errors import KfgcpError, SpecError, UsageError
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import KubeflowStandIn
from kubeflow_registries import MakeUpload, OpenRegistry
from patience import REQUEST

HOSTILE_NAMES = [
    "",
    " ",
    "churn ",
    " churn",
    "ch\nurn",
    "ch\x00urn",
    "ch\u202eurn",
    "\ud800",
    "n" * 129,
    "é" * 65,
]
ODD_NAMES = ["a/b", "../x", "a?b=c", "a%2Fb", "a#b", "{x}", "'; --", "数据", "n" * 128, "names"]


def assert_nothing_written(server: KubeflowStandIn, error: KfgcpError) -> None:
    assert server.requests.count("POST") == 0
    assert "\n" not in error.message
    assert error.hint or isinstance(error, SpecError)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_the_server_cannot_store_are_refused(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    name: str,
) -> None:
    with pytest.raises(UsageError, match="The name of the pipeline") as refusal:
        open_registry(registry_server.host).upload(upload_of(pipeline=name))

    assert_nothing_written(registry_server, refusal.value)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    name: str,
) -> None:
    registry = open_registry(registry_server.host)

    entry = registry.upload(upload_of(pipeline=name))

    fresh_registry = open_registry(registry_server.host)
    assert fresh_registry.list_pipelines() == [name]
    assert [listed.ref for listed in fresh_registry.list_versions(name)] == [entry.ref]


@pytest.mark.parametrize("other", ["Churn", "CHURN", "churn  "])
def test_a_name_that_mysql_takes_for_another_is_refused(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    other: str,
) -> None:
    registry_server.pipelines.add_pipeline(other, other, "", "", {})

    with pytest.raises(UsageError, match="differ only in case") as refusal:
        open_registry(registry_server.host).upload(upload_of())

    assert_nothing_written(registry_server, refusal.value)


def test_a_pipeline_that_kfgcp_did_not_make_is_not_changed(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    registry_server.pipelines.add_pipeline("churn", "churn", "", "made by hand", {})

    with pytest.raises(UsageError, match="was not made by kfgcp") as refusal:
        open_registry(registry_server.host).upload(upload_of())

    assert_nothing_written(registry_server, refusal.value)


def test_a_pipeline_of_another_project_is_not_changed(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    open_registry(registry_server.host).upload(upload_of(project="other"))
    before = len(registry_server.requests)

    with pytest.raises(UsageError, match="belongs to the project 'other'"):
        open_registry(registry_server.host).upload(upload_of())

    assert registry_server.requests.count("POST", since=before) == 0


def not_yaml(upload: VersionUpload, spec: JsonObject) -> str:
    return "a: [\n"


def binary(upload: VersionUpload, spec: JsonObject) -> str:
    return "\x00\x01"


def empty(upload: VersionUpload, spec: JsonObject) -> str:
    return ""


def half_a_character(upload: VersionUpload, spec: JsonObject) -> str:
    return upload.text + "# \ud800\n"


def not_a_pipeline(upload: VersionUpload, spec: JsonObject) -> str:
    return "a: b\n"


def too_long(upload: VersionUpload, spec: JsonObject) -> str:
    return upload.text + "#" * MAX_TEXT_BYTES


def other_schema(upload: VersionUpload, spec: JsonObject) -> str:
    return json.dumps({**spec, "schemaVersion": "2.0.0"})


def name_with_capitals(upload: VersionUpload, spec: JsonObject) -> str:
    return json.dumps({**spec, "pipelineInfo": {"name": "Echo_1"}})


def large_integer(upload: VersionUpload, spec: JsonObject) -> str:
    changed = json.loads(json.dumps(spec))
    changed["root"]["inputDefinitions"]["parameters"]["n"] = {
        "parameterType": "NUMBER_INTEGER",
        "defaultValue": 2**53 + 1,
    }
    return json.dumps(changed)


def platform_of_another_system(upload: VersionUpload, spec: JsonObject) -> str:
    return upload.text + '---\n{"platforms": {"other": {"deploymentSpec": {}}}}\n'


@pytest.mark.parametrize(
    "text_of",
    [
        not_yaml,
        binary,
        empty,
        half_a_character,
        not_a_pipeline,
        too_long,
        other_schema,
        name_with_capitals,
        large_integer,
        platform_of_another_system,
    ],
)
def test_a_text_that_the_server_refuses_or_changes_is_not_sent(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    echo: JsonObject,
    text_of: Callable[[VersionUpload, JsonObject], str],
) -> None:
    """A file that is not YAML keeps a real server busy for ever."""
    upload = replace(upload_of(), text=text_of(upload_of(), echo))

    with pytest.raises(SpecError) as refusal:
        open_registry(tag_server.host).upload(upload)

    assert_nothing_written(tag_server, refusal.value)


def test_an_entry_name_that_somebody_else_has_is_not_used(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    """Also a version without markers in a pipeline of the project stays unchanged."""
    registry = open_registry(registry_server.host)
    upload = upload_of()
    entry = registry.upload(upload)
    pipeline_id, _, version_id = entry.ref.partition("/")
    registry_server.pipelines.remove_version(version_id)
    name = f"sha256-{upload.version[7:19]}"
    requests.post(
        f"{registry_server.host}/apis/v2beta1/pipelines/upload_version",
        files={"uploadfile": ("a.yaml", upload.text)},
        params={"name": name, "pipelineid": pipeline_id},
        timeout=REQUEST,
    ).raise_for_status()

    second = registry.upload(upload)

    listed = {item.ref: item.version for item in registry.list_versions("churn")}
    assert sorted(map(bool, listed.values())) == [False, True]
    assert listed[second.ref]
