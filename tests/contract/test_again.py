"""The same work twice: caching, and repeating a run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import kfgcp
from backend_project import BackendProject
from kfgcp import api
from kfgcp.errors import Unsupported, UsageError
from kfgcp.model import Run, RunState, TaskState
from kfgcp.tracking.handle import RunHandle
from kfgcp_command import Command
from patience import PROCESS, WaitFor

OK, CACHED = TaskState.SUCCEEDED, TaskState.CACHED


def states(run: Run) -> dict[str, TaskState]:
    return {task.path: task.state for task in run.tasks}


@pytest.mark.feature("Again: a second run takes what the first one made")
def test_the_second_run_takes_what_the_first_one_made(backend_project: BackendProject) -> None:
    first = backend_project.run("chain", {"n": 1}).snapshot
    second = backend_project.run("chain", {"n": 1}).snapshot

    assert set(states(first).values()) == {OK}
    assert states(second) == {
        **dict.fromkeys(("add", "inner/double", "inner/add", "add-2"), CACHED),
        "inner": states(second)["inner"],
    }
    assert states(second)["inner"] in (OK, CACHED)
    assert second.outputs == first.outputs == {"Output": 15}
    for task in second.tasks:
        if task.kind == "container":
            assert (task.cache.hit, task.attempts) == (True, 0)
            assert task.cache.reason
            assert task.outputs == {other.path: other for other in first.tasks}[task.path].outputs
    for task in first.tasks:
        assert task.cache is None or not task.cache.hit


@pytest.mark.feature("Again: --cache and --no-cache, for nested tasks too")
@pytest.mark.parametrize("cache", [False, True])
def test_caching_is_switched_for_the_whole_run_nested_tasks_too(
    backend_project: BackendProject, cache: bool
) -> None:
    backend_project.run("chain", {"n": 3})

    run = backend_project.run("chain", {"n": 3}, cache=cache).snapshot

    ran = {task.path: task.state for task in run.tasks if task.kind == "container"}
    assert set(ran) == {"add", "inner/double", "inner/add", "add-2"}
    assert set(ran.values()) == {CACHED if cache else OK}


@pytest.mark.feature("Again: rerun with a changed parameter")
def test_a_changed_parameter_runs_again_what_depends_on_it(backend_project: BackendProject) -> None:
    first = backend_project.run("two_scores", {"first": 0.1, "second": 0.2})

    again = kfgcp.rerun(first.run_id, params={"second": 0.3}, timeout=PROCESS)

    assert again.run_id != first.run_id
    assert again.params == {"first": 0.1, "second": 0.3}
    assert states(again.snapshot) == {"evaluate": CACHED, "evaluate-2": OK}
    assert again.metrics == {"evaluate/metrics/accuracy": 0.1, "evaluate-2/metrics/accuracy": 0.3}
    assert again.snapshot.env == backend_project.env
    assert again.snapshot.version == first.snapshot.version
    assert again.snapshot.experiment == first.snapshot.experiment
    assert again.snapshot.labels["git"] == backend_project.commit
    assert again.snapshot.labels["submission"] != first.snapshot.labels["submission"]


@pytest.mark.feature("Again: rerun --from a task, also in a nested pipeline")
def test_a_rerun_from_a_task_runs_it_and_what_depends_on_it(
    backend_project: BackendProject,
) -> None:
    first = backend_project.run("chain", {"n": 4})

    again = kfgcp.rerun(first.run_id, from_task="inner/add", timeout=PROCESS)

    states_again = states(again.snapshot)
    assert (states_again["add"], states_again["inner/double"]) == (CACHED, CACHED)
    assert (states_again["inner/add"], states_again["add-2"]) == (OK, OK)
    assert again.outputs == first.outputs == {"Output": 21}
    assert again.snapshot.version == first.snapshot.version
    with pytest.raises(UsageError, match="no task 'inner/nothing'"):
        kfgcp.rerun(first.run_id, from_task="inner/nothing")


def test_a_rerun_of_a_failed_run_does_what_failed_again(backend_project: BackendProject) -> None:
    first = backend_project.run("one_fails", {"x": 8})

    again = kfgcp.rerun(first.run_id, timeout=PROCESS, check=False).snapshot

    assert again.state is RunState.FAILED
    assert states(again) == {
        "fine": CACHED,
        "boom": TaskState.FAILED,
        "below": TaskState.SKIPPED,
        "below-2": CACHED,
    }


def _skip_without_retry(backend_project: BackendProject, handle: RunHandle) -> None:
    """Skip on a backend that cannot continue a run, after it has refused to do it."""
    if backend_project.like != "kubeflow":
        with pytest.raises(Unsupported, match="cannot continue a run") as caught:
            kfgcp.retry(handle)
        assert f"kfgcp rerun {handle.run_id}" in caught.value.hint
        pytest.skip("refused: its runs end for good, rerun makes another")


@pytest.mark.feature("Again: retry lets a failed run go on, as the same run")
def test_a_failed_run_continues_as_the_same_run(
    backend_project: BackendProject, tmp_path: Path, eventually: WaitFor
) -> None:
    handle = backend_project.run("needs_file", {"folder": str(tmp_path)})
    assert states(handle.snapshot) == {"note": OK, "need": TaskState.FAILED}
    before = handle.task("note").snapshot
    _skip_without_retry(backend_project, handle)
    (tmp_path / "go").touch()
    # Kubeflow gives times in whole seconds.
    ended_at = handle.snapshot.ended_at
    assert ended_at is not None
    next_second = datetime.fromisoformat(ended_at) + timedelta(seconds=1)
    eventually(lambda: datetime.now(UTC) >= next_second)

    again = kfgcp.retry(handle.run_id, timeout=PROCESS)

    assert (again.run_id, again.state, again.snapshot.error) == (
        handle.run_id,
        RunState.SUCCEEDED,
        None,
    )
    assert states(again.snapshot) == {"note": OK, "need": OK}
    assert again.task("note").snapshot == before
    assert len((tmp_path / "noted").read_text().splitlines()) == 1, (
        "the task `note` ran a second time"
    )
    assert again.task("need").outputs == {"Output": "went"}
    assert again.snapshot.ended_at is not None
    assert again.snapshot.ended_at > ended_at
    assert [run.run_id for run in api.list()].count(handle.run_id) == 1


def test_running_and_succeeded_runs_are_not_retried(
    backend_project: BackendProject, eventually: WaitFor
) -> None:
    asleep, succeeded = (
        backend_project.submit("sleeps"),
        backend_project.run("echo", {"text": "done"}),
    )
    try:
        if backend_project.like != "kubeflow":
            return
        with pytest.raises(UsageError, match=r"is (PENDING|RUNNING)") as caught:
            kfgcp.retry(asleep.run_id)
        assert f"kfgcp watch {asleep.run_id}" in caught.value.hint
        with pytest.raises(UsageError, match="has succeeded") as caught:
            kfgcp.retry(succeeded.run_id)
        assert f"kfgcp rerun {succeeded.run_id}" in caught.value.hint
    finally:
        asleep.cancel().wait(PROCESS, check=False)


def test_the_command_line_continues_a_run_too(
    backend_project: BackendProject, command: Command, tmp_path: Path
) -> None:
    handle = backend_project.run("needs_file", {"folder": str(tmp_path)})
    (tmp_path / "go").touch()

    result = command("retry", handle.run_id, "--json")

    if backend_project.like != "kubeflow":
        assert result.code == 5
        assert f"kfgcp rerun {handle.run_id}" in result.err
        return
    assert result.code == 0, result.err
    assert (result.json["run_id"], result.json["state"]) == (handle.run_id, "SUCCEEDED")
    assert "need" in result.err, "the tasks are not shown while the run continues"
    assert command("retry", handle.run_id).code == 2


def test_the_command_line_repeats_a_run_too(
    backend_project: BackendProject, command: Command
) -> None:
    first = backend_project.run("chain", {"n": 6})

    result = command("rerun", first.run_id, "--from", "add-2", "-p", "n=6", "--json")

    assert result.code == 0, result.err
    assert {
        task["path"]: task["state"] for task in result.json["tasks"] if task["kind"] == "container"
    } == {
        "add": "CACHED",
        "inner/double": "CACHED",
        "inner/add": "CACHED",
        "add-2": "SUCCEEDED",
    }
    assert api.show(result.json["run_id"]).to_dict() == result.json
