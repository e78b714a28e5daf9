"""A server that becomes 3.0, or an older one again, between two calls: tasks are read from where
they are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kfgcp as public
from json_types import JsonDict
from kfgcp import RunHandle, api, testing
from kfgcp.testing import KubeflowStandIn

METADATA = "/ml_metadata.*"


@pytest.fixture
def cluster(home: Path) -> Iterator[KubeflowStandIn]:
    """A stand-in of 2.17; the environment `cloud` of the current project leads there."""
    with testing.kubeflow(mode="instant") as env:
        env.instant.metrics = {"accuracy": 0.5}
        (home / "kfgcp.toml").write_text(env.toml("cloud"))
        yield env


@pytest.fixture
def scores(pipeline: Callable[[str], Path]) -> Callable[[], RunHandle]:
    """Run the pipeline two-scores to its end; its handle."""
    return lambda: public.submit(str(pipeline("two_scores")), env="cloud").wait(60)


def measured(run: RunHandle) -> list[tuple[str, str, float]]:
    return sorted((metric.task, metric.name, metric.value) for metric in run.snapshot.metrics)


MEASURED = [("evaluate", "accuracy", 0.5), ("evaluate-2", "accuracy", 0.5)]


def test_runs_before_and_after_an_upgrade(
    cluster: KubeflowStandIn, scores: Callable[[], RunHandle]
) -> None:
    before = scores()
    cluster.keeps_tasks = True
    mark = len(cluster.requests)
    after = scores()

    assert measured(before) == measured(after) == MEASURED
    assert (
        [task.path for task in after.tasks]
        == [task.path for task in before.tasks]
        == ["evaluate", "evaluate-2"]
    )
    assert cluster.requests.count("POST", METADATA, since=mark) == 0
    assert {run.run_id for run in public.list()} == {before.run_id, after.run_id}
    assert measured(public.show(before.run_id)) == MEASURED, "the values that were read stay"


def test_a_run_is_read_by_one_request(
    cluster: KubeflowStandIn, pipeline: Callable[[str], Path]
) -> None:
    """Older servers take three more, of ML Metadata."""
    cluster.keeps_tasks = True
    (run_id,) = cluster.seed(1, metrics={"accuracy": 0.5})
    mark = len(cluster.requests)

    run = public.show(run_id)

    assert [(metric.name, metric.value) for metric in run.snapshot.metrics] == [("accuracy", 0.5)]
    reads = [
        entry
        for entry in cluster.requests[mark:]
        if "/runs/" in entry.path or "metadata" in entry.path
    ]
    assert [(entry.method, entry.path, dict(entry.query)) for entry in reads] == [
        ("GET", f"/apis/v2beta1/runs/{run_id}", {"view": "FULL"})
    ]


def test_a_run_that_an_older_server_was_about_to_end(
    cluster: KubeflowStandIn, pipeline: Callable[[str], Path]
) -> None:
    """Its tasks were in ML Metadata, which is gone when it has ended."""
    cluster.instant.seconds = 3600
    handle = public.submit(str(pipeline("two_scores")), env="cloud")
    assert handle.refresh().state == "RUNNING"
    cluster.keeps_tasks = True
    cluster.finish_runs()

    with pytest.warns(api.NotWhole, match=f"Run {handle.run_id} of cloud is shown without tasks"):
        ended = public.show(handle.run_id)

    assert (ended.state, ended.snapshot.metrics) == ("SUCCEEDED", ())


def test_runs_from_before_an_upgrade_are_read_once(cluster: KubeflowStandIn) -> None:
    """Nobody has their tasks any more, so there is nothing to ask for again."""
    cluster.seed(3, age=7200)
    cluster.keeps_tasks = True
    with pytest.warns(api.NotWhole, match="is shown without tasks"):
        public.list()
    mark = len(cluster.requests)

    runs = public.list()

    assert [run.state for run in runs] == ["SUCCEEDED"] * 3
    again = [entry.path for entry in cluster.requests[mark:] if entry.path != "/apis/v2beta1/runs"]
    assert again == []


def test_a_task_that_cannot_be_read_is_reported_once(
    cluster: KubeflowStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has ended, so the task stays as it is."""
    cluster.keeps_tasks = True
    (run_id,) = cluster.seed(1, age=7200)
    format_fields = cluster.tasks.format_fields

    def with_damage(*arguments: Any, **options: object) -> JsonDict:
        answer = format_fields(*arguments, **options)
        for task in answer.get("tasks", [])[:1]:
            task["create_time"] = "yesterday"
        return answer

    monkeypatch.setattr(cluster.tasks, "format_fields", with_damage)
    with pytest.warns(
        api.NotWhole, match=f"Run {run_id} of cloud is shown without some of its tasks"
    ):
        public.list()
    mark = len(cluster.requests)

    runs = public.list()

    assert [run.state for run in runs] == ["SUCCEEDED"]
    assert [
        entry.path for entry in cluster.requests[mark:] if entry.path != "/apis/v2beta1/runs"
    ] == []


def test_a_server_that_is_an_older_one_again(
    cluster: KubeflowStandIn, scores: Callable[[], RunHandle]
) -> None:
    cluster.keeps_tasks = True
    (on_new,) = cluster.seed(1, metrics={"accuracy": 0.25})
    cluster.keeps_tasks = False

    run = public.show(on_new)

    assert [metric.value for metric in run.snapshot.metrics] == [0.25], (
        "ML Metadata of this stand-in has all runs"
    )
    assert measured(scores()) == MEASURED
