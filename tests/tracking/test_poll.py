"""When a run is looked at: by a clock that only passes when told."""

from collections.abc import Callable
from typing import Any

import pytest

from kfgcp.backends.base import Pace, RunRef
from kfgcp.errors import AuthError, NotFound, Unreachable
from kfgcp.model import Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.tracking.poll import OUTAGE, Poller

MakeRun = Callable[..., Run]
REF = RunRef("dev", "aaaa00000001")


class Remote:
    """A backend whose run is what the test says; a look takes `seconds`. error: raised instead."""

    pace = Pace(1.0, 30.0)

    def __init__(self, run: Run) -> None:
        self.run = run
        self.now = 100.0
        self.seconds = 0.0
        self.error: Exception | None = None
        self.looks: list[float] = []

    def get(self, ref: RunRef) -> Run:
        assert ref == REF
        self.looks.append(self.now)
        self.now += self.seconds
        if self.error is not None:
            raise self.error
        return self.run


@pytest.fixture
def remote(make_run: MakeRun) -> Remote:
    return Remote(make_run(state=RunState.RUNNING))


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def poller(remote: Remote, notices: list[str]) -> Poller:
    return Poller(remote, REF, notice=notices.append, clock=lambda: remote.now)  # type: ignore[arg-type]


def waits(poller: Poller, remote: Remote, count: int) -> list[float]:
    """The pauses before so many looks, each as soon as it is due."""
    pauses = []
    for _ in range(count):
        pauses.append(round(poller.seconds_to_next_request, 6))
        remote.now += poller.seconds_to_next_request
        poller.poll()
    return pauses


def test_the_first_look_is_at_once_and_none_before_it_is_time(
    poller: Poller, remote: Remote
) -> None:
    assert poller.seconds_to_next_request == 0
    assert poller.poll() is remote.run
    assert poller.poll() is None
    remote.now += 0.99
    assert poller.poll() is None
    remote.now += 0.02
    assert poller.poll() is remote.run
    assert len(remote.looks) == 2


def test_a_run_that_does_not_change_is_looked_at_less_and_less(
    poller: Poller, remote: Remote
) -> None:
    pauses = waits(poller, remote, 60)

    assert pauses[:11] == [0, *[1.0] * 10]
    assert pauses[12] == pytest.approx(1.1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0


def test_a_change_brings_the_short_pause_back(
    poller: Poller, remote: Remote, make_run: MakeRun
) -> None:
    waits(poller, remote, 60)

    task = Task("train", TaskKind.CONTAINER, TaskState.RUNNING)
    remote.run = make_run(state=RunState.RUNNING, tasks=(task,))

    assert waits(poller, remote, 2) == [30.0, 1.0]


def test_metrics_and_labels_are_not_a_change(
    poller: Poller, remote: Remote, make_run: MakeRun
) -> None:
    waits(poller, remote, 60)

    remote.run = make_run(
        state=RunState.RUNNING, labels={"a": "b"}, metrics=(Metric("t", "m", "x", 1),)
    )

    assert waits(poller, remote, 2) == [30.0, 30.0]


def test_a_slow_service_is_asked_for_a_tenth_of_the_time_at_most(
    poller: Poller, remote: Remote
) -> None:
    remote.seconds = 2.0

    assert waits(poller, remote, 3) == [0, 20.0, 20.0]


def test_a_look_through_an_outage_does_not_put_off_the_next_one_for_minutes(
    poller: Poller, remote: Remote
) -> None:
    """A request is tried for a minute before it counts as failed; if it succeeds at last, the look
    took that long."""
    remote.seconds = 50.0

    assert waits(poller, remote, 3) == [0, 30.0, 30.0]


def test_another_pace(remote: Remote) -> None:
    poller = Poller(remote, REF, pace=Pace(5.0, 6.0), clock=lambda: remote.now)  # type: ignore[arg-type]

    pauses = waits(poller, remote, 20)
    assert (pauses[:3], pauses[-1]) == ([0, 5.0, 5.0], 6.0)


def test_an_outage_and_its_end_are_reported_once(
    poller: Poller, remote: Remote, notices: list[str]
) -> None:
    poller.poll()
    remote.error = Unreachable("no route")

    pauses = waits(poller, remote, 30)
    assert poller.poll() is None
    assert notices == ["dev cannot be reached; the run continues, and kfgcp tries again: no route"]
    assert pauses == sorted(pauses)

    remote.error = None
    remote.now += poller.seconds_to_next_request
    assert poller.poll() is remote.run
    assert notices[1:] == ["dev answers again"]
    remote.error = Unreachable("again")
    waits(poller, remote, 2)
    assert len(notices) == 3, "another outage is another notice"


def test_an_outage_that_does_not_end_is_an_error(poller: Poller, remote: Remote) -> None:
    poller.poll()
    remote.error = Unreachable("no route")
    began = remote.now

    with pytest.raises(Unreachable, match="no route"):
        waits(poller, remote, 10_000)

    assert OUTAGE < remote.now - began < OUTAGE + 60


def test_an_outage_before_the_first_answer_is_one_too(
    poller: Poller, remote: Remote, notices: list[str]
) -> None:
    remote.error = Unreachable("no route")

    assert poller.poll() is None
    assert len(notices) == 1


@pytest.mark.parametrize("error", [AuthError("expired"), NotFound("deleted")])
def test_other_errors_end_the_looking(poller: Poller, remote: Remote, error: Any) -> None:
    remote.error = error

    with pytest.raises(type(error)):
        poller.poll()
