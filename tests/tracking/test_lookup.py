"""Backends are opened once for all runs that a thread looks at."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp import config
from kfgcp.tracking import lookup


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_thousand_handles_share_what_they_speak_through(vertex_stand_in: Any, home: Path, pipeline: Any) -> None:
    (home / "kfgcp.toml").write_text(vertex_stand_in.toml("cloud"))
    made = vertex_stand_in.seed(300)
    kfgcp.list()
    before = _descriptors()

    handles = [kfgcp.show(run_id) for run_id in made]

    assert _descriptors() < before + 20
    assert len({id(handle.backend) for handle in handles}) == 1


def test_a_changed_setting_or_another_state_folder_opens_another(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "kfgcp.toml").write_text('[env.here]\nbackend = "local"\n')
    one = lookup.backend_of(config.load(), config.load().env("here"))
    assert lookup.backend_of(config.load(), config.load().env("here")) is one

    (home / "kfgcp.toml").write_text('[env.here]\nbackend = "local"\nmax_parallel = 2\n')
    other = lookup.backend_of(config.load(), config.load().env("here"))
    assert other is not one

    (home / ".kfgcp").rename(home / "moved")
    assert lookup.backend_of(config.load(), config.load().env("here")) is not other


def test_threads_do_not_share(home: Path) -> None:
    project = config.load()
    seen = [lookup.backend_of(project, project.env("local"))]
    thread = threading.Thread(target=lambda: seen.append(lookup.backend_of(project, project.env("local"))))
    thread.start()
    thread.join()

    assert seen[0] is not seen[1]
