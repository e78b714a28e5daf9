"""Which events a record implies: keys, times and order, written by hand from the docstring of
kfgcp.event."""

from dataclasses import replace

import pytest

from kfgcp.event import Event, EventKind, events_of, run_ended, task_events
from kfgcp.model import Metric, Run, RunState, Task, TaskKind, TaskState

RUN = Run(
    "r1",
    "dev",
    "vertex",
    "churn",
    "sha256:1",
    RunState.SUCCEEDED,
    created_at="00",
    started_at="01",
    ended_at="09",
)


def task(
    path: str,
    state: str = "SUCCEEDED",
    start: str | None = "02",
    end: str | None = "03",
    **fields: object,
) -> Task:
    plain: dict[str, object] = {
        "kind": TaskKind.CONTAINER,
        "attempts": 1,
        "started_at": start,
        "ended_at": end,
    }
    return Task(path=path, state=TaskState(state), **plain | fields)  # type: ignore[arg-type]


def group(path: str, start: str = "02", end: str = "03") -> Task:
    return task(path, start=start, end=end, kind=TaskKind.DAG, attempts=0)


def facts(events: list[Event]) -> list[tuple[str, str | None]]:
    """The keys without the id of the run, with the times."""
    assert {event.run_id for event in events} <= {"r1"}
    assert all(event.key.startswith(f"r1/{event.kind.value}") for event in events)
    return [(event.key.removeprefix("r1/"), event.at) for event in events]


def test_a_run_is_created_starts_and_ends_around_its_tasks() -> None:
    metrics = (Metric("train", "metrics", "accuracy", 0.5),)

    assert facts(events_of(replace(RUN, tasks=(task("train"),), metrics=metrics))) == [
        ("run.created", "00"),
        ("run.started", "01"),
        ("task.started/train", "02"),
        ("task.succeeded/train", "03"),
        ("metric.recorded/train/metrics/accuracy", "03"),
        ("run.succeeded/09", "09"),
    ]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("PENDING", ["run.created"]),
        ("RUNNING", ["run.created", "run.started"]),
        ("CANCELLING", ["run.created", "run.started"]),
        ("PAUSED", ["run.created", "run.started"]),
        ("FAILED", ["run.created", "run.started", "run.failed/09"]),
        ("CANCELLED", ["run.created", "run.started", "run.cancelled/09"]),
    ],
)
def test_a_state_of_a_run_says_what_happened(state: str, expected: list[str]) -> None:
    assert [key for key, _ in facts(events_of(replace(RUN, state=RunState(state))))] == expected


def test_a_run_that_never_started_has_no_start() -> None:
    run = replace(RUN, state=RunState.CANCELLED, started_at=None)

    assert [event.kind for event in events_of(run)] == [
        EventKind.RUN_CREATED,
        EventKind.RUN_CANCELLED,
    ]


@pytest.mark.parametrize(
    ("state", "start", "expected"),
    [
        ("PENDING", None, []),
        ("RUNNING", "02", [("task.started/t", "02")]),
        ("SUCCEEDED", "02", [("task.started/t", "02"), ("task.succeeded/t", "03")]),
        ("FAILED", "02", [("task.started/t", "02"), ("task.failed/t/03", "03")]),
        ("CANCELLED", "02", [("task.started/t", "02")]),
        ("CANCELLED", None, []),
        ("CACHED", "02", [("task.cached/t", "03")]),
        ("SKIPPED", None, [("task.skipped/t", "03")]),
    ],
)
def test_a_state_of_a_task_says_what_happened(
    state: str, start: str | None, expected: list[tuple[str, str | None]]
) -> None:
    assert facts(task_events("r1", [task("t", state, start)])) == expected


def test_a_task_that_failed_before_its_first_attempt_did_not_start() -> None:
    assert facts(task_events("r1", [task("t", "FAILED", None, None, attempts=0)])) == [
        ("task.failed/t/", None)
    ]


def test_services_tell_that_further_attempts_started_and_not_when() -> None:
    assert facts(task_events("r1", [task("t", "FAILED", attempts=3)])) == [
        ("task.started/t", "02"),
        ("task.retried/t/2", None),
        ("task.retried/t/3", None),
        ("task.failed/t/03", "03"),
    ]


def test_the_engine_knows_when_an_attempt_started() -> None:
    """The first attempt was recorded before; what the task says of its start now may be a later
    attempt."""
    running = task("t", "RUNNING", start="05", end=None, attempts=2)

    assert facts(task_events("r1", [running], attempt_starts={"t": "05"})) == [
        ("task.retried/t/2", "05")
    ]


def test_the_end_of_a_run_has_its_time_in_the_key_because_a_run_may_end_again() -> None:
    first, second = (
        run_ended("r1", RunState.FAILED, at)
        for at in ("2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.6Z")
    )

    assert first.key == "r1/run.failed/2026-01-01T00:00:01.5Z"
    assert first.key != second.key


def test_a_service_may_tell_the_end_of_a_run_in_whole_seconds_first() -> None:
    """A run of Kubeflow that a list showed ends at 05; with its tasks, which say more, at
    05.250."""
    ends = ("2026-01-01T00:00:05.000Z", "2026-01-01T00:00:05.250Z")
    keys = {events_of(replace(RUN, ended_at=end))[-1].key for end in ends}

    assert keys == {"r1/run.succeeded/2026-01-01T00:00:05"}


def test_names_of_metrics_that_contain_a_slash_do_not_share_a_key() -> None:
    metrics = [
        Metric("a", "b", "c/d", 1),
        Metric("a/b", "c", "d", 1),
        Metric("a", "b/c", "d", 1),
        Metric("a", "b", "c%2Fd", 1),
    ]

    events = task_events("r1", [task("a"), task("a/b")], metrics)

    keys = [event.key for event in events if event.kind is EventKind.METRIC_RECORDED]
    assert len(set(keys)) == len(keys) == 4


def test_a_metric_of_a_task_that_did_not_change_has_the_time_of_that_task() -> None:
    metric = Metric("t", "metrics", "late", 1)
    run = replace(RUN, tasks=(task("t"),), metrics=(metric,))

    late = events_of(run, known_tasks={"t": task("t")})

    assert ("metric.recorded/t/metrics/late", "03") in facts(late)
    assert "task.started/t" not in dict(facts(late))
    events = events_of(run, known_tasks={"t": task("t")}, known_metrics={("t", "metrics", "late")})
    assert [event.kind.value for event in events] == ["run.created", "run.started", "run.succeeded"]


def test_a_group_ends_after_what_is_in_it_and_before_what_depends_on_it() -> None:
    """All in the same millisecond, in the order in which a scheduler changes them: the group when
    it is opened."""
    changed = [
        group("loop"),
        group("loop[0]"),
        task("loop[0]/a"),
        group("loop[1]"),
        task("loop[1]/a"),
        task("after"),
    ]

    keys = [key for key, _ in facts(task_events("r1", changed))]

    assert keys == [
        *("task.started/loop", "task.started/loop[0]"),
        *("task.started/loop[0]/a", "task.succeeded/loop[0]/a", "task.succeeded/loop[0]"),
        *("task.started/loop[1]", "task.started/loop[1]/a", "task.succeeded/loop[1]/a"),
        *("task.succeeded/loop[1]", "task.succeeded/loop"),
        *("task.started/after", "task.succeeded/after"),
    ]


def test_a_run_has_started_when_one_of_its_tasks_has() -> None:
    pending = replace(
        RUN, state=RunState.PENDING, started_at=None, ended_at=None, tasks=(task("train"),)
    )

    assert facts(events_of(pending))[:3] == [
        ("run.created", "00"),
        ("run.started", None),
        ("task.started/train", "02"),
    ]


def test_the_events_of_a_service_are_in_the_order_of_their_times() -> None:
    tasks = (
        task("slow", start="02", end="08"),
        task("quick", start="03", end="04"),
        task("never", "SKIPPED", None, None),
    )

    keys = [key for key, _ in facts(events_of(replace(RUN, tasks=tasks)))]

    assert keys[2:] == [
        *("task.started/slow", "task.started/quick", "task.succeeded/quick", "task.succeeded/slow"),
        *("task.skipped/never", "run.succeeded/09"),
    ]


def test_what_has_no_time_stays_where_it_was_in_its_task() -> None:
    tasks = (task("a", start="02", end="07", attempts=2), task("b", start="03", end="04"))

    keys = [key for key, _ in facts(events_of(replace(RUN, tasks=tasks)))]

    assert keys[2:] == [
        *(
            "task.started/a",
            "task.retried/a/2",
            "task.started/b",
            "task.succeeded/b",
            "task.succeeded/a",
        ),
        "run.succeeded/09",
    ]


def test_a_task_does_not_end_before_it_starts_when_clocks_disagree() -> None:
    keys = [
        key for key, _ in facts(events_of(replace(RUN, tasks=(task("a", start="05", end="04"),))))
    ]

    assert keys[2:4] == ["task.started/a", "task.succeeded/a"]


def test_an_event_as_json_has_all_keys() -> None:
    event = Event(
        "r1/metric.recorded/t/m/n",
        EventKind.METRIC_RECORDED,
        None,
        "r1",
        "t",
        artifact="m",
        metric="n",
    )

    assert event.to_dict() == {
        "key": "r1/metric.recorded/t/m/n",
        "kind": "metric.recorded",
        "at": None,
        "run_id": "r1",
        "task": "t",
        "attempt": None,
        "artifact": "m",
        "metric": "n",
    }
