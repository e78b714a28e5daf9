"""What a server does not take, and runs that it does not have, at the real command line: a line
with the cause, and a hint."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from kfgcp import api
from kfgcp.query import RunFilter
from kfgcp.spec.load import load
from kfgcp.testing import KubeflowStandIn
from kfgcp_command import Command
from patience import REQUEST, WaitFor
from service_fixtures import Reply, Server


def _ids(cluster: KubeflowStandIn) -> list[str]:
    return [record.id for record in cluster.runs.all()]


# -- what the server does not take


def test_parameters_that_are_longer_than_our_limit(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    pipeline: Callable[[str], Path],
) -> None:
    error, hint = fails(2, "run", pipeline("echo"), "-p", f"text={'x' * 120_000}")

    assert (
        "The parameters take 120,011 bytes (text: 120,002); Kubeflow Pipelines takes at most"
        " 120,000" in error
    )
    assert "bucket" in hint
    nothing_was_started(_ids(cluster))


@pytest.mark.recorded("Kubeflow: a run that etcd does not take", "api-2.17.0/run-create-too-big")
def test_a_run_that_is_longer_than_etcd_takes(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    pipeline: Callable[[str], Path],
) -> None:
    cluster.runs.max_workflow_bytes = 50

    error, hint = fails(5, "run", pipeline("echo"), "-p", f"text={'x' * 60}")

    assert "etcdserver: request is too large" in error
    assert hint
    nothing_was_started(_ids(cluster))


def test_a_server_that_cannot_store_the_run(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    pipeline: Callable[[str], Path],
) -> None:
    """500, as for whatever goes wrong inside; it is the server's own word, so nothing is in
    doubt."""
    cluster.fail_next("500", times=4, method="POST", path="*/runs")

    error, hint = fails(5, "run", pipeline("echo"))

    assert "500 INTERNAL" in error
    assert "not known" not in error
    assert hint
    nothing_was_started(_ids(cluster))


def test_a_pipeline_that_is_too_large(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    home: Path,
    pipeline: Callable[[str], Path],
) -> None:
    """32 MiB are what the server reads of a request."""
    spec = load(str(pipeline("echo"))).pipeline_spec
    command = spec["deploymentSpec"]["executors"]["exec-say"]["container"]["command"]
    # Linux takes no argument that is longer than 131,071 bytes, so these are many.
    command.extend(["#" + "x" * 100_000] * 336)
    (home / "large.json").write_text(json.dumps(spec))

    error, hint = fails(5, "run", home / "large.json")

    assert "longer than 33554432 bytes" in error
    assert "smaller" in hint
    nothing_was_started(_ids(cluster))


def test_a_pipeline_of_another_schema(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    home: Path,
) -> None:
    file = Path(__file__).parents[2] / "engine" / "specs" / "features-2.14.6.yaml"
    (home / "old.yaml").write_text(
        file.read_text().replace("schemaVersion: 2.1.0", "schemaVersion: 2.0.0")
    )

    error, hint = fails(5, "run", home / "old.yaml")

    assert "accepts specs of schema 2.1.0, but this spec has schema 2.0.0" in error
    assert "current kfp" in hint
    nothing_was_started(_ids(cluster))


# -- runs and tasks that are not there


@pytest.mark.parametrize(
    "name", ["a+b", "100%", "%zz", "\u00fc \U0001f600", "' OR 1=1 --", '"}]}', "\x00\n", "x" * 300]
)
def test_an_experiment_that_is_not_there(cluster: KubeflowStandIn, name: str) -> None:
    cluster.seed(1, experiment="Churn")

    assert api.list(RunFilter(env="cloud", experiment=name)) == []
    assert [run.experiment for run in api.list(RunFilter(env="cloud"))] == ["Churn"]


NOT_THERE = "0a1b2c3d-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("verb", "run", "more"),
    [
        *((verb, NOT_THERE, ()) for verb in ("show", "logs", "watch", "cancel", "rerun", "retry")),
        *(
            ("logs", NOT_THERE, ("--follow",)),
            ("delete", NOT_THERE, ("--yes",)),
            ("compare", NOT_THERE, ("other",)),
        ),
        *(("show", run, ()) for run in ("../../x", "a%2Fb?c=d&e", "' OR 1=1 --", "0a1b2c3d/../x")),
    ],
)
def test_a_run_that_is_not_there(
    cluster: KubeflowStandIn,
    fails: Callable[..., tuple[str, str]],
    nothing_was_started: Callable[..., None],
    verb: str,
    run: str,
    more: tuple[str, ...],
) -> None:
    error, hint = fails(5, verb, run, *more)

    assert error == f"There is no run '{run}'."
    assert hint == "To see all runs: kfgcp list"
    nothing_was_started(_ids(cluster))


def test_a_task_that_is_not_there(
    cluster: KubeflowStandIn,
    kfgcp: Command,
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    run = kfgcp("run", pipeline("echo"), "--json", env={"KFGCP_ENV": "cloud"}).json["run_id"]

    for verb in (("logs", run, "nobody"), ("rerun", run, "--from", "nobody")):
        error, hint = fails(2, *verb)
        assert f"Run {run} has no task 'nobody'." in error
        assert hint == "The tasks of the run: say."
    assert _ids(cluster) == [run]


def test_a_run_that_is_deleted_while_it_is_watched(
    cluster: KubeflowStandIn, kfgcp: Command, pipeline: Callable[[str], Path], eventually: WaitFor
) -> None:
    cluster.instant.seconds = 600.0
    run = kfgcp("run", pipeline("echo"), "--detach", env={"KFGCP_ENV": "cloud"}).out.strip()
    before = len(cluster.requests)
    watching = kfgcp.start("watch", run, env={"KFGCP_ENV": "cloud"})
    eventually(lambda: cluster.requests.count("GET", f"*/runs/{run}", since=before) > 1)

    assert (
        requests.delete(f"{cluster.host}/apis/v2beta1/runs/{run}", timeout=REQUEST).status_code
        == 200
    )
    done = kfgcp.end(watching)

    assert done.code == 5, done.err
    assert "Traceback" not in done.err
    error, hint = (line for line in done.err.splitlines() if line.startswith(("error:", "hint:")))
    assert f"Run {run} was deleted: " in error
    assert f"kfgcp show {run}" in hint


# -- answers of another form


@pytest.mark.parametrize(
    "runs",
    [
        *("[3]", '[{"run_id": 3}]', '[{"state": "RUNNING"}]', '{"run_id": 1}', '"x"', "[null]"),
        '[{"run_id": "a", "created_at": "soon"}]',
        '[{"run_id": "a", "created_at": 3, "runtime_config": [1]}]',
        '[{"run_id": "a", "runtime_config": {"parameters": [1]}}]',
        '[{"run_id": "a", "run_details": [1], "state": "FAILED"}]',
        '[{"run_id": "a", "state": "SUCCEEDED", "run_details": {"task_details": [null]}}]',
        '[{"run_id": "a", "state": "SUCCEEDED", "pipeline_version_reference": [1]}]',
        '[{"run_id": "a", "pipeline_spec": {"root": 3}, "experiment_id": [1]}]',
    ],
)
def test_a_server_that_lists_garbage(
    cluster: KubeflowStandIn,
    kfgcp: Command,
    nothing_was_started: Callable[..., None],
    server: Server,
    reply: type[Reply],
    runs: str,
) -> None:
    """Either the runs are shown as far as they make sense, or a line says that they do not."""
    server.always(lambda asked: reply(f'{{"runs": {runs}}}'.encode()))

    done = kfgcp("list", "--env", "cloud", "--metrics", env={"KFGCP_ENV_CLOUD_HOST": server.url})

    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    assert done.code in (0, 5), done.err
    if done.code == 5:
        assert "Kubeflow Pipelines" in done.err
        assert "hint:" in done.err
