"""A run is followed through outages of its backend and of its logs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from followed_runs import RUN, FollowedRun, describe, task
from kfgcp import LogLine, RunChanged
from kfgcp.errors import AuthError, Unreachable, UsageError
from kfgcp.model import RunState, Task, TaskState
from kfgcp.tracking.poll import OUTAGE


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


def test_logs_out_of_reach_are_read_at_a_later_look(follow: Callable[..., FollowedRun]) -> None:
    run = follow()
    run.backend.tail_of_run = Failing("a", Unreachable("no network"), "b")

    texts = describe(run.updates(lambda: None, lambda: run.change(state=RunState.SUCCEEDED)))

    assert texts == ["run RUNNING", "t.1: a", "run SUCCEEDED", "t.1: b", "ended SUCCEEDED"]
    assert run.notices == []


def test_tasks_that_changed_during_an_outage_of_the_logs_are_read_later(
    follow: Callable[..., FollowedRun],
) -> None:
    """Vertex AI names the logs of a task, and is asked for the names only when a task has
    changed."""
    run = follow(task(TaskState.RUNNING, path="a"))
    tail = Failing(Unreachable("gone"), Unreachable("gone"), "a line", "the last", late=1.0)
    run.backend.tail_of_run = tail

    describe(
        run.updates(
            lambda: run.change(task(TaskState.RUNNING, path="b")),
            lambda: run.change(state=RunState.SUCCEEDED),
            lambda: None,
        )
    )

    assert tail.tasks == [["a"], ["a", "b"], ["a", "b"], []]


def test_logs_that_are_refused_are_reported_once_and_the_run_is_followed(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()
    run.backend.tail_of_run = Failing(AuthError("May not read logs.", hint="Ask for it."))

    texts = describe(run.updates(lambda: None, lambda: run.change(state=RunState.SUCCEEDED)))

    assert texts == ["run RUNNING", "run SUCCEEDED", "ended SUCCEEDED"]
    assert run.notices == ["the logs cannot be followed: May not read logs. Ask for it."]


def test_lines_that_come_after_the_end_are_waited_for(follow: Callable[..., FollowedRun]) -> None:
    run = follow(state=RunState.FAILED)
    run.backend.tail_of_run = Failing("early", "late", Unreachable("gone"), late=1.5)

    texts = describe(run.updates())

    assert texts == ["run FAILED", "t.1: early", "t.1: late", "ended FAILED"]
    assert run.now == 1002.0, "a look after each second"


def test_no_late_line_is_waited_for_when_the_time_is_over(
    follow: Callable[..., FollowedRun],
) -> None:
    """The run has ended in time, so this is not an error."""
    run = follow(state=RunState.FAILED)
    run.backend.tail_of_run = Failing("early", *["late"] * 30, late=30.0)

    texts = describe(run.updates(timeout=1.5))

    assert texts == ["run FAILED", "t.1: early", "t.1: late", "t.1: late", "ended FAILED"]
    assert run.now == 1001.5


def test_no_late_line_is_waited_for_after_a_cancellation(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow(state=RunState.FAILED)
    run.backend.tail_of_run = Failing("early", *["late"] * 30, late=30.0)
    updates = run.updates()
    first = [next(updates), next(updates)]

    updates.cancel()

    assert describe(iter([*first, *updates])) == ["run FAILED", "t.1: early", "ended FAILED"]
    assert run.now == 1000.0


def test_an_outage_is_reported_when_it_begins_and_when_it_ends(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()
    run.backend.errors = [None, Unreachable("No route to it."), Unreachable("No route to it.")]

    updates = run.updates()
    assert next(updates) == RunChanged(replace(run.handle.snapshot, tasks=()))
    while len(run.notices) < 2:
        assert list(updates.available()) == []
        updates.pause()
    run.change(state=RunState.SUCCEEDED)

    assert describe(updates) == ["run SUCCEEDED", "ended SUCCEEDED"]
    assert run.notices[0].startswith("local cannot be reached; ")
    assert run.notices[1:] == ["local answers again"]


def test_a_backend_that_is_down_for_an_hour_ends_the_updates_with_its_error(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()
    run.backend.errors = [Unreachable("No route to it.")] * 10_000

    with pytest.raises(Unreachable, match="No route to it"):
        describe(run.updates())

    assert run.now - 1000.0 >= OUTAGE
    assert len(run.notices) == 1


def test_a_run_that_is_deleted_meanwhile_is_one_clear_error(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()

    with pytest.raises(UsageError, match=f"no run '{RUN}'"):
        describe(run.updates(lambda: run.store.forget(RUN)))
