"""A run that goes on after it has ended: what is refused, what is recorded, and answers that get
lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import kfgcp as public
from kfgcp import api
from kfgcp.errors import BackendError, NotFound, UsageError
from kfgcp.model import RunState, TaskState
from kfgcp.testing import KubeflowStandIn, kubeflow
from kfgcp_command import Command
from patience import PROCESS, REQUEST

RUNS = "/apis/v2beta1/runs"


@pytest.fixture
def server(home: Path) -> Iterator[KubeflowStandIn]:
    with kubeflow(mode="instant") as started:
        (home / "kfgcp.toml").write_text(started.toml("gke"))
        yield started


def failed(server: KubeflowStandIn) -> str:
    (run_id,) = server.seed(1, failing={"train": "no memory"}, age=7200)
    assert public.show(run_id).state is RunState.FAILED
    return run_id


def test_the_record_reopens_until_the_run_has_ended_again(server: KubeflowStandIn) -> None:
    run_id = failed(server)
    server.instant.seconds = 3600

    handle = public.show(run_id).retry()

    assert handle.state is RunState.RUNNING
    assert (handle.snapshot.error, handle.snapshot.ended_at) == (None, None)
    assert {task.state for task in handle.snapshot.tasks} <= {TaskState.PENDING, TaskState.RUNNING}
    assert [run.state for run in api.list(limit=5, metrics=False)] == [RunState.RUNNING]
    assert handle.cancel().state is RunState.CANCELLED


def test_a_cancelled_run_continues_too(server: KubeflowStandIn, kfgcp: Command) -> None:
    run_id = failed(server)
    server.instant.seconds = 3600
    public.show(run_id).retry().cancel()
    server.instant.seconds = 0

    done = kfgcp("retry", run_id, "--detach")

    assert (done.code, done.out.strip()) == (0, run_id)
    assert public.show(run_id).wait(PROCESS).state is RunState.SUCCEEDED


def test_a_run_that_somebody_else_continued_is_not_retried_again(server: KubeflowStandIn) -> None:
    run_id = failed(server)
    server.instant.seconds = 3600
    requests.post(f"{server.host}{RUNS}/{run_id}:retry", timeout=REQUEST).raise_for_status()

    with pytest.raises(UsageError, match="is RUNNING") as caught:
        public.retry(run_id)

    assert server.requests.count("POST", f"{RUNS}/*:retry") == 1
    assert caught.value.hint == f"Follow the run: kfgcp watch {run_id}"
    assert next(api.watch(run_id, logs=False)).run.state is RunState.RUNNING


def test_a_lost_answer_is_recognised_by_the_state_of_the_run(server: KubeflowStandIn) -> None:
    run_id = failed(server)
    server.fail_next("lost", method="POST", path="*:retry")

    assert public.retry(run_id, timeout=PROCESS).state is RunState.SUCCEEDED
    assert server.requests.count("POST", f"{RUNS}/*:retry") == 1


def test_a_server_that_fails_leaves_the_run_as_it_was(server: KubeflowStandIn) -> None:
    run_id = failed(server)
    before = public.show(run_id).snapshot
    server.fail_next("500", method="POST", path="*:retry")

    with pytest.raises(BackendError, match="500"):
        public.retry(run_id)

    assert public.show(run_id).snapshot == before


def test_an_archived_run_is_continued(server: KubeflowStandIn) -> None:
    """The server looks at the Workflow only (resource_manager.go: RetryRun)."""
    run_id = failed(server)
    requests.post(f"{server.host}{RUNS}/{run_id}:archive", timeout=REQUEST).raise_for_status()

    public.retry(run_id)

    assert public.show(run_id).state is RunState.SUCCEEDED


def test_a_run_that_was_deleted_there_is_not_found(server: KubeflowStandIn) -> None:
    run_id = failed(server)
    requests.delete(f"{server.host}{RUNS}/{run_id}", timeout=REQUEST).raise_for_status()

    with pytest.raises(NotFound):
        public.retry(run_id)
