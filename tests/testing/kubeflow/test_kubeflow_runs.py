"""Runs in answers: their own fields, and the nodes of their workflows."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
import yaml

from json_types import JsonDict
from kfgcp.errors import UsageError
from kfgcp.model import RunState, TaskState
from kfgcp.testing.kubeflow_server.nodes import NODE_STATES
from kfgcp.testing.kubeflow_server.records import STATES
from patience import WaitFor
from stand_in_apis import KubeflowApi


def named(run: JsonDict) -> dict[str, list[JsonDict]]:
    """Return the task details that have a name, by this name."""
    details_by_name: dict[str, list[dict[str, Any]]] = {}
    for detail in run["run_details"]["task_details"]:
        if "display_name" in detail:
            details_by_name.setdefault(detail["display_name"], []).append(detail)
    return details_by_name


def spec_in(file: Path) -> Any:
    return next(iter(yaml.safe_load_all(file.read_text())))


def test_every_state_has_its_counterpart() -> None:
    client_states = set(kfp_server_api.V2beta1RuntimeState.allowable_values)

    assert set(STATES) == set(RunState)
    assert set(NODE_STATES) == set(TaskState)
    assert {*STATES.values(), *NODE_STATES.values()} <= client_states


def test_a_running_run_has_the_end_1970(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
    eventually: WaitFor,
) -> None:
    parameters = {"runtime_config": {"parameters": {"seconds": 600}}}
    before = datetime.now(UTC).replace(microsecond=0)
    created_run = api.post(
        "runs", {"display_name": "long", "pipeline_spec": spec_of("sleeps"), **parameters}
    )

    running = eventually(
        lambda: (
            (running_run := api.get(f"runs/{created_run['run_id']}"))
            and "long" in str(running_run)
            and named(running_run).get("executor")
            and running_run
        )
    )

    assert created_run["state"] == "PENDING"
    assert "run_details" not in created_run
    assert running["finished_at"] == "1970-01-01T00:00:00Z"
    assert running["created_at"] == running["scheduled_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", running["created_at"])
    assert datetime.fromisoformat(running["created_at"]) >= before
    (executor,) = named(running)["executor"]
    assert (executor["state"], executor["end_time"]) == ("RUNNING", "0001-01-01T00:00:00Z")
    api.post(f"runs/{created_run['run_id']}:terminate")
    run = ended(api, created_run["run_id"])
    assert run["finished_at"] > "2000"
    assert named(run)["executor"][0]["state"] == "FAILED"
    assert run["state"] == "FAILED"
    assert "error" not in run
    assert [step["state"] for step in run["state_history"]] == [
        "PENDING",
        "RUNNING",
        "CANCELING",
        "FAILED",
    ]


def test_the_state_may_be_written_before_the_tasks(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    quick.env.instant.seconds = 3600
    run = quick.run(pipeline_spec=spec_of("echo"))
    assert named(quick.get(f"runs/{run}"))["say"][0]["state"] == "RUNNING"
    quick.env.runs.reporting = "states"
    quick.env.finish_runs()

    early = quick.get(f"runs/{run}")
    quick.env.runs.reporting = "all"
    late = quick.get(f"runs/{run}")

    assert (early["state"], named(early)["say"][0]["state"]) == ("SUCCEEDED", "RUNNING")
    assert (late["state"], named(late)["say"][0]["state"]) == ("SUCCEEDED", "SUCCEEDED")
    with pytest.raises(UsageError, match=r'reporting must be .*, not "some"'):
        quick.env.runs.reporting = "some"


def test_a_run_whose_workflow_is_gone_is_deleted_but_never_ends(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    quick.env.instant.seconds = 3600
    run = quick.run(pipeline_spec=spec_of("echo"))
    quick.env.runs.find(run).workflow_gone = True

    assert quick.refused("POST", f"runs/{run}:terminate")[:2] == (500, 13)
    quick.env.finish_runs()
    assert quick.get(f"runs/{run}")["state"] == "CANCELING"
    assert quick.call("DELETE", f"runs/{run}").status_code == 200


def test_a_run_is_what_was_sent_and_what_is_the_default(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    spec = spec_of("echo")
    experiment = quick.post("experiments", {"displayName": "churn", "description": "d"})[
        "experiment_id"
    ]
    sent_fields = {
        "display_name": "mine",
        "description": "why",
        "experiment_id": experiment,
        "service_account": "someone",
    }
    config = {"parameters": {"text": "hi"}, "pipeline_root": "gs://stand-in-project-pipelines/mine"}

    run = quick.post("runs", {**sent_fields, "pipelineSpec": spec, "runtimeConfig": config})
    plain = quick.post("runs", {"display_name": "plain", "pipeline_spec": spec})

    read_run = quick.get(f"runs/{run['run_id']}")
    assert {name: read_run[name] for name in sent_fields} == sent_fields
    assert (read_run["pipeline_spec"], read_run["runtime_config"]) == (spec, config)
    assert read_run["storage_state"] == "AVAILABLE"
    assert plain["service_account"] == "pipeline-runner"
    default = quick.get(
        "experiments",
        filter='{"predicates":[{"operation":"EQUALS","key":"name","string_value":"Default"}]}',
    )
    assert plain["experiment_id"] == default["experiments"][0]["experiment_id"]
    assert "runtime_config" not in plain
    assert quick.get("runs")["runs"] == [
        quick.get(f"runs/{run['run_id']}") for run in quick.get("runs")["runs"]
    ]


def test_drivers_and_nodes_around_are_listed_too(
    api: KubeflowApi, features_file: Path, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    config = {"parameters": {"items": [5, 6]}}
    run = ended(api, api.run(pipeline_spec=spec_in(features_file), runtime_config=config))

    details = run["run_details"]["task_details"]
    names = {name: len(same_name_details) for name, same_name_details in named(run).items()}
    assert (
        names["root"]
        == names["root-driver"]
        == names["for-loop-3"]
        == names["iteration-driver"]
        == 1
    )
    assert (
        names["iteration-item"]
        == names["iteration-item-driver"]
        == names["double-3"]
        == names["double-3-driver"]
        == 2
    )
    assert (
        names["inner"]
        == names["inner-driver"]
        == names["condition-1"]
        == names["condition-2-driver"]
        == 1
    )
    assert (
        names["executor"] == 10
    )  # containers: 2 in the loop, 2 inner, 1 in the condition, 5 at the top
    assert named(run)["condition-2"][0]["state"] == "SKIPPED"
    assert named(run)["condition-2-driver"][0]["state"] == "SUCCEEDED"
    for detail in details:
        assert not {"pod_name", "parent_task_id", "inputs", "outputs", "error"} & set(detail)
        assert detail["run_id"] == run["run_id"]
        kfp_server_api.V2beta1PipelineTaskDetail(**detail)  # refuses what it does not know
    assert len({detail["task_id"] for detail in details}) == len(details)
    rows = [detail for detail in details if "display_name" not in detail]
    assert len(rows) == 10
    assert all(
        set(row) == {"run_id", "task_id", "create_time", "start_time", "end_time", "execution_id"}
        for row in rows
    )


def test_child_tasks_lead_from_the_workflow_to_every_node(
    api: KubeflowApi, features_file: Path, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    run_id = api.run(pipeline_spec=spec_in(features_file))
    run = ended(api, run_id)
    api.env.full_details = True
    full = api.get(f"runs/{run_id}")["run_details"]["task_details"]

    workflow = api.env.runs.find(run_id).workflow
    by_id = {
        re.sub(r"-[a-z0-9-]*-(\d+)$", r"-\1", detail["pod_name"].removeprefix(workflow)): detail
        for detail in full
        if "pod_name" in detail
    }
    reached, todo = set(), [next(detail for detail in full if detail.get("pod_name") == workflow)]
    while todo:
        detail = todo.pop()
        if detail["task_id"] not in reached:
            reached.add(detail["task_id"])
            todo += [
                by_id[child["pod_name"].removeprefix(workflow)]
                for child in detail.get("child_tasks", ())
            ]

    assert reached == {
        detail["task_id"]
        for detail in run["run_details"]["task_details"]
        if "display_name" in detail
    }


def test_full_details_have_what_servers_leave_empty(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    api.env.full_details = True
    api.env.runs.workflow_defaults = False
    run = ended(api, api.run(pipeline_spec=spec_of("echo")))

    say, executor = named(run)["say"][0], named(run)["executor"][0]
    executions = {
        values["task_name"]: str(execution.id)
        for execution, values in api.executions(run["run_id"])
    }
    assert say["execution_id"] == executor["execution_id"] == executions["say"]
    assert say["parent_task_id"] == named(run)["root"][0]["task_id"]
    assert executor["parent_task_id"] == say["task_id"]
    assert re.fullmatch(r"echo-[a-z0-9]{5}-system-container-impl-\d+", executor["pod_name"])


def test_a_cached_task_has_an_executor_that_was_skipped(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    for _ in range(2):
        run = ended(api, api.run(pipeline_spec=spec_of("echo")))

    assert named(run)["say"][0]["state"] == "SUCCEEDED"
    assert named(run)["executor"][0]["state"] == "SKIPPED"


def test_what_is_not_reached_has_no_state(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    run = ended(api, api.run(pipeline_spec=spec_of("one_fails")))

    assert run["state"] == "FAILED"
    assert "error" not in run
    assert named(run)["boom"][0]["state"] == named(run)["root"][0]["state"] == "FAILED"
    assert named(run)["below-2"][0]["state"] == "SUCCEEDED"
    assert "state" not in named(run)["below"][0]
    assert "state" not in named(run)["below-driver"][0]


def test_each_attempt_is_a_node_of_a_task_with_retries(
    api: KubeflowApi, guarded_file: Path, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    api.env.runs.workflow_defaults = False
    run = ended(api, api.run(pipeline_spec=spec_in(guarded_file)))

    assert run["state"] == "FAILED"
    assert [named(run)[f"executor({number})"][0]["state"] for number in (0, 1)] == [
        "FAILED",
        "FAILED",
    ]
    (hook,) = [name for name in named(run) if name.endswith(".onExit")]
    assert named(run)[hook][0]["state"] == "SUCCEEDED"


def test_ten_thousand_seeded_runs_are_listed_and_found(quick: KubeflowApi) -> None:
    run_ids = quick.env.seed(
        10_000,
        params={"lr": lambda number: number / 10},
        metrics={"accuracy": 0.5},
        experiment="big",
    )
    experiment = quick.post("experiments", {"display_name": "other"})["experiment_id"]

    newest = quick.get("runs", sort_by="created_at desc", page_size=200)
    seeded_run = quick.get(f"runs/{run_ids[1234]}")

    assert newest["total_size"] == 10_000
    assert [run["run_id"] for run in newest["runs"]] == list(reversed(run_ids))[:200]
    assert seeded_run["runtime_config"]["parameters"] == {"lr": 123.4}
    assert seeded_run["state"] == "SUCCEEDED"
    assert seeded_run["experiment_id"] != experiment


@pytest.mark.parametrize("mode", ["live", "made up"])
def test_a_deleted_run_is_gone(
    api: KubeflowApi, quick: KubeflowApi, spec_of: Callable[[str], JsonDict], mode: str
) -> None:
    server = api if mode == "live" else quick
    run = server.run(
        pipeline_spec=spec_of("sleeps"), runtime_config={"parameters": {"seconds": 600}}
    )

    assert server.call("DELETE", f"runs/{run}").json() == {}

    assert server.refused("GET", f"runs/{run}")[:2] == (404, 5)
    assert server.get("runs") == {}
