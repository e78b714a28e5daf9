"""How a run is executed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from kfgcp.engine.buckets.settings import DEFAULTS, BucketSettings
from kfgcp.engine.executors.router import AUTO

GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """max_parallel: tasks at the same time. grace: seconds between asking a task to end and killing it. submit_dir: the
    folder the run was submitted from. caching: for every task, None as the spec says. fail_fast: start nothing new
    after the first failure. repeats: a run to take unchanged tasks from, but for `from_task` and what depends on it.
    executor: `auto`, `process` or `docker`. strict_env: take kfp pins literally. container_credentials: give
    containers the Google credentials of this machine. buckets: where buckets are, and how long an answer may take.
    """

    max_parallel: int = field(default_factory=lambda: os.cpu_count() or 1)
    grace: float = GRACE_SECONDS
    submit_dir: str = ""
    caching: bool | None = None
    fail_fast: bool = False
    repeats: str | None = None
    from_task: str | None = None
    executor: str = AUTO
    strict_env: bool = False
    container_credentials: bool = False
    buckets: BucketSettings = DEFAULTS
