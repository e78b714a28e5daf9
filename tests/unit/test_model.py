"""Runs as values: their JSON, their states, their times."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfgcp.model import (
    Artifact,
    Cache,
    ErrorInfo,
    ErrorKind,
    Metric,
    Run,
    RunState,
    Task,
    TaskKind,
    TaskState,
    json_number,
    json_text,
    seconds_between,
    timestamp,
)

RUN_KEYS = [
    *(
        "run_id",
        "env",
        "backend",
        "backend_ref",
        "url",
        "pipeline",
        "version",
        "experiment",
        "name",
        "labels",
    ),
    *("tags", "note"),
    *(
        "state",
        "created_at",
        "started_at",
        "ended_at",
        "params",
        "outputs",
        "metrics",
        "artifacts",
        "tasks",
        "error",
    ),
]
TASK_KEYS = [
    "path",
    "kind",
    "state",
    "attempts",
    "cache",
    "started_at",
    "ended_at",
    "inputs",
    "outputs",
    "error",
]

text = st.text(max_size=8)
maybe = st.none() | text
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
tables = st.dictionaries(text, values, max_size=2)
errors = st.builds(
    ErrorInfo,
    message=text,
    task=maybe,
    log_tail=st.lists(text, max_size=2).map(tuple),
    hint=text,
    kind=st.none() | st.sampled_from(ErrorKind),
)
tasks = st.builds(
    Task,
    path=text,
    kind=st.sampled_from(TaskKind),
    state=st.sampled_from(TaskState),
    attempts=st.integers(0, 9),
    cache=st.none() | st.builds(Cache, hit=st.booleans(), reason=text),
    started_at=maybe,
    ended_at=maybe,
    inputs=tables,
    outputs=tables,
    error=st.none() | errors,
)
runs = st.builds(
    Run,
    run_id=text,
    env=text,
    backend=text,
    pipeline=text,
    version=text,
    state=st.sampled_from(RunState),
    experiment=text,
    name=text,
    backend_ref=maybe,
    url=maybe,
    labels=st.dictionaries(text, text, max_size=2),
    created_at=maybe,
    started_at=maybe,
    ended_at=maybe,
    params=tables,
    outputs=tables,
    metrics=st.lists(
        st.builds(
            Metric,
            task=text,
            artifact=text,
            name=text,
            value=st.integers() | st.floats(allow_nan=False),
        ),
        max_size=2,
    ).map(tuple),
    artifacts=st.lists(
        st.builds(Artifact, task=text, name=text, type=text, uri=text, metadata=tables), max_size=2
    ).map(tuple),
    tasks=st.lists(tasks, max_size=2).map(tuple),
    error=st.none() | errors,
    tags=st.lists(text, max_size=2).map(tuple),
    note=text,
)


@given(runs)
def test_a_run_is_read_from_its_json(run: Run) -> None:
    data = json.loads(json.dumps(run.to_dict(), allow_nan=False))

    assert Run.from_dict(data) == run
    assert Run.from_dict(data).to_dict() == data


@given(runs)
def test_a_summary_is_the_run_without_tasks_and_artifacts(run: Run) -> None:
    whole = run.to_dict()

    assert run.summary() == {
        key: value for key, value in whole.items() if key not in ("tasks", "artifacts")
    }


def test_the_keys_of_the_json_and_their_order(make_run: Callable[..., Run]) -> None:
    run = make_run(
        metrics=(Metric("t", "m", "n", 1),),
        artifacts=(Artifact("t", "n", "system.Model", "file:///m"),),
        tasks=(
            Task(
                "t",
                TaskKind.LOOP,
                TaskState.CACHED,
                cache=Cache(True, "same inputs"),
                error=ErrorInfo("m"),
            ),
        ),
    )

    data = run.to_dict()

    assert list(data) == RUN_KEYS
    assert list(data["tasks"][0]) == TASK_KEYS
    assert data["metrics"] == [{"task": "t", "artifact": "m", "name": "n", "value": 1}]
    assert list(data["metrics"][0]) == ["task", "artifact", "name", "value"]
    assert list(data["artifacts"][0]) == ["task", "name", "type", "uri", "metadata"]
    assert data["tasks"][0]["cache"] == {"hit": True, "reason": "same inputs"}
    assert data["tasks"][0]["error"] == {"task": None, "message": "m", "log_tail": []}
    assert (data["tasks"][0]["kind"], data["tasks"][0]["state"]) == ("loop", "CACHED")
    assert list(run.summary()) == [key for key in RUN_KEYS if key not in ("artifacts", "tasks")]


def test_a_run_with_the_least_json_has_defaults() -> None:
    least = {
        "run_id": "r",
        "env": "e",
        "backend": "b",
        "pipeline": "p",
        "version": "v",
        "state": "PAUSED",
    }

    assert Run.from_dict(least) == Run("r", "e", "b", "p", "v", RunState.PAUSED)


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (1.5, 1.5),
        (1, 1),
        (0.0, 0.0),
    ],
)
def test_numbers_that_json_does_not_know_are_text(value: float, wire: object) -> None:
    metric = Metric("t", "m", "n", value)

    assert json_number(value) == metric.to_dict()["value"] == wire
    again = Metric.from_dict(metric.to_dict()).value
    assert (repr(again), type(again)) == (repr(value), type(value))


@pytest.mark.parametrize(
    ("state", "final"),
    [(state, state in ("SUCCEEDED", "FAILED", "CANCELLED")) for state in RunState],
)
def test_run_states_that_are_final(state: RunState, final: bool) -> None:
    assert state.final is final


@pytest.mark.parametrize(
    ("state", "final", "ok"),
    [
        (TaskState.PENDING, False, False),
        (TaskState.RUNNING, False, False),
        (TaskState.SUCCEEDED, True, True),
        (TaskState.CACHED, True, True),
        (TaskState.SKIPPED, True, False),
        (TaskState.FAILED, True, False),
        (TaskState.CANCELLED, True, False),
    ],
)
def test_task_states_that_are_final_and_those_that_let_tasks_below_run(
    state: TaskState, final: bool, ok: bool
) -> None:
    assert (state.final, state.ok) == (final, ok)


def test_the_states_are_those_of_the_contract() -> None:
    assert [state.value for state in RunState] == [
        *("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED", "PAUSED"),
    ]
    assert [state.value for state in TaskState] == [
        *("PENDING", "RUNNING", "SUCCEEDED", "CACHED", "SKIPPED", "FAILED", "CANCELLED"),
    ]
    assert [kind.value for kind in TaskKind] == ["container", "importer", "dag", "loop"]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1767323045.6789, "2026-01-02T03:04:05.678Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_times_are_utc_with_milliseconds(seconds: float, written: str) -> None:
    assert timestamp(seconds) == written


def test_durations_are_seconds_and_none_while_an_end_is_missing(
    make_run: Callable[..., Run],
) -> None:
    start, end = "2026-01-01T23:59:59.900Z", "2026-01-02T00:00:01.123Z"

    assert seconds_between(start, end) == 1.223
    assert seconds_between(start, None) is None
    assert seconds_between(None, end) is None
    assert make_run(started_at=start, ended_at=end).seconds == 1.223
    assert Task("t", TaskKind.CONTAINER, TaskState.RUNNING, started_at=start).seconds is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, "x"]}, '{"a": [1, 2.5, null, "x"]}'),
        ({"a": math.nan}, '{"a": "NaN"}'),
        ({"a": [{"b": math.inf}, (-math.inf, 1)]}, '{"a": [{"b": "Infinity"}, ["-Infinity", 1]]}'),
        (2**70, "1180591620717411303424"),
    ],
)
def test_json_text_is_json_for_every_reader(value: object, text: str) -> None:
    assert json_text(value) == text
