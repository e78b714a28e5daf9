"""Recognize errors whose cause is this machine and not kfgcp.

Examples: no memory, threads or processes are left, or the current folder was deleted.
"""

from __future__ import annotations

import errno
import importlib.machinery
import os
import threading
from collections.abc import Callable
from pathlib import Path

from kfgcp.errors import KfgcpError, MachineError, StateError


def current_folder() -> Path:
    """Return the current folder.

    Raises:
        StateError: it was deleted.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise StateError(
            "The current folder does not exist any more.", hint="Change to another folder with cd."
        ) from None


def start_thread(
    target: Callable[..., object], name: str, *args: object, daemon: bool = True
) -> threading.Thread:
    """Start a thread.

    Args:
        target: what the thread calls.
        name: the name of the thread.
        args: the arguments of `target`.
        daemon: end with the process; otherwise the process waits for the end of the thread.

    Raises:
        OSError: the system cannot start another thread.
    """
    thread = threading.Thread(target=target, args=args, name=name, daemon=daemon)
    try:
        thread.start()
    except RuntimeError:
        # An OSError is clearer: Python raises RuntimeError for other problems too.
        raise OSError(errno.EAGAIN, "no more threads can be started") from None
    return thread


def machine_error(error: BaseException) -> KfgcpError | None:
    """Return the error to show when this machine caused an exception, else None."""
    if isinstance(error, MemoryError):
        return MachineError(
            "This machine or container has no memory left.",
            hint="End other programs, or raise the limit of the shell or container (ulimit -v).",
        )
    if _is_failed_thread_start(error):
        return _no_processes("thread")
    if isinstance(error, ImportError):
        return _failed_library(error)
    if isinstance(error, OSError):
        return _system_error(error)
    return None


def _system_error(error: OSError) -> KfgcpError:
    reason = error.strerror or error
    if error.filename is None:
        # fork and clone fail with these errors, which have no file name.
        if error.errno in (errno.EAGAIN, errno.ENOMEM):
            return _no_processes("process or thread")
        if error.errno == errno.ENOENT:
            try:
                current_folder()
            except StateError as deleted_folder:
                return deleted_folder
        return MachineError(f"{reason}.")
    file = os.fsdecode(error.filename)
    hint = ""
    if error.errno == errno.EACCES:
        hint = f"See who may use it: ls -ld {os.path.dirname(file) or '.'}"
    return MachineError(f"{reason}: {file}.", hint=hint)


def _is_failed_thread_start(error: BaseException) -> bool:
    """Return whether `Thread.start` raised the error, also in a library.

    Python has no exception type for this error, so the frames of the traceback must show it.
    """
    if not isinstance(error, RuntimeError):
        return False
    import traceback

    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is threading.Thread.start.__code__ for frame, _ in frames)


def _no_processes(kind: str) -> MachineError:
    return MachineError(
        f"The system cannot start another {kind}.",
        hint=(
            "End some processes, or raise the limit of the user or container (ulimit -u, pids.max)."
        ),
    )


def _failed_library(error: ImportError) -> MachineError | None:
    """Return the error for a compiled library that cannot be loaded.

    Return None for a Python module, because there a bug may be the cause.
    """
    path = error.path or ""
    if not path.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
        return None
    return MachineError(
        f"A library cannot be loaded: {error}.",
        hint="Check whether the machine has free memory. If it has, install the library again.",
    )
