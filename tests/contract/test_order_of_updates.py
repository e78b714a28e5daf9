"""Updates come in the order of events.

A task starts after the end of the tasks before it, and its lines come between its start and end.
"""

from itertools import pairwise

import pytest

from backend_project import BackendProject
from kfgcp import LogWritten, RunChanged, RunEnded, RunState, TaskChanged, TaskState
from kfgcp.tracking.updates import RunUpdates

INSIDE = ("inner", "inner/double", "inner/add")
BEFORE = (
    ("add", "inner"),
    ("add", "inner/double"),
    ("inner/double", "inner/add"),
    ("inner", "add-2"),
)
"""Pairs of tasks of the pipeline `chain`: the first must end before the second starts."""


def _check_order(updates: RunUpdates) -> None:
    positions: dict[tuple[str, str], int] = {}
    all_updates = list(updates)
    for number, update in enumerate(all_updates):
        if isinstance(update, TaskChanged):
            moment = "end" if update.task.state.final else "start"
            assert (update.task.path, moment) not in positions, (
                f"{update.task.path} has its {moment} twice"
            )
            positions[update.task.path, moment] = number
        elif isinstance(update, LogWritten):
            positions[update.line.task, "line"] = number
    for first, second in BEFORE:
        assert positions[first, "end"] < positions[second, "start"], (
            f"{second} before the end of {first}"
        )
    for path in INSIDE[1:]:
        assert positions["inner", "start"] < positions[path, "start"]
        assert positions[path, "end"] < positions["inner", "end"]
    for path in ("add", "inner/add", "add-2"):
        assert positions[path, "start"] < positions[path, "line"] < positions[path, "end"]
    states = [update.run.state for update in all_updates if isinstance(update, RunChanged)]
    assert all(first is not second for first, second in pairwise(states))
    assert states[-1] is RunState.SUCCEEDED
    assert isinstance(all_updates[-1], RunEnded)
    assert {task.state for task in all_updates[-1].run.tasks} == {TaskState.SUCCEEDED}


@pytest.mark.feature("Verbs: updates in the order of the facts")
def test_order_in_a_running_run(backend_project: BackendProject) -> None:
    _check_order(backend_project.submit("chain", {"n": 11}).updates())


def test_order_in_a_run_that_has_ended(backend_project: BackendProject) -> None:
    _check_order(backend_project.shared("chain", {"n": 7}).updates())
