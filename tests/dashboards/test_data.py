"""What pages read from the store."""

from collections.abc import Callable
from dataclasses import replace

from kfgcp.model import Run, RunState
from kfgcp.store.store import Store
from kfgcp_dashboard import data


class _ChangingStore:
    """A store whose run changes just after it was read."""

    def __init__(self, store: Store) -> None:
        self.find = store.find
        self.rev = store.rev
        self._store = store

    def get(self, run_id: str) -> Run:
        run = self._store.get(run_id)
        self._store.put(replace(run, state=RunState.SUCCEEDED))
        return run


def test_a_change_while_a_run_is_read_is_noticed(
    store: Store, make_run: Callable[..., Run]
) -> None:
    store.add_run(make_run("aaaa00000001", state=RunState.RUNNING))

    run, revision = data.get_run_and_revision(_ChangingStore(store), "aaaa00000001")

    assert run.state is RunState.RUNNING
    assert store.rev("aaaa00000001") > revision
