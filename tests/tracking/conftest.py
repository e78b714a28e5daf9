"""A run that a test changes, and that is followed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from followed_runs import RUN, FollowedRun
from kfgcp import Workspace
from kfgcp.model import Run, RunState, Task

MakeRun = Callable[..., Run]


@pytest.fixture
def follow(
    home: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., FollowedRun]]:
    """Makes a run with a state and tasks, and a backend that the test controls."""
    with Workspace.open() as workspace:

        def make(*tasks: Task, state: RunState = RunState.RUNNING) -> FollowedRun:
            followed = FollowedRun(workspace, make_run(RUN, state=state, tasks=tasks))
            monkeypatch.setattr(workspace, "backend", lambda env=None: followed.backend)
            return followed

        yield make
