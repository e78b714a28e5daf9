"""Calls of the metadata service that Google's client does not make in test_google_clients.py."""

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from stand_in_apis import VertexApi

STORE = "metadataStores/default"


def test_the_nodes_of_a_job_are_found_by_its_context(quick: VertexApi) -> None:
    _, second_id = quick.env.seed(
        2, params={"lr": 0.5}, metrics={"accuracy": lambda number: number}
    )
    context = quick.get(f"pipelineJobs/{second_id}")["jobDetail"]["pipelineRunContext"]["name"]

    executions = quick.get(
        f"{STORE}/executions", filter=f'schema_title="system.Run" AND in_context("{context}")'
    )
    artifacts = quick.get(
        f"{STORE}/artifacts", filter=f'in_context("{context}") AND schema_title="system.Metrics"'
    )
    by_id = context.replace(str(quick.env.project_number), quick.env.project)
    same = quick.get(f"{STORE}/artifacts", filter=f'in_context("{by_id}")')
    whole = quick.get(f"{STORE}/artifacts")

    (run,) = executions["executions"]
    assert run["metadata"] == {"input:lr": 0.5}
    assert [artifact["metadata"] for artifact in artifacts["artifacts"]] == [{"accuracy": 1}]
    assert same == artifacts
    assert len(whole["artifacts"]) == 2
    for kind, answer in (("Executions", executions), ("Artifacts", artifacts)):
        json_format.ParseDict(answer, getattr(types, f"List{kind}Response").pb()())


def test_a_deleted_job_takes_its_nodes_along(quick: VertexApi) -> None:
    (job,) = quick.env.seed(1, metrics={"accuracy": 1.0})
    assert quick.get(f"{STORE}/artifacts")["artifacts"]

    quick.call("DELETE", f"pipelineJobs/{job}")

    assert quick.get(f"{STORE}/artifacts")["artifacts"] == []
    assert quick.get(f"{STORE}/contexts")["contexts"] == []


def test_contexts_have_children_and_parents(quick: VertexApi) -> None:
    for name in ("above", "below"):
        answer = quick.post(
            f"{STORE}/contexts", {"schemaTitle": "system.Experiment"}, contextId=name
        )
        assert answer.status_code == 200
    below = quick.get(f"{STORE}/contexts/below")["name"]
    above = quick.get(f"{STORE}/contexts/above")["name"]

    quick.post(f"{STORE}/contexts/above:addContextChildren", {"childContexts": [below]})
    filter = f'parent_contexts:"{above}"'
    contexts = quick.get(f"{STORE}/contexts", filter=filter)["contexts"]
    quick.post(f"{STORE}/contexts/above:removeContextChildren", {"childContexts": [below]})

    assert [(context["name"], context["parentContexts"]) for context in contexts] == [
        (below, [above])
    ]
    assert quick.get(f"{STORE}/contexts", filter=filter)["contexts"] == []
    missing = quick.post(
        f"{STORE}/contexts/above:addContextChildren", {"childContexts": [f"{below}-not"]}
    )
    assert quick.refused(missing)[0] == 404


@pytest.mark.parametrize("kind", ["contexts", "executions", "artifacts"])
def test_nodes_are_made_once_changed_and_deleted(quick: VertexApi, kind: str) -> None:
    name = {"contexts": "contextId", "executions": "executionId", "artifacts": "artifactId"}[kind]
    path = f"{STORE}/{kind}/mine"

    created_node = quick.post(
        f"{STORE}/{kind}", {"schemaTitle": "x.Y", "metadata": {"a": 1}}, **{name: "mine"}
    ).json()
    twice = quick.refused(quick.post(f"{STORE}/{kind}", {}, **{name: "mine"}))
    changed = quick.call(
        "PATCH", path, params={"updateMask": "metadata"}, json={"metadata": {"b": 2}}
    ).json()

    assert created_node["metadata"] == {"a": 1}
    assert twice[:2] == (409, "ALREADY_EXISTS")
    assert changed["metadata"] == {"b": 2}
    assert quick.get(path) == changed
    assert quick.call("DELETE", path).json()["done"]
    assert quick.refused(quick.call("GET", path))[:2] == (404, "NOT_FOUND")
    assert quick.refused(quick.call("PATCH", path, json={}))[0] == 404
    assert quick.refused(quick.post(f"{STORE}/{kind}", {"colour": "red"}))[0] == 400


def test_stores_are_made_and_kept_apart(quick: VertexApi) -> None:
    operation = quick.post("metadataStores", {}, metadataStoreId="other").json()
    quick.post("metadataStores/other/contexts", {"schemaTitle": "x.Y"}, contextId="c")

    assert operation["response"]["name"].endswith("/metadataStores/other")
    assert quick.refused(quick.post("metadataStores", {}, metadataStoreId="other"))[:2] == (
        409,
        "ALREADY_EXISTS",
    )
    assert len(quick.get("metadataStores/other/contexts")["contexts"]) == 1
    assert quick.get(f"{STORE}/contexts")["contexts"] == []
    assert quick.refused(quick.call("GET", "metadataStores/third"))[0] == 404


@pytest.mark.parametrize(
    "filter", ['colour="red"', 'in_context("a","b")', 'outside("a")', "schema_title"]
)
def test_a_filter_that_is_not_understood_is_refused(quick: VertexApi, filter: str) -> None:
    assert (
        quick.refused(quick.call("GET", f"{STORE}/artifacts", params={"filter": filter}))[1]
        == "INVALID_ARGUMENT"
    )
