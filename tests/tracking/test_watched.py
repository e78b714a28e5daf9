"""A remote run that is waited for: cancelled through an outage, left by force."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kfgcp import api
from kfgcp.backends.base import LogFilter, LogLine, Pace, RunRef
from kfgcp.errors import Unreachable
from kfgcp.model import Run, RunState, Task
from kfgcp.store.rows import Changes
from kfgcp.store.store import Store
from kfgcp.testing import VertexStandIn
from kfgcp.tracking.follow import Update
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.watched import WatchedRun
from kfgcp.workspace import Workspace


class Away:
    """A backend with one run that takes a request to end only the third time. It has no logs yet."""

    pace = Pace(0.01, 0.05)

    def __init__(self, store: Store, run: Run) -> None:
        self._store = store
        self._run = run
        self.asked = 0
        self.threads: set[int] = set()
        store.add_run(run)

    def get(self, ref: RunRef) -> Run:
        self.threads.add(threading.get_ident())
        return self._store.get(ref.run_id)

    def cancel(self, ref: RunRef) -> RunState:
        self.asked += 1
        if self.asked < 3:
            raise Unreachable("No route to it.")
        self._store.apply(ref.run_id, Changes(state=RunState.CANCELLED))
        return RunState.CANCELLED

    def logs(self, ref: RunRef, wanted: LogFilter) -> Iterator[LogLine]:
        raise AssertionError("this test follows the logs")

    def tail(self, ref: RunRef, wanted: LogFilter) -> "NoLines":
        self.threads.add(threading.get_ident())
        return NoLines()


class NoLines:
    late = 0.0

    def read(self, tasks: Sequence[Task]) -> Iterator[LogLine]:
        return iter(())


def test_a_run_is_told_to_end_as_soon_as_its_backend_can_be_reached(
    home: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace.open() as workspace:
        recorded = make_run(state=RunState.RUNNING)
        backend = Away(workspace.store, recorded)
        monkeypatch.setattr(workspace, "backend", lambda env=None: backend)
        notices: list[str] = []
        updates: list[Update] = []
        run = WatchedRun(RunHandle(workspace, RunRef("local", recorded.run_id), recorded), notices.append)
        run.cancel()

        state = run.execute(updates.append)

    assert (state, backend.asked) == (RunState.CANCELLED, 3)
    assert notices == ["run aaaa00000001 is not told to end yet; this is tried again: No route to it."]
    assert [update.run.state for update in updates][-1] is RunState.CANCELLED
    assert backend.threads == {threading.get_ident()}, "a backend belongs to one thread"


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
