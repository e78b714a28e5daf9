"""The data of a run is the same on every backend."""

import ast
import re

import pytest

from backend_project import BackendProject
from kfgcp import api
from kfgcp.backends.base import RunRef
from kfgcp.backends.registry import open_backend
from kfgcp.model import RunState, TaskState
from kfgcp.query import RunFilter
from kfgcp.store.store import Store
from kfgcp_command import Command
from patience import PROCESS

TEXT, NUMBER, TABLE, LIST = (str,), (int, float), (dict,), (list,)
MAYBE_TEXT, MAYBE_TABLE = (str, type(None)), (dict, type(None))
RUN_JSON = {
    **dict.fromkeys(
        ("run_id", "env", "backend", "pipeline", "version", "experiment", "name", "note", "state"),
        TEXT,
    ),
    **dict.fromkeys(("created_at", "started_at", "ended_at"), TEXT),
    **dict.fromkeys(("backend_ref", "url"), MAYBE_TEXT),
    **dict.fromkeys(("labels", "params", "outputs"), TABLE),
    **dict.fromkeys(("tags", "metrics", "artifacts", "tasks"), LIST),
    "error": MAYBE_TABLE,
}
TASK_JSON = {
    **dict.fromkeys(("path", "kind", "state"), TEXT),
    "attempts": (int,),
    **dict.fromkeys(("cache", "error"), MAYBE_TABLE),
    **dict.fromkeys(("started_at", "ended_at"), MAYBE_TEXT),
    **dict.fromkeys(("inputs", "outputs"), TABLE),
}
METRIC_JSON = {**dict.fromkeys(("task", "artifact", "name"), TEXT), "value": NUMBER}
ARTIFACT_JSON = {**dict.fromkeys(("task", "name", "type", "uri"), TEXT), "metadata": TABLE}
ERROR_JSON = {"task": MAYBE_TEXT, "message": TEXT, "log_tail": LIST}
CACHE_JSON = {"hit": (bool,), "reason": TEXT}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def check(data: dict[str, object], form: dict[str, tuple[type, ...]]) -> None:
    assert set(data) == set(form)
    for key, kinds in form.items():
        assert isinstance(data[key], kinds), (key, data[key])


@pytest.mark.feature("Runs: the run JSON")
def test_the_run_json_has_the_keys_and_types_of_the_contract(
    backend_project: BackendProject,
) -> None:
    for name in ("two_scores", "one_fails"):
        data = backend_project.shared(name).to_dict()

        check(data, RUN_JSON)
        for key, form in (
            ("tasks", TASK_JSON),
            ("metrics", METRIC_JSON),
            ("artifacts", ARTIFACT_JSON),
        ):
            for entry in data[key]:
                check(entry, form)
        for run_or_task in (data, *data["tasks"]):
            if run_or_task["error"] is not None:
                check(run_or_task["error"], ERROR_JSON)
        for task in data["tasks"]:
            if task["cache"] is not None:
                check(task["cache"], CACHE_JSON)


def test_a_row_of_list_is_the_run_without_tasks_and_artifacts(
    backend_project: BackendProject,
) -> None:
    for name in ("two_scores", "one_fails"):
        whole = backend_project.shared(name).to_dict()
        (row,) = [run.summary() for run in api.list() if run.run_id == whole["run_id"]]

        assert set(row) == set(RUN_JSON) - {"tasks", "artifacts"}
        assert row == {key: whole[key] for key in row}


def test_a_run_says_where_it_ran_and_of_what_version_it_is(backend_project: BackendProject) -> None:
    run = backend_project.shared("two_scores").snapshot

    assert (run.env, run.backend, run.pipeline) == (
        backend_project.env,
        backend_project.backend,
        "two-scores",
    )
    assert run.version == api.compile(str(backend_project.file("two_scores"))).version
    assert run.experiment == "default"
    assert (run.backend_ref is None) is (run.url is None) is (backend_project.backend == "local")


def test_times_are_utc_and_in_order(backend_project: BackendProject) -> None:
    run = backend_project.shared("two_scores").snapshot

    times = [run.created_at, run.started_at, run.ended_at]
    assert times == sorted(times)
    for task in run.tasks:
        times += [task.started_at, task.ended_at]
        assert run.created_at <= task.started_at <= task.ended_at <= run.ended_at
    assert all(TIME.fullmatch(time) for time in times)
    assert [task.started_at for task in run.tasks] == sorted(task.started_at for task in run.tasks)


@pytest.mark.feature("Runs: metrics by task, artifact and name")
def test_two_tasks_report_the_same_metric_and_both_are_kept(
    backend_project: BackendProject,
) -> None:
    handle = backend_project.shared("two_scores")

    assert handle.metrics == {"evaluate/metrics/accuracy": 0.5, "evaluate-2/metrics/accuracy": 0.75}
    assert [
        (metric["task"], metric["value"]) for metric in sorted(handle.to_dict()["metrics"], key=str)
    ] == [
        ("evaluate", 0.5),
        ("evaluate-2", 0.75),
    ]


@pytest.mark.feature("Runs: artifacts with type, URI and metadata")
def test_artifacts_have_their_type_and_are_below_the_pipeline_root(
    backend_project: BackendProject,
) -> None:
    artifacts = {
        (artifact.task, artifact.name): artifact
        for artifact in backend_project.shared("two_scores").artifacts
    }

    assert {key: artifact.type for key, artifact in artifacts.items()} == {
        (task, name): kind
        for task in ("evaluate", "evaluate-2")
        for name, kind in (("metrics", "system.Metrics"), ("predictions", "system.Dataset"))
    }
    assert artifacts["evaluate", "metrics"].metadata == {"accuracy": 0.5}
    if backend_project.version == "3.0":
        # Metrics are values without a file there
        # (tests/recorded/api-3.0-branch/artifact-create-metric.json).
        assert [artifacts.pop((task, "metrics")).uri for task in ("evaluate", "evaluate-2")] == [
            "",
            "",
        ]
    for artifact in artifacts.values():
        assert artifact.uri.removeprefix("file://").startswith(backend_project.root), artifact.uri
    assert len({artifact.uri for artifact in artifacts.values()}) == len(artifacts) >= 2


@pytest.mark.feature("Runs: parameters keep their types")
def test_parameters_keep_their_types(
    backend_project: BackendProject, typed_params: dict[str, object]
) -> None:
    handle = backend_project.shared("typed", typed_params)

    assert handle.state is RunState.SUCCEEDED, handle.snapshot.error
    assert handle.params == {**typed_params, "note": None}
    assert [type(handle.params[name]) for name in ("n", "ratio", "flag")] == [int, float, bool]
    assert type(handle.params["items"][0]) is int
    assert type(handle.params["config"]["n"]) is int
    assert [run.params for run in api.list(RunFilter(pipeline="typed"))] == [handle.params]


def test_parameters_reach_the_task_as_they_were_given(
    backend_project: BackendProject, typed_params: dict[str, object]
) -> None:
    handle = backend_project.shared("typed", typed_params)

    task = handle.task("describe")
    assert task.inputs == typed_params
    assert ast.literal_eval(task.outputs["Output"]) == [*typed_params.values(), None]
    assert ", 3, 1e+300, True, [1, 'two', [3.5, None, False]], " in task.outputs["Output"], (
        "3 stays an integer and True a boolean"
    )


@pytest.mark.feature("Runs: whole numbers beyond 2**53 that a double can hold")
def test_a_large_whole_number_that_a_double_can_hold_stays_one(
    backend_project: BackendProject,
) -> None:
    handle = backend_project.run("one_fails", {"x": 2**60})

    assert (handle.params, type(handle.params["x"])) == ({"x": 2**60}, int)
    assert handle.task("fine").inputs == {"x": 2**60}
    assert handle.task("fine").outputs == {"Output": 2**60}
    assert type(handle.task("fine").outputs["Output"]) is int


@pytest.mark.feature("Runs: outputs of the pipeline")
def test_outputs_are_those_of_the_pipeline(
    backend_project: BackendProject, typed_params: dict[str, object]
) -> None:
    handle = backend_project.shared("typed", typed_params)

    assert handle.outputs == {"Output": 4}
    assert type(handle.outputs["Output"]) is int
    assert handle.task("count").outputs == {"Output": 4}


@pytest.mark.feature("Runs: a failure has its task, its reason and the end of its log")
def test_a_failure_names_the_task_the_reason_and_the_end_of_the_log(
    backend_project: BackendProject,
) -> None:
    run = backend_project.shared("one_fails").snapshot

    assert run.state is RunState.FAILED
    assert run.error is not None
    assert (run.error.task, run.error.message) == ("boom", "ValueError: no luck with 7")
    assert run.error.log_tail[-1] == "ValueError: no luck with 7"
    assert "about to fail" in run.error.log_tail
    tasks = {task.path: task for task in run.tasks}
    assert tasks["boom"].error == run.error
    assert {path: task.state for path, task in tasks.items()} == {
        "fine": TaskState.SUCCEEDED,
        "boom": TaskState.FAILED,
        "below": TaskState.SKIPPED,
        "below-2": TaskState.SUCCEEDED,
    }
    assert tasks["boom"].ended_at is not None


def test_a_new_look_and_a_new_process_see_the_same_run(backend_project: BackendProject) -> None:
    for name in ("two_scores", "one_fails"):
        handle = backend_project.shared(name)
        backend = open_backend(
            backend_project.project, backend_project.project.env(backend_project.env)
        )

        assert backend.get(RunRef(backend_project.env, handle.run_id)) == handle.snapshot
        with Store(backend_project.project.home) as store:
            assert store.get(handle.run_id) == handle.snapshot


@pytest.mark.feature(
    "Runs: labels of the pipeline, its version, the git commit, the environment and the user"
)
def test_every_run_carries_where_it_came_from(backend_project: BackendProject) -> None:
    run = backend_project.shared("two_scores").snapshot

    labels = dict(run.labels)
    assert re.fullmatch(r"[a-z0-9]{12,}", labels.pop("submission"))
    for name in [name for name in labels if name.startswith("vertex-ai-")]:  # the service's own
        del labels[name]
    labels.pop("experiment", None)  # how Vertex AI is told
    assert labels == {
        "pipeline": "two-scores",
        "version": run.version.removeprefix("sha256:")[:12],
        "git": backend_project.commit,
        "git-dirty": "false",
        "env": backend_project.env,
        "user": "ann-lee",
    }


@pytest.mark.feature("Verbs: list by label, by the beginning of a commit too")
def test_a_run_is_found_by_the_beginning_of_its_commit_and_by_its_other_labels(
    backend_project: BackendProject, command: Command
) -> None:
    run = backend_project.shared("two_scores")

    def list_run_ids(*arguments: str) -> list[str]:
        return [row["run_id"] for row in command("list", "--json", *arguments).json]

    assert run.run_id in list_run_ids("--label", f"git={backend_project.commit[:4]}")
    assert list_run_ids(
        "--label", f"git={backend_project.commit[:4]}", "--label", "pipeline=two-scores"
    ) == [run.run_id]
    assert list_run_ids("--label", "git=0000") == []
    assert list_run_ids("--label", "pipeline=two") == [], (
        "only digests are found by their beginning"
    )


def test_a_run_in_a_changed_repository_says_so(backend_project: BackendProject) -> None:
    file = backend_project.folder / "kfgcp.toml"
    before = file.read_text()
    file.write_text(before + "\n# changed\n")
    try:
        run = (
            backend_project.submit(
                "echo", labels={"team": "growth"}, experiment="other", name="named"
            )
            .wait(PROCESS)
            .snapshot
        )
    finally:
        file.write_text(before)

    assert (run.labels["git"], run.labels["git-dirty"], run.labels["team"]) == (
        backend_project.commit,
        "true",
        "growth",
    )
    assert (run.experiment, run.name) == ("other", "named")
    assert [listed_run.run_id for listed_run in api.list(RunFilter(experiment="other"))] == [
        run.run_id
    ]
    assert api.show("named").run_id == run.run_id
