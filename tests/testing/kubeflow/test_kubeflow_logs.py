"""Logs of pods, logs in the archive, and logs in Cloud Logging."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from json_types import JsonDict
from kfgcp.testing import kubeflow
from patience import REQUEST, WaitFor
from stand_in_apis import KubeflowApi


def pod_of(api: KubeflowApi, run: str, task: str) -> str:
    """Return the pod that ML Metadata names for a task."""
    return next(
        values["pod_name"] for _, values in api.executions(run) if values["task_name"] == task
    )


def logs(api: KubeflowApi, **query: str) -> requests.Response:
    return api.session.get(f"{api.env.host}/k8s/pod/logs", params=query, timeout=REQUEST)


def entries(api: KubeflowApi, text: str) -> Any:
    body = {"resourceNames": [f"projects/{api.env.project}"], "filter": text}
    answer = api.session.post(f"{api.env.host}/v2/entries:list", json=body, timeout=REQUEST)
    assert answer.status_code == 200, answer.text
    return answer.json()["entries"]


def test_a_pod_says_what_its_task_wrote(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    run = api.run(
        pipeline_spec=spec_of("echo"), runtime_config={"parameters": {"text": "out loud"}}
    )
    ended(api, run)

    answer = logs(api, podname=pod_of(api, run, "say"), podnamespace="kubeflow", runid=run)

    assert (answer.status_code, answer.text) == (200, "out loud\n")
    assert answer.headers["Content-Type"].startswith("text/plain")
    driver = next(
        detail
        for detail in api.get(f"runs/{run}")["run_details"]["task_details"]
        if detail.get("display_name") == "say"
    )
    assert driver["child_tasks"]


def test_a_pod_that_runs_says_what_it_has_written_so_far(
    api: KubeflowApi, spec_of: Callable[[str], JsonDict], eventually: WaitFor
) -> None:
    run = api.run(pipeline_spec=spec_of("sleeps"), runtime_config={"parameters": {"seconds": 600}})

    def read_log() -> str:
        if api.get(f"runs/{run}")["state"] != "RUNNING":
            return ""
        pod_names = [values.get("pod_name") for _, values in api.executions(run)]
        # The first execution is the root DAG, which has no pod.
        if len(pod_names) < 2 or not pod_names[1]:
            return ""
        return str(logs(api, podname=pod_names[1]).text)

    assert eventually(lambda: "asleep" in read_log())


def test_each_attempt_has_a_pod_of_its_own(
    api: KubeflowApi, ended: Callable[[KubeflowApi, str], JsonDict]
) -> None:
    file = Path(__file__).parents[2] / "engine" / "specs" / "guarded-2.14.6.yaml"
    api.env.full_details = True
    api.env.runs.retries_failed_programs = True
    run = api.run(pipeline_spec=next(iter(yaml.safe_load_all(file.read_text()))))
    details = ended(api, run)["run_details"]["task_details"]

    pods = {
        detail["pod_name"]
        for detail in details
        if detail.get("display_name", "").startswith("executor(")
    }
    pods = {pod for pod in pods if "-retry-" in pod}  # the exit task has one, too

    assert len(pods) == 2
    for pod in pods:
        assert logs(api, podname=pod).text.endswith("ValueError: on purpose\n")


@pytest.mark.recorded("Stand-in: failed drivers", "cluster-2.17.0/param-none")
def test_a_failed_driver_tells_why_and_leaves_no_execution(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    """As in tests/recorded/cluster-2.17.0/param-none."""
    quick.env.instant.failing_drivers = {"say": "the resolved input parameter is null: a"}
    quick.env.full_details = True
    run = quick.get(f"runs/{quick.run(pipeline_spec=spec_of('echo'))}")

    rows = {
        row["display_name"]: row
        for row in run["run_details"]["task_details"]
        if "display_name" in row
    }
    lines = logs(quick, podname=rows["say-driver(0)"]["pod_name"]).text.splitlines()
    assert (run["state"], rows["say-driver"]["state"], rows["say"].get("state")) == (
        "FAILED",
        "FAILED",
        None,
    )
    assert re.fullmatch(
        r"F1129 .* KFP driver: .* failed: the resolved input parameter is null: a", lines[-1]
    )
    assert [values["task_name"] for _, values in quick.executions(run["run_id"])] == [""]


def test_pods_do_not_last(quick: KubeflowApi) -> None:
    (run,) = quick.env.seed(1)
    pod = pod_of(quick, run, "train")
    workflow = pod.rpartition("-system-container-impl-")[0]
    created = quick.session.get(
        f"{quick.env.host}/apis/v2beta1/runs/{run}", timeout=REQUEST
    ).json()["created_at"]
    key = f"private-artifacts/kubeflow/{workflow}/{created[:10].replace('-', '/')}/{pod}/main.log"
    archive = {"source": "minio", "bucket": "mlpipeline", "key": key}

    def read_statuses() -> tuple[int, int]:
        archived_log = quick.session.get(
            f"{quick.env.host}/artifacts/get", params=archive, timeout=REQUEST
        )
        return logs(quick, podname=pod).status_code, archived_log.status_code

    assert logs(quick, podname=pod).text == "train is made up\n"
    assert read_statuses() == (200, 200)
    quick.env.logs.kept = "archive"
    assert read_statuses() == (404, 200)
    assert logs(quick, podname=pod).text == "pod not found"
    quick.env.logs.kept = "gone"
    assert read_statuses() == (404, 500)
    assert logs(quick).status_code == 400
    quick.env.logs.kept = "pods"
    assert logs(quick, podname="seeded-aaaaa-system-container-impl-1").status_code == 404


def test_older_servers_answer_500_for_a_pod_that_is_gone(api_of: type[KubeflowApi]) -> None:
    with kubeflow(mode="instant", version="2.5.0") as env:
        answer = logs(api_of(env), podname="x-system-container-impl-1")

    assert answer.status_code == 500
    assert answer.text.startswith(
        "Could not get main container logs: Error: Unable to find pod log archive"
    )


def test_a_namespace_is_needed_where_there_are_users(api_of: type[KubeflowApi]) -> None:
    with kubeflow(mode="instant", multi_user=True) as env:
        api = api_of(env)
        (run,) = env.seed(1)
        pod = pod_of(api, run, "train")

        assert logs(api, podname=pod).status_code == 422
        assert logs(api, podname=pod, podnamespace="hr").status_code == 403
        assert logs(api, podname=pod, podnamespace=env.namespace).status_code == 200


def test_cloud_logging_has_the_lines_of_a_run(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    runs = [api.run(pipeline_spec=spec_of(name)) for name in ("echo", "one_fails")]
    for run in runs:
        ended(api, run)
    base = 'resource.type="k8s_container"'
    label = 'labels."k8s-pod/pipeline/runid"'

    (log_entry,) = entries(api, f'{base} AND {label}="{runs[0]}"')
    failed = entries(api, f'{base} AND {label}="{runs[1]}" AND severity>=ERROR')
    everything = entries(api, base)

    assert log_entry["jsonPayload"]["message"] == "hello"
    assert log_entry["resource"]["labels"]["pod_name"] == pod_of(api, runs[0], "say")
    assert (
        log_entry["resource"]["labels"]["namespace_name"],
        log_entry["resource"]["labels"]["container_name"],
    ) == (
        "kubeflow",
        "main",
    )
    assert failed[-1]["jsonPayload"]["message"] == "ValueError: no luck with 7"
    assert {entry["labels"]["k8s-pod/pipeline/runid"] for entry in everything} == set(runs)
    api.env.logging.payload = "text"
    assert entries(api, f'{label}="{runs[0]}"')[0]["textPayload"] == "hello"


def test_googles_client_reads_them(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import logging

    run = api.run(pipeline_spec=spec_of("echo"))
    ended(api, run)
    client = logging.Client(
        project=api.env.project,
        credentials=AnonymousCredentials(),
        _use_grpc=False,
        client_options={"api_endpoint": api.env.host},
    )

    (entry,) = client.list_entries(filter_=f'labels."k8s-pod/pipeline/runid"="{run}"')

    assert entry.payload["message"] == "hello"
    assert entry.resource.type == "k8s_container"


@pytest.mark.parametrize("path", ["k8s/pod/logs", "artifacts/get"])
def test_logs_need_a_good_token(quick: KubeflowApi, path: str) -> None:
    quick.env.accept_tokens("good")

    assert requests.get(f"{quick.env.host}/{path}", timeout=REQUEST).status_code == 401
