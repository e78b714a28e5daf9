"""Runs that a version before `RunOptions` recorded are repeated and resumed with the options that
they had."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfgcp.options import RunOptions
from kfgcp.workspace import Workspace
from patience import PROCESS

EARLIER: dict[str, Any] = {
    "uses_docker": False,
    "submit_dir": "",
    "caching": False,
    "fail_fast": True,
    "executor": "process",
    "strict_env": False,
    "container_credentials": False,
    "repeats": None,
    "from_task": None,
    "platform_spec": None,
    "pipeline_root": "",
    "buckets": {"s3_endpoint": "", "s3_region": "", "s3_addressing": "", "request_seconds": 120.0},
    "source": None,
    "max_parallel": 3,
}
"""What `kfgcp run --no-cache --fail-fast --executor process --max-parallel 3` stored."""


def test_a_run_of_an_earlier_version_is_resumed_and_repeated(
    home: Path, pipeline: Callable[[str], Path]
) -> None:
    workspace = Workspace.default()
    plan = workspace.preview(str(pipeline("echo")), experiment="spring", labels={"team": "growth"})
    interrupted = workspace.backend("local").open(plan.request)
    interrupted._lock.release()  # as if its process had ended
    with sqlite3.connect(home / ".kfgcp" / "kfgcp.db") as connection:
        connection.execute(
            "UPDATE runs SET request = ?", (json.dumps(EARLIER | {"submit_dir": str(home)}),)
        )
    connection.close()

    resumed = workspace.resume(interrupted.run_id, timeout=PROCESS)

    assert resumed.state == "SUCCEEDED"
    assert resumed.task("say").snapshot.cache.reason == "caching is off for this run"
    repeated = workspace.rerun(interrupted.run_id, max_parallel=2, timeout=PROCESS)
    request = workspace.store.request(repeated.run_id)
    assert request is not None
    labels = {
        name: value for name, value in repeated.snapshot.labels.items() if name != "submission"
    }
    assert labels["team"] == "growth"
    assert request.options == RunOptions(
        env="local",
        experiment="spring",
        labels=labels,
        cache=False,
        max_parallel=2,
        fail_fast=True,
        executor="process",
    )
    assert (request.repeats, request.submit_dir) == (interrupted.run_id, str(home))
