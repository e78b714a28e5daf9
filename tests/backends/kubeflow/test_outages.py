"""A run is watched through outages: of the pipelines API, which is said once, and of what is beside
it."""

from collections.abc import Callable
from pathlib import Path

import pytest

import kfgcp as public
from kfgcp import RunUpdate, api
from kfgcp.backends.kubeflow import executions_from_mlmd as metadata
from kfgcp.model import RunState
from kfgcp.testing import KubeflowStandIn

GETS = "*/runs/*"
BESIDE = "/[mk][l8]*"
"""/ml_metadata... and /k8s/pod/logs"""
TOO_LONG = 61
"""Seconds of a Retry-After that no call waits for: the budget of one is 60."""


@pytest.fixture
def watched(
    cluster: KubeflowStandIn, pipeline: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[RunUpdate], list[str]]]:
    """Watches a run, twenty looks a second: the updates, and what was said beside them. The run
    ends when a condition holds after a look."""
    monkeypatch.setattr("kfgcp.tracking.updates.CHECK_SECONDS", 0.05)
    monkeypatch.setattr("kfgcp.backends.mirror.Mirror.pace", api.Pace(0.05, 0.05))
    monkeypatch.setattr(metadata, "LATER", 0.0)
    cluster.instant.seconds = 86400

    def watch(
        until: Callable[[], bool] = lambda: not cluster.unused_faults,
    ) -> tuple[list[RunUpdate], list[str]]:
        notices: list[str] = []
        updates: list[RunUpdate] = []
        handle = public.submit(str(pipeline("echo")), env="cloud")
        for update in public.watch(handle, notice=notices.append):
            updates.append(update)
            if until():
                cluster.finish_runs()
        return updates, notices

    return watch


@pytest.mark.parametrize("kind", ["429", "503"])
def test_an_outage_and_its_end_are_each_reported_once(
    cluster: KubeflowStandIn, watched: Callable[..., tuple[list[RunUpdate], list[str]]], kind: str
) -> None:
    cluster.fail_next(kind, times=3, method="GET", path=GETS, retry_after=TOO_LONG)

    updates, notices = watched()

    assert updates[-1].run.state is RunState.SUCCEEDED
    lost, back = notices
    assert lost.startswith(
        "cloud cannot be reached; the run continues, and kfgcp tries again: Kubeflow Pipelines"
    )
    assert back == "cloud answers again"


def test_a_short_outage_is_not_reported(
    cluster: KubeflowStandIn, watched: Callable[..., tuple[list[RunUpdate], list[str]]]
) -> None:
    for kind in ("503", "reset", "lost"):
        cluster.fail_next(kind, method="GET", path=GETS)

    updates, notices = watched()

    assert updates[-1].run.state is RunState.SUCCEEDED
    assert notices == []


def test_without_logs_and_metadata_the_states_are_shown_all_the_same(
    cluster: KubeflowStandIn, watched: Callable[..., tuple[list[RunUpdate], list[str]]]
) -> None:
    """What is not there while the run goes on is no word worth; what is not there at its end is."""
    cluster.faults(1, ["404"], path=BESIDE)

    with pytest.warns(api.NotWhole) as caught_warnings:
        updates, notices = watched(until=lambda: cluster.requests.count(path=BESIDE) > 10)

    assert updates[-1].run.state is RunState.SUCCEEDED
    assert notices == []
    assert len({str(warning.message) for warning in caught_warnings}) == 1
    assert [task.path for update in updates for task in update.tasks][-1] == "say"
