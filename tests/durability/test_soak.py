"""One process that does the same thing for a long time needs no more of anything at the end than at
the beginning."""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import kfgcp
from kfgcp import api
from kfgcp.model import RunState
from kfgcp.testing import VertexStandIn
from patience import wait_for
from trials import Trial

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

WARM_UP = 5
"""Rounds before the first measurement: modules are imported, pools are filled."""
FILES = 8
"""Files by which the process may have more: SQLite closes some late. A leak grows with the
rounds."""
GROWTH = 40 * 2**20
"""Bytes of memory by which the process may grow, for fragmentation of the heap; a leak grows with
the rounds."""


@dataclass(frozen=True)
class Usage:
    """What this process holds."""

    files: int
    threads: int
    children: int
    memory: int


def _usage() -> Usage:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return Usage(
        files=len(os.listdir("/proc/self/fd")),
        threads=threading.active_count(),
        children=len(children),
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
    )


def _check_no_growth(before: Usage) -> None:
    """Fail when the process holds more than before. What it lets go of may take a moment to be
    gone."""
    wait_for(lambda: _usage().files <= before.files + FILES)
    wait_for(lambda: _usage().threads <= before.threads)
    wait_for(lambda: _usage().children <= before.children)
    assert _usage().memory <= before.memory + GROWTH


@pytest.mark.trial("runs of the engine in one process, one after the other")
def test_runs_leave_nothing_behind(
    home: Path,
    pipeline: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trial: Trial,
) -> None:
    """Runs that succeed, that fail and that are cached take turns."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    size = trial.size(sample=12, proof=1000)

    for number in range(WARM_UP):
        _one_run(pipeline, number)
    before = _usage()
    for number in range(size):
        _one_run(pipeline, number)
        trial.count("runs")

    _check_no_growth(before)
    assert list(temporary.iterdir()) == []
    with sqlite3.connect(home / ".kfgcp" / "kfgcp.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (WARM_UP + size,)


def _one_run(pipeline: Callable[[str], Path], number: int) -> None:
    if number % 4 == 3:
        name, params, state = "one_fails", {}, RunState.FAILED
    else:
        # Every second text is one of an earlier run, so that its task is cached.
        name, params, state = "echo", {"text": f"text {number // 2}"}, RunState.SUCCEEDED
    handle = api.submit(str(pipeline(name)), params=params, in_process=True).wait(check=False)
    assert handle.refresh().state is state


@pytest.mark.trial("refreshes of a remote backend in one process, with faults")
def test_refreshes_leave_nothing_behind(
    service: VertexStandIn, pipeline: Callable[[str], Path], trial: Trial
) -> None:
    size = trial.size(sample=20, proof=1000)
    api.submit(str(pipeline("echo")), env="dev", params={"text": "one"})

    for _ in range(WARM_UP):
        kfgcp.list()
    service.faults(0.1, ("503", "reset"), seed=trial.seed, path="*/pipelineJobs*", retry_after=0)
    before = _usage()
    for _ in range(size):
        runs = kfgcp.list()
        assert len(runs) == 1
        trial.count("refreshes")
    service.faults(0)

    _check_no_growth(before)
