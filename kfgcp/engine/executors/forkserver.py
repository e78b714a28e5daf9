"""The process that forks a task's process, with KFP's executor already imported.

`main` takes as arguments the descriptor of a socket and the names of more modules to import.

It reads from the socket what to start and what to signal, and reports what started and what ended.
It dies with the engine: when the socket closes it kills every task with all that the task started.
Nothing of a task runs in this process.

While a core is free one child is forked ahead, the spare: it makes itself ready and reads its task
from a pipe. Like any other it runs one task and ends.
"""

from __future__ import annotations

import gc
import marshal
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from kfgcp.engine.executors import process_messages as wire
from kfgcp.engine.executors import task_process

_HIGHEST_FD = 64
"""Higher than any descriptor of the server: it has a handful, and the libraries that it imports
open few."""
_CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Spare:
    """A process that waits for its task. orders: the end of a pipe, where to write the task's start
    message."""

    pid: int
    orders: int


class ForkServer:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pid = os.getpid()
        self._running: dict[int, int] = {}  # process id -> attempt id
        self._spare: _Spare | None = None
        self._wants_spare = True  # when there is nothing else to do

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
        theirs, ours = os.pipe()
        try:
            pid = _fork(lambda: task_process.wait_and_run(theirs, self._pid), keep=theirs)
            self._spare = _Spare(pid, ours)
        except OSError:  # the next start will say so, if it lasts
            os.close(ours)
        os.close(theirs)

    def _start(self, message: dict[str, Any]) -> None:
        spare, self._spare = self._spare, None
        try:
            if spare is not None and _give(spare, message):
                pid = spare.pid
            else:
                pid = _fork(lambda: task_process.run(message, self._pid))
        except OSError as error:
            self._send(
                {
                    "id": message["id"],
                    "status": None,
                    "error": f"cannot start a process: {error.strerror}",
                }
            )
            return
        self._running[pid] = message["id"]
        self._send({"id": message["id"], "pid": pid})
        self._wants_spare = len(self._running) < _CORES

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


def _fork(run: Callable[[], NoReturn], *, keep: int = _HIGHEST_FD) -> int:
    """The id of a child that runs this, and has of the server's descriptors none but `keep`."""
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        os.closerange(3, keep)
        os.closerange(keep + 1, _HIGHEST_FD)
        run()
    with suppress(OSError):  # the child does the same: whichever comes first
        os.setpgid(pid, pid)
    return pid


def _give(spare: _Spare, message: dict[str, Any]) -> bool:
    """Hands a task over; False when somebody has killed the spare."""
    try:
        with open(spare.orders, "wb") as orders:
            marshal.dump(message, orders)
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
    os._exit(
        0
    )  # taking the interpreter down takes longer than a small task, and the engine waits for it
