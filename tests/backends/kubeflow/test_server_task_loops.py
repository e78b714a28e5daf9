"""Loops and groups in runs of Kubeflow Pipelines 3.0, in cases that no recording has.

The answers follow the source of the drivers.
"""

import pytest

from kfgcp.backends.kubeflow import executions_from_server as server_tasks
from kfgcp.model import ErrorInfo, TaskState
from kfgcp.spec.json_values import JsonObject
from server_runs import named, recorded, run_from, states, task_at


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
    loop_items = {"pipelinechannel--items": [1, 2, 3]}
    iterator = answer["pipeline_spec"]["root"]["dag"]["tasks"]["for-loop-4"]["parameterIterator"]
    if is_raw:
        iterator["items"] = {"raw": "[1, 2, 3]"}
        loop_items = {key: [1, 2, 3]}
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

    assert task_at(run, "for-loop-4").inputs == {**loop_items, "pipelinechannel--n": 7}
    assert task_at(run, "for-loop-4[1]").inputs == {key: 2, "pipelinechannel--n": 7}


def test_the_items_of_a_loop_are_not_read_again_for_each_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop of 3,000 items took 20 s."""
    call_count = 0
    is_item = server_tasks._is_item

    def count_calls(parameter: JsonObject, loop: JsonObject) -> bool:
        nonlocal call_count
        call_count += 1
        return is_item(parameter, loop)

    monkeypatch.setattr(server_tasks, "_is_item", count_calls)
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
    assert call_count <= 1000, "more than ten calls for each of 100 items"


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

    states_by_path = states(run)
    for path in ("for-loop-4", "inner", "condition-branches-1"):
        assert states_by_path[path] is TaskState.SUCCEEDED
    assert states_by_path["inner/double"] is TaskState.CACHED
    assert states_by_path["condition-branches-1/condition-2"] is TaskState.SKIPPED
    assert states_by_path["condition-branches-1/condition-3"] is TaskState.SKIPPED
    assert "condition-branches-1/condition-3/say-2" not in states_by_path
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
        nested_task = {
            **nested,
            "task_id": f"inner-{number}",
            "parent_task_id": loop["task_id"],
            "type_attributes": {"iteration_index": str(number)},
            "scope_path": "root.for-loop-4.inner",
        }
        tasks.append(nested_task)
        tasks += [
            {
                **task,
                "task_id": f"{task['name']}-{number}",
                "parent_task_id": nested_task["task_id"],
                "type_attributes": {"iteration_index": str(number)},
                "scope_path": f"root.for-loop-4.inner.{task['name']}",
            }
            for task in inside
        ]
    answer["tasks"] = tasks

    run, _ = run_from(answer)

    succeeded_paths = [path for path, state in states(run).items() if state is TaskState.SUCCEEDED]
    assert succeeded_paths == [
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

    states_by_path = states(run)
    assert [states_by_path[f"for-loop-4[{number}]"].value for number in range(3)] == [
        "SUCCEEDED",
        "FAILED",
        "RUNNING",
    ]
    assert states_by_path["for-loop-4"] is TaskState.RUNNING
    failure = ErrorInfo('failed to upload output artifact "model"', "for-loop-4[1]/double")
    assert (
        task_at(run, "for-loop-4[1]/double").error == task_at(run, "for-loop-4[1]").error == failure
    )
    assert "say-3" not in states_by_path, "the task may still be created"
