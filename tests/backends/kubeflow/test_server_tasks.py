"""Runs of Kubeflow Pipelines 3.0, which keeps tasks in its API server, from recorded answers and
from its source."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from answer_mutations import encode_json, mutate_json
from kfgcp.backends.base import LogFilter
from kfgcp.backends.kubeflow import executions_from_server as server_tasks
from kfgcp.backends.kubeflow.executions_from_server import check_tasks, make_executions
from kfgcp.backends.kubeflow.logs import LogServices, RunLogs
from kfgcp.backends.kubeflow.messages import check_run, read_pipeline
from kfgcp.backends.kubeflow.pod_attempts import read_pods
from kfgcp.backends.kubeflow.read_run import Where, read_run
from kfgcp.backends.kubeflow.read_tasks import NO_REASON
from kfgcp.errors import BackendError, NotWhole
from kfgcp.model import ErrorInfo, ErrorKind, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.services.answer_json import parse_json
from kfgcp.spec.json_values import NotJsonError
from trials import Trial

RECORDINGS = Path(__file__).parents[2] / "recorded" / "api-3.0-branch"
FULL = (
    "cached-full",
    "failed-full",
    "fresh-full",
    "reported-succeeded-full",
    "running-full",
    "shapes-full",
    "succeeded-full",
    "terminated-ended",
)
WHERE = Where("https://kfp.acme.example", "gke")
SECOND = "2026-11-29T08:39:22.000Z"


def recorded(name: str) -> dict[str, Any]:
    text = (RECORDINGS / f"run-get-{name}.json").read_text(encoding="utf-8")
    answer: dict[str, Any] = json.loads(text)["answer"]
    return answer


def run_from(answer: Mapping[str, Any]) -> tuple[Run, str]:
    """Return the run of an answer, and what is said of tasks that cannot be read."""
    body = check_run(answer)
    graph = read_pipeline(body)[1]
    tasks, problem = check_tasks(body.get("tasks") or ())
    executions = make_executions(tasks, graph) if graph is not None else []
    return read_run(body, WHERE, executions=executions)[0], problem


def run_of_recording(name: str) -> Run:
    run, problem = run_from(recorded(name))
    assert problem == ""
    return run


def states(run: Run) -> dict[str, TaskState]:
    return {task.path: task.state for task in run.tasks}


def task_at(run: Run, path: str) -> Task:
    return next(task for task in run.tasks if task.path == path)


def pods(answer: Mapping[str, Any]) -> dict[str, list[str]]:
    body = check_run(answer)
    graph = read_pipeline(body)[1]
    assert graph is not None
    return read_pods(body, make_executions(check_tasks(body["tasks"])[0], graph))


def named(answer: Mapping[str, Any], name: str) -> Any:
    """Return the task of that name as the server answers it."""
    return next(task for task in answer["tasks"] if task["name"] == name)


# -- recordings


def test_states_and_types_are_all_that_the_api_has() -> None:
    """PipelineTask.TaskState and PipelineTask.TaskType in backend/api/v2beta1/run.proto of the
    branch."""
    assert list(server_tasks.STATES) == [
        "RUNTIME_STATE_UNSPECIFIED",
        "RUNNING",
        "SUCCEEDED",
        "SKIPPED",
        "FAILED",
        "CACHED",
    ]
    assert list(server_tasks.TYPES) == [
        "ROOT",
        "RUNTIME",
        "CONDITION_BRANCH",
        "CONDITION",
        "LOOP",
        "EXIT_HANDLER",
        "IMPORTER",
        "DAG",
    ]


def test_branches_a_loop_a_nested_pipeline_and_an_importer() -> None:
    run = run_of_recording("shapes-full")

    ran = TaskState.SUCCEEDED
    assert states(run) == {
        "condition-branches-1": ran,
        "condition-branches-1/condition-2": TaskState.SKIPPED,
        "condition-branches-1/condition-3": ran,
        "condition-branches-1/condition-3/say-2": ran,
        "for-loop-4": ran,
        "for-loop-4[0]": ran,
        "for-loop-4[0]/double": ran,
        "for-loop-4[1]": ran,
        "for-loop-4[1]/double": ran,
        "for-loop-4[2]": ran,
        "for-loop-4[2]/double": ran,
        "importer": ran,
        "inner": ran,
        "inner/double": ran,
        "inner/double-2": ran,
        "total": ran,
        # The recording has no task of these two, and the run has ended.
        "say-3": TaskState.SKIPPED,
        "lines": TaskState.SKIPPED,
    }
    kinds = {task.path: task.kind for task in run.tasks}
    assert [path for path, kind in kinds.items() if kind is TaskKind.LOOP] == ["for-loop-4"]
    assert [path for path, kind in kinds.items() if kind is TaskKind.IMPORTER] == ["importer"]
    assert [path for path, kind in kinds.items() if kind is TaskKind.DAG] == [
        "condition-branches-1",
        "condition-branches-1/condition-2",
        "condition-branches-1/condition-3",
        "for-loop-4[0]",
        "for-loop-4[1]",
        "for-loop-4[2]",
        "inner",
    ]
    assert [task_at(run, f"for-loop-4[{number}]/double").inputs for number in range(3)] == [
        {"x": 1},
        {"x": 2},
        {"x": 3},
    ]
    assert [
        task_at(run, f"for-loop-4[{number}]/double").outputs["Output"] for number in range(3)
    ] == [2, 4, 6]
    assert task_at(run, "for-loop-4").outputs == {"pipelinechannel--double-Output": [2, 4, 6]}
    assert task_at(run, "total").inputs == {"numbers": [2, 4, 6]}
    assert task_at(run, "inner").outputs == {"Output": 8}
    assert run.outputs == {"nested": 8, "total": 12}
    assert [
        (artifact.task, artifact.name, artifact.type, artifact.uri) for artifact in run.artifacts
    ] == [("importer", "artifact", "system.Dataset", "gs://bucket/data.txt")]
    total = task_at(run, "total")
    assert (total.started_at, total.ended_at, total.attempts, total.error) == (
        SECOND,
        SECOND,
        1,
        None,
    )


def test_values_a_metric_and_a_model() -> None:
    run = run_of_recording("succeeded-full")

    (say,) = run.tasks
    assert (say.path, say.state, say.attempts, say.inputs) == (
        "say",
        TaskState.SUCCEEDED,
        1,
        {"text": "hi"},
    )
    assert say.outputs == {"Output": "hi", "model": "gs://bucket/prefix/model"}
    assert say.cache is not None
    assert not say.cache.hit
    assert run.metrics == (Metric("say", "metrics", "accuracy", 0.9),)
    artifacts = {artifact.name: artifact for artifact in run.artifacts}
    assert artifacts["metrics"].type == "system.Metrics"
    assert artifacts["model"].type == "system.Model"
    assert artifacts["model"].metadata == {"note": "text", "points": 5}


def test_a_cached_task_has_the_outputs_of_the_run_before() -> None:
    run = run_of_recording("cached-full")

    (say,) = run.tasks
    assert (say.state, say.attempts) == (TaskState.CACHED, 0)
    assert say.cache is not None
    assert say.cache.hit
    assert say.outputs == {"Output": "hi", "model": "gs://bucket/prefix/model"}
    assert pods(recorded("cached-full")) == {}, "only the driver ran"


def test_a_failed_task_and_one_behind_it_that_was_never_made() -> None:
    run = run_of_recording("failed-full")

    assert run.state is RunState.FAILED
    assert states(run) == {
        "boom": TaskState.FAILED,
        "fine": TaskState.SUCCEEDED,
        "below-2": TaskState.SUCCEEDED,
        "below": TaskState.SKIPPED,
    }
    # The message "failed to execute component: exit status 1" says less than the log of the
    # program.
    assert run.error == ErrorInfo(NO_REASON, "boom", kind=ErrorKind.LOG_UNREAD)
    assert pods(recorded("failed-full")) == {
        "boom": ["f-boom-impl"],
        "fine": ["f-fine-impl"],
        "below-2": ["f-below-2-impl"],
    }


def test_a_run_at_its_start_and_while_its_task_runs() -> None:
    fresh, running = run_of_recording("fresh-full"), run_of_recording("running-full")

    assert (fresh.state, fresh.tasks) == (RunState.PENDING, ())
    assert (running.state, states(running)) == (RunState.RUNNING, {"say": TaskState.RUNNING})
    (say,) = running.tasks
    assert (say.attempts, say.ended_at, running.ended_at) == (1, None, None)


def test_the_end_of_a_run_counts_also_when_its_root_still_runs() -> None:
    run = run_of_recording("reported-succeeded-full")

    assert run == run_of_recording("succeeded-full")


def test_a_task_that_was_killed_is_what_the_end_of_the_run_says() -> None:
    """The server leaves it RUNNING, and does not tell that the run was terminated."""
    answer = recorded("terminated-ended")
    body = check_run(answer)
    graph = read_pipeline(body)[1]
    assert graph is not None
    executions = make_executions(check_tasks(body["tasks"])[0], graph)

    failed, _ = read_run(body, WHERE, executions=executions)
    cancelled, _ = read_run(body, WHERE, executions=executions, cancelled=True)

    assert (failed.state, states(failed)) == (RunState.FAILED, {"say": TaskState.FAILED})
    assert (cancelled.state, states(cancelled)) == (
        RunState.CANCELLED,
        {"say": TaskState.CANCELLED},
    )
    (say,) = cancelled.tasks
    assert say.ended_at == cancelled.ended_at == "2026-11-29T08:59:43.000Z"


@pytest.mark.parametrize("name", FULL)
def test_the_order_of_tasks_does_not_count(name: str) -> None:
    answer = recorded(name)
    expected = run_from(answer)

    for tasks in (
        sorted(answer.get("tasks", ()), key=lambda task: str(task["name"])),
        answer.get("tasks", ())[::-1],
    ):
        assert run_from({**answer, "tasks": list(tasks)}) == expected


# -- what no recording has, from the source of the drivers and the launcher


@pytest.mark.parametrize("is_raw", [False, True])
def test_the_items_of_a_loop_are_inputs_of_its_iterations(is_raw: bool) -> None:
    """The driver adds an input for each item, with the number of the iteration
    (driver/resolver/parameters.go).

    Loops and iterations have the inputs that ML Metadata has: recorded/cluster-2.17.0/loop-output
    and loop-nested.
    """
    answer = recorded("shapes-full")
    key = "pipelinechannel--items-loop-item"
    items = [
        {
            "parameter_key": key,
            "value": value,
            "type": "ITERATOR_INPUT",
            "producer": {"task_name": "for-loop-4", "iteration": str(number)},
        }
        for number, value in enumerate([1, 2, 3])
    ]
    outer = {"parameter_key": "pipelinechannel--n", "value": 7, "type": "COMPONENT_INPUT"}
    parameters = [*items[::-1], outer]
    listed = {"pipelinechannel--items": [1, 2, 3]}
    iterator = answer["pipeline_spec"]["root"]["dag"]["tasks"]["for-loop-4"]["parameterIterator"]
    if is_raw:
        iterator["items"] = {"raw": "[1, 2, 3]"}
        listed = {key: [1, 2, 3]}
    else:
        assert iterator["items"] == {"inputParameter": "pipelinechannel--items"}
        producer = {"task_name": "ROOT", "iteration": "0"}
        parameters.append(
            {
                "parameter_key": "pipelinechannel--items",
                "value": [1, 2, 3],
                "type": "COMPONENT_INPUT",
                "producer": producer,
            }
        )
    named(answer, "for-loop-4")["inputs"] = {"parameters": parameters}

    run, _ = run_from(answer)

    assert task_at(run, "for-loop-4").inputs == {**listed, "pipelinechannel--n": 7}
    assert task_at(run, "for-loop-4[1]").inputs == {key: 2, "pipelinechannel--n": 7}


def test_the_items_of_a_loop_are_not_read_again_for_each_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop of 3,000 items took 20 s."""
    looks = 0
    is_item = server_tasks._is_item

    def counted(parameter: Mapping[str, Any], loop: Mapping[str, Any]) -> bool:
        nonlocal looks
        looks += 1
        return is_item(parameter, loop)

    monkeypatch.setattr(server_tasks, "_is_item", counted)
    answer = recorded("shapes-full")
    loop = named(answer, "for-loop-4")
    item = {"type": "ITERATOR_INPUT_RAW", "parameter_key": "x"}
    loop["inputs"] = {
        "parameters": [
            item
            | {"value": number, "producer": {"task_name": loop["name"], "iteration": str(number)}}
            for number in range(100)
        ]
    }
    task = next(task for task in answer["tasks"] if task.get("parent_task_id") == loop["task_id"])
    answer["tasks"] += [
        task | {"task_id": f"task-{number}", "type_attributes": {"iteration_index": str(number)}}
        for number in range(100)
    ]

    run = run_from(answer)[0]

    assert task_at(run, "for-loop-4[99]").inputs == {"x": 99}
    assert looks <= 1000, "a few for each of 100 items"


def test_an_empty_loop_and_a_group_whose_tasks_were_all_skipped_or_cached_ran() -> None:
    """terminalDAGState in driver/dag.go, updateStatuses in apiclient/kfpapi/api.go."""
    answer = recorded("shapes-full")
    loop, inner, branches = (
        named(answer, name) for name in ("for-loop-4", "inner", "condition-branches-1")
    )
    answer["tasks"] = [
        task for task in answer["tasks"] if task.get("parent_task_id") != loop["task_id"]
    ]
    loop |= {"state": "SKIPPED", "type_attributes": {"iteration_count": "0"}}
    inner["state"] = "CACHED"
    for task in answer["tasks"]:
        if task.get("parent_task_id") == inner["task_id"]:
            task["state"] = "CACHED"
    branches["state"] = named(answer, "condition-3")["state"] = "SKIPPED"
    answer["tasks"].remove(named(answer, "say-2"))

    run, _ = run_from(answer)

    found = states(run)
    assert (
        found["for-loop-4"]
        is found["inner"]
        is found["condition-branches-1"]
        is TaskState.SUCCEEDED
    )
    assert found["inner/double"] is TaskState.CACHED
    assert found["condition-branches-1/condition-2"] is TaskState.SKIPPED
    assert found["condition-branches-1/condition-3"] is TaskState.SKIPPED
    assert "condition-branches-1/condition-3/say-2" not in found
    assert task_at(run, "for-loop-4").outputs == {"pipelinechannel--double-Output": []}


def test_a_nested_pipeline_in_iterations() -> None:
    """Every task inside has an iteration_index; it tells the iteration only of direct children of a
    loop."""
    answer = recorded("shapes-full")
    spec = answer["pipeline_spec"]
    spec["components"]["comp-for-loop-4"]["dag"] = {
        "tasks": {"inner": {"componentRef": {"name": "comp-inner"}, "taskInfo": {"name": "inner"}}}
    }
    loop, nested = named(answer, "for-loop-4"), named(answer, "inner")
    root = named(answer, "ROOT")
    inside = [task for task in answer["tasks"] if task.get("parent_task_id") == nested["task_id"]]
    tasks = [root, loop]
    for number in (1, 0):
        around = {
            **nested,
            "task_id": f"inner-{number}",
            "parent_task_id": loop["task_id"],
            "type_attributes": {"iteration_index": str(number)},
            "scope_path": "root.for-loop-4.inner",
        }
        tasks.append(around)
        tasks += [
            {
                **task,
                "task_id": f"{task['name']}-{number}",
                "parent_task_id": around["task_id"],
                "type_attributes": {"iteration_index": str(number)},
                "scope_path": f"root.for-loop-4.inner.{task['name']}",
            }
            for task in inside
        ]
    answer["tasks"] = tasks

    run, _ = run_from(answer)

    made = [path for path, state in states(run).items() if state is TaskState.SUCCEEDED]
    assert made == [
        "for-loop-4",
        "for-loop-4[0]",
        "for-loop-4[0]/inner",
        "for-loop-4[0]/inner/double",
        "for-loop-4[0]/inner/double-2",
        "for-loop-4[1]",
        "for-loop-4[1]/inner",
        "for-loop-4[1]/inner/double",
        "for-loop-4[1]/inner/double-2",
    ]


def test_iterations_while_a_loop_runs() -> None:
    answer = recorded("shapes-full")
    answer["state"] = named(answer, "for-loop-4")["state"] = "RUNNING"
    iterations = [
        task for task in answer["tasks"] if "iteration_index" in task.get("type_attributes", {})
    ]
    by_number = {task["type_attributes"]["iteration_index"]: task for task in iterations}
    by_number["1"] |= {
        "state": "FAILED",
        "status_metadata": {"message": 'failed to upload output artifact "model"'},
    }
    by_number["2"]["state"] = "RUNNING"

    run, _ = run_from(answer)

    found = states(run)
    assert [found[f"for-loop-4[{number}]"].value for number in range(3)] == [
        "SUCCEEDED",
        "FAILED",
        "RUNNING",
    ]
    assert found["for-loop-4"] is TaskState.RUNNING
    failure = ErrorInfo('failed to upload output artifact "model"', "for-loop-4[1]/double")
    assert (
        task_at(run, "for-loop-4[1]/double").error == task_at(run, "for-loop-4[1]").error == failure
    )
    assert "say-3" not in found, "it may still be made"


def test_a_retry_of_the_run_leaves_the_start_of_a_task_that_had_succeeded() -> None:
    """Also when the task ended in the second of the retry: the server itself sets the start of what
    is run again."""
    answer = recorded("succeeded-full")
    say = named(answer, "say")
    say |= {"create_time": "2026-11-29T08:39:20Z", "end_time": "2026-11-29T08:39:25Z"}
    states_of_run = ("PENDING", "RUNNING", "FAILED", "RUNNING", "SUCCEEDED")
    seconds = (20, 21, 25, 25, 30)
    answer["state_history"] = [
        {"update_time": f"2026-11-29T08:39:{second}Z", "state": state}
        for second, state in zip(seconds, states_of_run, strict=True)
    ]

    run, _ = run_from(answer)

    (task,) = run.tasks
    assert (task.started_at, task.ended_at) == (
        "2026-11-29T08:39:20.000Z",
        "2026-11-29T08:39:25.000Z",
    )


def test_every_attempt_has_its_pod() -> None:
    """The launcher adds its pod to those that are there (Execute in launcher_v2.go)."""
    answer = recorded("failed-full")
    boom = named(answer, "boom")
    boom["pods"].append({"name": "f-boom-impl-2", "uid": "u", "type": "EXECUTOR"})

    run, _ = run_from(answer)

    assert task_at(run, "boom").attempts == 2
    assert pods(answer)["boom"] == ["f-boom-impl", "f-boom-impl-2"]


def test_a_failed_driver_says_why_and_its_pod_has_the_log() -> None:
    """Container in driver/container.go makes the task FAILED with the error of the driver."""
    answer = recorded("failed-full")
    boom = named(answer, "boom")
    message = 'driver.Container(runID=x)\n failed: got null for input parameter "x"'
    boom |= {"pods": boom["pods"][:1], "status_metadata": {"message": message}}

    run, _ = run_from(answer)

    assert run.error is not None
    assert run.error.task == "boom"
    assert run.error.message == 'driver.Container(runID=x) failed: got null for input parameter "x"'
    assert pods(answer)["boom"] == ["f-boom-driver"]


@pytest.mark.parametrize("group", ["inner", "for-loop-4"])
def test_a_failed_driver_of_a_group_says_why_and_its_pod_has_the_log(group: str) -> None:
    """DAG in driver/dag.go makes the group FAILED with the error of the driver; nothing in it was
    made."""
    answer = recorded("shapes-full")
    answer["state"] = "FAILED"
    failed = named(answer, group)
    failed |= {
        "state": "FAILED",
        "status_metadata": {"message": "failed to create the artifacts of the inputs"},
    }
    answer["tasks"] = [
        task for task in answer["tasks"] if task.get("parent_task_id") != failed["task_id"]
    ]

    run, _ = run_from(answer)

    reason = ErrorInfo("failed to create the artifacts of the inputs", group)
    assert (task_at(run, group).state, task_at(run, group).error) == (TaskState.FAILED, reason)
    assert run.error == reason
    assert {task.state for task in run.tasks if task.path.startswith(f"{group}/")} <= {
        TaskState.SKIPPED
    }
    assert pods(answer)[group] == [pod["name"] for pod in failed["pods"]]


def test_a_group_with_a_failed_task_has_the_reason_of_the_task_and_no_log() -> None:
    """evaluateAndUpdateParentStatus in kfpapi/api.go sets the state of the group, without a
    reason."""
    answer = recorded("shapes-full")
    answer["state"] = "FAILED"
    named(answer, "inner")["state"] = "FAILED"
    named(answer, "double-2").update(
        {"state": "FAILED", "status_metadata": {"message": "no memory"}}
    )

    run, _ = run_from(answer)

    assert task_at(run, "inner").error == ErrorInfo("no memory", "inner/double-2")
    assert "inner" not in pods(answer)


def test_metrics_of_one_output_are_one_artifact_and_other_types_have_their_titles() -> None:
    """uploadOutputArtifacts in launcher_v2.go: an artifact for each scalar; unknown titles go to
    the metadata."""
    answer = recorded("succeeded-full")
    say = named(answer, "say")
    titled = {"_kfp_schema_title": "google.VertexModel"}
    say["outputs"]["artifacts"] = [
        {
            "artifact_key": "metrics",
            "artifacts": [
                {
                    "name": "accuracy",
                    "type": "Metric",
                    "number_value": 0.9,
                    "metadata": {"accuracy": 0.9},
                },
                {"name": "count", "type": "Metric", "number_value": 3},
                {"name": "loss", "type": "Metric", "metadata": {"loss": 0.25}},
            ],
        },
        {
            "artifact_key": "roc",
            "artifacts": [{"type": "ClassificationMetric", "metadata": {"points": [1, 2]}}],
        },
        {"artifact_key": "sliced", "artifacts": [{"type": "SlicedClassificationMetric"}]},
        {
            "artifact_key": "model",
            "artifacts": [{"type": "Artifact", "uri": "gs://b/m", "metadata": titled}],
        },
        {
            "artifact_key": "executor-logs",
            "artifacts": [{"type": "Artifact", "uri": "gs://b/executor-logs-0"}],
        },
        {"artifact_key": "page", "artifacts": [{"type": "HTML", "uri": "gs://b/page"}]},
    ]

    run, _ = run_from(answer)

    assert [(metric.name, metric.value) for metric in run.metrics] == [
        ("accuracy", 0.9),
        ("count", 3),
        ("loss", 0.25),
    ]
    assert {artifact.name: artifact.type for artifact in run.artifacts} == {
        "metrics": "system.Metrics",
        "roc": "system.ClassificationMetrics",
        "sliced": "system.SlicedClassificationMetrics",
        "model": "google.VertexModel",
        "page": "system.HTML",
    }
    model = next(artifact for artifact in run.artifacts if artifact.name == "model")
    assert model.metadata == {}


def test_a_task_that_cannot_be_read_is_left_out_and_said() -> None:
    answer = recorded("succeeded-full")
    named(answer, "say")["state"] = 3

    run, problem = run_from(answer)

    assert problem == "Kubeflow Pipelines answered with a task say whose state is 3, not text."
    assert states(run) == {"say": TaskState.SKIPPED}


# -- anything else


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every field and item."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*place, key)
        yield from places(item, (*place, key))


HUGE = (
    "x" * 100_000,
    2**80,
    -(2**63),
    list(range(1000)),
    {str(number): number for number in range(1000)},
)
OTHERS = (None, "text", -1, 1.5, True, [], {"a": None}, *HUGE)
REMOVED = object()


@pytest.mark.trial("recorded runs of KFP 3.0, changed field by field")
@pytest.mark.parametrize("name", FULL)
def test_any_change_of_a_field_is_read_or_refused_in_one_line(trial: Trial, name: str) -> None:
    answer = recorded(name)
    fields = [place for place in places(answer) if "pipeline_spec" not in place]
    changes = [(place, value) for place in fields for value in (REMOVED, *OTHERS)]
    random = trial.random()
    size = trial.size(sample=60, proof=len(changes))
    for place, value in random.sample(changes, min(size, len(changes))):
        changed = copy.deepcopy(answer)
        parent = changed
        for step in place[:-1]:
            parent = parent[step]
        if value is REMOVED:
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        read_or_refused(changed, f"{place}: {str(value)[:60]}")
        trial.count("changes")


@pytest.mark.trial("recorded runs of KFP 3.0, changed at random")
@pytest.mark.parametrize("name", FULL)
def test_random_changes_are_read_or_refused_in_one_line(trial: Trial, name: str) -> None:
    random = trial.random()
    for _ in range(trial.size(sample=40, proof=2000)):
        changed, change = mutate_json(recorded(name), random)
        try:
            answer = parse_json(encode_json(changed))
        except (ValueError, NotJsonError):
            continue
        read_or_refused(answer, change)
        trial.count("changes")


def read_or_refused(answer: Any, change: str) -> None:
    """Read an answer; nothing but an error of one line about the service may come out."""
    try:
        run, said = run_from(answer)
        json.dumps(run.to_dict(), default=str)
    except BackendError as refused:
        said = refused.message
        is_named = "Kubeflow Pipelines" in said
    except Exception as error:
        raise AssertionError(change) from error
    else:
        is_named = True
    assert is_named, change
    assert "\n" not in said, change
    assert len(said) < 700, change


@pytest.mark.parametrize(
    ("name", "note"),
    [
        (
            "running-full",
            (
                "say has no log yet: Kubeflow Pipelines 3.0 names the pod of a task when its"
                " program has ended"
            ),
        ),
        ("terminated-ended", "say has no log: Kubeflow Pipelines 3.0 did not name its pod"),
    ],
)
@pytest.mark.recorded(
    "Kubeflow 3.0: a task whose pod is not named",
    "api-3.0-branch/run-get-running-full",
    "api-3.0-branch/run-get-terminated-ended",
)
def test_a_log_of_a_pod_that_is_not_named_is_said_to_be_missing(name: str, note: str) -> None:
    """No pod is asked for its log, so the place of logs is never used."""
    body = check_run(recorded(name))
    graph = read_pipeline(body)[1]
    assert graph is not None
    executions = make_executions(check_tasks(body["tasks"])[0], graph)
    nowhere: Any = None
    logs = RunLogs(LogServices(nowhere, None, "", "gke"), body, executions)

    with pytest.warns(NotWhole) as warned:
        assert list(logs.read(LogFilter())) == []

    assert [str(warning.message) for warning in warned] == [note]
