"""Submitting, looking up, listing, waiting, watching, cancelling and deleting runs."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

import kfgcp
from backend_project import BackendProject
from kfgcp import api
from kfgcp.backends.base import Backend, LogFilter, RunRef
from kfgcp.backends.registry import open_backend
from kfgcp.errors import NotFound, ParamError, RunTimeout, UsageError
from kfgcp.model import RunState, TaskState
from kfgcp.query import RunFilter
from kfgcp.tracking.handle import RunHandle
from patience import PROCESS, WaitFor

NOT_ENDED = (RunState.PENDING, RunState.RUNNING)


@pytest.fixture
def asleep(backend_project: BackendProject) -> Iterator[RunHandle]:
    """Return a run that continues until it is cancelled."""
    handle = backend_project.submit("sleeps")
    yield handle
    handle.cancel().wait(PROCESS, check=False)


def _backend(backend_project: BackendProject) -> Backend:
    return open_backend(backend_project.project, backend_project.project.env(backend_project.env))


def _wait_for_first_task(handle: RunHandle, eventually: WaitFor) -> None:
    """Wait until the first task of a run is running."""
    eventually(lambda: any(task.state is TaskState.RUNNING for task in handle.refresh().tasks))


@pytest.mark.feature("Verbs: submit returns at once")
def test_submit_returns_at_once_and_the_run_continues(
    backend_project: BackendProject, asleep: RunHandle, eventually: WaitFor
) -> None:
    assert asleep.state in NOT_ENDED
    assert asleep.snapshot.ended_at is None
    assert [run.run_id for run in api.list(RunFilter(states=NOT_ENDED))] == [asleep.run_id]
    _wait_for_first_task(asleep, eventually)
    assert asleep.state is RunState.RUNNING


@pytest.mark.feature("Verbs: wait, with a time")
def test_waiting_ends_with_the_time_and_the_run_continues(
    backend_project: BackendProject, asleep: RunHandle
) -> None:
    began = time.monotonic()

    with pytest.raises(RunTimeout, match=asleep.run_id) as caught:
        asleep.wait(0.3)

    assert time.monotonic() - began >= 0.3
    assert f"kfgcp cancel {asleep.run_id}" in caught.value.hint
    assert asleep.refresh().state in NOT_ENDED


@pytest.mark.feature("Verbs: cancel")
def test_a_running_run_is_cancelled_and_cancelling_again_is_not_an_error(
    backend_project: BackendProject, eventually: WaitFor
) -> None:
    handle = backend_project.submit("sleeps")
    _wait_for_first_task(handle, eventually)

    first = _backend(backend_project).cancel(handle.ref)
    second = _backend(backend_project).cancel(handle.ref)
    handle.wait(PROCESS, check=False)

    assert first in (RunState.RUNNING, RunState.CANCELLING, RunState.CANCELLED)
    assert second in (RunState.RUNNING, RunState.CANCELLING, RunState.CANCELLED)
    assert handle.state is RunState.CANCELLED
    assert {task.path: task.state for task in handle.snapshot.tasks}["sleep"] is TaskState.CANCELLED
    assert handle.snapshot.error is None
    assert _backend(backend_project).cancel(handle.ref) is RunState.CANCELLED


def test_cancelling_a_run_that_has_ended_changes_nothing(backend_project: BackendProject) -> None:
    handle = backend_project.shared("echo")
    before = handle.snapshot

    assert handle.cancel().snapshot == before
    assert _backend(backend_project).cancel(handle.ref) is RunState.SUCCEEDED


def test_a_run_under_way_is_not_deleted(backend_project: BackendProject, asleep: RunHandle) -> None:
    with pytest.raises(UsageError, match=r"is (PENDING|RUNNING)") as caught:
        asleep.delete()

    assert f"kfgcp cancel {asleep.run_id}" in caught.value.hint
    assert asleep.refresh().state in NOT_ENDED


@pytest.mark.feature("Verbs: delete")
def test_a_deleted_run_is_gone(backend_project: BackendProject) -> None:
    handle = backend_project.run("echo", {"text": "to be deleted"})

    api.delete(handle.run_id)

    with pytest.raises((UsageError, NotFound), match=f"no run '{handle.run_id}'"):
        api.show(handle.run_id)
    with pytest.raises((UsageError, NotFound), match=f"no run '{handle.run_id}'"):
        _backend(backend_project).get(handle.ref)
    assert handle.run_id not in [run.run_id for run in api.list()]


def test_a_run_that_is_not_there_is_a_usage_error(backend_project: BackendProject) -> None:
    for verb in (
        _backend(backend_project).get,
        _backend(backend_project).cancel,
        _backend(backend_project).delete,
    ):
        with pytest.raises((UsageError, NotFound), match="no run 'nobody-0000'"):
            verb(RunRef(backend_project.env, "nobody-0000"))


def test_a_wrong_parameter_makes_no_run(backend_project: BackendProject) -> None:
    before = [run.run_id for run in api.list()]

    for params in ({"txet": "hello"}, {"text": None}):
        with pytest.raises(ParamError, match="Wrong parameters"):
            backend_project.submit("echo", params)

    assert [run.run_id for run in api.list()] == before


@pytest.mark.feature("Verbs: list, in pages, by pipeline, experiment, state, label and age")
def test_lists_are_in_pages_newest_first_and_filtered(backend_project: BackendProject) -> None:
    run_ids = [
        backend_project.run(
            "echo", {"text": f"page {n}"}, experiment="pages", labels={"n": str(n)}
        ).run_id
        for n in range(3)
    ]
    backend = _backend(backend_project)

    first = backend.list(RunFilter(experiment="pages"), size=2)
    second = backend.list(RunFilter(experiment="pages"), page=first.next, size=2)

    assert [run.run_id for run in (*first.items, *second.items)] == run_ids[::-1]
    assert (len(first.items), second.next) == (2, None)
    assert all((run.tasks, run.artifacts) == ((), ()) for run in first.items)
    created = [run.created_at for run in (*first.items, *second.items)]
    assert created == sorted(created, reverse=True)

    def list_run_ids(**conditions: Any) -> list[str]:
        return [
            run.run_id for run in backend.list(RunFilter(experiment="pages", **conditions)).items
        ]

    assert list_run_ids(labels={"n": "1"}) == [run_ids[1]]
    assert list_run_ids(labels={"n": "1", "pipeline": "chain"}) == []
    assert list_run_ids(states=[RunState.FAILED, RunState.CANCELLED]) == []
    assert list_run_ids(states=[RunState.SUCCEEDED]) == run_ids[::-1]
    assert list_run_ids(pipeline="chain") == []
    assert list_run_ids(since=created[1]) == run_ids[:0:-1]
    assert list_run_ids(since="2100-01-01T00:00:00.000Z") == []
    assert backend.list(RunFilter(experiment="nobody")).items == []


@pytest.mark.feature("Verbs: watch")
def test_watching_shows_each_task_and_line_once_and_ends_with_the_run(
    backend_project: BackendProject,
) -> None:
    handle = backend_project.submit("chain", {"n": 5})

    states: dict[str, list[TaskState]] = {}
    lines = []
    for update in kfgcp.watch(handle.run_id):
        for task in update.tasks:
            states.setdefault(task.path, []).append(task.state)
        lines += [(line.task, line.attempt, line.text) for line in update.lines]
        last = update.run

    assert last.state is RunState.SUCCEEDED
    assert (last.tasks, last.artifacts) == ((), ())
    assert {path: seen[-1] for path, seen in states.items()} == dict.fromkeys(
        ("add", "inner", "inner/double", "inner/add", "add-2"), TaskState.SUCCEEDED
    )
    assert sorted(lines) == [
        ("add", 1, "5 + 1"),
        ("add-2", 1, "22 + 1"),
        ("inner/add", 1, "12 + 10"),
    ]


def test_watching_a_run_that_has_ended_gives_all_of_it(backend_project: BackendProject) -> None:
    handle = backend_project.shared("echo")

    updates = [
        (update.run.state, [task.path for task in update.tasks], list(update.lines))
        for update in kfgcp.watch(handle.run_id)
    ]

    assert [state for state, _, _ in updates] == [RunState.SUCCEEDED]
    assert updates[0][1] == ["say"]
    assert [line.text for line in updates[0][2]] == ["hello"]


def test_watching_one_task(backend_project: BackendProject) -> None:
    handle = backend_project.shared("chain", {"n": 7})

    (update,) = kfgcp.watch(handle.run_id, logs=LogFilter(task="inner/add"))
    assert [(line.task, line.text) for line in update.lines] == [("inner/add", "16 + 10")]
    (update,) = kfgcp.watch(handle.run_id, logs=False)
    assert list(update.lines) == []


@pytest.mark.feature("Logs: as they are written")
def test_the_tail_of_a_run_follows_it(
    backend_project: BackendProject, asleep: RunHandle, eventually: WaitFor
) -> None:
    if backend_project.version == "3.0":
        pytest.skip("refused: the server names the pod of a program when the program has ended")
    tail = asleep.tail()
    lines: list[tuple[str, str]] = []

    def read_lines() -> list[tuple[str, str]]:
        lines.extend((line.task, line.text) for line in tail.read(asleep.refresh().snapshot.tasks))
        return lines

    eventually(read_lines)
    assert lines == [("sleep", "asleep")]
    assert list(tail.read([])) == [], "the tail returned a line twice"


def test_a_handle_is_what_can_be_known_and_done(backend_project: BackendProject) -> None:
    handle = backend_project.shared("chain", {"n": 7})

    assert repr(handle) == f"<run {handle.run_id} of chain: SUCCEEDED>"
    assert handle.outputs == {"Output": 27}
    assert handle.params == {"n": 7}
    assert handle.task("inner/add").outputs == {"Output": 26}
    assert handle.task("inner/add").logs() == ["16 + 10"]
    assert [line.text for line in handle.logs("add", 1)] == ["7 + 1"]
    assert list(handle.logs("add", 2)) == []
    assert handle.refresh() is handle
    assert handle.to_dict() == api.show(handle.run_id).to_dict()
    assert kfgcp.show(handle.run_id[-12:][:6]).run_id == handle.run_id, (
        "the beginning of the random part is enough"
    )
    with pytest.raises(UsageError, match="no task 'innr/add'"):
        handle.task("innr/add")
    frame = kfgcp.runs(pipeline="chain")
    assert 7 in list(frame["params.n"])
