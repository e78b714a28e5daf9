"""A run is followed: every state and every line once, in their order, and to its end."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import kfgcp
from followed_runs import RUN, FollowedRun, describe, task
from kfgcp import LogLine, RunEnded, Workspace
from kfgcp.engine.loop import Engine
from kfgcp.errors import RunTimeout, UsageError
from kfgcp.model import RunState, Task, TaskState
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store
from kfgcp.tracking.update_batches import LINES, in_batches
from kfgcp.tracking.updates import RunUpdates
from patience import PROCESS


def test_each_thing_that_happens_is_one_update(follow: Callable[..., FollowedRun]) -> None:
    run = follow(state=RunState.PENDING)

    updates = run.updates(
        lambda: run.change(task(TaskState.RUNNING), state=RunState.RUNNING),
        lambda: run.write(b"one\ntw"),
        lambda: run.write(b"o\nthree"),
        lambda: None,
        lambda: run.change(
            task(TaskState.SUCCEEDED), task(TaskState.SKIPPED, 0, "u"), state=RunState.SUCCEEDED
        ),
    )

    assert describe(updates) == [
        "run PENDING",
        "run RUNNING",
        "t RUNNING",
        "t.1: one",
        "t.1: two",
        "run SUCCEEDED",
        "t.1: three",
        "t SUCCEEDED",
        "u SKIPPED",
        "ended SUCCEEDED",
    ]


def test_the_last_update_and_the_handle_have_the_whole_run(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()

    *_, last = run.updates(lambda: run.change(task(TaskState.SUCCEEDED), state=RunState.SUCCEEDED))

    assert isinstance(last, RunEnded)
    assert last.run == run.store.get(RUN) == run.handle.snapshot
    assert last.run.tasks == (task(TaskState.SUCCEEDED),)


def test_a_run_that_has_ended_is_followed_from_its_beginning(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow(task(TaskState.FAILED, 2), state=RunState.FAILED)
    run.write(b"first\n")
    run.write(b"second", attempt=2)

    assert describe(run.updates()) == [
        "run FAILED",
        "t RUNNING",
        "t.1: first",
        "t.2: second",
        "t FAILED",
        "ended FAILED",
    ]


def test_lines_of_a_task_that_continues_after_an_interruption_come_once(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow(task(TaskState.CANCELLED))
    run.write(b"first\n", attempt=1)

    def continue_run() -> None:
        run.write(b"second\n", attempt=2)
        run.change(task(TaskState.RUNNING, attempts=2))

    texts = describe(
        run.updates(
            continue_run,
            lambda: run.change(task(TaskState.SUCCEEDED, attempts=2), state=RunState.SUCCEEDED),
        )
    )

    assert [text for text in texts if text.startswith("t")] == [
        "t RUNNING",
        "t.1: first",
        "t CANCELLED",
        "t RUNNING",
        "t.2: second",
        "t SUCCEEDED",
    ]


def test_without_logs_no_log_is_read(follow: Callable[..., FollowedRun]) -> None:
    run = follow(task(TaskState.SUCCEEDED), state=RunState.SUCCEEDED)
    run.write(b"first\n")

    assert describe(run.updates(logs=False)) == [
        "run SUCCEEDED",
        "t RUNNING",
        "t SUCCEEDED",
        "ended SUCCEEDED",
    ]


def test_a_change_during_a_look_is_one_update(
    follow: Callable[..., FollowedRun], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends after the look has begun: its end and its line belong to the next look."""
    run = follow(task(TaskState.RUNNING))
    run.write(b"one\n")
    ends = [Changes(tasks=[task(TaskState.SUCCEEDED)])]
    read_rev = run.store.rev

    def rev_before_the_end(run_id: str) -> int:
        rev = read_rev(run_id)
        if ends:
            with Store(home / ".kfgcp") as engine:
                engine.apply(run_id, ends.pop())
        return rev

    monkeypatch.setattr(run.store, "rev", rev_before_the_end)

    texts = describe(run.updates(lambda: None, lambda: run.change(state=RunState.SUCCEEDED)))

    assert sorted(texts) == sorted(
        ["run RUNNING", "t RUNNING", "t.1: one", "t SUCCEEDED", "run SUCCEEDED", "ended SUCCEEDED"]
    )
    assert texts.index("t RUNNING") < texts.index("t.1: one") < texts.index("t SUCCEEDED")


def test_the_backend_is_asked_by_its_pace_and_the_store_more_often(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()
    pauses = [lambda: None] * 25

    describe(run.updates(*pauses, lambda: run.change(state=RunState.SUCCEEDED)))

    seconds = 0.1 * (len(pauses) + 1)
    assert run.backend.looks == 1 + int(seconds / run.backend.pace.shortest) + 1, (
        "one more look at the end reads the whole run"
    )
    assert run.backend.threads == {threading.get_ident()}, "a backend belongs to one thread"


def test_a_run_continues_after_the_timeout(follow: Callable[..., FollowedRun]) -> None:
    run = follow()

    with pytest.raises(RunTimeout, match=f"Run {RUN} is still RUNNING after 7 s"):
        describe(run.updates(timeout=7.0))

    assert 1007.0 <= run.now < 1007.2
    assert run.store.get(RUN).state is RunState.RUNNING


def test_a_wrong_timeout_is_an_error_before_the_first_update(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()

    for timeout in (-0.1, float("nan"), "5"):
        with pytest.raises(UsageError, match="The timeout must be a number of seconds"):
            run.handle.updates(timeout=timeout)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="The timeout must be a number of seconds"):
            run.handle.wait(timeout=timeout)  # type: ignore[arg-type]


def test_all_updates_so_far_can_be_taken_without_waiting(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow(task(TaskState.RUNNING))
    updates = run.updates()

    assert describe(updates.available()) == ["run RUNNING", "t RUNNING"]
    assert describe(updates.available()) == []
    run.change(task(TaskState.SUCCEEDED), state=RunState.SUCCEEDED)
    assert not updates.have_ended
    assert describe(updates.available()) == ["run SUCCEEDED", "t SUCCEEDED", "ended SUCCEEDED"]
    assert updates.have_ended
    assert list(updates) == []
    assert run.now == 1000.0


def test_on_pause_is_called_after_the_updates_of_each_look(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow(task(TaskState.RUNNING))
    events: list[str] = []
    updates = RunUpdates(
        run.handle,
        on_pause=lambda: events.append("pause"),
        sleep=lambda _: run.change(state=RunState.SUCCEEDED),
    )

    events.extend(describe(updates))

    assert events == ["pause", "run RUNNING", "t RUNNING", "run SUCCEEDED", "ended SUCCEEDED"]


# -- in this process


def test_a_run_of_this_process_is_followed_without_asking_its_backend(
    home: Path, pipeline: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kfgcp.submit(str(pipeline("echo")), in_process=True)
    monkeypatch.setattr(
        type(run.backend), "get", lambda self, ref: pytest.fail("the engine is here")
    )

    texts = describe(run.updates())

    assert [text for text in texts if not text.startswith("run ")] == [
        "say RUNNING",
        "say.1: hello",
        "say SUCCEEDED",
        "ended SUCCEEDED",
    ]
    assert run.engine is not None
    assert run.engine.has_ended


def test_the_error_of_an_engine_is_raised_where_its_run_is_followed(
    home: Path, pipeline: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfgcp.engine.loop.Engine.execute", lambda self: int("not a number"))
    run = kfgcp.submit(str(pipeline("echo")), in_process=True)

    with pytest.raises(ValueError, match="not a number"):
        run.wait(PROCESS)


def test_a_run_of_this_process_continues_when_its_workspace_is_closed(
    home: Path, pipeline: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Engine.execute
    is_closed = threading.Event()

    def execute_after_close(engine: Engine) -> RunState:
        assert is_closed.wait(PROCESS)
        return execute(engine)

    monkeypatch.setattr(Engine, "execute", execute_after_close)
    with Workspace.open() as workspace:
        run = workspace.submit(str(pipeline("echo")), in_process=True)
    is_closed.set()
    assert run.engine is not None
    run.engine.finish()

    assert kfgcp.show(run.run_id).state is RunState.SUCCEEDED
    with pytest.raises(UsageError, match="was closed"):
        run.refresh()
    with pytest.raises(UsageError, match="was closed"):
        workspace.store.get(run.run_id)


def test_two_threads_follow_one_run(home: Path, pipeline: Callable[[str], Path]) -> None:
    run = kfgcp.submit(str(pipeline("echo")))
    followers: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: followers.append(describe(run.updates()))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROCESS)

    for texts in followers:
        assert [text for text in texts if not text.startswith("run ")] == [
            "say RUNNING",
            "say.1: hello",
            "say SUCCEEDED",
            "ended SUCCEEDED",
        ]
    assert len(followers) == 2


# -- in batches


def test_batches_have_what_is_new_at_each_look(follow: Callable[..., FollowedRun]) -> None:
    run = follow(state=RunState.PENDING)
    updates = run.updates(
        lambda: run.change(task(TaskState.RUNNING), state=RunState.RUNNING),
        lambda: run.write(b"one\n"),
        lambda: run.change(
            task(TaskState.SUCCEEDED), task(TaskState.SKIPPED, 0, "u"), state=RunState.SUCCEEDED
        ),
    )

    batches = [
        (
            batch.run.state.value,
            [f"{task.path} {task.state}" for task in batch.tasks],
            [line.text for line in batch.lines],
        )
        for batch in in_batches(updates)
    ]

    assert batches == [
        ("PENDING", [], []),
        ("RUNNING", ["t RUNNING"], []),
        ("RUNNING", [], ["one"]),
        ("SUCCEEDED", ["t SUCCEEDED", "u SKIPPED"], []),
    ]


def test_batches_of_a_long_log_have_a_limit(follow: Callable[..., FollowedRun]) -> None:
    run = follow(task(TaskState.SUCCEEDED), state=RunState.SUCCEEDED)
    run.write(b"".join(b"%d\n" % number for number in range(LINES + 10)))

    first, second = in_batches(run.updates())

    assert [line.text for line in (*first.lines, *second.lines)] == [
        str(number) for number in range(LINES + 10)
    ]
    assert len(first.lines) == LINES
    assert [task.state for task in (*first.tasks, *second.tasks)] == [
        TaskState.RUNNING,
        TaskState.SUCCEEDED,
    ]


class ReadsTheRunItself:
    """Logs that are newer than the tasks of the same look, as those of Kubeflow are.

    The run changes when the logs are read, as it does when a task starts between the two requests.
    """

    late_seconds = 0.0

    def __init__(self, *readings: tuple[Callable[[], object], list[LogLine]]) -> None:
        self.readings = list(readings)

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        if self.readings:
            change, lines = self.readings.pop(0)
            change()
            yield from lines


def test_a_line_that_is_newer_than_the_tasks_of_its_look_comes_after_the_start(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow(task(TaskState.RUNNING, path="a"))

    def end_a_and_start_b() -> None:
        run.change(task(TaskState.SUCCEEDED, path="a"), task(TaskState.RUNNING, path="b"))

    run.backend.tail_of_run = ReadsTheRunItself(
        (lambda: None, []),
        (end_a_and_start_b, [LogLine("b", 1, "first"), LogLine("b", 1, "second")]),
        (lambda: None, [LogLine("a", 1, "the last line of a")]),
    )
    requests_before_pause = []

    texts = describe(
        run.updates(
            lambda: requests_before_pause.append(run.backend.looks),
            lambda: requests_before_pause.append(run.backend.looks),
            lambda: run.change(task(TaskState.SUCCEEDED, path="b"), state=RunState.SUCCEEDED),
        )
    )

    assert texts == [
        "run RUNNING",
        "a RUNNING",
        "b RUNNING",
        "b.1: first",
        "b.1: second",
        "a.1: the last line of a",
        "a SUCCEEDED",
        "run SUCCEEDED",
        "b SUCCEEDED",
        "ended SUCCEEDED",
    ]
    assert requests_before_pause == [1, 2], (
        "one request of the first look and one for the start of b"
    )


def test_lines_of_a_task_that_never_appears_cost_one_more_request(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()
    lines = [LogLine("ghost", 1, str(number)) for number in range(100)]
    run.backend.tail_of_run = ReadsTheRunItself((lambda: None, lines), (lambda: None, lines))
    requests_before_pause = []

    texts = describe(
        run.updates(
            lambda: requests_before_pause.append(run.backend.looks),
            lambda: requests_before_pause.append(run.backend.looks),
            lambda: run.change(state=RunState.SUCCEEDED),
        )
    )

    assert sum(text.startswith("ghost") for text in texts) == 200
    assert requests_before_pause == [2, 2]
