"""Runs whose Workflow is not in the cluster any more: they are CANCELLING for ever, and can be
deleted."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

import kfgcp as public
from exchanges import VERSIONS, exchange
from kfgcp.backends.kubeflow import cancelling
from kfgcp.errors import NotWhole, UsageError
from kfgcp.model import RunState
from kfgcp.store.store import Store
from kfgcp.testing import KubeflowStandIn
from kfgcp.testing.server import Request, Response
from kfgcp_command import Command
from patience import REQUEST

API = "/apis/v2beta1"


class Clock:
    """The time of day, which passes when a test says so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def day_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Runs(cancelling.CancellingRuns):
        def __init__(self, store: Store, place: str) -> None:
            super().__init__(store, place, clock)

    monkeypatch.setattr("kfgcp.backends.kubeflow.service.CancellingRuns", Runs)
    return clock


@pytest.fixture(params=VERSIONS)
def without_workflow(
    request: pytest.FixtureRequest,
    cluster: KubeflowStandIn,
    pipeline: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """A run that goes on, whose Workflow was deleted: the server answers as it was recorded."""
    version = request.param
    cluster.instant.seconds = 86400
    handle = public.submit(str(pipeline("echo")), env="cloud")
    path = f"{API}/runs/{handle.run_id}"
    gone = exchange("run-terminate-workflow-gone", version)
    again = exchange("run-terminate-again", version)
    forever = exchange("run-get-canceling-forever", version)
    terminated: list[str] = []
    serve = cluster.handle

    def answer(call: Request) -> Response:
        if call.path == f"{path}:terminate":
            terminated.append(call.path)
            refused = gone if len(terminated) == 1 else again
            return Response(refused.status, refused.answer)
        response = serve(call)
        if (
            call.method == "GET"
            and call.path == path
            and terminated
            and isinstance(response.body, dict)
        ):
            for key in ("state", "state_history", "finished_at"):
                response.body[key] = forever.answer[key]
        return response

    monkeypatch.setattr(cluster, "handle", answer)
    return handle


@pytest.mark.recorded(
    "Kubeflow: a run whose Workflow is gone",
    "api-2.17.0/run-terminate-workflow-gone",
    "api-2.17.0/run-get-canceling-forever",
    "api-2.14.3/run-terminate-workflow-gone",
)
def test_a_run_without_a_workflow_is_reported_by_cancel_and_can_be_deleted(
    cluster: KubeflowStandIn, kfgcp: Command, without_workflow: Any
) -> None:
    run_id = without_workflow.run_id

    done = kfgcp("cancel", run_id)

    assert done.code == 0
    assert cluster.requests.count("POST", "*:terminate") == 1
    note = f"The workflow of run {run_id} does not exist in the cluster any more."
    advice = f"The run will not end. Delete it: kfgcp delete {run_id}"
    assert done.err.count(f"{note} {advice}") == 1
    assert kfgcp("show", run_id, "--json").json["state"] == "CANCELLING"
    assert kfgcp("delete", run_id, "--yes").code == 0
    assert requests.get(f"{cluster.host}{API}/runs/{run_id}", timeout=REQUEST).status_code == 404


def test_a_run_that_is_cancelling_for_two_minutes_can_be_deleted(
    day_clock: Clock,
    cluster: KubeflowStandIn,
    without_workflow: Any,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Somebody else cancelled it, so that only the time tells. Each look is one of another
    process."""
    requests.post(f"{cluster.host}{API}/runs/{without_workflow.run_id}:terminate", timeout=REQUEST)

    assert public.show(without_workflow.run_id).state is RunState.CANCELLING
    day_clock.ahead = 119
    with pytest.raises(UsageError, match="is CANCELLING"):
        public.show(without_workflow.run_id).delete()
    assert not [warning for warning in recwarn if warning.category is NotWhole]

    public.Workspace.default().close()  # as in another process
    day_clock.ahead = 125
    with pytest.warns(NotWhole, match="has been CANCELLING for more than 2 minutes"):
        stuck = public.show(without_workflow.run_id)
    assert stuck.is_deletable
    with pytest.warns(NotWhole):
        stuck.delete()

    assert (
        requests.get(
            f"{cluster.host}{API}/runs/{without_workflow.run_id}", timeout=REQUEST
        ).status_code
        == 404
    )


def test_a_run_that_ends_late_is_not_reported(
    day_clock: Clock,
    cluster: KubeflowStandIn,
    pipeline: Callable[[str], Path],
    recwarn: pytest.WarningsRecorder,
) -> None:
    cluster.instant.seconds = 86400
    handle = public.submit(str(pipeline("echo")), env="cloud")
    handle.cancel()
    cluster.finish_runs()

    day_clock.ahead = 3600
    assert public.show(handle.run_id).state.final
    assert not [warning for warning in recwarn if warning.category is NotWhole]
