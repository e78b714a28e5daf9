"""`kfgcp events`, `kfgcp.events` and `RunHandle.events`: what happened to a run."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import kfgcp as public
from kfgcp.model import Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_command import Command

MakeRun = Callable[..., Run]
SECOND = "2026-01-02T03:04:0{}.000Z"


@pytest.fixture(autouse=True)
def recorded(store: Store, make_run: MakeRun) -> None:
    train = Task(
        "train",
        TaskKind.CONTAINER,
        TaskState.FAILED,
        2,
        started_at=SECOND.format(6),
        ended_at=SECOND.format(7),
    )
    skipped = Task("evaluate", TaskKind.CONTAINER, TaskState.SKIPPED)
    run = make_run(
        "1" * 12,
        state=RunState.FAILED,
        created_at=SECOND.format(4),
        started_at=SECOND.format(5),
        ended_at=SECOND.format(8),
        tasks=(train, skipped),
        metrics=(Metric("train", "metrics", "accuracy", 0.5),),
    )
    store.add_run(run)


def test_events_are_a_table_in_which_an_unknown_time_is_empty(kfgcp: Command) -> None:
    result = kfgcp("events", "1111")

    assert (result.code, result.err) == (0, "")
    assert [line.split(None, 2) for line in result.out.splitlines()] == [
        ["TIME", "EVENT", "WHAT"],
        ["2026-01-02T03:04:04.000Z", "run.created"],
        ["2026-01-02T03:04:05.000Z", "run.started"],
        ["2026-01-02T03:04:06.000Z", "task.started", "train"],
        ["task.retried", "train", "(attempt 2)"],
        ["2026-01-02T03:04:07.000Z", "task.failed", "train (attempt 2)"],
        ["2026-01-02T03:04:07.000Z", "metric.recorded", "train/metrics/accuracy"],
        ["task.skipped", "evaluate"],
        ["2026-01-02T03:04:08.000Z", "run.failed"],
    ]
    starts = {line.index("task.") for line in result.out.splitlines() if "task." in line}
    assert len(starts) == 1, "the column stays in its place"


def test_events_as_json_are_in_one_object(kfgcp: Command) -> None:
    answer = kfgcp("events", "1111", "--json").json

    assert list(answer) == ["run_id", "events"]
    assert answer["run_id"] == "1" * 12
    assert answer["events"][0] == {
        "key": f"{'1' * 12}/run.created",
        "kind": "run.created",
        "at": "2026-01-02T03:04:04.000Z",
        "run_id": "1" * 12,
        "task": None,
        "attempt": None,
        "artifact": None,
        "metric": None,
    }
    assert len({event["key"] for event in answer["events"]}) == len(answer["events"]) == 8


def test_a_program_gets_events_by_function_workspace_and_handle() -> None:
    events = public.events("1111")

    assert public.show("1111").events() == events == public.Workspace.open().events("1111")
    assert {type(event) for event in events} == {public.Event}
    assert events[-1].kind is public.EventKind.RUN_FAILED


def test_a_note_says_when_an_earlier_version_recorded_the_run(kfgcp: Command, home: Path) -> None:
    database = sqlite3.connect(home / ".kfgcp" / "kfgcp.db")
    with database:
        database.execute("DELETE FROM events WHERE kind != 'run.failed'")
    part = kfgcp("events", "1111")
    with database:
        database.execute("DELETE FROM events")
    database.close()
    nothing = kfgcp("events", "1111")

    assert (part.code, len(part.out.splitlines())) == (0, 2)
    assert (
        part.err
        == "note: The first events of this run are missing: an earlier version of kfgcp recorded"
        " its start.\n"
    )
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err == "note: This run has no events: an earlier version of kfgcp recorded it.\n"
    assert kfgcp("events", "1111", "--json").json == {"run_id": "1" * 12, "events": []}


def test_there_must_be_such_a_run(kfgcp: Command) -> None:
    result = kfgcp("events", "9999")

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: There is no run '9999'.")
