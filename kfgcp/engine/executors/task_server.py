"""The engine's end of a fork server: the process, the socket to it, and its reports."""

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
from typing import Any, Final

import kfgcp
from kfgcp.engine.executors import process_messages
from kfgcp.engine.executors.base import Attempt, AttemptEnded, Emit, TaskException
from kfgcp.engine.executors.task_process import FAILURE
from kfgcp.machine import start_thread

_LAUNCH: Final = """
import importlib.util, sys
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "kfgcp", folder + "/__init__.py", submodule_search_locations=[folder]
)
sys.modules["kfgcp"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from kfgcp.engine.executors.forkserver import main
main()
"""
"""Imports this kfgcp, and nothing else of this environment, in whatever interpreter runs it."""

CLOSING_SECONDS = 10.0
"""How long a server may take to end by itself. A server that was stopped with SIGSTOP never ends,
so it is killed."""


class Server:
    """A fork server and the thread that listens to it.

    Args:
        emit: takes the end of each attempt; called from that thread.
        python: the interpreter to run in.
        modules: modules to import before the first task, beside KFP's executor; a module that is
            not installed is passed over.
        environ: variables that it starts with, beside those of this process.

    Attributes:
        ready: everything is imported.
        lost: why the server has ended, empty while it lives.

    Raises:
        OSError: the process or the thread cannot be started.
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
        self._scratch_of: dict[int, Path] = {}  # of the attempts that run
        self._pid_of: dict[int, int] = {}
        # Messages that the server cannot take yet. A thread sends them.
        self._unsent: deque[bytes] = deque()
        self._closed = False
        ours, theirs = socket.socketpair()
        self._connection = ours
        with theirs:
            self._process = _launch(python, theirs, modules, environ or {})
        try:
            self._reader = start_thread(self._read, "kfgcp-executor")
        except OSError:
            self._process.kill()
            self._process.wait()
            ours.close()
            raise

    def start(self, attempt: Attempt, message: Mapping[str, object]) -> None:
        """Send a start message. The end of the attempt is emitted exactly once."""
        # The order closes a race with the reader thread, which sets `lost` first and reports all
        # registered attempts afterwards. An attempt that is registered too late for that is
        # reported here. The lock in `_report_lost` prevents a second report.
        with self._lock:
            self._scratch_of[attempt.id] = attempt.scratch
        self.send(message)
        if self.lost:
            self._report_lost()

    def send(self, message: Mapping[str, object]) -> None:
        """Send a message without waiting.

        The server may be stopped (SIGSTOP). It then reads nothing, and the run must still be able
        to end.
        """
        data = process_messages.encode(message)
        # An error means that the server has ended. The reader sees that and reports it.
        with self._send_lock, suppress(OSError):
            # Messages are never sent out of order: a signal must not come before its start.
            if self._unsent:
                self._unsent.append(data)
                return
            rest = data[_send_now(self._connection, data) :]
            if rest:
                self._unsent.append(rest)
                start_thread(self._send_rest, "kfgcp-sender")

    def kill(self) -> None:
        """Kill the server and all tasks in it.

        This also works when the server is stopped and does not read messages.
        """
        with self._lock:
            pids = [
                pid for attempt_id, pid in self._pid_of.items() if attempt_id in self._scratch_of
            ]
        # The tasks come first. When the server is dead, init reaps its tasks, and the system may
        # give their ids to other processes. On macOS tasks do not die with the server at all.
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()

    def close(self) -> None:
        """End the server, which kills its tasks. Their ends are not reported."""
        # First, so that the reader does not report the end as a loss.
        self._closed = True
        # The server sees the end of the stream and kills its tasks. The shutdown also ends the
        # `recv` of the reader and of the sender, which closing the descriptor would not.
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if not self.ready:
            # It still imports modules and runs no task, so nothing is left behind.
            self._process.kill()
        try:
            self._process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._reader.join()
        self._connection.close()

    def _send_rest(self) -> None:
        """Send the messages that wait, oldest first, and return when there are none."""
        with suppress(OSError):
            while True:
                # The oldest message stays in the queue while it is sent, so that `send` appends
                # newer ones behind it.
                self._connection.sendall(self._unsent[0])
                with self._send_lock:
                    self._unsent.popleft()
                    if not self._unsent:
                        return

    def _read(self) -> None:
        """Handle the reports of the server until it ends."""
        lines = process_messages.Lines()
        while data := process_messages.receive(self._connection):
            for report in lines.feed(data):
                self._handle(report)
        if not self._closed:
            self.lost = f"the process that starts tasks {_describe_exit(self._process.wait())}"
            self._report_lost()

    def _handle(self, report: Mapping[str, Any]) -> None:
        attempt_id = report["id"]
        if attempt_id is None:
            self.ready = True
            return
        with self._lock:
            if "pid" in report:
                self._pid_of[attempt_id] = report["pid"]
                return
            self._pid_of.pop(attempt_id, None)
            scratch = self._scratch_of.pop(attempt_id, None)
        if scratch is not None:
            self._emit(_read_end(report, scratch))

    def _report_lost(self) -> None:
        # The attempts are taken out under the lock, so that two threads never report one twice.
        with self._lock:
            attempt_ids = list(self._scratch_of)
            self._scratch_of = {}
            self._pid_of = {}
        for attempt_id in attempt_ids:
            self._emit(AttemptEnded(attempt_id, self.lost, lost=True))


def _launch(
    python: str, connection: socket.socket, modules: Sequence[str], environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    descriptor = connection.fileno()
    folder = str(Path(kfgcp.__file__).parent)
    return subprocess.Popen(
        # With -P the current folder is not on the path (Python 3.11, "Command line and
        # environment"): a file of the user such as `json.py` must not replace a module.
        [python, "-P", "-c", _LAUNCH, folder, str(descriptor), *modules],
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # With _KFP_RUNTIME kfp imports only its executor: 0.06 s instead of 0.8 s (decision 3).
        env=os.environ | dict(environ) | {"_KFP_RUNTIME": "true"},
        # Ctrl-C in a terminal sends SIGINT to the processes of the terminal's foreground group. A
        # server in a session of its own does not get it: the engine decides when tasks end.
        start_new_session=True,
    )


def _send_now(connection: socket.socket, data: bytes) -> int:
    """Return how many bytes a socket takes without waiting."""
    try:
        # Only this call must not wait, see send(2). O_NONBLOCK would also affect the reader.
        return connection.send(data, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return 0


def _read_end(report: Mapping[str, Any], scratch: Path) -> AttemptEnded:
    """Return the end of an attempt that the fork server reports."""
    attempt_id = report["id"]
    if report.get("error"):
        return AttemptEnded(attempt_id, report["error"])
    code = os.waitstatus_to_exitcode(report["status"])
    if code == 0:
        return AttemptEnded(attempt_id)
    if code == 1:
        failure = _read_failure(attempt_id, scratch)
        if failure is not None:
            return failure
    return AttemptEnded(attempt_id, f"the process {_describe_exit(code)}")


def _read_failure(attempt_id: int, scratch: Path) -> AttemptEnded | None:
    """Return the failure that the process of a task left in a file, None when there is none."""
    # The folder belongs to the task, so the file may contain anything.
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
        failure = json.loads((scratch / FAILURE).read_text(encoding="utf-8", errors="replace"))
        line = failure["message"].strip()
        if line:
            exception = TaskException(**failure["exception"])
            return AttemptEnded(attempt_id, line, exception=exception)
    return None


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
