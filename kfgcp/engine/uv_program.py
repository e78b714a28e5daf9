"""Find the program uv, which installs packages."""

from __future__ import annotations

import threading
from functools import cache

_lock = threading.Lock()


def uv_program() -> str:
    """Return the path of uv. Only the first call searches for it.

    The search uses `sysconfig`, whose first call is not thread-safe in Python 3.11: a second thread
    can get None for values that are not set yet. The lock protects callers of this function from
    each other. It does not protect them from other code that uses `sysconfig`. So the engine calls
    this function before it starts threads.

    Raises:
        OSError: the package uv is installed, but not its program.
        ImportError: the package uv is not installed.
    """
    with _lock:
        return _find()


@cache
def _find() -> str:
    from uv import find_uv_bin

    return find_uv_bin()
