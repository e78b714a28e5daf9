"""Reading the logs of many failed tasks: in time, side by side, and not at all when the UI server
does not answer."""

import threading

import pytest

from kfgcp.backends.kubeflow import causes
from kfgcp.backends.kubeflow.read_tasks import NO_REASON, NOT_STARTED
from kfgcp.deadlines import Deadline, current_deadline
from kfgcp.errors import NotFound, Unreachable
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, Task, TaskKind, TaskState


class Clock:
    """Seconds that pass only when a log is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeLogs:
    """Logs by task: a cause, or the error that comes instead. Each takes some seconds of a clock.

    Attributes:
        asked: the tasks whose logs were read.
    """

    def __init__(
        self, logs: dict[str, str | Exception], clock: Clock | None = None, seconds: float = 0.0
    ) -> None:
        self._logs = logs
        self._clock = clock or Clock()
        self._seconds = seconds
        self._lock = threading.Lock()
        self.asked: list[str] = []

    def read_cause(self, task: str) -> str:
        assert current_deadline() is not None, "a log that never ends must not block"
        with self._lock:
            self.asked.append(task)
            self._clock.now += self._seconds
        log = self._logs[task]
        if isinstance(log, Exception):
            raise log
        return log


def test_every_failed_task_of_a_large_loop_has_its_cause() -> None:
    expected = {
        f"for-loop-1[{number}]/work": f"ValueError: item {number}" for number in range(1000)
    }
    logs = FakeLogs(dict(expected))

    errors = causes.read_causes(logs, list(expected), Deadline(60, Clock()), message_without_log="")

    assert errors == {path: ErrorInfo(cause, path) for path, cause in expected.items()}


def test_reading_stops_when_the_time_is_over() -> None:
    clock = Clock()
    paths = [f"task-{number}" for number in range(1000)]
    logs = FakeLogs(dict.fromkeys(paths, "ValueError"), clock, seconds=1.0)

    causes_by_path = causes.read_causes(logs, paths, Deadline(20, clock), message_without_log="")

    # Those that other threads have begun are read to their end.
    assert 20 <= len(causes_by_path) < 20 + causes.READERS
    assert sorted(causes_by_path) == sorted(logs.asked)


def test_nothing_more_is_read_when_the_ui_server_does_not_answer() -> None:
    paths = [f"task-{number}" for number in range(1000)]
    logs = FakeLogs(dict.fromkeys(paths, Unreachable("no answer")))

    assert causes.read_causes(logs, paths, Deadline(60, Clock()), message_without_log="lost") == {}
    assert len(logs.asked) <= causes.READERS


def test_a_log_that_is_gone_or_silent_does_not_stop_the_others() -> None:
    logs = FakeLogs(
        {"gone": NotFound("gone", status=404, reason=""), "silent": "", "loud": "ValueError"}
    )
    deadline = Deadline(60, Clock())

    assert causes.read_causes(
        logs, ["gone", "silent", "loud"], deadline, message_without_log=""
    ) == {
        "silent": ErrorInfo(
            "the task failed; its log does not say why", "silent", kind=ErrorKind.LOG_SILENT
        ),
        "loud": ErrorInfo("ValueError", "loud"),
    }
    assert causes.read_causes(logs, ["gone"], deadline, message_without_log=causes.LOST) == {
        "gone": ErrorInfo("the task failed; its log was not kept", "gone"),
    }


def failed_run(*errors: tuple[str, ErrorInfo]) -> Run:
    tasks = [
        Task(path, TaskKind.CONTAINER, TaskState.FAILED, error=error) for path, error in errors
    ]
    return Run(
        run_id="run-1",
        env="gke",
        backend="kubeflow",
        pipeline="p",
        version="",
        state=RunState.FAILED,
        tasks=tuple(tasks),
        error=errors[0][1],
    )


def test_tasks_without_a_cause_name_the_command_that_shows_their_log() -> None:
    inner = ErrorInfo(NO_REASON, "for-loop-1[2]/work", kind=ErrorKind.LOG_UNREAD)
    driver = ErrorInfo(NOT_STARTED, "say", kind=ErrorKind.LOG_UNREAD)
    explained = ErrorInfo("OOMKilled", "big")
    run = failed_run(
        ("for-loop-1[2]", inner), ("for-loop-1[2]/work", inner), ("say", driver), ("big", explained)
    )

    assert causes.unread_tasks(run) == ["for-loop-1[2]/work", "say"]
    shown = causes.add_causes(run, {"say": ErrorInfo("no such parameter", "say")})

    hint = "kfgcp logs run-1 'for-loop-1[2]/work'"
    unread = ErrorInfo(NO_REASON, "for-loop-1[2]/work", hint=hint, kind=ErrorKind.LOG_UNREAD)
    assert [task.error for task in shown.tasks] == [
        unread,
        unread,
        ErrorInfo("no such parameter", "say"),
        explained,
    ]
    assert shown.error == unread
    assert causes.unread_tasks(shown) == ["for-loop-1[2]/work"], "the next look continues here"
    explained = causes.add_causes(
        shown, {"for-loop-1[2]/work": ErrorInfo("ValueError", "for-loop-1[2]/work")}
    )
    assert explained.error == ErrorInfo("ValueError", "for-loop-1[2]/work")
    assert causes.unread_tasks(explained) == []


@pytest.mark.parametrize(
    "error",
    [None, ErrorInfo(NO_REASON, kind=ErrorKind.LOG_UNREAD), ErrorInfo("ValueError: no", "say")],
)
def test_only_tasks_whose_log_was_not_read_are_unread(error: ErrorInfo | None) -> None:
    assert not causes.is_unread(error)
