"""The engine's end of a fork server: the process, the socket to it, and what it reports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import kfgcp
from kfgcp.engine.executors import process_messages as wire
from kfgcp.engine.executors.base import Attempt, AttemptEnded, Emit, TaskException
from kfgcp.engine.executors.task_process import FAILURE
from kfgcp.machine import start_thread

_LAUNCH = """
import importlib.util, sys
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location("kfgcp", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["kfgcp"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from kfgcp.engine.executors.forkserver import main
main()
"""
"""Imports this kfgcp, and nothing else of this environment, in whatever interpreter it is run
by."""

CLOSING_SECONDS = 10.0
"""How long a server may take to end by itself. A server that was stopped with SIGSTOP never ends,
so it is killed."""


class Server:
    """A fork server and the thread that listens to it.

    Args:
        emit: takes the end of each attempt; called from that thread.
        python: the interpreter to run in.
        modules: what to import before the first task, beside KFP's executor; what is not installed
            is passed over.
        environ: variables that it starts with, beside those of this process.

    Attributes:
        ready: everything is imported.
        lost: why the server is gone, empty while it lives.
    """

    def __init__(
        self,
        emit: Emit,
        python: str,
        modules: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.lost = ""
        self.ready = False
        self._emit = emit
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._running: dict[int, Path] = {}  # attempt id -> scratch
        self._pids: dict[int, int] = {}  # attempt id -> process id
        self._unsent: deque[bytes] = (
            deque()
        )  # messages that the server cannot take yet; a thread sends them
        self._closed = False
        ours, theirs = socket.socketpair()
        self._connection = ours
        with theirs:
            self._process = subprocess.Popen(
                [
                    python,
                    "-P",
                    "-c",
                    _LAUNCH,
                    str(Path(kfgcp.__file__).parent),
                    str(theirs.fileno()),
                    *modules,
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | dict(environ or {}) | {"_KFP_RUNTIME": "true"},
                start_new_session=True,
            )
        try:
            self._reader = start_thread(self._read, "kfgcp-executor")
        except OSError:
            self._process.kill()
            self._process.wait()
            ours.close()
            raise

    def start(self, attempt: Attempt, message: dict[str, object]) -> None:
        with self._lock:
            self._running[attempt.id] = attempt.scratch
        self.send(message)
        if self.lost:
            self._report_lost()

    def send(self, message: dict[str, object]) -> None:
        """Send a message without waiting. The server may be stopped (SIGSTOP), and a run must still
        be able to end."""
        data = wire.encode(message)
        with (
            self._send_lock,
            suppress(OSError),
        ):  # the reader sees that the server is gone, and reports it
            if self._unsent:
                self._unsent.append(data)
                return
            rest = data[_send_now(self._connection, data) :]
            if rest:
                self._unsent.append(rest)
                start_thread(self._send_rest, "kfgcp-sender")

    def kill(self) -> None:
        """Kill the server and all tasks in it. This also works when it is stopped and does not read
        messages."""
        with self._lock:
            pids = [
                self._pids[attempt_id] for attempt_id in self._running if attempt_id in self._pids
            ]
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if not self.ready:
            self._process.kill()  # it is still importing, and runs nothing
        try:
            self._process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._reader.join()
        self._connection.close()

    def _send_rest(self) -> None:
        with suppress(OSError):
            while True:
                self._connection.sendall(self._unsent[0])
                with self._send_lock:
                    self._unsent.popleft()
                    if not self._unsent:
                        return

    def _read(self) -> None:
        lines = wire.Lines()
        while data := wire.receive(self._connection):
            for message in lines.feed(data):
                if message["id"] is None:
                    self.ready = True
                    continue
                with self._lock:
                    if "pid" in message:
                        self._pids[message["id"]] = message["pid"]
                        continue
                    self._pids.pop(message["id"], None)
                    scratch = self._running.pop(message["id"], None)
                if scratch is not None:
                    self._emit(_ended(message, scratch))
        if not self._closed:
            self.lost = f"the process that starts tasks was {_described(self._process.wait())}"
            self._report_lost()

    def _report_lost(self) -> None:
        with self._lock:
            lost, self._running, self._pids = list(self._running), {}, {}
        for attempt_id in lost:
            self._emit(AttemptEnded(attempt_id, self.lost, lost=True))


def _send_now(connection: socket.socket, data: bytes) -> int:
    """Return how many bytes a socket takes without waiting."""
    try:
        return connection.send(data, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return 0


def _ended(report: Mapping[str, Any], scratch: Path) -> AttemptEnded:
    """The end of an attempt that the fork server reports."""
    attempt_id = report["id"]
    if report.get("error"):
        return AttemptEnded(attempt_id, report["error"])
    code = os.waitstatus_to_exitcode(report["status"])
    if code == 0:
        return AttemptEnded(attempt_id)
    if code == 1:
        with suppress(
            OSError, ValueError, TypeError, LookupError, AttributeError
        ):  # the task may have changed the file
            failure = json.loads((scratch / FAILURE).read_text(encoding="utf-8", errors="replace"))
            if line := failure["message"].strip():
                return AttemptEnded(
                    attempt_id, line, exception=TaskException(**failure["exception"])
                )
    return AttemptEnded(
        attempt_id,
        f"the process was {_described(code)}"
        if code < 0
        else f"the process exited with code {code}",
    )


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
