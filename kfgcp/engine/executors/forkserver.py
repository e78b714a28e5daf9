"""The process that forks a task's process, with KFP's executor already imported.

`main` takes as arguments the descriptor of a socket and the names of more modules to import.

It reads from the socket what to start and what to signal, and reports what ended. It dies with the engine: when the
socket closes it kills every task with all that the task started. Nothing of a task runs in this process.

A child reads its task from a pipe. While there is nothing else to do one child is forked ahead, the spare, which makes
itself ready meanwhile. Like any other it runs one task and ends.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kfgcp.engine.executors import task_process, wire

_ORDERS_FD = 3
_HIGHEST_FD = 64
"""Higher than any descriptor of the server: it has a handful, and the libraries that it imports open few."""


@dataclass(frozen=True, slots=True)
class _Child:
    """A process that waits for its task. orders: where to write the task's start message, the end of a pipe."""

    pid: int
    orders: int


class ForkServer:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._running: dict[int, int] = {}  # process id -> attempt id
        self._spare: _Child | None = None
        self._wants_spare = True  # since the last start, until one try

    def serve(self) -> None:
        """Serves until the engine closes its end."""
        wake_read, wake_write = socket.socketpair()
        wake_write.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        lines = wire.Lines()
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            while True:
                happened = selector.select(0 if self._wants_spare else None)
                if not happened:
                    self._fork_ahead()
                for key, _ in happened:
                    if key.fileobj is wake_read:
                        wake_read.recv(4096)
                        self._reap()
                        continue
                    data = wire.receive(self._connection)
                    if not data:
                        return self._kill_all()
                    for message in lines.feed(data):
                        self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        if message["do"] == "start":
            self._start(message)
        else:
            for pid, attempt in self._running.items():
                if attempt == message["id"]:
                    _signal_group(pid, message["signal"])

    def _fork_ahead(self) -> None:
        self._wants_spare = False
        with suppress(OSError):  # the next start will say so, if it lasts
            self._spare = _fork(ahead=True)

    def _start(self, message: dict[str, Any]) -> None:
        order = wire.encode(message)
        child, self._spare, self._wants_spare = self._spare, None, True
        if child is None or not _give(child, order):
            try:
                child = _fork(ahead=False)
            except OSError as error:
                self._send({"id": message["id"], "status": None, "error": f"cannot start a process: {error.strerror}"})
                return
            _give(child, order)
        self._running[child.pid] = message["id"]

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            attempt = self._running.pop(pid, None)
            if attempt is not None:
                _signal_group(pid, signal.SIGKILL)
                self._send({"id": attempt, "status": status})

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(ConnectionError):
            self._connection.sendall(wire.encode(message))

    def _kill_all(self) -> None:
        for pid in self._running:
            _signal_group(pid, signal.SIGKILL)


def _fork(*, ahead: bool) -> _Child:
    """A child that waits for its task.

    Args:
        ahead: it has the time to make more ready than it must.
    """
    theirs, ours = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(theirs)
        os.close(ours)
        raise
    if pid == 0:
        signal.set_wakeup_fd(-1)
        os.dup2(theirs, _ORDERS_FD)
        os.closerange(_ORDERS_FD + 1, _HIGHEST_FD)
        task_process.wait_and_run(_ORDERS_FD, rehearse=ahead)
    os.close(theirs)
    with suppress(OSError):  # the child does the same: whichever comes first
        os.setpgid(pid, pid)
    return _Child(pid, ours)


def _give(child: _Child, order: bytes) -> bool:
    """Hands a task over; False when somebody has killed the child."""
    try:
        with open(child.orders, "wb", buffering=0) as orders:
            while order:
                order = order[orders.write(order) :]
    except BrokenPipeError:
        return False
    return True


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    task_process.preload(sys.argv[2:])
    gc.collect()
    gc.freeze()  # what was imported stays in pages that the tasks share
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.sendall(wire.encode({"id": None}))
        ForkServer(connection).serve()
