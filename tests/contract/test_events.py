"""The events of a run are the same on every backend, for every observer, and at every reading."""

import time
from pathlib import Path

import pytest

import kfgcp
from backend_project import BackendProject
from kfgcp.event import Event
from kfgcp.model import RunState, timestamp
from kfgcp_command import Command
from patience import PROCESS, wait_for

CHAIN = [
    ("run.created", None),
    ("run.started", None),
    ("task.started", "add"),
    ("task.succeeded", "add"),
    ("task.started", "inner"),
    ("task.started", "inner/double"),
    ("task.succeeded", "inner/double"),
    ("task.started", "inner/add"),
    ("task.succeeded", "inner/add"),
    ("task.succeeded", "inner"),
    ("task.started", "add-2"),
    ("task.succeeded", "add-2"),
    ("run.succeeded", None),
]
"""The events of the pipeline `chain`: add, the pipeline `inner` with double and add, and add-2."""


def steps(events: list[Event]) -> list[tuple[str, str | None]]:
    return [(event.kind.value, event.task) for event in events]


def events_of_new_observer(run_id: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Return the events that a user with another state folder records at the first reading."""
    with monkeypatch.context() as change:
        change.setenv("KFGCP_HOME", str(home))
        with kfgcp.Workspace.open() as other:
            return other.events(run_id)


@pytest.mark.feature("Events: the same in the same order")
def test_a_chain_has_the_same_events_in_the_same_order(
    backend_project: BackendProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = backend_project.run("chain", {"n": 100})

    events = kfgcp.events(handle)

    assert steps(events) == CHAIN
    assert len({event.key for event in events}) == len(events)
    ends = {task.path: (task.started_at, task.ended_at) for task in handle.snapshot.tasks}
    times = {(event.kind.value, event.task): event.at for event in events}
    for path, (start, end) in ends.items():
        assert (times["task.started", path], times["task.succeeded", path]) == (start, end)
    run = handle.snapshot
    assert [events[position].at for position in (0, 1, -1)] == [
        run.created_at,
        run.started_at,
        run.ended_at,
    ]
    if backend_project.like != "local":
        assert events_of_new_observer(run.run_id, tmp_path / "other", monkeypatch) == events


@pytest.mark.feature("Events: failures and further attempts")
def test_a_further_attempt_is_an_event_and_the_task_fails_once(
    backend_project: BackendProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = backend_project.run("guarded")

    events = kfgcp.events(handle)

    (broken,) = {event.task for event in events if event.task and event.task.endswith("/broken")}
    own = [(event.kind.value, event.attempt) for event in events if event.task == broken]
    assert own == [("task.started", None), ("task.retried", 2), ("task.failed", 2)]
    assert steps(events)[-1] == ("run.failed", None)
    assert steps(events).index(("task.failed", broken)) < steps(events).index(
        ("task.started", "report")
    )
    assert len({event.key for event in events}) == len(events)
    if backend_project.like != "local":
        assert set(events_of_new_observer(handle.run_id, tmp_path / "other", monkeypatch)) == set(
            events
        )


@pytest.mark.feature("Events: metrics")
def test_each_metric_is_recorded_when_its_task_ends(backend_project: BackendProject) -> None:
    handle = backend_project.run("two_scores", {"first": 0.25, "second": 0.375})

    metrics = {event for event in kfgcp.events(handle) if event.metric}

    ends = {task.path: task.ended_at for task in handle.snapshot.tasks}
    expected = {(task, "metrics", "accuracy", ends[task]) for task in ("evaluate", "evaluate-2")}
    assert {(event.task, event.artifact, event.metric, event.at) for event in metrics} == expected


@pytest.mark.feature("Events: tasks that were cached or skipped")
def test_a_cached_task_and_a_skipped_one_do_not_start(
    backend_project: BackendProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_project.run("shapes", {"uri": backend_project.data, "items": [5]})
    handle = backend_project.run("shapes", {"uri": backend_project.data, "items": [5]})

    events = kfgcp.events(handle)

    skipped = "condition-branches-1/condition-2"
    own = [(kind, task) for kind, task in steps(events) if task in (skipped, "say-3")]
    assert sorted(own) == [("task.cached", "say-3"), ("task.skipped", skipped)]
    if backend_project.like != "local":
        assert set(events_of_new_observer(handle.run_id, tmp_path / "other", monkeypatch)) == set(
            events
        )


def test_a_run_that_was_continued_keeps_its_first_end(
    backend_project: BackendProject, tmp_path: Path
) -> None:
    handle = backend_project.run("needs_file", {"folder": str(tmp_path)})
    first = kfgcp.events(handle)
    if backend_project.like != "kubeflow":
        with pytest.raises(kfgcp.Unsupported):
            kfgcp.retry(handle)
        assert kfgcp.events(handle) == first
        return
    _wait_for_the_next_second(str(handle.snapshot.ended_at))
    failed_again = kfgcp.retry(handle.run_id, timeout=PROCESS, check=False)
    second = kfgcp.events(failed_again)[len(first) :]
    (tmp_path / "go").touch()

    again = kfgcp.retry(handle.run_id, timeout=PROCESS)

    events = kfgcp.events(again)
    assert again.state is RunState.SUCCEEDED
    assert events[: len(first)] == first
    assert steps(first)[-2:] == [("task.failed", "need"), ("run.failed", None)]
    assert [step for step in steps(second) if "failed" in step[0]] == [
        ("task.failed", "need"),
        ("run.failed", None),
    ]
    assert steps(events)[-2:] == [("task.succeeded", "need"), ("run.succeeded", None)]
    assert len({event.key for event in events}) == len(events)


def _wait_for_the_next_second(ended_at: str) -> None:
    """Wait until the clock shows a later second than the end of the run.

    The service has times in whole seconds, so two ends in one second would be one event. On a
    cluster, pods take longer than a second.
    """
    wait_for(lambda: timestamp(time.time())[:19] > ended_at[:19])


def test_two_processes_that_follow_a_run_record_each_event_once(
    backend_project: BackendProject, command: Command, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    handle = backend_project.submit("gated", {"gate": str(gate)})
    followers = [command.start("watch", handle.run_id) for _ in range(2)]
    try:
        gate.touch()
    finally:
        codes = [command.end(follower).code for follower in followers]

    assert codes == [0, 0]
    assert steps(kfgcp.events(handle)) == [
        ("run.created", None),
        ("run.started", None),
        ("task.started", "pass-gate"),
        ("task.succeeded", "pass-gate"),
        ("task.started", "arrive"),
        ("task.succeeded", "arrive"),
        ("run.succeeded", None),
    ]
