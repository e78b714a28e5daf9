"""A run is followed: every state and every line once, in their order, through outages and to its
end."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import kfgcp
from kfgcp import (
    LogFilter,
    LogLine,
    LogWritten,
    RunChanged,
    RunEnded,
    RunHandle,
    RunUpdate,
    TaskChanged,
    Workspace,
)
from kfgcp.backends.base import Pace, RunRef
from kfgcp.backends.local.logs import FileTail
from kfgcp.engine.layout import log_file
from kfgcp.engine.loop import Engine
from kfgcp.errors import AuthError, RunTimeout, Unreachable, UsageError
from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store
from kfgcp.tracking.poll import OUTAGE
from kfgcp.tracking.update_batches import LINES, in_batches
from kfgcp.tracking.updates import RunUpdates
from patience import PROCESS

MakeRun = Callable[..., Run]
RUN = "aaaa00000001"


class Backend:
    """A backend with one run, which is in the store. It is for one thread.

    errors: raised by the next looks, one each; None is an answer. cancel_errors: the same of
    requests to end.
    """

    pace = Pace(1.0, 30.0)

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.tail_of_run: object = FileTail(workspace.project.home, RUN, LogFilter())
        self.errors: list[Exception | None] = []
        self.cancel_errors: list[Exception] = []
        self.ends_when_cancelled = True
        self.looks = 0
        self.threads: set[int] = set()

    def get(self, ref: RunRef) -> Run:
        self.looks += 1
        self.threads.add(threading.get_ident())
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return self._workspace.store.get(ref.run_id)

    def cancel(self, ref: RunRef) -> RunState:
        self.threads.add(threading.get_ident())
        if self.cancel_errors:
            raise self.cancel_errors.pop(0)
        if not self.ends_when_cancelled:
            return RunState.RUNNING
        self._workspace.store.apply(ref.run_id, Changes(state=RunState.CANCELLED))
        return RunState.CANCELLED

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        raise AssertionError("these tests follow the logs")

    def tail(self, ref: RunRef, log_filter: LogFilter) -> object:
        self.threads.add(threading.get_ident())
        return self.tail_of_run


class Followed:
    """A run that tests change between two looks, by a clock of their own."""

    def __init__(self, workspace: Workspace, run: Run) -> None:
        self.store = workspace.store
        self.store.add_run(run)
        self.backend = Backend(workspace)
        self.handle = RunHandle(workspace, RunRef("local", run.run_id), run)
        self.notices: list[str] = []
        self.now = 1000.0
        self._home = workspace.project.home
        self._steps: list[Callable[[], object]] = []

    def updates(
        self, *steps: Callable[[], object], logs: bool = True, timeout: float | None = None
    ) -> RunUpdates:
        """Updates whose pauses do the next thing that happens; without `steps` time just passes."""
        self._steps = list(steps)
        has_steps = bool(steps)

        def pause(seconds: float) -> None:
            self.now += seconds
            if has_steps:
                assert self._steps, "the run did not end"
                self._steps.pop(0)()

        return RunUpdates(
            self.handle,
            logs=logs,
            timeout=timeout,
            notice=self.notices.append,
            clock=lambda: self.now,
            sleep=pause,
        )

    def change(self, *tasks: Task, state: RunState | None = None) -> None:
        self.store.apply(RUN, Changes(tasks=tasks, state=state))

    def write(self, text: bytes, task: str = "t", attempt: int = 1) -> None:
        file = log_file(self._home, RUN, task, attempt)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as log:
            log.write(text)


@pytest.fixture
def follow(
    home: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Followed]]:
    """Makes a run with a state and tasks, and a backend that the test controls."""
    with Workspace.open() as workspace:

        def make(*tasks: Task, state: RunState = RunState.RUNNING) -> Followed:
            followed = Followed(workspace, make_run(RUN, state=state, tasks=tasks))
            monkeypatch.setattr(workspace, "backend", lambda env=None: followed.backend)
            return followed

        yield make


def task(state: TaskState, attempts: int = 1, path: str = "t") -> Task:
    return Task(path, TaskKind.CONTAINER, state, attempts, started_at="2026-01-01T00:00:00.000Z")


def short(updates: Iterator[RunUpdate]) -> list[str]:
    """The updates, a text each."""
    texts = []
    for update in updates:
        match update:
            case RunChanged(run):
                texts.append(f"run {run.state}")
            case TaskChanged(changed):
                texts.append(f"{changed.path} {changed.state}")
            case LogWritten(line):
                texts.append(f"{line.task}.{line.attempt}: {line.text}")
            case RunEnded(run):
                texts.append(f"ended {run.state}")
    return texts


def test_each_thing_that_happens_is_one_update(follow: Callable[..., Followed]) -> None:
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

    assert short(updates) == [
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


def test_the_last_update_and_the_handle_have_the_whole_run(follow: Callable[..., Followed]) -> None:
    run = follow()

    *_, last = run.updates(lambda: run.change(task(TaskState.SUCCEEDED), state=RunState.SUCCEEDED))

    assert isinstance(last, RunEnded)
    assert last.run == run.store.get(RUN) == run.handle.snapshot
    assert last.run.tasks == (task(TaskState.SUCCEEDED),)


def test_a_run_that_has_ended_is_told_from_its_beginning(follow: Callable[..., Followed]) -> None:
    run = follow(task(TaskState.FAILED, 2), state=RunState.FAILED)
    run.write(b"first\n")
    run.write(b"second", attempt=2)

    assert short(run.updates()) == [
        "run FAILED",
        "t RUNNING",
        "t.1: first",
        "t.2: second",
        "t FAILED",
        "ended FAILED",
    ]


def test_lines_of_a_task_that_continues_after_an_interruption_come_once(
    follow: Callable[..., Followed],
) -> None:
    run = follow(task(TaskState.CANCELLED))
    run.write(b"first\n", attempt=1)

    def continue_run() -> None:
        run.write(b"second\n", attempt=2)
        run.change(task(TaskState.RUNNING, attempts=2))

    texts = short(
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


def test_without_logs_no_log_is_read(follow: Callable[..., Followed]) -> None:
    run = follow(task(TaskState.SUCCEEDED), state=RunState.SUCCEEDED)
    run.write(b"first\n")

    assert short(run.updates(logs=False)) == [
        "run SUCCEEDED",
        "t RUNNING",
        "t SUCCEEDED",
        "ended SUCCEEDED",
    ]


def test_what_changes_during_a_look_is_told_once(
    follow: Callable[..., Followed], home: Path, monkeypatch: pytest.MonkeyPatch
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

    texts = short(run.updates(lambda: None, lambda: run.change(state=RunState.SUCCEEDED)))

    assert sorted(texts) == sorted(
        ["run RUNNING", "t RUNNING", "t.1: one", "t SUCCEEDED", "run SUCCEEDED", "ended SUCCEEDED"]
    )
    assert texts.index("t RUNNING") < texts.index("t.1: one") < texts.index("t SUCCEEDED")


def test_the_backend_is_asked_by_its_pace_and_the_store_more_often(
    follow: Callable[..., Followed],
) -> None:
    run = follow()
    pauses = [lambda: None] * 25

    short(run.updates(*pauses, lambda: run.change(state=RunState.SUCCEEDED)))

    seconds = 0.1 * (len(pauses) + 1)
    assert run.backend.looks == 1 + int(seconds / run.backend.pace.shortest) + 1, (
        "one more at the end, for all of it"
    )
    assert run.backend.threads == {threading.get_ident()}, "a backend belongs to one thread"


class Failing:
    """Logs that are refused, or out of reach, at some looks."""

    def __init__(self, *looks: Exception | str, late: float = 0.0) -> None:
        self.looks = list(looks)
        self.late_seconds = late
        self.tasks: list[list[str]] = []

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        self.tasks.append([changed.path for changed in tasks])
        look = self.looks.pop(0)
        if isinstance(look, Exception):
            raise look
        yield LogLine("t", 1, look)


def test_logs_out_of_reach_are_read_at_a_later_look(follow: Callable[..., Followed]) -> None:
    run = follow()
    run.backend.tail_of_run = Failing("a", Unreachable("no network"), "b")

    texts = short(run.updates(lambda: None, lambda: run.change(state=RunState.SUCCEEDED)))

    assert texts == ["run RUNNING", "t.1: a", "run SUCCEEDED", "t.1: b", "ended SUCCEEDED"]
    assert run.notices == []


def test_tasks_that_changed_during_an_outage_of_the_logs_are_told_to_them_later(
    follow: Callable[..., Followed],
) -> None:
    """Vertex AI names the logs of a task, and is asked for the names only when a task has
    changed."""
    run = follow(task(TaskState.RUNNING, path="a"))
    tail = Failing(Unreachable("gone"), Unreachable("gone"), "a line", "the last", late=1.0)
    run.backend.tail_of_run = tail

    short(
        run.updates(
            lambda: run.change(task(TaskState.RUNNING, path="b")),
            lambda: run.change(state=RunState.SUCCEEDED),
            lambda: None,
        )
    )

    assert tail.tasks == [["a"], ["a", "b"], ["a", "b"], []]


def test_logs_that_are_refused_are_told_once_and_the_run_is_followed(
    follow: Callable[..., Followed],
) -> None:
    run = follow()
    run.backend.tail_of_run = Failing(AuthError("May not read logs.", hint="Ask for it."))

    texts = short(run.updates(lambda: None, lambda: run.change(state=RunState.SUCCEEDED)))

    assert texts == ["run RUNNING", "run SUCCEEDED", "ended SUCCEEDED"]
    assert run.notices == ["the logs cannot be followed: May not read logs. Ask for it."]


def test_lines_that_come_after_the_end_are_waited_for(follow: Callable[..., Followed]) -> None:
    run = follow(state=RunState.FAILED)
    run.backend.tail_of_run = Failing("early", "late", Unreachable("gone"), late=1.5)

    texts = short(run.updates())

    assert texts == ["run FAILED", "t.1: early", "t.1: late", "ended FAILED"]
    assert run.now == 1002.0, "a look after each second"


def test_no_late_line_is_waited_for_when_the_time_is_over(follow: Callable[..., Followed]) -> None:
    """The run has ended in time, so this is not an error."""
    run = follow(state=RunState.FAILED)
    run.backend.tail_of_run = Failing("early", *["late"] * 30, late=30.0)

    texts = short(run.updates(timeout=1.5))

    assert texts == ["run FAILED", "t.1: early", "t.1: late", "t.1: late", "ended FAILED"]
    assert run.now == 1001.5


def test_no_late_line_is_waited_for_after_a_cancellation(follow: Callable[..., Followed]) -> None:
    run = follow(state=RunState.FAILED)
    run.backend.tail_of_run = Failing("early", *["late"] * 30, late=30.0)
    updates = run.updates()
    first = [next(updates), next(updates)]

    updates.cancel()

    assert short(iter([*first, *updates])) == ["run FAILED", "t.1: early", "ended FAILED"]
    assert run.now == 1000.0


def test_an_outage_is_told_when_it_begins_and_when_it_ends(follow: Callable[..., Followed]) -> None:
    run = follow()
    run.backend.errors = [None, Unreachable("No route to it."), Unreachable("No route to it.")]

    updates = run.updates()
    assert next(updates) == RunChanged(replace(run.handle.snapshot, tasks=()))
    while len(run.notices) < 2:
        assert list(updates.available()) == []
        updates.pause()
    run.change(state=RunState.SUCCEEDED)

    assert short(updates) == ["run SUCCEEDED", "ended SUCCEEDED"]
    assert run.notices[0].startswith("local cannot be reached; ")
    assert run.notices[1:] == ["local answers again"]


def test_a_backend_that_is_down_for_an_hour_ends_the_updates_with_its_error(
    follow: Callable[..., Followed],
) -> None:
    run = follow()
    run.backend.errors = [Unreachable("No route to it.")] * 10_000

    with pytest.raises(Unreachable, match="No route to it"):
        short(run.updates())

    assert run.now - 1000.0 >= OUTAGE
    assert len(run.notices) == 1


def test_a_run_that_is_deleted_meanwhile_is_one_clear_error(
    follow: Callable[..., Followed],
) -> None:
    run = follow()

    with pytest.raises(UsageError, match=f"no run '{RUN}'"):
        short(run.updates(lambda: run.store.forget(RUN)))


def test_a_run_that_takes_too_long_goes_on(follow: Callable[..., Followed]) -> None:
    run = follow()

    with pytest.raises(RunTimeout, match=f"Run {RUN} is still RUNNING after 7 s"):
        short(run.updates(timeout=7.0))

    assert 1007.0 <= run.now < 1007.2
    assert run.store.get(RUN).state is RunState.RUNNING


def test_a_wrong_timeout_is_an_error_before_the_first_update(
    follow: Callable[..., Followed],
) -> None:
    run = follow()

    for timeout in (-0.1, float("nan"), "5"):
        with pytest.raises(UsageError, match="The timeout must be a number of seconds"):
            run.handle.updates(timeout=timeout)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="The timeout must be a number of seconds"):
            run.handle.wait(timeout=timeout)  # type: ignore[arg-type]


def test_all_updates_so_far_can_be_taken_without_waiting(follow: Callable[..., Followed]) -> None:
    run = follow(task(TaskState.RUNNING))
    updates = run.updates()

    assert short(updates.available()) == ["run RUNNING", "t RUNNING"]
    assert short(updates.available()) == []
    run.change(task(TaskState.SUCCEEDED), state=RunState.SUCCEEDED)
    assert not updates.have_ended
    assert short(updates.available()) == ["run SUCCEEDED", "t SUCCEEDED", "ended SUCCEEDED"]
    assert updates.have_ended
    assert list(updates) == []
    assert run.now == 1000.0


def test_on_pause_is_called_after_the_updates_of_each_look(follow: Callable[..., Followed]) -> None:
    run = follow(task(TaskState.RUNNING))
    events: list[str] = []
    updates = RunUpdates(
        run.handle,
        on_pause=lambda: events.append("pause"),
        sleep=lambda _: run.change(state=RunState.SUCCEEDED),
    )

    events.extend(short(updates))

    assert events == ["pause", "run RUNNING", "t RUNNING", "run SUCCEEDED", "ended SUCCEEDED"]


# -- cancelling


def test_a_run_is_told_to_end_as_soon_as_its_backend_can_be_reached(
    follow: Callable[..., Followed],
) -> None:
    run = follow()
    run.backend.cancel_errors = [Unreachable("No route to it.")] * 2
    updates = run.updates()
    updates.cancel()

    texts = short(updates)

    assert texts == ["run RUNNING", "run CANCELLED", "ended CANCELLED"]
    assert run.notices == [
        f"run {RUN} could not be cancelled yet; kfgcp tries again: No route to it."
    ]
    assert run.backend.threads == {threading.get_ident()}, "a backend belongs to one thread"


def test_by_force_a_run_elsewhere_is_left(follow: Callable[..., Followed]) -> None:
    run = follow()
    updates = run.updates()
    next(updates)

    updates.cancel(force=True)

    assert list(updates) == []
    assert updates.have_ended
    assert run.handle.state is RunState.RUNNING


def test_by_force_a_request_that_hangs_is_left(
    follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler runs in the thread that waits for the answer."""
    run = follow()
    updates = run.updates()
    next(updates)
    run.now += 60.0
    monkeypatch.setattr(run.backend, "get", lambda ref: updates.cancel(force=True))

    assert list(updates) == []
    assert run.handle.state is RunState.RUNNING


def test_a_run_that_is_left_after_it_was_told_to_end_is_cancelling(
    follow: Callable[..., Followed],
) -> None:
    run = follow()
    run.backend.ends_when_cancelled = False
    updates = run.updates()
    next(updates)
    updates.cancel()
    assert short(updates.available()) == []
    updates.pause()
    assert short(updates.available()) == []

    updates.cancel(force=True)

    assert list(updates) == []
    assert run.handle.state is RunState.CANCELLING


def test_a_run_that_could_not_be_recorded_is_followed_by_the_answers_of_its_backend(
    follow: Callable[..., Followed], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = follow()
    running = run.store.get(RUN)
    answers = [running, replace(running, state=RunState.SUCCEEDED, tasks=(task(TaskState.CACHED),))]
    run.store.forget(RUN)
    monkeypatch.setattr(run.backend, "get", lambda ref: answers.pop(0))

    assert short(run.updates(logs=False)) == [
        "run RUNNING",
        "run SUCCEEDED",
        "t CACHED",
        "ended SUCCEEDED",
    ]


# -- in this process


def test_a_run_of_this_process_is_followed_without_asking_its_backend(
    home: Path, pipeline: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = kfgcp.submit(str(pipeline("echo")), in_process=True)
    monkeypatch.setattr(
        type(run.backend), "get", lambda self, ref: pytest.fail("the engine is here")
    )

    texts = short(run.updates())

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
        threading.Thread(target=lambda: followers.append(short(run.updates()))) for _ in range(2)
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


def test_batches_have_what_is_new_at_each_look(follow: Callable[..., Followed]) -> None:
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


def test_batches_of_a_long_log_have_a_limit(follow: Callable[..., Followed]) -> None:
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
    follow: Callable[..., Followed],
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

    texts = short(
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
    assert requests_before_pause == [1, 2], "one of the first look, and one for the start of b"


def test_lines_of_a_task_that_never_appears_cost_one_more_request(
    follow: Callable[..., Followed],
) -> None:
    run = follow()
    lines = [LogLine("ghost", 1, str(number)) for number in range(100)]
    run.backend.tail_of_run = ReadsTheRunItself((lambda: None, lines), (lambda: None, lines))
    requests_before_pause = []

    texts = short(
        run.updates(
            lambda: requests_before_pause.append(run.backend.looks),
            lambda: requests_before_pause.append(run.backend.looks),
            lambda: run.change(state=RunState.SUCCEEDED),
        )
    )

    assert sum(text.startswith("ghost") for text in texts) == 200
    assert requests_before_pause == [2, 2]
