"""Fill in the options of a run that the user does not give and the environment has."""

from __future__ import annotations

from dataclasses import replace

from kfgcp.config import Environment
from kfgcp.options import RunOptions


def with_environment_options(options: RunOptions, env: Environment) -> RunOptions:
    """Return the options of a run in an environment.

    Only environments on this machine have the keys `executor` and `max_parallel`. When the user
    gives the executor `auto`, the key of the environment decides.

    Args:
        options: the options that the user gives.
        env: the environment of the run.
    """
    executor = options.executor
    if executor == "auto":
        executor = env.get("executor", "auto")
    max_parallel = options.max_parallel or env.get("max_parallel")
    return replace(options, executor=executor, max_parallel=max_parallel)
