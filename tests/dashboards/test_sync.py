"""Backends are read in the background; how old things are and what went wrong is known."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api
from kfgcp.testing import VertexStandIn
from kfgcp_dashboard import data, sync
from patience import WaitFor


class _Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def started() -> Iterator[Callable[..., sync.Sync]]:
    running: list[sync.Sync] = []

    def start(**options: Any) -> sync.Sync:
        running.append(sync.Sync(data.workspace(), **options).start())
        return running[-1]

    yield start
    for thread in running:
        thread.stop()


def _status(threads: sync.Sync, env: str) -> sync.EnvironmentStatus:
    status = threads.status(env)
    assert status is not None
    return status


def test_runs_of_others_come_into_the_store(
    service: VertexStandIn, started: Callable[..., sync.Sync], eventually: WaitFor
) -> None:
    service.seed(3)
    threads = started()

    eventually(lambda: _status(threads, "dev").read_at is not None)

    assert _status(threads, "dev").error == ""
    assert len(api.list(refresh=False)) == 3


def test_a_backend_that_is_down_is_reported_and_the_others_continue(
    service: VertexStandIn, home: Path, started: Callable[..., sync.Sync], eventually: WaitFor
) -> None:
    text = (home / "kfgcp.toml").read_text()
    down = text.replace("[env.dev]", "[env.down]").replace(
        service.api_endpoint, "http://127.0.0.1:9"
    )
    (home / "kfgcp.toml").write_text(text + down)
    threads = started()

    eventually(lambda: _status(threads, "down").error)
    eventually(lambda: _status(threads, "dev").read_at)

    assert "127.0.0.1 refuses the connection" in _status(threads, "down").error
    assert _status(threads, "down").read_at is None
    assert _status(threads, "dev").error == ""


def test_only_chosen_environments_are_read(home: Path, started: Callable[..., sync.Sync]) -> None:
    (home / "kfgcp.toml").write_text(
        '[dashboard]\nsync = ["b"]\n[env.a]\nbackend = "local"\n[env.b]\nbackend = "local"\n'
    )

    assert [status.env for status in started().statuses] == ["b"]


def test_threads_rest_when_nobody_looks(
    home: Path, started: Callable[..., sync.Sync], eventually: WaitFor
) -> None:
    clock = _Clock()
    threads = started(clock=clock)
    eventually(lambda: _status(threads, "local").read_at == clock.now)

    clock.now += sync.REST_SECONDS + 1
    threads._wake["local"].set()
    before = _status(threads, "local").read_at
    threads.touch()
    eventually(lambda: _status(threads, "local").read_at == clock.now)

    assert before == 1_000_000.0


def test_other_settings_start_another_sync(home: Path) -> None:
    first = sync.start_for(data.workspace())
    assert sync.start_for(data.workspace()) is first

    (home / "kfgcp.toml").write_text("[dashboard]\nsync_seconds = 5\n")
    second = sync.start_for(data.workspace())
    sync.stop_all()

    assert second is not first
