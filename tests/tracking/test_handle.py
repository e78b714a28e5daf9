"""The handle of a run, on a backend that is only a list of answers."""

import copy
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kfgcp.backends.base import (
    Backend,
    LogFilter,
    LogLine,
    LogTail,
    Pace,
    Page,
    RunRef,
    SubmitRequest,
)
from kfgcp.errors import RunFailed, RunTimeout, Unsupported, UsageError
from kfgcp.model import ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.query import RunFilter
from kfgcp.tracking.handle import RunHandle, TaskHandle
from kfgcp.tracking.open_project import OpenProject
from patience import PROCESS

MakeRun = Callable[..., Run]
REF = RunRef("local", "aaaa00000001")


class Answers:
    """A backend that gives one answer after another, and the last one for ever."""

    pace = Pace(0.01, 0.05)

    def __init__(self, *runs: Run) -> None:
        self.runs = list(runs)
        self.cancelled: list[RunRef] = []

    def notes(self, request: SubmitRequest) -> Sequence[str]:
        return ()

    def submit(self, request: SubmitRequest) -> RunRef:
        raise AssertionError("these tests do not submit")

    def get(self, ref: RunRef) -> Run:
        assert ref == REF
        return self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]

    def list(self, run_filter: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        raise AssertionError("these tests do not list")

    def cancel(self, ref: RunRef) -> RunState:
        self.cancelled.append(ref)
        return self.runs[0].state


class Talking(Answers):
    lines: Sequence[LogLine] = (
        LogLine("train", 1, "a"),
        LogLine("train", 2, "b"),
        LogLine("eval", 1, "c"),
    )

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        for line in self.lines:
            if log_filter.task in (None, line.task) and log_filter.attempt in (None, line.attempt):
                yield line

    def tail(self, ref: RunRef, log_filter: LogFilter) -> LogTail:
        raise AssertionError("these tests do not follow logs")


class OneBackend(OpenProject):
    """A project whose only environment has the given backend."""

    def __init__(self, folder: Path | None = None, backend: Answers | None = None) -> None:
        super().__init__(folder)
        self.only_backend = backend

    def backend(self, env: str | None = None) -> Backend:
        assert self.only_backend is not None
        return self.only_backend


def _handle(backend: Answers) -> RunHandle:
    return RunHandle(OneBackend(backend=backend), REF, backend.get(REF))


def test_facts_are_those_of_the_last_look(make_run: MakeRun) -> None:
    handle = _handle(
        Answers(make_run(state=RunState.RUNNING), make_run(outputs={"Output": 1}, params={"n": 2}))
    )

    assert (handle.run_id, handle.state, handle.outputs) == ("aaaa00000001", RunState.RUNNING, {})
    assert handle.refresh() is handle
    assert (handle.state, handle.outputs, handle.params) == (
        RunState.SUCCEEDED,
        {"Output": 1},
        {"n": 2},
    )


def test_metrics_of_the_same_name_are_both_there(make_run: MakeRun) -> None:
    metrics = (Metric("a", "m", "accuracy", 0.5), Metric("b", "m", "accuracy", 1))

    handle = _handle(Answers(make_run(metrics=metrics)))

    assert handle.metrics == {"a/m/accuracy": 0.5, "b/m/accuracy": 1}
    assert handle.metric_list == metrics


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
def test_wait_without_a_check_returns_however_the_run_ends(
    make_run: MakeRun, state: RunState
) -> None:
    unfinished = [
        make_run(state=state) for state in (RunState.PENDING, RunState.RUNNING, RunState.PAUSED)
    ]

    handle = _handle(Answers(*unfinished, make_run(state=state)))

    assert handle.wait(timeout=PROCESS, check=False).state is state


def test_wait_raises_when_the_run_failed(make_run: MakeRun) -> None:
    error = ErrorInfo("ValueError: no luck", "inner/train", ("epoch 1", "epoch 2"), "Try again.")
    handle = _handle(
        Answers(make_run(state=RunState.RUNNING), make_run(state=RunState.FAILED, error=error))
    )

    with pytest.raises(RunFailed) as caught:
        handle.wait(timeout=PROCESS)

    failure = caught.value
    assert failure.message == "Run aaaa00000001 of train failed in inner/train: ValueError: no luck"
    assert failure.hint == "Try again."
    assert (failure.run_id, failure.state, failure.task) == (
        "aaaa00000001",
        "FAILED",
        "inner/train",
    )
    assert failure.log_tail == ("epoch 1", "epoch 2")
    assert failure.exit_code == 6
    shown = "".join(traceback.format_exception(failure))
    assert shown.endswith(
        "The last lines of the log of inner/train:\nepoch 1\nepoch 2\nhint: Try again.\n"
    )
    assert handle.state is RunState.FAILED, "the handle knows how the run ended"


def test_wait_raises_when_the_run_was_cancelled(make_run: MakeRun) -> None:
    with pytest.raises(RunFailed) as caught:
        _handle(Answers(make_run(state=RunState.CANCELLED))).wait(timeout=PROCESS)

    assert caught.value.message == "Run aaaa00000001 of train was cancelled."
    assert (caught.value.state, caught.value.task, caught.value.log_tail) == ("CANCELLED", "", ())
    assert caught.value.hint == "kfgcp show aaaa00000001"


def test_a_failure_can_be_pickled(make_run: MakeRun) -> None:
    """Process pools bring errors back this way."""
    error = ErrorInfo("boom", "train", ("last line",))
    with pytest.raises(RunFailed) as caught:
        _handle(Answers(make_run(state=RunState.FAILED, error=error))).wait()

    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes

    assert (copied.message, copied.task, copied.log_tail) == (
        caught.value.message,
        "train",
        ("last line",),
    )


def test_wait_stops_when_its_time_is_over_and_says_how_to_continue(make_run: MakeRun) -> None:
    handle = _handle(Answers(make_run(state=RunState.RUNNING)))

    with pytest.raises(RunTimeout, match=r"aaaa00000001 is still RUNNING after 0\.01 s") as caught:
        handle.wait(timeout=0.01)

    assert "kfgcp watch aaaa00000001" in caught.value.hint
    assert "kfgcp cancel aaaa00000001" in caught.value.hint


def test_wait_for_no_time_looks_once(make_run: MakeRun) -> None:
    assert (
        _handle(Answers(make_run(state=RunState.RUNNING), make_run())).wait(timeout=0).state
        is RunState.SUCCEEDED
    )
    with pytest.raises(RunTimeout):
        _handle(Answers(make_run(state=RunState.RUNNING))).wait(timeout=0)


def test_cancel_of_an_ended_run_is_not_an_error(make_run: MakeRun) -> None:
    backend = Answers(make_run())

    assert _handle(backend).cancel().state is RunState.SUCCEEDED
    assert backend.cancelled == [REF]


def test_a_task_by_its_path(make_run: MakeRun) -> None:
    task = Task(
        "inner/train", TaskKind.CONTAINER, TaskState.FAILED, attempts=2, error=ErrorInfo("no")
    )
    handle = _handle(
        Answers(make_run(tasks=(task, Task("eval", TaskKind.CONTAINER, TaskState.SKIPPED))))
    )

    train_task = handle.task("inner/train")

    assert (train_task.snapshot, train_task.state, train_task.attempts, train_task.error) == (
        task,
        TaskState.FAILED,
        2,
        ErrorInfo("no"),
    )
    assert repr(train_task) == "<task inner/train: FAILED>"
    assert [task.path for task in handle.tasks] == ["inner/train", "eval"]


@pytest.mark.parametrize(
    ("tasks", "task_list"),
    [
        (("a", "b"), "The tasks of the run: a, b."),
        ((), "The tasks of the run: none yet."),
        (
            ("retrain", "loop[0]", "loop[0]/train", "loop[1]/train"),
            "Tasks with that name: loop[0]/train, loop[1]/train.",
        ),
        (
            tuple(f"loop[{number}]/train" for number in range(1000)),
            (
                "Tasks with that name:"
                f" {', '.join(f'loop[{number}]/train' for number in range(20))}, and 980 more."
            ),
        ),
    ],
)
def test_a_task_that_is_not_there_names_those_that_are(
    make_run: MakeRun, tasks: tuple[str, ...], task_list: str
) -> None:
    run = make_run(tasks=tuple(Task(path, TaskKind.CONTAINER, TaskState.RUNNING) for path in tasks))

    with pytest.raises(UsageError, match="has no task 'train'") as caught:
        _handle(Answers(run)).task("train")

    assert caught.value.hint == task_list


def test_a_task_of_a_loop_without_its_iteration_names_the_iterations(make_run: MakeRun) -> None:
    paths = ("outer[0]/loop[1]/train", "outer[0]/loop[1]/eval")
    run = make_run(tasks=tuple(Task(path, TaskKind.CONTAINER, TaskState.RUNNING) for path in paths))

    with pytest.raises(UsageError, match="has no task") as caught:
        _handle(Answers(run)).task("outer/loop/train")

    assert caught.value.hint == "Tasks with that name: outer[0]/loop[1]/train."


def test_logs_of_a_run_a_task_and_an_attempt(make_run: MakeRun) -> None:
    tasks = tuple(Task(path, TaskKind.CONTAINER, TaskState.SUCCEEDED) for path in ("train", "eval"))
    handle = _handle(Talking(make_run(tasks=tasks)))

    assert [line.text for line in handle.logs()] == ["a", "b", "c"]
    assert [line.text for line in handle.logs("train", 2)] == ["b"]
    assert handle.task("train").logs() == ["a", "b"]
    assert handle.task("train").logs(attempt=1) == ["a"]
    with pytest.raises(UsageError, match="has no task 'tarin'"):
        handle.logs("tarin")


def test_a_backend_without_logs_says_so(make_run: MakeRun) -> None:
    with pytest.raises(Unsupported, match="The backend of environment 'local' keeps no logs"):
        _handle(Answers(make_run())).logs()


def test_a_handle_shows_what_it_is(make_run: MakeRun) -> None:
    handle = _handle(Answers(make_run()))

    assert repr(handle) == "<run aaaa00000001 of train: SUCCEEDED>"
    assert handle.to_dict() == make_run().to_dict() == handle.snapshot.to_dict()


def test_a_handle_can_be_copied(make_run: MakeRun) -> None:
    handle = _handle(
        Talking(make_run(tasks=(Task("train", TaskKind.CONTAINER, TaskState.SUCCEEDED),)))
    )

    again: TaskHandle = copy.copy(handle.task("train"))

    assert again.snapshot == handle.task("train").snapshot
    assert pickle.loads(pickle.dumps(handle)).snapshot == handle.snapshot  # noqa: S301
