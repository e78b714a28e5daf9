"""A run is cancelled while it is followed."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from followed_runs import RUN, FollowedRun, describe, task
from kfgcp.errors import Unreachable
from kfgcp.model import RunState, TaskState


def test_a_run_is_cancelled_as_soon_as_its_backend_can_be_reached(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()
    run.backend.cancel_errors = [Unreachable("No route to it.")] * 2
    updates = run.updates()
    updates.cancel()

    texts = describe(updates)

    assert texts == ["run RUNNING", "run CANCELLED", "ended CANCELLED"]
    assert run.notices == [
        f"run {RUN} could not be cancelled yet; kfgcp tries again: No route to it."
    ]
    assert run.backend.threads == {threading.get_ident()}, "a backend belongs to one thread"


def test_by_force_a_run_elsewhere_is_left(follow: Callable[..., FollowedRun]) -> None:
    run = follow()
    updates = run.updates()
    next(updates)

    updates.cancel(force=True)

    assert list(updates) == []
    assert updates.have_ended
    assert run.handle.state is RunState.RUNNING


def test_by_force_a_request_that_hangs_is_left(
    follow: Callable[..., FollowedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler runs in the thread that waits for the answer."""
    run = follow()
    updates = run.updates()
    next(updates)
    run.now += 60.0
    monkeypatch.setattr(run.backend, "get", lambda ref: updates.cancel(force=True))

    assert list(updates) == []
    assert run.handle.state is RunState.RUNNING


def test_a_run_that_is_left_after_its_cancellation_is_cancelling(
    follow: Callable[..., FollowedRun],
) -> None:
    run = follow()
    run.backend.ends_when_cancelled = False
    updates = run.updates()
    next(updates)
    updates.cancel()
    assert describe(updates.available()) == []
    updates.pause()
    assert describe(updates.available()) == []

    updates.cancel(force=True)

    assert list(updates) == []
    assert run.handle.state is RunState.CANCELLING


def test_a_run_that_could_not_be_recorded_is_followed_by_the_answers_of_its_backend(
    follow: Callable[..., FollowedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = follow()
    running = run.store.get(RUN)
    answers = [running, replace(running, state=RunState.SUCCEEDED, tasks=(task(TaskState.CACHED),))]
    run.store.forget(RUN)
    monkeypatch.setattr(run.backend, "get", lambda ref: answers.pop(0))

    assert describe(run.updates(logs=False)) == [
        "run RUNNING",
        "run SUCCEEDED",
        "t CACHED",
        "ended SUCCEEDED",
    ]
