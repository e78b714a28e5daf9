"""A remote run that is waited for: cancelled through an outage, left by force."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp import api
from kfgcp.backends.base import Pace, RunRef
from kfgcp.errors import Unreachable
from kfgcp.model import Run, RunState
from kfgcp.testing import VertexStandIn
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.watched import WatchedRun


class Away:
    """A backend with one run that takes a request to end only the third time."""

    pace = Pace(0.01, 0.05)

    def __init__(self, run: Run, ended: Run) -> None:
        self.run = run
        self._ended = ended
        self.asked = 0

    def get(self, ref: RunRef) -> Run:
        return self.run

    def cancel(self, ref: RunRef) -> RunState:
        self.asked += 1
        if self.asked < 3:
            raise Unreachable("No route to it.")
        self.run = self._ended
        return self.run.state


def test_a_run_is_told_to_end_as_soon_as_its_backend_can_be_reached(make_run: Callable[..., Run]) -> None:
    backend = Away(make_run(state=RunState.RUNNING), make_run(state=RunState.CANCELLED))
    notices: list[str] = []
    run = WatchedRun(RunHandle(backend, RunRef("dev", "aaaa00000001")), notices.append)  # type: ignore[arg-type]
    run.cancel()

    state = run.execute()

    assert (state, backend.asked) == (RunState.CANCELLED, 3)
    assert notices == ["run aaaa00000001 is not told to end yet; this is tried again: No route to it."]


def test_a_second_cancel_ends_the_waiting_and_leaves_the_run(
    vertex_stand_in: VertexStandIn,
    pipeline: Callable[[str], Path],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "kfgcp.toml").write_text(vertex_stand_in.toml("dev"))
    monkeypatch.chdir(tmp_path)
    _, run = api.open_run(str(pipeline("sleeps")), env="dev", params={"seconds": 600})
    run.cancel(force=True)

    state = run.execute()

    assert not state.final
    assert vertex_stand_in.requests.count("POST", "*:cancel") == 0
