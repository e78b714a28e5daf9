"""Where the program uv is, which installs packages."""

from __future__ import annotations

import threading
from functools import cache

_lock = threading.Lock()


def uv_program() -> str:
    """Return the path of uv, which is looked for once.

    uv's own search asks `sysconfig`, whose first call is not safe in Python 3.11: a second thread that asks meanwhile
    gets None for what is not there yet. A lock keeps the callers of this function apart. It does not help with other
    code that uses `sysconfig`, so the engine calls this before it starts threads.

    Raises:
        OSError: it is not there.
        ImportError: the package uv is not installed.
    """
    with _lock:
        return _find()


@cache
def _find() -> str:
    from uv import find_uv_bin

    return find_uv_bin()
