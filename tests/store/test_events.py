"""Events are recorded in the transaction that changes the run, each fact once, whoever records it
and however often."""

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kfgcp.event import task_events
from kfgcp.model import Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store import database
from kfgcp.store.rows import Changes, ReadLevel
from kfgcp.store.store import Store
from patience import PROCESS

MakeRun = Callable[..., Run]

TASK = Task(
    "train", TaskKind.CONTAINER, TaskState.RUNNING, 1, started_at="2026-01-01T00:00:02.000Z"
)
RUNNING = {
    "state": RunState.RUNNING,
    "backend": "kubeflow",
    "created_at": "2026-01-01T00:00:00.000Z",
    "started_at": "2026-01-01T00:00:01.000Z",
}


def recorded(store: Store, run_id: str = "aaaa00000001") -> list[tuple[str, str | None]]:
    return [(event.key.removeprefix(f"{run_id}/"), event.at) for event in store.events(run_id)]


def keys(store: Store) -> list[str]:
    return [key for key, _ in recorded(store)]


def ended(run: Run, second: int, state: RunState = RunState.SUCCEEDED) -> Run:
    at = f"2026-01-01T00:00:0{second}.500Z"
    task_state = TaskState.SUCCEEDED if state is RunState.SUCCEEDED else TaskState.FAILED
    return replace(
        run, state=state, ended_at=at, tasks=(replace(TASK, state=task_state, ended_at=at),)
    )


def test_a_run_that_is_observed_often_has_the_events_of_one_that_is_observed_once(
    store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    running = make_run(**RUNNING, tasks=(TASK,))
    metric = Metric("train", "metrics", "accuracy", 0.5)
    end = replace(ended(running, 5), metrics=(metric,))
    listed = replace(running, started_at=running.created_at, tasks=())
    listed_end = replace(listed, state=RunState.SUCCEEDED, ended_at="2026-01-01T00:00:05.000Z")

    store.put(replace(listed, state=RunState.PENDING), read_level=ReadLevel.LISTED)
    for run, read in [
        (listed, ReadLevel.LISTED),
        (running, ReadLevel.EVERYTHING),
        (running, ReadLevel.EVERYTHING),
        (listed_end, ReadLevel.LISTED),
        (replace(end, ended_at=listed_end.ended_at, metrics=()), ReadLevel.PARTIAL),
        (end, ReadLevel.WITHOUT_REASONS),
        (end, ReadLevel.EVERYTHING),
    ]:
        store.put(run, read_level=read)

    with Store(tmp_path / "other") as other:
        other.put(end)
        assert set(store.events(end.run_id)) == set(other.events(end.run_id))
    assert keys(store) == [
        "run.created",
        "run.started",
        "task.started/train",
        "task.succeeded/train",
        "run.succeeded/2026-01-01T00:00:05",
        "metric.recorded/train/metrics/accuracy",
    ], "the metric came late"


def test_a_run_that_was_continued_by_its_service_keeps_its_first_end(
    store: Store, make_run: MakeRun
) -> None:
    running = make_run(**RUNNING, tasks=(TASK,))
    second_attempt = replace(TASK, attempts=2, started_at="2026-01-01T00:00:06.000Z")

    store.put(ended(running, 5, RunState.FAILED))
    store.reopen(running.run_id)
    store.put(replace(running, tasks=(second_attempt,)))
    store.put(
        replace(
            ended(running, 8),
            tasks=(replace(second_attempt, state=TaskState.SUCCEEDED, ended_at="8"),),
        )
    )

    assert keys(store) == [
        "run.created",
        "run.started",
        "task.started/train",
        "task.failed/train/2026-01-01T00:00:05",
        "run.failed/2026-01-01T00:00:05",
        "task.retried/train/2",
        "task.succeeded/train",
        "run.succeeded/2026-01-01T00:00:08",
    ]


def test_a_task_that_fails_again_after_its_run_was_continued_has_failed_twice(
    store: Store, make_run: MakeRun
) -> None:
    running = make_run(**RUNNING, tasks=(TASK,))
    second = replace(
        TASK,
        state=TaskState.FAILED,
        started_at="2026-01-01T00:00:07.000Z",
        ended_at="2026-01-01T00:00:08.000Z",
    )

    store.put(ended(running, 5, RunState.FAILED))
    store.put(replace(ended(running, 8, RunState.FAILED), tasks=(second,)))

    failures = [fact for fact in recorded(store) if "failed" in fact[0]]
    assert ("task.started/train", TASK.started_at) in recorded(store)
    assert failures == [
        ("task.failed/train/2026-01-01T00:00:05", "2026-01-01T00:00:05.500Z"),
        ("run.failed/2026-01-01T00:00:05", "2026-01-01T00:00:05.500Z"),
        ("task.failed/train/2026-01-01T00:00:08", "2026-01-01T00:00:08.000Z"),
        ("run.failed/2026-01-01T00:00:08", "2026-01-01T00:00:08.500Z"),
    ]


def test_a_failure_whose_time_a_service_tells_in_two_ways_is_one_event(
    store: Store, make_run: MakeRun
) -> None:
    """While ML Metadata is out of reach, a task has the times of its pod."""
    running = make_run(**RUNNING, tasks=(TASK,))
    ends = ("2026-01-01T00:00:07Z", "2026-01-01T00:00:05.500Z", "2026-01-01T00:00:07Z")

    for end in ends:
        failed = replace(TASK, state=TaskState.FAILED, ended_at=end)
        store.put(replace(running, tasks=(failed,)))

    failures = [fact for fact in recorded(store) if "failed" in fact[0]]
    assert failures == [("task.failed/train/2026-01-01T00:00:07", "2026-01-01T00:00:07Z")]


def test_a_changed_value_of_a_metric_is_not_an_event(store: Store, make_run: MakeRun) -> None:
    end = ended(make_run(**RUNNING), 5)

    for value in (0.5, 0.4999):
        store.put(replace(end, metrics=(Metric("train", "metrics", "accuracy", value),)))

    assert [key for key in keys(store) if key.startswith("metric")] == [
        "metric.recorded/train/metrics/accuracy"
    ]
    assert [metric.value for metric in store.get(end.run_id).metrics] == [0.4999]


def test_a_list_does_not_tell_the_end_before_the_ends_of_the_tasks(
    store: Store, make_run: MakeRun
) -> None:
    end = ended(make_run(**RUNNING), 5)

    store.put(replace(end, tasks=()), read_level=ReadLevel.LISTED)

    assert keys(store) == ["run.created", "run.started"]


def test_the_engine_records_the_same_fact_once(store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run(state=RunState.PENDING))
    begin = Changes(
        state=RunState.RUNNING,
        started_at="1",
        tasks=[TASK],
        events=task_events("aaaa00000001", [TASK]),
    )
    for _ in range(2):
        store.apply("aaaa00000001", begin)
    failed = Changes(state=RunState.FAILED, ended_at="2")

    assert [
        store.end("aaaa00000001", failed),
        store.end("aaaa00000001", replace(failed, ended_at="3")),
    ] == [
        True,
        False,
    ]

    store.reopen("aaaa00000001")
    store.apply("aaaa00000001", Changes(state=RunState.RUNNING, started_at="4"))
    store.apply("aaaa00000001", Changes(state=RunState.SUCCEEDED, ended_at="5"))
    assert recorded(store) == [
        ("run.created", "2026-01-02T03:04:05.678Z"),
        ("run.started", "1"),
        ("task.started/train", "2026-01-01T00:00:02.000Z"),
        ("run.failed/2", "2"),
        ("run.succeeded/5", "5"),
    ]
    assert store.get("aaaa00000001").started_at == "1"


def test_a_write_that_fails_leaves_neither_the_change_nor_its_event(
    store: Store, make_run: MakeRun
) -> None:
    store.add_run(make_run(state=RunState.RUNNING))
    store._db.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.events WHEN NEW.kind = 'run.succeeded'"
        " BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )

    with pytest.raises(Exception, match="refused"):
        store.apply("aaaa00000001", Changes(state=RunState.SUCCEEDED, ended_at="2"))

    assert store.get("aaaa00000001").state is RunState.RUNNING
    assert keys(store) == ["run.created"]


def test_two_observers_at_the_same_time_record_each_event_once(
    store: Store, make_run: MakeRun, home: Path
) -> None:
    running = make_run(**RUNNING, tasks=(TASK,))
    states = [running, ended(running, 5, RunState.FAILED), running, ended(running, 8)]
    barrier = threading.Barrier(2)

    def observe() -> None:
        with Store(home / ".kfgcp") as own:
            for state in states:
                barrier.wait(PROCESS)
                own.put(state)

    observers = [threading.Thread(target=observe) for _ in range(2)]
    for observer in observers:
        observer.start()
    for observer in observers:
        observer.join(PROCESS)

    assert sorted(keys(store)) == [
        "run.created",
        "run.failed/2026-01-01T00:00:05",
        "run.started",
        "run.succeeded/2026-01-01T00:00:08",
        "task.failed/train/2026-01-01T00:00:05",
        "task.started/train",
        "task.succeeded/train",
    ]


def test_events_are_deleted_with_their_run_and_their_numbers_are_not_given_again(
    store: Store, make_run: MakeRun
) -> None:
    """Who delivers events continues after the last number that was delivered."""

    def numbers() -> list[int]:
        return [row[0] for row in store._db.execute("SELECT seq FROM events ORDER BY seq")]

    store.add_run(make_run())
    delivered = numbers()[-1]
    store.forget("aaaa00000001")
    assert numbers() == []

    store.add_run(make_run("bbbb00000001"))

    assert min(numbers()) > delivered


def test_a_run_that_an_earlier_version_recorded_has_the_events_from_then_on(
    tmp_path: Path, make_run: MakeRun
) -> None:
    home = tmp_path / "old"
    with Store(home) as store:
        store.add_run(make_run(state=RunState.RUNNING))
    with sqlite3.connect(home / "kfgcp.db") as connection:
        connection.execute("DROP TABLE events")
        connection.execute("ALTER TABLE runs DROP COLUMN cancel_requests")
        connection.execute("PRAGMA user_version = 11")

    with Store(home) as store:
        assert store._db.execute("PRAGMA user_version").fetchone()[0] == database.SCHEMA_VERSION
        assert store.events("aaaa00000001") == []
        store.apply("aaaa00000001", Changes(state=RunState.SUCCEEDED, ended_at="2"))
        assert keys(store) == ["run.succeeded/2"]


def test_texts_that_the_database_cannot_hold_are_escaped_as_elsewhere(
    store: Store, make_run: MakeRun
) -> None:
    end = replace(
        ended(make_run(**RUNNING), 5), metrics=(Metric("train", "metrics", "half \ud83d", 1),)
    )

    for _ in range(2):
        store.put(end)

    names = [event.metric for event in store.events(end.run_id) if event.metric]
    assert names == ["half \\ud83d"]


def test_a_start_that_becomes_more_exact_is_corrected_in_place(
    store: Store, make_run: MakeRun
) -> None:
    """The engine moves the start of a task behind the installation of its packages."""
    store.add_run(make_run(state=RunState.PENDING))
    installed = replace(TASK, started_at="2026-01-01T00:00:04.000Z")

    for task in (TASK, installed):
        store.apply(
            "aaaa00000001", Changes(tasks=[task], events=task_events("aaaa00000001", [task]))
        )

    assert recorded(store)[1:] == [("task.started/train", "2026-01-01T00:00:04.000Z")]
