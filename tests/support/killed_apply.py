"""Run a command of kfgcp, and kill the process with kill -9 before or after one of its writes.

Usage: killed_apply.py NUMBER before|after ARGUMENT... The first write has the number 1.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from kfgcp.cli.main import main
from kfgcp.services.transport import Response, Transport


class _Killer:
    """Counts the writes of this process, and kills it at one of them."""

    def __init__(self, number: int, *, after: bool) -> None:
        self._number = number
        self._after = after
        self._count = 0
        self._exchange = Transport.exchange

    def exchange(self, transport: Transport, method: str, url: str, **options: Any) -> Response:
        self._count += method != "GET"
        is_it = method != "GET" and self._count == self._number
        if is_it and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        response = self._exchange(transport, method, url, **options)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)
        return response


if __name__ == "__main__":
    killer = _Killer(int(sys.argv[1]), after=sys.argv[2] == "after")

    def exchange(transport: Transport, method: str, url: str, **options: Any) -> Response:
        return killer.exchange(transport, method, url, **options)

    Transport.exchange = exchange  # type: ignore[method-assign]
    main(sys.argv[3:])
