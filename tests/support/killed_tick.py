"""Run `kfgcp schedule tick`, and kill the process at one point.

Usage: killed_tick.py POINT. The points are in `POINTS`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from kfgcp.backends.local.service import LocalBackend
from kfgcp.cli.main import main
from kfgcp.deploy.schedules import tick
from kfgcp.store.store import Store

POINTS: Final = ("before-run", "run-recorded", "engine-started", "state-recorded")


def _kill_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return call


def _kill(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    point = sys.argv[1]
    if point == "before-run":
        Store.add_run = _kill  # type: ignore[method-assign]
    elif point == "run-recorded":
        Store.add_run = _kill_after(Store.add_run)  # type: ignore[method-assign]
    elif point == "engine-started":
        LocalBackend.submit = _kill_after(LocalBackend.submit)  # type: ignore[method-assign]
    else:
        tick.write_state = _kill_after(tick.write_state)
    sys.argv = ["kfgcp", "schedule", "tick"]
    main()
