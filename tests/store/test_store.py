"""What is written to the store is what is read from it."""

import dataclasses
import gc
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.errors import StateError, UsageError
from kfgcp.model import Artifact, Cache, ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.query import RunFilter, matches
from kfgcp.store.request import StoredRequest
from kfgcp.store.rows import Changes, EndedRun, ReadLevel
from kfgcp.store.store import Store

MakeRun = Callable[..., Run]

TASK = Task(
    path="inner/train",
    kind=TaskKind.CONTAINER,
    state=TaskState.FAILED,
    attempts=3,
    cache=Cache(hit=False, reason="inputs changed: lr"),
    started_at="2026-01-01T00:00:01.000Z",
    ended_at="2026-01-01T00:00:02.500Z",
    inputs={"lr": 0.1, "deep": {"list": [1, None, True]}},
    outputs={"Output": 3},
    error=ErrorInfo("ValueError: no", "inner/train", ("last", "lines")),
)

COMPLETE_RUN = Run(
    run_id="a1b2c3d4e5f6",
    env="dev",
    backend="vertex",
    pipeline="churn",
    version="sha256:abc",
    state=RunState.FAILED,
    experiment="spring",
    name="churn-1",
    backend_ref="projects/1/locations/l/pipelineJobs/9",
    url="https://console.example/9",
    labels={"team": "growth", "area": "eu"},
    created_at="2026-01-01T00:00:00.000Z",
    started_at="2026-01-01T00:00:00.100Z",
    ended_at="2026-01-01T00:00:03.000Z",
    params={"z": 1, "a": [1.5, "x"], "none": None},
    outputs={"Output": {"k": [1]}},
    metrics=(Metric("train", "metrics", "accuracy", 0.97), Metric("train", "metrics", "epochs", 3)),
    artifacts=(Artifact("train", "model", "system.Model", "file:///m", {"size": 3}),),
    tasks=(TASK, Task("after", TaskKind.DAG, TaskState.SKIPPED)),
    error=ErrorInfo("ValueError: no", "inner/train", ("last",)),
    tags=("good", "reviewed"),
    note="Better than the one before,\nand slower.",
)


def test_every_field_of_a_run_comes_back(store: Store) -> None:
    store.add_run(COMPLETE_RUN)

    assert store.get(COMPLETE_RUN.run_id) == COMPLETE_RUN


@pytest.mark.parametrize("value", [COMPLETE_RUN, TASK], ids=["run", "task"])
def test_the_run_of_these_tests_sets_every_field(value: Run | Task) -> None:
    """So that a field added to the model and forgotten in the store fails the test above."""
    for field in dataclasses.fields(value):
        if field.default is not dataclasses.MISSING:
            assert getattr(value, field.name) != field.default, field.name
        if field.default_factory is not dataclasses.MISSING:
            assert getattr(value, field.name) != field.default_factory(), field.name


def test_params_and_metrics_keep_their_order_and_number_types(
    store: Store, make_run: MakeRun
) -> None:
    metrics = (
        Metric("t", "m", "whole", 1),
        Metric("t", "m", "real", 1.0),
        Metric("a", "m", "first", -0.0),
    )
    store.add_run(make_run(params={"z": 1, "y": 1.0, "a": True}, metrics=metrics))

    run = store.get("aaaa00000001")

    assert list(run.params.items()) == [("z", 1), ("y", 1.0), ("a", True)]
    assert [type(value) for value in run.params.values()] == [int, float, bool]
    assert [(metric.name, repr(metric.value)) for metric in run.metrics] == [
        ("whole", "1"),
        ("real", "1.0"),
        ("first", "-0.0"),
    ]


def test_tasks_stay_in_the_order_they_were_first_written_in(
    store: Store, make_run: MakeRun
) -> None:
    store.add_run(make_run(state=RunState.RUNNING))
    for path in ("z", "m", "a"):
        store.apply(
            "aaaa00000001", Changes(tasks=[Task(path, TaskKind.CONTAINER, TaskState.RUNNING)])
        )
    finished_task = Task("z", TaskKind.CONTAINER, TaskState.SUCCEEDED, attempts=2)
    store.apply("aaaa00000001", Changes(tasks=[finished_task]))

    tasks = store.get("aaaa00000001").tasks

    assert [task.path for task in tasks] == ["z", "m", "a"]
    assert tasks[0] == finished_task


def test_changes_leave_alone_what_they_do_not_name(store: Store) -> None:
    store.add_run(COMPLETE_RUN)
    store.apply(
        COMPLETE_RUN.run_id, Changes(metrics=[Metric("evaluate", "metrics", "accuracy", 0.5)])
    )

    run = store.get(COMPLETE_RUN.run_id)

    assert dataclasses.replace(run, metrics=COMPLETE_RUN.metrics) == COMPLETE_RUN
    assert [metric.key for metric in run.metrics] == [
        "train/metrics/accuracy",
        "train/metrics/epochs",
        "evaluate/metrics/accuracy",
    ]


def test_a_metric_reported_again_has_its_newest_value(store: Store) -> None:
    store.add_run(COMPLETE_RUN)
    store.apply(COMPLETE_RUN.run_id, Changes(metrics=[Metric("train", "metrics", "accuracy", 0.5)]))

    assert {metric.key: metric.value for metric in store.get(COMPLETE_RUN.run_id).metrics} == {
        "train/metrics/accuracy": 0.5,
        "train/metrics/epochs": 3,
    }


def test_the_end_of_a_run_is_recorded_in_one_write(store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run(state=RunState.PENDING))
    error = ErrorInfo("no", "train", ("tail",))
    end = "2026-01-02T03:05:00.000Z"
    store.apply(
        "aaaa00000001",
        Changes(state=RunState.FAILED, ended_at=end, outputs={"Output": 1}, error=error),
    )

    run = store.get("aaaa00000001")

    assert (run.state, run.ended_at, run.outputs, run.error) == (
        RunState.FAILED,
        end,
        {"Output": 1},
        error,
    )


def test_a_row_of_the_list_has_no_tasks_and_artifacts(store: Store) -> None:
    store.add_run(COMPLETE_RUN)

    assert store.select() == [dataclasses.replace(COMPLETE_RUN, tasks=(), artifacts=())]


def test_runs_are_listed_newest_first_in_pages(store: Store, make_run: MakeRun) -> None:
    for day in (2, 1, 3):
        store.add_run(make_run(f"run{day}", created_at=f"2026-01-0{day}T00:00:00.000Z"))
    store.add_run(make_run("run3b", created_at="2026-01-03T00:00:00.000Z"))

    assert [run.run_id for run in store.select()] == ["run3b", "run3", "run2", "run1"]
    assert [run.run_id for run in store.select(limit=2)] == ["run3b", "run3"]
    assert [run.run_id for run in store.select(limit=2, offset=3)] == ["run1"]


@pytest.mark.parametrize(
    ("run_filter", "run_ids"),
    [
        (RunFilter(), ["old", "failed", "labelled"]),
        (RunFilter(pipeline="churn"), ["failed"]),
        (RunFilter(experiment="spring"), ["failed", "labelled"]),
        (RunFilter(env="dev"), ["labelled"]),
        (RunFilter(states=[RunState.FAILED]), ["failed"]),
        (RunFilter(states=[RunState.FAILED, RunState.RUNNING]), ["failed", "labelled"]),
        (RunFilter(labels={"team": "growth"}), ["labelled"]),
        (RunFilter(labels={"team": "gro"}), []),
        (RunFilter(labels={"git": "ab12"}), ["labelled"]),
        (RunFilter(labels={"git": "b12"}), []),
        (RunFilter(labels={"team": "growth", "area": "us"}), []),
        (RunFilter(labels={"team": "growth", "area": "eu"}), ["labelled"]),
        (RunFilter(since="2026-01-02T00:00:00.000Z"), ["failed", "labelled"]),
        (RunFilter(since="2026-01-02T00:00:00.001Z"), ["labelled"]),
        (RunFilter(experiment="spring", states=[RunState.RUNNING]), ["labelled"]),
        (RunFilter(pipeline="chur_"), []),
    ],
)
def test_a_filter_selects_what_matches_all_its_parts(
    store: Store, make_run: MakeRun, run_filter: RunFilter, run_ids: list[str]
) -> None:
    store.add_run(make_run("old", created_at="2026-01-01T00:00:00.000Z"))
    store.add_run(
        make_run(
            "failed",
            created_at="2026-01-02T00:00:00.000Z",
            pipeline="churn",
            experiment="spring",
            state=RunState.FAILED,
        )
    )
    store.add_run(
        make_run(
            "labelled",
            created_at="2026-01-03T00:00:00.000Z",
            env="dev",
            experiment="spring",
            state=RunState.RUNNING,
            labels={"team": "growth", "area": "eu", "git": "ab12cd"},
        )
    )

    assert [run.run_id for run in reversed(store.select(run_filter))] == run_ids
    assert [run.run_id for run in reversed(store.select()) if matches(run_filter, run)] == run_ids


class TestFind:
    @pytest.fixture(autouse=True)
    def _runs(self, store: Store, make_run: MakeRun) -> None:
        store.add_run(make_run("abcd11112222", name="first", created_at="2026-01-01T00:00:00.000Z"))
        store.add_run(make_run("abcd33334444", name="twice", created_at="2026-01-03T00:00:00.000Z"))
        store.add_run(make_run("ffff55556666", name="twice", created_at="2026-01-02T00:00:00.000Z"))
        store.add_run(make_run("abcd", name="short", created_at="2026-01-01T00:00:00.000Z"))

    @pytest.mark.parametrize(
        ("run", "run_id"),
        [
            ("abcd11112222", "abcd11112222"),
            ("abcd1", "abcd11112222"),
            ("ffff", "ffff55556666"),
            ("first", "abcd11112222"),
            ("latest", "abcd33334444"),
            ("abcd", "abcd"),
        ],
    )
    def test_by_id_beginning_or_name(self, store: Store, run: str, run_id: str) -> None:
        assert store.find(run) == run_id

    @pytest.mark.parametrize("run", ["fff", "ABCD1", "1111", "firs", "", "abcd%", "abcd_1112222"])
    def test_what_means_no_run_is_an_error(self, store: Store, run: str) -> None:
        with pytest.raises(UsageError, match="There is no run"):
            store.find(run)

    def test_what_means_several_names_them(self, store: Store) -> None:
        with pytest.raises(UsageError) as caught:
            store.find("twice")

        assert (
            caught.value.message == "'twice' means more than one run: abcd33334444, ffff55556666."
        )


def test_latest_is_the_last_recorded_run_of_a_second(
    store: Store, make_run: Callable[..., Run]
) -> None:
    store.add_run(make_run("aaaa11112222", created_at="2026-01-02T03:04:06.100Z"))
    store.add_run(make_run("bbbb11112222", created_at="2026-01-02T03:04:07.900Z"))
    store.add_run(make_run("cccc11112222", created_at="2026-01-02T03:04:07.000Z"))
    assert store.find("latest") == "cccc11112222"

    store.add_run(
        make_run("dddd11112222", created_at="2026-01-02T03:04:06.900Z")
    )  # one of others, read later
    assert store.find("latest") == "cccc11112222"


def test_latest_of_nothing_says_how_to_start(store: Store) -> None:
    with pytest.raises(UsageError, match="no runs yet") as caught:
        store.find("latest")

    assert "kfgcp run" in caught.value.hint


def test_rev_grows_with_each_change_and_tasks_tell_what_changed_after_one(
    store: Store, make_run: MakeRun
) -> None:
    one, two = (Task(path, TaskKind.CONTAINER, TaskState.RUNNING) for path in ("one", "two"))
    store.add_run(make_run(tasks=(one, two)))
    before = store.rev("aaaa00000001")
    ended = dataclasses.replace(two, state=TaskState.SUCCEEDED)
    store.apply("aaaa00000001", Changes(tasks=[ended]))

    assert store.rev("aaaa00000001") > before
    assert store.tasks("aaaa00000001", after_rev=before) == [ended]
    assert store.tasks("aaaa00000001", after_rev=store.rev("aaaa00000001")) == []
    assert store.tasks("aaaa00000001") == [one, ended]


def test_spec_and_request_come_back(store: Store, make_run: MakeRun) -> None:
    spec = {"root": {"dag": {}}, "schemaVersion": "2.1.0"}
    store.add_run(
        make_run(version="v1"), pipeline_spec=spec, request=StoredRequest(submit_dir="/x")
    )
    store.add_run(make_run("aaaa00000002", version="v1"), pipeline_spec={"other": 1})

    assert store.spec("v1") == spec
    assert store.request("aaaa00000001") == StoredRequest(submit_dir="/x")
    assert store.request("aaaa00000002") is None


def test_a_cancel_request_is_seen_by_other_connections(
    store: Store, home: Path, make_run: MakeRun
) -> None:
    store.add_run(make_run(state=RunState.RUNNING))
    with Store(home / ".kfgcp") as other:
        assert other.cancel_requests("aaaa00000001") == 0
        store.request_cancel("aaaa00000001", "2026-01-01T00:00:00.000Z")
        assert other.cancel_requests("aaaa00000001") == 1
        store.request_cancel("aaaa00000001", "2026-01-01T00:00:05.000Z")
        assert other.cancel_requests("aaaa00000001") == 2


def test_unfinished_are_those_that_have_not_ended(store: Store, make_run: MakeRun) -> None:
    for state in RunState:
        store.add_run(make_run(state.value.lower(), state=state))
    store.add_run(make_run("remote", state=RunState.RUNNING, backend="vertex"))

    assert sorted(store.unfinished("local")) == ["cancelling", "paused", "pending", "running"]
    assert store.unfinished("vertex") == ["remote"]


def test_a_run_that_is_not_there_is_a_usage_error_everywhere(store: Store) -> None:
    for call in (
        lambda: store.get("nothing"),
        lambda: store.rev("nothing"),
        lambda: store.request("nothing"),
        lambda: store.apply("nothing", Changes(state=RunState.FAILED)),
    ):
        with pytest.raises(UsageError, match="There is no run 'nothing'"):
            call()


def test_a_write_that_fails_leaves_nothing_behind(store: Store, make_run: MakeRun) -> None:
    with pytest.raises(TypeError):
        store.add_run(make_run(params={"fine": 1, "no": object()}))
    assert store.select() == []

    store.add_run(make_run())
    with pytest.raises(StateError):
        store.add_run(make_run())
    assert len(store.select()) == 1


@pytest.mark.parametrize(
    "value",
    [
        10**400,
        -(2**63),
        1e308,
        5e-324,
        "Grüße, 世界, سلام, \U0001f600",
        "\x00 in the middle",
        "'); DROP TABLE runs; --",
        "x" * 1_000_000,
        {"nested": [{"": []}, "\ud800", None]},
        "\udcff half of a pair",
    ],
    ids=lambda value: repr(value)[:20],
)
def test_odd_values_come_back_equal(store: Store, make_run: MakeRun, value: object) -> None:
    store.add_run(make_run(params={"p": value}, outputs={"o": value}))
    store.apply(
        "aaaa00000001",
        Changes(tasks=[Task("t", TaskKind.CONTAINER, TaskState.RUNNING, inputs={"i": value})]),
    )

    run = store.get("aaaa00000001")

    assert (run.params, run.outputs, run.tasks[0].inputs) == (
        {"p": value},
        {"o": value},
        {"i": value},
    )


@pytest.mark.parametrize("text", ["Grüße 世界 سلام \U0001f600", "\u202eabc", "a\nb\x00c", " "])
def test_odd_names_come_back_equal(store: Store, make_run: MakeRun, text: str) -> None:
    run = make_run(
        name=text,
        experiment=text,
        labels={text: text},
        params={text: 1},
        metrics=(Metric("t", text, text, 1),),
    )
    store.add_run(run)

    assert store.get("aaaa00000001") == run
    assert store.find(text) == "aaaa00000001"
    assert store.select(RunFilter(experiment=text, labels={text: text})) == [run]


def test_a_name_that_is_not_unicode_is_stored_with_escapes(store: Store, make_run: MakeRun) -> None:
    metric = Metric("t", "m", "acc\ud800", 1.0)
    store.add_run(make_run(name="caf\udce9", labels={"k": "\udcff"}, metrics=(metric,)))

    run = store.get(store.find("caf\udce9"))

    assert (run.name, run.labels, run.metrics[0].name) == (
        "caf\\udce9",
        {"k": "\\udcff"},
        "acc\\ud800",
    )
    assert store.select(RunFilter(labels={"k": "\udcff"})) != []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_metrics_that_are_not_numbers_come_back(
    store: Store, make_run: MakeRun, value: float
) -> None:
    store.add_run(make_run(metrics=(Metric("t", "m", "loss", value),)))

    assert repr(store.get("aaaa00000001").metrics[0].value) == repr(value)


def test_names_of_a_place_are_kept_by_their_kind_until_they_are_gone(store: Store) -> None:
    store.set_names("here/", "experiment", {"1": "churn", "2": "fraud"})
    store.set_names("here/", "version", {"1": "sha256:0"})
    store.set_names("there/", "experiment", {"1": "other"})

    store.set_names("here/", "experiment", {"2": "Fraud"}, gone=["1"])

    assert store.names("here/", "experiment") == {"2": "Fraud"}
    assert store.names("here/", "version") == {"1": "sha256:0"}
    assert store.names("there/", "experiment") == {"1": "other"}
    assert store.names("nowhere/", "experiment") == {}


def test_ended_are_the_runs_of_a_place_with_how_much_of_them_was_read(
    store: Store, make_run: MakeRun
) -> None:
    end = "2026-01-02T04:00:00.000Z"
    for number, (state, ended_at, read) in enumerate(
        [
            (RunState.SUCCEEDED, end, ReadLevel.EVERYTHING),
            (RunState.FAILED, end, ReadLevel.LISTED),
            (RunState.CANCELLED, None, ReadLevel.WITHOUT_REASONS),
            (RunState.RUNNING, None, ReadLevel.LISTED),
        ]
    ):
        run = make_run(
            f"run-{number}", backend_ref=f"here/{number}", state=state, ended_at=ended_at
        )
        store.put(run, read_level=read)
    store.put(make_run("other", backend_ref="there/1"))

    assert store.ended("here/") == {
        "here/0": EndedRun("run-0", RunState.SUCCEEDED, end, ReadLevel.EVERYTHING),
        "here/1": EndedRun("run-1", RunState.FAILED, end, ReadLevel.LISTED),
        "here/2": EndedRun("run-2", RunState.CANCELLED, "", ReadLevel.WITHOUT_REASONS),
    }


def test_a_run_whose_spec_was_not_known_has_its_pipeline_once_it_is(
    store: Store, make_run: MakeRun
) -> None:
    store.put(make_run(pipeline="nightly 7", version=""), read_level=ReadLevel.LISTED)

    store.put(make_run(), pipeline_spec={"root": {}})
    store.put(make_run(pipeline="another"))

    run = store.get("aaaa00000001")
    assert (run.pipeline, store.spec(run.version)) == ("train", {"root": {}})


def test_a_store_that_is_not_closed_is_closed_with_its_last_use(tmp_path: Path) -> None:
    """Without the garbage collector. A long process would otherwise collect open files of the
    database."""
    gc.collect()
    gc.disable()
    try:
        store = Store(tmp_path)
        connection = store._db
        del store
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    finally:
        gc.enable()
