"""Jobs that the stand-in runs on the engine and shows as Vertex AI shows them."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from json_types import JsonDict
from patience import REQUEST, WaitFor
from stand_in_apis import VertexApi


def test_a_job_runs_and_shows_its_tasks_parameters_and_metrics(
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    body = body_of(
        "two_scores",
        {"first": 0.25},
        labels={"team": "growth"},
        serviceAccount="runner@example.com",
    )

    created_job = rest.post("pipelineJobs", body, pipelineJobId="scores-1").json()
    job = ended(rest, "scores-1")

    assert (
        created_job["name"]
        == job["name"]
        == "projects/123456789012/locations/europe-west4/pipelineJobs/scores-1"
    )
    assert created_job["state"] in ("PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING")
    assert job["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert job["createTime"] <= job["startTime"] <= job["endTime"] == job["updateTime"]
    for name in ("displayName", "pipelineSpec", "runtimeConfig", "serviceAccount"):
        assert job[name] == body[name], name
    billing = job["labels"].pop("vertex-ai-pipelines-run-billing-id")
    assert job["labels"] == {"team": "growth"}
    assert billing.isdigit()
    assert job["jobDetail"]["pipelineContext"]["displayName"] == "two-scores"
    assert job["jobDetail"]["pipelineRunContext"]["displayName"] == "scores-1"
    details = tasks(job)
    assert set(details) == {"scores-1", "evaluate", "evaluate-2"}
    assert details["scores-1"]["execution"]["metadata"] == {
        "input:first": 0.25,
        "input:second": 0.75,
    }
    assert "parentTaskId" not in details["scores-1"]
    for name, accuracy in (("evaluate", 0.25), ("evaluate-2", 0.75)):
        detail = details[name]
        assert detail["parentTaskId"] == details["scores-1"]["taskId"]
        assert detail["state"] == "SUCCEEDED"
        assert [step["state"] for step in detail["pipelineTaskStatus"]] == [
            "PENDING",
            "RUNNING",
            "SUCCEEDED",
        ]
        assert detail["execution"]["metadata"] == {"input:score": accuracy}
        (metrics,) = detail["outputs"]["metrics"]["artifacts"]
        assert (metrics["schemaTitle"], metrics["metadata"]) == (
            "system.Metrics",
            {"accuracy": accuracy},
        )
        container = detail["executorDetail"]["containerDetail"]
        assert set(container) == {"mainJob"}
        assert container["mainJob"].startswith(
            "projects/123456789012/locations/europe-west4/customJobs/"
        )


def test_every_answer_is_of_googles_own_types(
    rest: VertexApi, features: JsonDict, ended: Callable[[VertexApi, str], JsonDict]
) -> None:
    root = {"gcsOutputDirectory": rest.env.pipeline_root}
    created_job = rest.post(
        "pipelineJobs", {"pipelineSpec": features, "runtimeConfig": root}, pipelineJobId="all"
    ).json()
    job = ended(rest, "all")

    for answer in (created_job, job):
        json_format.ParseDict(
            answer, types.PipelineJob.pb()()
        )  # raises on a field that is not there
    json_format.ParseDict(rest.get("pipelineJobs"), types.ListPipelineJobsResponse.pb()())


def test_loops_nested_pipelines_and_conditions_are_parents(
    rest: VertexApi,
    features: JsonDict,
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    runtime = {"gcsOutputDirectory": rest.env.pipeline_root, "parameterValues": {"items": [5, 6]}}
    rest.post(
        "pipelineJobs", {"pipelineSpec": features, "runtimeConfig": runtime}, pipelineJobId="all"
    )

    details = tasks(ended(rest, "all"))

    names_by_id = {detail["taskId"]: name for name, detail in details.items()}
    assert len(names_by_id) == len(details)
    parents = {
        name: names_by_id.get(detail.get("parentTaskId", "")) for name, detail in details.items()
    }
    assert parents["for-loop-3"] == parents["inner"] == parents["condition-1"] == "all"
    assert parents["for-loop-3.for-loop-3-1"] == "for-loop-3"
    assert parents["for-loop-3.for-loop-3-1.double-3"] == "for-loop-3.for-loop-3-1"
    assert parents["inner.double-2"] == "inner"
    assert details["for-loop-3.for-loop-3-1.double-3"]["taskName"] == "double-3"
    assert details["for-loop-3.for-loop-3-1.double-3"]["execution"]["metadata"] == {
        "input:x": 6,
        "output:Output": 12,
    }
    assert details["total"]["execution"]["metadata"]["output:Output"] == 22
    assert details["condition-2"]["state"] == "NOT_TRIGGERED"
    assert "executorDetail" not in details["condition-2"]
    assert "executorDetail" not in details["inner"]
    (read,) = details["consume"]["inputs"]["data"]["artifacts"]
    (written,) = details["produce"]["outputs"]["data"]["artifacts"]
    assert read == written
    assert read["metadata"] == {"rows": 2}


def test_a_second_job_is_a_cache_hit(
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    for job_id in ("first", "second"):
        rest.post("pipelineJobs", body_of("echo", {"text": "hi"}), pipelineJobId=job_id)
        job = ended(rest, job_id)

    detail = tasks(job)["say"]
    assert (detail["state"], detail["execution"]["state"]) == ("SKIPPED", "CACHED")
    assert detail["execution"]["metadata"]["output:Output"] == "hi"
    assert "executorDetail" not in detail


def test_a_failure_names_the_task_and_each_failed_attempt_has_a_custom_job(
    rest: VertexApi,
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    file = Path(__file__).parents[1] / "engine" / "specs" / "guarded-2.14.6.yaml"
    import yaml

    spec = next(iter(yaml.safe_load_all(file.read_text())))
    root = {"gcsOutputDirectory": rest.env.pipeline_root}
    rest.post(
        "pipelineJobs", {"pipelineSpec": spec, "runtimeConfig": root}, pipelineJobId="guarded"
    )

    job = ended(rest, "guarded")

    assert job["state"] == "PIPELINE_STATE_FAILED"
    assert job["error"]["message"].endswith("The failed tasks are: [broken].")
    detail = next(detail for name, detail in tasks(job).items() if name.endswith("broken"))
    assert (detail["state"], detail["error"]["message"]) == ("FAILED", "ValueError: on purpose")
    container = detail["executorDetail"]["containerDetail"]
    assert len(container["failedMainJobs"]) == 1
    assert container["mainJob"] not in container["failedMainJobs"]
    logs = [
        rest.logs(f'resource.type="ml_job" AND resource.labels.job_id="{name.rpartition("/")[2]}"')
        for name in (container["mainJob"], *container["failedMainJobs"])
    ]
    for entries in logs:
        assert entries[-1]["jsonPayload"]["message"] == "ValueError: on purpose"
        assert entries[-1]["severity"] == "ERROR"


def test_a_task_below_a_failed_one_is_not_triggered(
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    rest.post("pipelineJobs", body_of("one_fails"), pipelineJobId="fails")

    details = tasks(ended(rest, "fails"))

    assert details["boom"]["state"] == "FAILED"
    assert details["below"]["state"] == "NOT_TRIGGERED"
    assert details["below-2"]["state"] == "SUCCEEDED"
    assert details["fails"]["state"] == "FAILED"


def test_a_running_job_is_cancelled_and_only_then_deleted(
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    rest.post("pipelineJobs", body_of("sleeps", {"seconds": 600}), pipelineJobId="long")

    running = rest.refused(rest.call("DELETE", "pipelineJobs/long"))
    assert rest.post("pipelineJobs/long:cancel").json() == {}
    job = ended(rest, "long")
    again = rest.refused(rest.post("pipelineJobs/long:cancel"))
    deleted = rest.call("DELETE", "pipelineJobs/long").json()

    assert job["state"] == "PIPELINE_STATE_CANCELLED"
    assert job["error"]["code"] == 1
    assert tasks(job)["long"]["state"] == "CANCELLED"
    for code, status, message in (running, again):
        assert (code, status) == (400, "FAILED_PRECONDITION")
        assert "pipelineJobs/long" in message
    assert deleted["done"]
    assert deleted["response"]["@type"].endswith("google.protobuf.Empty")
    assert rest.refused(rest.call("GET", "pipelineJobs/long"))[:2] == (404, "NOT_FOUND")


def test_closing_ends_what_runs_and_leaves_nothing(
    body_of: Callable[..., JsonDict],
    tmp_path: Path,
    eventually: WaitFor,
    alive: Callable[[int], bool],
) -> None:
    import requests

    from kfgcp.testing import vertex

    pids = tmp_path / "pids"
    with vertex() as env:
        place = f"projects/{env.project}/locations/{env.location}"
        url = f"{env.api_endpoint}/v1/{place}/pipelineJobs?pipelineJobId=long"
        body = body_of("sleeps", {"seconds": 600, "pids": str(pids), "stubborn": True})
        assert requests.post(url, json=body, timeout=REQUEST).status_code == 200
        numbers = [int(text) for text in eventually(pids.exists) and pids.read_text().split()]
        home = env._engines._home  # type: ignore[union-attr]
        assert all(map(alive, numbers))

    assert eventually(lambda: not any(map(alive, numbers)))
    assert not home.exists()


def test_a_whole_number_beyond_what_a_double_holds_is_rounded(
    rest: VertexApi,
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
    body_of: Callable[..., JsonDict],
) -> None:
    body = body_of("one_fails", {"x": 2**53 + 1})

    rest.post("pipelineJobs", body, pipelineJobId="big")
    job = ended(rest, "big")

    assert job["runtimeConfig"]["parameterValues"] == {"x": 2**53}
    assert tasks(job)["fine"]["execution"]["metadata"]["output:Output"] == 2**53
    assert json.dumps(job)


def test_a_pipeline_that_the_engine_cannot_run_is_refused_with_the_reason(
    rest: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    body = body_of("echo")
    executors = {"exec-say": {"customJob": {"customJob": {}}}}
    body["pipelineSpec"] = body["pipelineSpec"] | {"deploymentSpec": {"executors": executors}}

    code, status, message = rest.refused(rest.post("pipelineJobs", body))

    assert (code, status) == (400, "INVALID_ARGUMENT")
    assert message.startswith("The stand-in cannot run this pipeline: ")


def test_made_up_jobs_end_when_their_time_is_over(
    quick: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    quick.env.instant.metrics = {"accuracy": 0.9}
    quick.post("pipelineJobs", body_of("two_scores"), pipelineJobId="now")
    quick.env.instant.failing = {"evaluate": "no luck"}
    quick.post("pipelineJobs", body_of("two_scores"), pipelineJobId="bad")
    quick.env.instant.seconds = 600
    quick.post("pipelineJobs", body_of("two_scores"), pipelineJobId="later")

    now, bad, later = (quick.get(f"pipelineJobs/{name}") for name in ("now", "bad", "later"))

    assert [job["state"].removeprefix("PIPELINE_STATE_") for job in (now, bad, later)] == [
        "SUCCEEDED",
        "FAILED",
        "RUNNING",
    ]
    assert tasks(now)["evaluate"]["outputs"]["metrics"]["artifacts"][0]["metadata"] == {
        "accuracy": 0.9
    }
    assert tasks(bad)["evaluate"]["error"]["message"] == "no luck"
    quick.post("pipelineJobs/later:cancel")
    assert quick.get("pipelineJobs/later")["state"] == "PIPELINE_STATE_CANCELLED"


def test_batches_delete_and_cancel_all_or_nothing(
    quick: VertexApi, body_of: Callable[..., JsonDict]
) -> None:
    for name in ("a", "b", "c"):
        quick.post("pipelineJobs", body_of("echo"), pipelineJobId=name)
    names = [quick.get(f"pipelineJobs/{name}")["name"] for name in ("a", "b")]

    missing = quick.refused(
        quick.post("pipelineJobs:batchDelete", {"names": [*names, f"{names[0]}-not"]})
    )
    many = quick.refused(quick.post("pipelineJobs:batchDelete", {"names": names[:1] * 33}))
    ended = quick.refused(quick.post("pipelineJobs:batchCancel", {"names": names}))
    deleted = quick.post("pipelineJobs:batchDelete", {"names": names}).json()

    assert missing[:2] == (404, "NOT_FOUND")
    assert many[:2] == (400, "INVALID_ARGUMENT")
    assert ended[:2] == (400, "FAILED_PRECONDITION")
    assert [job["name"] for job in deleted["response"]["pipelineJobs"]] == names
    assert quick.env.jobs() == ["c"]


def test_invented_jobs_end_on_request(quick: VertexApi, body_of: Callable[..., JsonDict]) -> None:
    quick.env.instant.seconds = 600
    for job_id in ("goes-on", "cancelled"):
        quick.post("pipelineJobs", body_of("two_scores"), pipelineJobId=job_id)
    quick.post("pipelineJobs/cancelled:cancel")
    before = quick.get("pipelineJobs/goes-on")["state"]

    quick.env.finish_runs()

    quick.post("pipelineJobs", body_of("two_scores"), pipelineJobId="later")
    states = {
        job_id: quick.get(f"pipelineJobs/{job_id}")["state"]
        for job_id in ("goes-on", "cancelled", "later")
    }
    assert before == "PIPELINE_STATE_RUNNING"
    assert states == {
        "goes-on": "PIPELINE_STATE_SUCCEEDED",
        "cancelled": "PIPELINE_STATE_CANCELLED",
        "later": "PIPELINE_STATE_RUNNING",
    }
    ended = quick.get("pipelineJobs/goes-on")
    assert ended["createTime"] <= ended["endTime"]


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_operations_are_done_at_once_or_after_a_moment(
    quick: VertexApi,
    body_of: Callable[..., JsonDict],
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = time.time()
    monkeypatch.setattr("kfgcp.testing.operations.time", SimpleNamespace(time=lambda: now))
    quick.env.operations.seconds = seconds
    quick.post("pipelineJobs", body_of("echo"), pipelineJobId="a")

    started = quick.call("DELETE", "pipelineJobs/a").json()

    name = started["name"].rpartition("/")[2]
    assert started.get("done", False) is (seconds == 0)
    now += seconds
    assert quick.get(f"operations/{name}")["done"]
    assert quick.refused(quick.call("GET", "operations/1"))[0] == 404
