"""The process that forks a task's process, with KFP's executor already imported.

`main` takes as arguments the descriptor of a socket and the names of more modules to import.

It reads from the socket what to start and what to signal, and reports what ended. It dies with the engine: when the
socket closes it kills every task with all that the task started. Nothing of a task runs in this process.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from kfgcp.engine.executors import task_process, wire

_HIGHEST_FD = 64
"""Higher than any descriptor of the server: it has a handful, and the libraries that it imports open few."""


class ForkServer:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._running: dict[int, int] = {}  # process id -> attempt id

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
                for key, _ in selector.select():
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

    def _start(self, message: dict[str, Any]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._send({"id": message["id"], "status": None, "error": f"cannot start a process: {error.strerror}"})
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            os.closerange(3, _HIGHEST_FD)
            task_process.run(message)
        with suppress(OSError):  # the child does the same: whichever comes first
            os.setpgid(pid, pid)
        self._running[pid] = message["id"]

    def _reap(self) -> None:
        while self._running:
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
