"""A backend is opened once for all runs that a thread looks at."""

import os
from collections.abc import Callable
from pathlib import Path

import kfgcp
from kfgcp.testing import VertexStandIn


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_thousand_handles_share_one_backend(
    vertex_stand_in: VertexStandIn, home: Path, pipeline: Callable[[str], Path]
) -> None:
    (home / "kfgcp.toml").write_text(vertex_stand_in.toml("cloud"))
    seeded_runs = vertex_stand_in.seed(300)
    kfgcp.list()
    before = _descriptors()

    handles = [kfgcp.show(run_id) for run_id in seeded_runs]

    assert _descriptors() < before + 20
    assert len({id(handle.backend) for handle in handles}) == 1
