"""The recorded pipelines, run by the stand-in of Kubeflow Pipelines 3.0.

The answers of the stand-in must be like the recorded answers. For each task the tests compare its
name, type, state, parent, keys, history, types of pods, and the keys and types of its inputs and
outputs. For other answers they compare what `recorded_differences` compares. `ALLOWED` has the
differences that remain.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests

from exchanges import Exchange, exchange
from json_types import JsonDict
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import KubeflowStandIn, kubeflow
from patience import REQUEST
from recorded_differences import differences

VERSION = "3.0-branch"
API = "/apis/v2beta1"
Rows = dict[tuple[str, str], dict[str, Any]]

BY_HAND = "the recorder made artifacts by itself; the pipeline has none"
NOT_DRIVEN = "the recorder did not drive this task"
LEFT_OUT = "the recorder left it out; drivers and launchers send it (driver/dag.go, launcher_v2.go)"
ALLOWED: Mapping[str, Mapping[str, str]] = {
    "run-get-succeeded-full": {"root.say outputs": BY_HAND},
    "run-get-cached-full": {"root.say outputs": BY_HAND},
    "run-get-shapes-full": {
        "root.lines": NOT_DRIVEN,
        "root.say-3": NOT_DRIVEN,
        "root children": NOT_DRIVEN,
        "root.condition-branches-1 inputs": LEFT_OUT,
        "root.condition-branches-1 outputs": LEFT_OUT,
        "root.condition-branches-1.condition-3 inputs": LEFT_OUT,
        "root.for-loop-4 inputs": LEFT_OUT,
    },
}
"""Recording -> task, and field that differs -> why."""


@pytest.fixture(scope="module")
def server() -> Iterator[KubeflowStandIn]:
    with kubeflow(mode="instant", version="3.0.0-dev") as env:
        env.instant.seconds = 3600
        env.runs.reporting = "nothing"
        yield env


def call(
    server: KubeflowStandIn, method: str, path: str, body: object = None, **query: object
) -> tuple[int, JsonDict]:
    answer = requests.request(
        method, f"{server.host}{API}{path}", json=body, params=query, timeout=REQUEST
    )
    return answer.status_code, answer.json()


def started(server: KubeflowStandIn, name: str) -> str:
    """Start the run of a recorded answer, and return its id."""
    answer = exchange(name, VERSION).answer
    body = {
        key: answer[key]
        for key in ("display_name", "pipeline_spec", "runtime_config")
        if key in answer
    }
    status, answer = call(server, "POST", "/runs", body)
    assert status == 200, answer
    return str(answer["run_id"])


def ended(server: KubeflowStandIn, name: str) -> JsonDict:
    """Run the pipeline of a recorded answer to its end, and return the run with its tasks."""
    run_id = started(server, name)
    server.finish_runs()
    server.runs.report(run_id)
    return call(server, "GET", f"/runs/{run_id}", view="FULL")[1]


def rows(tasks: list[JsonDict]) -> Rows:
    """Return the compared fields of tasks, by scope and iteration."""
    scopes = {task["task_id"]: task["scope_path"] for task in tasks}
    names = {task["task_id"]: task["name"] for task in tasks}
    return {
        (task["scope_path"], task.get("type_attributes", {}).get("iteration_index", "")): {
            "keys": sorted(set(task) - {"cache_fingerprint", "type_attributes"}),
            # The root has no attributes, or empty ones.
            "type_attributes": task.get("type_attributes") or None,
            **{key: task.get(key) for key in ("name", "type", "state", "status_metadata")},
            "display_name": task["display_name"],
            "parent": scopes.get(task.get("parent_task_id", "")),
            "children": sorted(names[child["task_id"]] for child in task.get("child_tasks", ())),
            "history": [step["state"] for step in task["state_history"]],
            "pods": [pod["type"] for pod in task.get("pods", ())],
            "inputs": values(task["inputs"]),
            "outputs": values(task["outputs"]),
        }
        for task in tasks
    }


def values(side: JsonObject) -> list[tuple[object, ...]]:
    parameters = [
        (item["parameter_key"], item["type"], sorted(item)) for item in side.get("parameters", ())
    ]
    artifacts = [
        (item["artifact_key"], item["type"], sorted(item)) for item in side.get("artifacts", ())
    ]
    return sorted(parameters + artifacts)


def task_differences(recorded: list[JsonDict], answered: list[JsonDict]) -> list[str]:
    recorded_rows, answered_rows = rows(recorded), rows(answered)
    different = [
        f"{scope} {number}".strip()
        for scope, number in sorted(recorded_rows.keys() ^ answered_rows.keys())
    ]
    for key in sorted(recorded_rows.keys() & answered_rows.keys()):
        fields = [
            field
            for field in recorded_rows[key]
            if recorded_rows[key][field] != answered_rows[key][field]
        ]
        different += [f"{' '.join(key).strip()} {field}" for field in fields]
    return different


def without_tasks(recorded: Exchange, answer: JsonDict, status: int = 200) -> list[str]:
    """Return the differences of an answer, except the differences of its tasks."""
    recorded.answer.pop("tasks", None)
    other = {key: value for key, value in answer.items() if key != "tasks"}
    return differences(recorded, status, other)


def check(name: str, answer: JsonDict) -> None:
    recorded = exchange(name, VERSION)
    assert task_differences(recorded.answer.get("tasks", []), answer.get("tasks", [])) == list(
        ALLOWED.get(name, {})
    )
    assert without_tasks(recorded, answer) == []


def test_a_run_from_its_start_to_its_end(server: KubeflowStandIn) -> None:
    recorded = exchange("run-create", VERSION)
    status, answer = call(server, "POST", "/runs", recorded.body)
    assert differences(recorded, status, answer) == []
    run_id = answer["run_id"]

    server.runs.report(run_id)
    _, running = call(server, "GET", f"/runs/{run_id}", view="FULL")
    check("run-get-running-full", running)
    check("run-get-running", call(server, "GET", f"/runs/{run_id}")[1])

    server.finish_runs()
    server.runs.report(run_id)
    _, succeeded = call(server, "GET", f"/runs/{run_id}", view="FULL")
    check("run-get-succeeded-full", succeeded)
    check("run-get-succeeded", call(server, "GET", f"/runs/{run_id}")[1])
    alike(server, "run-get-view-unknown", f"/runs/{run_id}")


@pytest.mark.parametrize("name", ["cached", "failed", "shapes"])
def test_a_run_that_has_ended(server: KubeflowStandIn, name: str) -> None:
    server.instant.cached = {"say"} if name == "cached" else set()
    server.instant.failing = {"boom": "on purpose"} if name == "failed" else {}
    server.instant.skipped = {"condition-2"} if name == "shapes" else set()

    answer = ended(server, f"run-get-{name}-full")

    check(f"run-get-{name}-full", answer)


def alike(server: KubeflowStandIn, name: str, path: str, **query: object) -> Any:
    """Send the recorded request to another path. The answer must be like the recorded answer."""
    recorded = exchange(name, VERSION)
    status, answer = call(
        server, recorded.method, path, recorded.body, **{**recorded.query, **query}
    )
    assert differences(recorded, status, answer) == []
    return answer


def test_lists_of_tasks(server: KubeflowStandIn) -> None:
    server.instant.skipped = {"condition-2"}
    run = ended(server, "run-get-shapes-full")
    path = f"/runs/{run['run_id']}/tasks"
    (root,) = [task for task in run["tasks"] if task["type"] == "ROOT"]

    pages = [call(server, "GET", path, page_size=3)[1]]
    while "next_page_token" in pages[-1]:
        pages.append(
            call(server, "GET", path, page_size=3, page_token=pages[-1]["next_page_token"])[1]
        )
    _, inside = call(server, "GET", path, parent_id=root["task_id"])
    _, single_task = call(server, "GET", f"{path}/{root['task_id']}")

    listed = [task for page in pages for task in page["tasks"]]
    assert sorted(task["task_id"] for task in listed) == [task["task_id"] for task in run["tasks"]]
    assert [len(page["tasks"]) for page in pages] == [3] * 5 + [1]
    assert {page["total_size"] for page in pages} == {run["task_count"]} == {16}
    assert set(exchange("tasks-list-page-1", VERSION).answer) == set(pages[0])
    assert {task["parent_task_id"] for task in inside["tasks"]} == {root["task_id"]}
    assert inside["total_size"] == len(root["child_tasks"]) == 7
    assert single_task == root
    alike(server, "task-get-unknown", f"{path}/x")


def test_artifacts_and_their_tasks(server: KubeflowStandIn) -> None:
    """The importer of the pipeline has the only artifact; the program that reads it has it as an
    input."""
    run = ended(server, "run-get-shapes-full")
    names = {task["task_id"]: task["name"] for task in run["tasks"]}

    _, listed = call(server, "GET", "/artifacts")
    _, links = call(server, "GET", "/artifact_tasks", run_ids=run["run_id"])

    dataset = next(item for item in listed["artifacts"] if item["type"] == "Dataset")
    assert set(dataset) | {"metadata"} == set(exchange("artifact-get", VERSION).answer)
    assert call(server, "GET", f"/artifacts/{dataset['artifact_id']}") == (200, dataset)
    assert {names[link["task_id"]] for link in links["artifact_tasks"]} == {"importer", "lines"}
    (importer_link,) = [
        link for link in links["artifact_tasks"] if names[link["task_id"]] == "importer"
    ]
    (recorded, _) = exchange("artifact-tasks-list", VERSION).answer["artifact_tasks"]
    assert set(importer_link) == set(recorded)
    assert (importer_link["type"], importer_link["producer"], importer_link["key"]) == (
        "OUTPUT",
        {"task_name": "importer"},
        "artifact",
    )
    status, refused = call(server, "GET", "/artifact_tasks")
    assert (status, refused["code"]) == (400, 3)


def test_lists_of_runs_have_tasks_when_asked_for_and_at_most_a_hundred_runs(
    server: KubeflowStandIn,
) -> None:
    """defaultListRunsFullViewMaxPageSize in run_server.go; runs-list.json and
    runs-list-full.json."""
    server.runs.reporting = "all"
    server.seed(150)

    _, plain = call(server, "GET", "/runs", page_size=200)
    _, full = call(server, "GET", "/runs", page_size=200, view="FULL")
    server.runs.reporting = "nothing"

    assert len(plain["runs"]) > 100 == len(full["runs"])
    assert not any("tasks" in run or "run_details" in run for run in plain["runs"])
    assert all(len(run["tasks"]) == run["task_count"] for run in full["runs"])


def test_there_is_no_ml_metadata(server: KubeflowStandIn) -> None:
    path = "/ml_metadata.MetadataStoreService/GetContextByTypeAndName"
    answer = requests.post(server.host + path, data=b"", timeout=REQUEST)

    assert answer.status_code in (404, 501)


def test_what_a_run_published_and_measured(server: KubeflowStandIn) -> None:
    """artifact-create-metric.json: a metric is an artifact with a number_value and without a
    URI."""
    server.logs.published = True
    server.instant.metrics = {"accuracy": 0.9, "loss": 0.25}
    server.runs.reporting = "all"
    (run_id,) = server.seed(1, metrics={"accuracy": 0.9, "loss": 0.25})

    _, run = call(server, "GET", f"/runs/{run_id}", view="FULL")
    server.logs.published, server.runs.reporting = False, "nothing"

    (task,) = [task for task in run["tasks"] if task["type"] == "RUNTIME"]
    groups = {group["artifact_key"]: group["artifacts"] for group in task["outputs"]["artifacts"]}
    metric = exchange("artifact-create-metric", VERSION).answer
    assert [(item["name"], item["number_value"]) for item in groups["metrics"]] == [
        ("accuracy", 0.9),
        ("loss", 0.25),
    ]
    assert all(set(item) == set(metric) and item["type"] == "Metric" for item in groups["metrics"])
    (log,) = groups["executor-logs"]
    assert log["type"] == "Artifact"
    assert log["uri"].endswith("/executor-logs")
