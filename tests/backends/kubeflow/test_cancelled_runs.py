"""A run that was cancelled is FAILED on the server, which does not always tell why: recorded as
sleepy-cancelled (its history has CANCELING) and as run-get-canceled.json of api-2.17.0 (it has
not)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import kfgcp as public
import recorded_runs
from kfgcp import api
from kfgcp.backends.kubeflow.read_run import Where, read_run
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.model import RunState, TaskState
from kfgcp.query import RunFilter
from kfgcp.store.rows import Cancellation
from kfgcp.store.store import Store
from kfgcp.testing import KubeflowStandIn, kubeflow
from patience import REQUEST

END = "2026-01-02T03:04:05.000Z"
LATER = "2026-01-02T03:04:06.000Z"


@pytest.fixture
def server(home: Path) -> Iterator[KubeflowStandIn]:
    with kubeflow(mode="instant") as started:
        started.runs.terminated_state = "FAILED"
        (home / "kfgcp.toml").write_text(started.toml("gke"))
        yield started


def running(server: KubeflowStandIn) -> str:
    """A run that failed and was continued, so that it runs."""
    (run_id,) = server.seed(1, failing={"train": "no memory"}, age=7200)
    server.instant.seconds = 3600
    assert public.show(run_id).retry().state is RunState.RUNNING
    return run_id


def test_a_run_that_was_cancelled_from_here_is_cancelled(server: KubeflowStandIn) -> None:
    run_id = running(server)

    handle = public.cancel(run_id)

    assert (handle.state, handle.snapshot.error) == (RunState.CANCELLED, None)
    assert TaskState.FAILED not in {task.state for task in handle.snapshot.tasks}
    assert public.show(run_id).state is RunState.CANCELLED


def test_a_list_does_not_read_it_again_and_again(server: KubeflowStandIn) -> None:
    """The list says FAILED each time."""
    run_id = running(server)
    public.cancel(run_id)
    api.list()
    before = server.requests.count("GET", f"/apis/v2beta1/runs/{run_id}")

    listed = [run.state for run in api.list()]

    assert listed == [RunState.CANCELLED]
    assert server.requests.count("GET", f"/apis/v2beta1/runs/{run_id}") == before


def test_it_is_listed_by_its_state(server: KubeflowStandIn) -> None:
    run_id = running(server)
    public.cancel(run_id)
    project = load_project()
    backend = open_backend(project, project.env("gke"))

    cancelled = backend.list(RunFilter(states=[RunState.CANCELLED])).items
    failed = backend.list(RunFilter(states=[RunState.FAILED])).items

    assert ([run.run_id for run in cancelled], failed) == ([run_id], [])


def test_a_run_that_is_continued_is_not_cancelled_any_more(server: KubeflowStandIn) -> None:
    run_id = running(server)
    public.cancel(run_id)
    assert Store(load_project().home).cancel_requests(run_id) == 1

    assert public.show(run_id).retry().state is RunState.RUNNING

    assert Store(load_project().home).cancel_requests(run_id) == 0


def test_a_run_that_somebody_else_continued_is_not_cancelled_any_more(
    server: KubeflowStandIn,
) -> None:
    """A server before 2.17 drops the history of states then, so nothing else tells that a later
    failure is one."""
    run_id = running(server)
    public.cancel(run_id)
    requests.post(
        f"{server.host}/apis/v2beta1/runs/{run_id}:retry", timeout=REQUEST
    ).raise_for_status()

    assert [run.state for run in api.list()] == [RunState.RUNNING]

    recorded = Store(load_project().home).cancellation(f"{server.host}//{run_id}")
    assert recorded == Cancellation(RunState.RUNNING, "", "")
    assert not recorded.holds_for(LATER, None)


def test_a_run_that_had_ended_before_it_was_cancelled_has_not_been_cancelled(
    server: KubeflowStandIn,
) -> None:
    """It ends between the look at it and the request, which the server refuses then."""
    run_id = running(server)
    server.fail_next("400", method="POST", path="*:terminate")

    assert public.cancel(run_id).state is RunState.RUNNING

    assert Store(load_project().home).cancel_requests(run_id) == 0


@pytest.mark.recorded(
    "Kubeflow: a cancelled run is CANCELLED",
    "cluster-2.17.0/sleepy-cancelled",
    "api-2.17.0/run-get-canceled",
)
def test_a_task_that_was_killed_is_cancelled_without_ml_metadata_too() -> None:
    """Argo says Failed of the pod that it killed, one second after CANCELING."""
    run, _ = read_run(
        recorded_runs.read("sleepy-cancelled"), Where("https://kfp.acme.example", "gke")
    )

    ended = "2026-11-29T08:51:03.000Z"
    assert (run.state, run.ended_at, run.error) == (RunState.CANCELLED, ended, None)
    tasks = [
        (task.path, task.state, task.ended_at, task.error) for task in run.tasks if task.started_at
    ]
    assert tasks == [("sleep", TaskState.CANCELLED, ended, None)]


def test_a_task_that_had_failed_before_the_run_was_cancelled_is_failed() -> None:
    answer = recorded_runs.read("sleepy-cancelled")
    for detail in answer["run_details"]["task_details"]:
        if detail.get("display_name") == "sleep":
            detail["end_time"] = "2026-11-29T08:51:00Z"

    run, _ = read_run(answer, Where("https://kfp.acme.example", "gke"))

    assert {task.path: task.state for task in run.tasks} == {
        "sleep": TaskState.FAILED,
        "say": TaskState.SKIPPED,
    }


@pytest.mark.parametrize(
    ("cancellation", "ended_at", "retried_at", "expected"),
    [
        (Cancellation(RunState.RUNNING, "", ""), END, None, False),
        (Cancellation(RunState.RUNNING, "", END), LATER, None, True),
        (Cancellation(RunState.RUNNING, "", END), LATER, LATER, False),
        (Cancellation(RunState.CANCELLING, "", ""), END, None, True),
        (Cancellation(RunState.CANCELLED, END, ""), END, None, True),
        (Cancellation(RunState.CANCELLED, END, ""), None, None, True),
        (Cancellation(RunState.CANCELLED, END, ""), LATER, None, False),
        (Cancellation(RunState.FAILED, END, ""), END, None, False),
    ],
    ids=str,
)
def test_what_is_recorded_of_a_cancelling(
    cancellation: Cancellation, ended_at: str | None, retried_at: str | None, expected: bool
) -> None:
    assert cancellation.holds_for(ended_at, retried_at) is expected
