"""Which tasks a run has, where, how they ended, and what they wrote."""

import pytest

import kfgcp
from backend_project import BackendProject
from kfgcp.errors import RunFailed, UsageError
from kfgcp.model import Run, RunState
from kfgcp.tracking.handle import RunHandle
from kfgcp_command import Command
from patience import PROCESS, WaitFor

OK, SKIPPED = "SUCCEEDED", "SKIPPED"


def states(run: Run) -> dict[str, str]:
    return {task.path: task.state.value for task in run.tasks}


@pytest.fixture
def shapes(backend_project: BackendProject) -> RunHandle:
    return backend_project.shared("shapes", {"uri": backend_project.data, "items": [5, 6, 7]})


@pytest.mark.feature("Tasks: conditions, loops, nested pipelines and importers at their paths")
def test_every_executed_unit_is_at_its_path(shapes: RunHandle) -> None:
    iterations = {
        f"for-loop-4[{number}]{below}": OK for number in range(3) for below in ("", "/double")
    }
    assert shapes.state is RunState.SUCCEEDED, shapes.snapshot.error
    assert states(shapes.snapshot) == {
        "condition-branches-1": OK,
        "condition-branches-1/condition-2": SKIPPED,
        "condition-branches-1/condition-3": OK,
        "condition-branches-1/condition-3/say-2": OK,
        "say-3": OK,
        "for-loop-4": OK,
        **iterations,
        "total": OK,
        "importer": OK,
        "lines": OK,
        "inner": OK,
        "inner/double": OK,
        "inner/double-2": OK,
    }


def test_a_task_is_a_container_an_importer_a_dag_or_a_loop(shapes: RunHandle) -> None:
    kinds = {task.path: task.kind.value for task in shapes.snapshot.tasks}

    assert {path for path, kind in kinds.items() if kind == "loop"} == {"for-loop-4"}
    assert {path for path, kind in kinds.items() if kind == "importer"} == {"importer"}
    assert {path for path, kind in kinds.items() if kind == "dag"} == {
        "condition-branches-1",
        "condition-branches-1/condition-2",
        "condition-branches-1/condition-3",
        "inner",
        *(f"for-loop-4[{number}]" for number in range(3)),
    }


@pytest.mark.feature("Tasks: OneOf")
def test_one_of_takes_the_branch_that_ran(shapes: RunHandle) -> None:
    assert shapes.task("say-3").inputs == {"text": "small"}
    assert shapes.outputs["chosen"] == "small"


@pytest.mark.feature("Tasks: Collected")
def test_collected_values_are_in_the_order_of_the_iterations(shapes: RunHandle) -> None:
    assert shapes.task("total").inputs == {"numbers": [10, 12, 14]}
    assert (shapes.outputs["total"], shapes.outputs["nested"]) == (36, 8)
    for number, item in enumerate((5, 6, 7)):
        assert shapes.task(f"for-loop-4[{number}]/double").inputs == {"x": item}


@pytest.mark.feature("Tasks: importers")
def test_what_was_imported_is_an_artifact_of_the_importer(
    backend_project: BackendProject, shapes: RunHandle
) -> None:
    (artifact,) = [
        artifact_of_run
        for artifact_of_run in shapes.artifacts
        if artifact_of_run.task == "importer"
    ]

    assert (artifact.name, artifact.type) == ("artifact", "system.Dataset")
    assert artifact.uri.removeprefix("file://") == backend_project.data
    assert shapes.task("lines").outputs == {"Output": 3}


def test_only_tasks_that_ran_have_attempts(shapes: RunHandle) -> None:
    attempts = {task.path: task.attempts for task in shapes.snapshot.tasks}

    assert attempts["say-3"] == attempts["for-loop-4[2]/double"] == 1
    assert attempts["condition-branches-1"] == attempts["inner"] == attempts["for-loop-4"] == 0
    assert attempts["condition-branches-1/condition-2"] == 0


@pytest.mark.feature("Logs: by task, attempt and iteration")
def test_logs_of_an_iteration(shapes: RunHandle) -> None:
    assert shapes.task("for-loop-4[1]/double").logs() == ["twice 6"]
    lines = {(line.task, line.text) for line in shapes.logs()}
    assert {(f"for-loop-4[{n}]/double", f"twice {n + 5}") for n in range(3)} < lines
    assert ("condition-branches-1/condition-3/say-2", "small") in lines


def test_logs_are_by_task_in_the_order_they_started(shapes: RunHandle) -> None:
    spoken = list(dict.fromkeys(line.task for line in shapes.logs()))
    started = [task.path for task in shapes.snapshot.tasks]

    assert spoken == sorted(spoken, key=started.index)


@pytest.mark.feature("Tasks: exit handlers")
def test_an_exit_task_runs_after_a_failure_and_gets_its_status(
    backend_project: BackendProject,
) -> None:
    run = backend_project.shared("guarded").snapshot

    assert run.state is RunState.FAILED
    assert states(run) == {
        "exit-handler-1": "FAILED",
        "exit-handler-1/broken": "FAILED",
        "report": OK,
    }
    assert backend_project.shared("guarded").task("report").outputs == {"Output": "FAILED"}
    assert (run.error.task, run.error.message) == (
        "exit-handler-1/broken",
        "ValueError: on purpose",
    )


@pytest.mark.feature("Tasks: retries, each attempt with its log")
def test_each_attempt_of_a_retried_task_has_its_log(backend_project: BackendProject) -> None:
    handle = backend_project.shared("guarded")
    task = handle.task("exit-handler-1/broken")
    assert task.attempts == 2
    for attempt in (1, 2):
        lines = task.logs(attempt)
        assert (lines[0], lines[-1]) == ("an attempt", "ValueError: on purpose")
        assert {line.attempt for line in handle.logs(task.path, attempt)} == {attempt}
    assert task.logs() == task.logs(1) + task.logs(2)


def test_an_attempt_that_was_not_made_is_an_error_that_names_the_others(
    backend_project: BackendProject,
) -> None:
    handle = backend_project.shared("guarded")

    with pytest.raises(UsageError, match="Task 'exit-handler-1/broken' has no attempt 9") as caught:
        handle.check_attempt("exit-handler-1/broken", 9)
    assert caught.value.hint == "The attempts of the task: 1 and 2."
    with pytest.raises(UsageError, match="has no attempt 2") as caught:
        handle.check_attempt("report", 2)
    assert caught.value.hint == "The task has only attempt 1."
    with pytest.raises(UsageError, match=f"No task of run {handle.run_id} has an attempt 9"):
        handle.check_attempt(None, 9)
    with pytest.raises(UsageError, match="Attempt 0 does not exist"):
        handle.logs("report", 0)
    assert {line.task for line in handle.logs(attempt=2)} == {"exit-handler-1/broken"}


def test_the_end_of_a_log_is_printed_once(
    backend_project: BackendProject, command: Command
) -> None:
    result = command(
        "run", str(backend_project.file("one_fails")), "--env", backend_project.env, "--no-cache"
    )

    assert result.code == RunFailed.exit_code
    watched = command("watch")
    shown = command("show")
    for printed in (result.err, watched.err, shown.err):
        assert printed.count("about to fail") == 1, printed


def test_running_tasks_of_a_loop_are_shown(
    backend_project: BackendProject, eventually: WaitFor
) -> None:
    gate = backend_project.folder / "gate"
    handle = backend_project.submit("waits", {"gate": str(gate)})
    paths = {f"for-loop-2[{number}]/wait" for number in (0, 1)}

    def running() -> bool:
        return paths <= {task.path for task in handle.refresh().tasks if task.state == "RUNNING"}

    try:
        eventually(running)
        seen = states(handle.snapshot)
        assert (handle.state, seen["for-loop-2"], seen["for-loop-2[0]"]) == (
            "RUNNING",
            "RUNNING",
            "RUNNING",
        )
        assert "say" not in seen, "the task has not started"
    finally:
        gate.touch()
    assert set(states(handle.wait(PROCESS).snapshot).values()) == {OK}


def test_watching_a_retried_task_shows_each_attempt_once(backend_project: BackendProject) -> None:
    handle = backend_project.submit("guarded", {"text": "watched"}, cache=False)

    lines = [line for update in kfgcp.watch(handle.run_id) for line in update.lines]

    path = "exit-handler-1/broken"
    for attempt in (1, 2):
        texts = [line.text for line in lines if (line.task, line.attempt) == (path, attempt)]
        assert (texts.count("watched"), texts.count("ValueError: on purpose")) == (1, 1)


def test_logs_on_the_command_line(
    backend_project: BackendProject, shapes: RunHandle, command: Command
) -> None:
    path = "for-loop-4[1]/double"

    assert command("logs", shapes.run_id, path).out == "twice 6\n"
    assert command("logs", shapes.run_id, path, "--follow").out == "twice 6\n"
    line = command("logs", shapes.run_id, path, "--json").json
    assert (line["task"], line["attempt"], line["text"]) == (path, 1, "twice 6")
    wrong = command("logs", shapes.run_id, "for-loop-4[9]/double")
    assert (wrong.code, wrong.out) == (2, "")
    assert "has no task 'for-loop-4[9]/double'" in wrong.err
