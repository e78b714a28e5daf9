"""Updates come in the order of the facts: a task starts after those before it have ended, its lines
come in between."""

from itertools import pairwise
from typing import Any

import pytest

from kfgcp import LogWritten, RunChanged, RunEnded, RunState, TaskChanged, TaskState
from kfgcp.tracking.updates import RunUpdates

INSIDE = ("inner", "inner/double", "inner/add")
BEFORE = (
    ("add", "inner"),
    ("add", "inner/double"),
    ("inner/double", "inner/add"),
    ("inner", "add-2"),
)
"""Of the pipeline `chain`: which task has to end before which starts."""


def _check_order(updates: RunUpdates) -> None:
    places: dict[tuple[str, str], int] = {}
    taken = list(updates)
    for number, update in enumerate(taken):
        if isinstance(update, TaskChanged):
            moment = "end" if update.task.state.final else "start"
            assert (update.task.path, moment) not in places, (
                f"{update.task.path} has its {moment} twice"
            )
            places[update.task.path, moment] = number
        elif isinstance(update, LogWritten):
            places[update.line.task, "line"] = number
    for first, second in BEFORE:
        assert places[first, "end"] < places[second, "start"], f"{second} before the end of {first}"
    for path in INSIDE[1:]:
        assert places["inner", "start"] < places[path, "start"]
        assert places[path, "end"] < places["inner", "end"]
    for path in ("add", "inner/add", "add-2"):
        assert places[path, "start"] < places[path, "line"] < places[path, "end"]
    states = [update.run.state for update in taken if isinstance(update, RunChanged)]
    assert all(first is not second for first, second in pairwise(states))
    assert states[-1] is RunState.SUCCEEDED
    assert isinstance(taken[-1], RunEnded)
    assert {task.state for task in taken[-1].run.tasks} == {TaskState.SUCCEEDED}


@pytest.mark.feature("Verbs: updates in the order of the facts")
def test_of_a_run_that_goes_on(place: Any) -> None:
    _check_order(place.submit("chain", {"n": 11}).updates())


def test_of_a_run_that_has_ended(place: Any) -> None:
    _check_order(place.shared("chain", {"n": 7}).updates())
