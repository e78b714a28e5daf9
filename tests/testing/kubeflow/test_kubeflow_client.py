"""kfp's own client and command, unmodified, against the stand-in."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kfp_server_api.exceptions import ApiException

from json_types import JsonDict
from kfgcp.testing import KubeflowStandIn
from patience import PROCESS, WaitFor
from stand_in_apis import KubeflowApi

if TYPE_CHECKING:
    import kfp


def test_a_pipeline_is_uploaded_run_awaited_and_read(
    client: "kfp.Client", pipeline: Callable[[str], Path], env: KubeflowStandIn
) -> None:
    uploaded = client.upload_pipeline(str(pipeline("two_scores")), "scores", "two scores")
    version = client.upload_pipeline_version(
        str(pipeline("two_scores")), "second", pipeline_name="scores"
    )
    experiment = client.create_experiment("churn", "for a test")

    started = client.run_pipeline(
        experiment.experiment_id,
        "first run",
        pipeline_id=uploaded.pipeline_id,
        version_id=version.pipeline_version_id,
        params={"first": 0.25},
    )
    run = client.wait_for_run_completion(started.run_id, timeout=PROCESS, sleep_duration=0.1)

    assert run.state == "SUCCEEDED"
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert (run.pipeline_spec, run.runtime_config.parameters) == (None, {"first": 0.25})
    assert [step.state for step in run.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert {"root-driver", "root", "evaluate-driver", "evaluate", "evaluate-2", "executor"} <= {
        task.display_name for task in run.run_details.task_details
    }
    assert client.get_pipeline_id("scores") == uploaded.pipeline_id
    assert client.get_pipeline(uploaded.pipeline_id).description == "two scores"
    versions = client.list_pipeline_versions(uploaded.pipeline_id, sort_by="created_at desc")
    assert {version.display_name for version in versions.pipeline_versions} == {"scores", "second"}
    spec = client.get_pipeline_version(
        uploaded.pipeline_id, version.pipeline_version_id
    ).pipeline_spec
    assert spec["pipelineInfo"]["name"] == "two-scores"
    assert client.get_experiment(experiment_name="churn").last_run_created_at == run.created_at
    assert env.requests.count("POST", "*/runs") == 1


def test_a_file_is_run_with_both_its_documents(
    client: "kfp.Client", api: KubeflowApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second says where a variable comes from; on this machine that is the engine's own
    environment."""
    from kfp import compiler, dsl, kubernetes

    @dsl.component(base_image="python:3.11")
    def read() -> str:
        import os

        return os.environ["POD"]

    @dsl.pipeline(name="two-documents")
    def two_documents() -> str:
        task = read()
        kubernetes.use_field_path_as_env(task, env_name="POD", field_path="metadata.name")
        return task.output

    monkeypatch.setenv("POD", "of this machine")
    file = tmp_path / "two.yaml"
    compiler.Compiler().compile(two_documents, str(file))

    started = client.create_run_from_pipeline_package(
        str(file), experiment_name="churn", enable_caching=False
    )
    run = started.wait_for_run_completion(timeout=PROCESS)

    assert run.state == "SUCCEEDED"
    assert set(run.pipeline_spec) == {"pipeline_spec", "platform_spec"}
    assert "kubernetes" in run.pipeline_spec["platform_spec"]["platforms"]
    (_, (_, values)) = api.executions(run.run_id)
    assert values["outputs"] == {"Output": "of this machine"}


def test_runs_are_listed_by_filters_pages_and_order(
    client: "kfp.Client", env: KubeflowStandIn
) -> None:
    env.seed(
        25,
        params={"n": lambda number: number},
        display_name=lambda number: f"run {number}",
        experiment="churn",
    )
    env.seed(2, failing={"train": "no luck"}, display_name="bad")
    experiment = client.get_experiment(experiment_name="churn").experiment_id
    failed = json.dumps({"predicates": [{"operation": 1, "key": "state", "stringValue": "FAILED"}]})

    first_page = client.list_runs(experiment_id=experiment, page_size=20, sort_by="created_at desc")
    second_page = client.list_runs(
        experiment_id=experiment,
        page_size=20,
        sort_by="created_at desc",
        page_token=first_page.next_page_token,
    )
    bad = client.list_runs(filter=failed, page_size=50)

    names = [run.display_name for run in (*first_page.runs, *second_page.runs)]
    assert names == [f"run {number}" for number in reversed(range(25))]
    assert (first_page.total_size, second_page.next_page_token) == (25, None)
    assert [run.display_name for run in bad.runs] == ["bad", "bad"]
    assert client.list_runs(filter=failed, experiment_id=experiment).runs is None


@pytest.mark.recorded(
    "Stand-in: a terminated run ends FAILED",
    "cluster-2.17.0/sleepy-cancelled",
    "api-2.17.0/run-get-canceled",
)
def test_a_run_is_terminated_archived_and_deleted(
    client: "kfp.Client",
    pipeline: Callable[[str], Path],
    tmp_path: Path,
    eventually: WaitFor,
    alive: Callable[[int], bool],
) -> None:
    pids = tmp_path / "pids"
    arguments = {"seconds": 600, "pids": str(pids)}
    run_id = client.create_run_from_pipeline_package(str(pipeline("sleeps")), arguments).run_id
    eventually(pids.exists)

    client.terminate_run(run_id)
    run = eventually(
        lambda: (failed_run := client.get_run(run_id)).state == "FAILED" and failed_run
    )

    assert [step.state for step in run.state_history] == [
        "PENDING",
        "RUNNING",
        "CANCELING",
        "FAILED",
    ]
    assert eventually(lambda: not any(map(alive, map(int, pids.read_text().split()))))
    with pytest.raises(ApiException, match="Row not found") as caught:
        client.terminate_run(run_id)
    assert caught.value.status == 400
    client.archive_run(run_id)
    assert client.get_run(run_id).storage_state == "ARCHIVED"
    client.unarchive_run(run_id)
    assert client.get_run(run_id).storage_state == "AVAILABLE"
    client.delete_run(run_id)
    with pytest.raises(ApiException) as gone:
        client.get_run(run_id)
    assert gone.value.status == 404


def test_its_own_wait_takes_a_terminated_run_for_a_failed_one(
    client: "kfp.Client", pipeline: Callable[[str], Path]
) -> None:
    run_id = client.create_run_from_pipeline_package(
        str(pipeline("sleeps")), {"seconds": 600}
    ).run_id
    client.terminate_run(run_id)

    assert client.wait_for_run_completion(run_id, PROCESS, 0.1).state == "FAILED"


def test_a_failed_run_is_retried_where_it_failed(
    client: "kfp.Client", pipeline: Callable[[str], Path], tmp_path: Path
) -> None:
    package = str(pipeline("needs_file"))
    run_id = client.create_run_from_pipeline_package(package, {"folder": str(tmp_path)}).run_id
    assert client.wait_for_run_completion(run_id, PROCESS, 0.1).state == "FAILED"
    (tmp_path / "go").touch()

    client._run_api.run_service_retry_run(run_id)
    run = client.wait_for_run_completion(run_id, PROCESS, 0.1)

    assert run.state == "SUCCEEDED"
    assert (
        len((tmp_path / "noted").read_text().splitlines()) == 1
    )  # what had succeeded did not run again
    states = {
        task.display_name: task.state for task in run.run_details.task_details if task.display_name
    }
    assert (states["note"], states["need"]) == ("SUCCEEDED", "SUCCEEDED")


def test_recurring_runs_are_made_fired_disabled_and_deleted(
    client: "kfp.Client", pipeline: Callable[[str], Path], env: KubeflowStandIn
) -> None:
    experiment = client.create_experiment("nightly").experiment_id
    recurring_run = client.create_recurring_run(
        experiment,
        "nightly",
        cron_expression="0 0 3 ? * 2-6",
        pipeline_package_path=str(pipeline("echo")),
    )

    run_id = env.fire(recurring_run.recurring_run_id)

    run = client.wait_for_run_completion(run_id, PROCESS, 0.1)
    assert (run.state, run.recurring_run_id) == ("SUCCEEDED", recurring_run.recurring_run_id)
    assert re.fullmatch(r"nightly[a-z0-9]{5}-1-\d+", run.display_name)
    assert run.experiment_id == experiment
    (listed,) = client.list_recurring_runs(experiment_id=experiment).recurring_runs
    assert (listed.status, listed.trigger.cron_schedule.cron) == ("ENABLED", "0 0 3 ? * 2-6")
    client.disable_recurring_run(recurring_run.recurring_run_id)
    assert client.get_recurring_run(recurring_run.recurring_run_id).status == "DISABLED"
    client.enable_recurring_run(recurring_run.recurring_run_id)
    client.delete_recurring_run(recurring_run.recurring_run_id)
    assert client.list_recurring_runs(experiment_id=experiment).recurring_runs is None


def test_experiments_are_archived_with_their_runs(
    client: "kfp.Client", env: KubeflowStandIn
) -> None:
    (run_id,) = env.seed(1, experiment="old")
    experiment = client.get_experiment(experiment_name="old").experiment_id

    client.archive_experiment(experiment)

    assert client.get_run(run_id).storage_state == "ARCHIVED"
    with pytest.raises(ApiException, match="must be un-archived first"):
        client.unarchive_run(run_id)
    client.unarchive_experiment(experiment)
    client.unarchive_run(run_id)
    client.delete_experiment(experiment)
    assert {
        listed_experiment.display_name
        for listed_experiment in client.list_experiments().experiments
    } == {"Default"}


def test_a_pipeline_goes_with_its_versions_only(
    client: "kfp.Client", pipeline: Callable[[str], Path]
) -> None:
    uploaded = client.upload_pipeline(str(pipeline("echo")), "echo")

    with pytest.raises(ApiException, match="has existing pipeline versions") as caught:
        client.delete_pipeline(uploaded.pipeline_id)
    assert caught.value.status == 400
    (version,) = client.list_pipeline_versions(uploaded.pipeline_id).pipeline_versions
    client.delete_pipeline_version(uploaded.pipeline_id, version.pipeline_version_id)
    client.delete_pipeline(uploaded.pipeline_id)
    assert client.list_pipelines().pipelines is None


def test_an_expired_token_is_an_error_until_it_is_renewed(env: KubeflowStandIn, home: Path) -> None:
    import kfp

    old, new = "old", "new"
    env.accept_tokens(old)
    client = kfp.Client(env.host, existing_token=old)
    assert client.list_experiments().experiments
    env.expire_tokens()

    with pytest.raises(ApiException) as caught:
        client.list_experiments()

    assert caught.value.status == 401
    env.accept_tokens(new)
    assert kfp.Client(env.host, existing_token=new).list_experiments().experiments


@pytest.fixture
def kfp_command(
    env: KubeflowStandIn, environment: Callable[..., dict[str, str]], home: Path
) -> Callable[..., JsonDict | list[JsonDict]]:
    """Return a function that runs the real command `kfp` and returns its last printed JSON."""
    command = Path(sys.executable).with_name("kfp")

    def call(*arguments: str) -> JsonDict | list[JsonDict]:
        process = subprocess.run(
            [
                str(command),
                "--endpoint",
                env.host,
                "--existing-token",
                "any",
                "--output",
                "json",
                *arguments,
            ],
            env=environment({"HOME": str(home)}),
            capture_output=True,
            text=True,
            timeout=PROCESS,
            stdin=subprocess.DEVNULL,
        )
        assert process.returncode == 0, process.stderr
        printed_documents = re.findall(
            r"^[\[{].*?^[\]}]|^\[\]", process.stdout, flags=re.MULTILINE | re.DOTALL
        )
        return json.loads(printed_documents[-1])

    return call


def test_the_command_uploads_runs_lists_and_archives(
    kfp_command: Callable[..., JsonDict | list[JsonDict]],
    pipeline: Callable[[str], Path],
    env: KubeflowStandIn,
    eventually: WaitFor,
) -> None:
    uploaded = kfp_command("pipeline", "create", "-p", "echo", str(pipeline("echo")))
    started = kfp_command(
        "run", "create", "-e", "churn", "-r", "mine", "-f", str(pipeline("echo")), "text=hi"
    )

    run_id = started["run_id"]
    shown_run = eventually(
        lambda: (run := kfp_command("run", "get", run_id))["state"] == "SUCCEEDED" and run
    )
    (listed,) = kfp_command("run", "list")

    assert uploaded["name"] == "echo"
    assert shown_run["runtime_config"]["parameters"] == {"text": "hi"}
    assert (listed["run_id"], listed["display_name"], listed["state"]) == (
        run_id,
        "mine",
        "SUCCEEDED",
    )
    assert {experiment["display_name"] for experiment in kfp_command("experiment", "list")} == {
        "Default",
        "churn",
    }
    assert kfp_command("run", "archive", run_id)["storage_state"] == "ARCHIVED"
    assert env.requests.count("POST", "*/runs") == 1


def test_the_command_waits_and_lists_by_a_filter(
    kfp_command: Callable[..., JsonDict | list[JsonDict]],
    pipeline: Callable[[str], Path],
    env: KubeflowStandIn,
) -> None:
    env.seed(2)
    package = str(pipeline("echo"))

    waited = kfp_command(
        "run", "create", "-e", "churn", "-r", "mine", "-f", package, "--watch", "text=hi"
    )

    named = {"predicates": [{"key": "display_name", "operation": "EQUALS", "string_value": "mine"}]}
    (listed,) = kfp_command("run", "list", "--filter", json.dumps(named))
    assert (listed["run_id"], listed["state"]) == (waited["run_id"], "SUCCEEDED")
    assert len(kfp_command("run", "list")) == 3


def test_the_command_makes_recurring_runs(
    kfp_command: Callable[..., JsonDict | list[JsonDict]],
    pipeline: Callable[[str], Path],
    env: KubeflowStandIn,
) -> None:
    package = ("--pipeline-package-path", str(pipeline("echo")))
    recurring_run = kfp_command(
        *(
            "recurring-run",
            "create",
            "--enabled",
            "--job-name",
            "nightly",
            "--experiment-name",
            "churn",
        ),
        *("--cron-expression", "0 0 3 ? * 2-6", *package, "text=hi"),
    )
    recurring_id = recurring_run["recurring_run_id"]

    env.fire(recurring_id)

    (listed,) = kfp_command("recurring-run", "list")
    assert (listed["recurring_run_id"], listed["display_name"], listed["status"]) == (
        recurring_id,
        "nightly",
        "ENABLED",
    )
    (run,) = kfp_command("run", "list")
    assert (run["recurring_run_id"], run["runtime_config"]["parameters"]) == (
        recurring_id,
        {"text": "hi"},
    )
    assert kfp_command("recurring-run", "disable", recurring_id)["status"] == "DISABLED"
    assert kfp_command("recurring-run", "enable", recurring_id)["status"] == "ENABLED"
