"""A run is followed: every line once and whole, every state, in bounded memory."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kfgcp.backends.base import LogFilter, LogLine
from kfgcp.backends.local_logs import FileTail
from kfgcp.engine.layout import log_file
from kfgcp.engine.logs import LogReader
from kfgcp.errors import AuthError, Unreachable
from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store
from kfgcp.tracking.follow import Update, follow

MakeRun = Callable[..., Run]
RUN = "aaaa00000001"


class Log:
    """The log of one attempt, written piece by piece."""

    def __init__(self, home: Path, task: str = "t", attempt: int = 1) -> None:
        self.file = log_file(home, RUN, task, attempt)
        self.tail = LogReader(log_file(home, RUN, task, attempt))

    def write(self, data: bytes) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as log:
            log.write(data)

    def read(self, *, to_the_end: bool = False) -> list[str]:
        return list(self.tail.read(to_the_end=to_the_end))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_a_line_is_given_out_when_it_is_whole(log: Log) -> None:
    log.write(b"one\ntw")
    assert log.read() == ["one"]
    log.write(b"o\nthree")
    assert log.read() == ["two"]
    assert log.read() == []
    log.write(b"\n")
    assert log.read() == ["three"]


def test_a_last_line_without_a_newline_is_given_out_at_the_end_once(log: Log) -> None:
    log.write(b"one\nlast")

    assert log.read(to_the_end=True) == ["one", "last"]
    assert log.read(to_the_end=True) == []


def test_a_character_that_is_written_in_two_halves_is_one(log: Log) -> None:
    whole = "世界\n".encode()
    log.write(whole[:2])
    assert log.read() == []
    log.write(whole[2:4])
    assert log.read() == []
    log.write(whole[4:])
    assert log.read() == ["世界"]


def test_bytes_that_are_no_text_are_replaced(log: Log) -> None:
    log.write(b"caf\xe9 \xff\nfine\n")

    assert log.read() == ["caf� �", "fine"]


def test_empty_lines_and_carriage_returns(log: Log) -> None:
    log.write(b"\n\na\r\n 10%\r 20%\n\n")

    assert log.read() == ["", "", "a", " 10%\r 20%", ""]


def test_a_file_may_appear_late(log: Log) -> None:
    assert log.read() == []
    assert log.read(to_the_end=True) == []
    log.write(b"now\n")
    assert log.read() == ["now"]


def test_a_log_of_200_mb_is_read_in_little_memory(log: Log) -> None:
    block = b"".join(b"%099d\n" % number for number in range(20_000))
    for _ in range(100):
        log.write(block)

    tracemalloc.start()
    try:
        count = sum(1 for _ in log.tail.read(to_the_end=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert log.file.stat().st_size == 200_000_000
    assert count == 2_000_000
    assert peak < 20_000_000


def test_a_line_without_end_is_given_out_in_pieces_and_little_memory(log: Log) -> None:
    for _ in range(50):
        log.write(b"x" * 1_000_000)

    tracemalloc.start()
    try:
        length = sum(len(line) for line in log.tail.read(to_the_end=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert length == 50_000_000
    assert peak < 20_000_000


# -- follow


class Script:
    """Stands for the passing of time: each sleep of `follow` does the next thing that happens in the run."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)

    def __call__(self, seconds: float) -> None:
        assert self._steps, "the run did not end"
        self._steps.pop(0)()


def _task(state: TaskState, attempts: int = 1, path: str = "t") -> Task:
    return Task(path, TaskKind.CONTAINER, state, attempts, started_at="2026-01-01T00:00:00.000Z")


def _seen(update: Update) -> tuple[str, list[str], list[str]]:
    return (
        update.run.state.value,
        [f"{task.path} {task.state}" for task in update.tasks],
        [f"{line.task}.{line.attempt} {line.text}" for line in update.lines],
    )


def test_updates_hold_what_is_new(store: Store, home: Path, make_run: MakeRun) -> None:
    state = home / ".kfgcp"
    log = Log(state)
    store.add_run(make_run(RUN, state=RunState.PENDING))
    steps = Script(
        lambda: store.apply(RUN, Changes(state=RunState.RUNNING, tasks=[_task(TaskState.RUNNING)])),
        lambda: log.write(b"one\ntw"),
        lambda: log.write(b"o\nthree"),
        lambda: None,
        lambda: store.apply(
            RUN, Changes(state=RunState.SUCCEEDED, tasks=[_task(TaskState.SUCCEEDED), _task(TaskState.SKIPPED, 0, "u")])
        ),
    )

    assert [_seen(update) for update in follow(store, RUN, FileTail(state, RUN, LogFilter()), sleep=steps)] == [
        ("PENDING", [], []),
        ("RUNNING", ["t RUNNING"], []),
        ("RUNNING", [], ["t.1 one"]),
        ("RUNNING", [], ["t.1 two"]),
        ("RUNNING", [], []),
        ("SUCCEEDED", ["t SUCCEEDED", "u SKIPPED"], ["t.1 three"]),
    ]


def test_what_changes_during_a_look_is_shown_once(
    store: Store, home: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends after the look has begun: its end and its line belong to the next look."""
    state = home / ".kfgcp"
    Log(state).write(b"one\n")
    store.add_run(make_run(RUN, state=RunState.RUNNING, tasks=(_task(TaskState.RUNNING),)))
    ends = [Changes(tasks=[_task(TaskState.SUCCEEDED)])]
    read_rev = store.rev

    def rev_before_the_end(run_id: str) -> int:
        rev = read_rev(run_id)
        if ends:
            with Store(state) as engine:
                engine.apply(run_id, ends.pop())
        return rev

    monkeypatch.setattr(store, "rev", rev_before_the_end)
    steps = Script(lambda: None, lambda: store.apply(RUN, Changes(state=RunState.SUCCEEDED)))

    assert [_seen(update) for update in follow(store, RUN, FileTail(state, RUN, LogFilter()), sleep=steps)] == [
        ("RUNNING", ["t RUNNING"], ["t.1 one"]),
        ("RUNNING", ["t SUCCEEDED"], []),
        ("SUCCEEDED", [], []),
    ]


def test_a_run_that_has_ended_is_one_update_with_all_of_it(store: Store, home: Path, make_run: MakeRun) -> None:
    state = home / ".kfgcp"
    Log(state, attempt=1).write(b"first\n")
    Log(state, attempt=2).write(b"second")
    store.add_run(make_run(RUN, state=RunState.FAILED, tasks=(_task(TaskState.FAILED, 2),)))

    assert [_seen(update) for update in follow(store, RUN, FileTail(state, RUN, LogFilter()), sleep=Script())] == [
        ("FAILED", ["t FAILED"], ["t.1 first", "t.2 second"])
    ]


def test_without_logs_no_log_is_read(store: Store, home: Path, make_run: MakeRun) -> None:
    Log(home / ".kfgcp").write(b"first\n")
    store.add_run(make_run(RUN, tasks=(_task(TaskState.SUCCEEDED),)))

    [update] = follow(store, RUN)

    assert list(update.lines) == []


def test_check_comes_before_each_look_and_may_stop(store: Store, home: Path, make_run: MakeRun) -> None:
    class StopError(Exception):
        pass

    looks: list[int] = []

    def check() -> None:
        looks.append(len(looks))
        if len(looks) == 3:
            raise StopError

    store.add_run(make_run(RUN, state=RunState.RUNNING))
    updates = follow(store, RUN, check=check, sleep=lambda _: None)

    with pytest.raises(StopError):
        list(updates)
    assert looks == [0, 1, 2]


def test_a_look_without_news_repeats_the_run(store: Store, home: Path, make_run: MakeRun) -> None:
    run = make_run(RUN, state=RunState.RUNNING)
    store.add_run(run)
    steps = Script(lambda: None, lambda: store.apply(RUN, Changes(state=RunState.CANCELLED)))

    assert [update.run for update in follow(store, RUN, sleep=steps)] == [
        run,
        run,
        replace(run, state=RunState.CANCELLED),
    ]


class Failing:
    """Logs that are refused, or out of reach, at some looks."""

    def __init__(self, *looks: Exception | str, late: float = 0.0) -> None:
        self.looks = list(looks)
        self.late = late

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        look = self.looks.pop(0)
        if isinstance(look, Exception):
            raise look
        yield LogLine("t", 1, look)


def test_logs_out_of_reach_are_read_at_a_later_look(store: Store, home: Path, make_run: MakeRun) -> None:
    store.add_run(make_run(RUN, state=RunState.RUNNING))
    notices: list[str] = []
    tail = Failing("a", Unreachable("no network"), "b")
    steps = Script(lambda: None, lambda: store.apply(RUN, Changes(state=RunState.SUCCEEDED)))

    updates = [_seen(update)[2] for update in follow(store, RUN, tail, sleep=steps, notice=notices.append)]

    assert updates == [["t.1 a"], [], ["t.1 b"]]
    assert notices == []


def test_logs_that_are_refused_are_told_once_and_the_run_is_followed(
    store: Store, home: Path, make_run: MakeRun
) -> None:
    store.add_run(make_run(RUN, state=RunState.RUNNING))
    notices: list[str] = []
    tail = Failing(AuthError("May not read logs.", hint="Ask for it."))
    steps = Script(lambda: None, lambda: store.apply(RUN, Changes(state=RunState.SUCCEEDED)))

    updates = [_seen(update) for update in follow(store, RUN, tail, sleep=steps, notice=notices.append)]

    assert [state for state, _, _ in updates] == ["RUNNING", "RUNNING", "SUCCEEDED"]
    assert notices == ["the logs cannot be followed: May not read logs. Ask for it."]


def test_lines_that_come_after_the_end_are_waited_for(
    store: Store, home: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("kfgcp.tracking.follow.time", SimpleNamespace(sleep=sleep))
    store.add_run(make_run(RUN, state=RunState.FAILED))
    tail = Failing("early", "late", *[Unreachable("gone")] * 5, late=1.5)

    updates = [_seen(update) for update in follow(store, RUN, tail, clock=lambda: now)]

    assert [lines for _, _, lines in updates][:2] == [["t.1 early"], ["t.1 late"]]
    assert {state for state, _, _ in updates} == {"FAILED"}
    assert len(updates) == 3, "the run's end, and a look after each second"
