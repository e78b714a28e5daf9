"""Start a fork server, send messages to it, and turn its reports into events."""

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
"""The program of a fork server. It may run in the Python of another environment, so it imports
kfgcp by its path. It imports no other package of this environment."""

CLOSING_SECONDS = 10.0
"""How long a server may take to end before it is killed. A server that was stopped with SIGSTOP
does not end by itself."""


class Server:
    """A running fork server, with a thread that reads its reports.

    Args:
        emit: takes the end of each attempt; called from the thread.
        python: the Python interpreter of the server.
        modules: modules that the server imports before the first task, in addition to KFP's
            executor. Modules that are not installed are ignored.
        environ: environment variables of the server, in addition to those of this process.

    Attributes:
        ready: whether the server has imported everything.
        lost: the reason why the server has ended, "" while it runs.

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
        # The working folders and process ids of the running attempts, by the ids of the attempts.
        self._scratch_folders: dict[int, Path] = {}
        self._pids: dict[int, int] = {}
        # Messages that did not fit into the socket. A thread sends them.
        self._unsent: deque[bytes] = deque()
        self._closed = False
        self._connection, server_end = socket.socketpair()
        with server_end:
            self._process = _launch(python, server_end, modules, environ or {})
        try:
            self._reader = start_thread(self._read_reports, "kfgcp-executor")
        except OSError:
            self._process.kill()
            self._process.wait()
            self._connection.close()
            raise

    def start(self, attempt: Attempt, message: Mapping[str, object]) -> None:
        """Send a start message. The end of the attempt is emitted exactly once."""
        # The attempt is registered first, and `lost` is read last. The reader thread works in the
        # opposite order: it sets `lost`, and then reports all registered attempts. So if the
        # server ends now, at least one of the two threads reports the attempt. The lock in
        # `_report_lost` prevents a second report.
        with self._lock:
            self._scratch_folders[attempt.id] = attempt.scratch
        self.send(message)
        if self.lost:
            self._report_lost()

    def send(self, message: Mapping[str, object]) -> None:
        """Send a message without waiting for the server.

        A server that is stopped (SIGSTOP) reads nothing, but the run must still be able to end.
        """
        data = process_messages.encode(message)
        # An error means that the server has ended. The reader thread reports that.
        with self._send_lock, suppress(OSError):
            # Messages keep their order, because the signal for a task must come after its start.
            if self._unsent:
                self._unsent.append(data)
                return
            sent_bytes = _send_now(self._connection, data)
            unsent_data = data[sent_bytes:]
            if unsent_data:
                self._unsent.append(unsent_data)
                start_thread(self._send_unsent, "kfgcp-sender")

    def kill(self) -> None:
        """Kill the server and all its tasks.

        This also works when the server is stopped (SIGSTOP) and does not read messages.
        """
        with self._lock:
            pids = [
                pid for attempt_id, pid in self._pids.items() if attempt_id in self._scratch_folders
            ]
        # The tasks are killed first. After the end of the server, the system may give the process
        # ids of tasks that have ended to other processes. On macOS, tasks do not even end with
        # their server.
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()

    def close(self) -> None:
        """End the server, which kills its tasks. The ends of these tasks are not emitted."""
        # This comes first, so that the reader does not report the tasks as lost.
        self._closed = True
        # After the shutdown, the server sees the end of the stream and kills its tasks. The
        # shutdown also ends calls of `recv` and `send` that wait in the threads. `close` would not.
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if not self.ready:
            # The server still imports modules and runs no task, so a kill leaves no task behind.
            self._process.kill()
        try:
            self._process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._reader.join()
        self._connection.close()

    def _send_unsent(self) -> None:
        """Send the messages in `_unsent`, oldest first, until it is empty.

        This method runs in its own thread.
        """
        with suppress(OSError):
            while True:
                # While a message is sent, it stays in the queue. So `send` sees that the queue is
                # not empty, and appends newer messages to it.
                self._connection.sendall(self._unsent[0])
                with self._send_lock:
                    self._unsent.popleft()
                    if not self._unsent:
                        return

    def _read_reports(self) -> None:
        """Handle the reports of the server until it ends.

        This method runs in its own thread.
        """
        decoder = process_messages.MessageDecoder()
        while data := process_messages.receive(self._connection):
            for report in decoder.feed(data):
                self._handle_report(report)
        if not self._closed:
            exit_code = self._process.wait()
            self.lost = f"the process that starts tasks {_describe_exit(exit_code)}"
            self._report_lost()

    def _handle_report(self, report: Mapping[str, Any]) -> None:
        attempt_id = report["id"]
        if attempt_id is None:
            self.ready = True
            return
        with self._lock:
            if "pid" in report:
                self._pids[attempt_id] = report["pid"]
                return
            self._pids.pop(attempt_id, None)
            scratch = self._scratch_folders.pop(attempt_id, None)
        if scratch is not None:
            self._emit(_read_end(report, scratch))

    def _report_lost(self) -> None:
        """Emit the ends of all registered attempts, because the server has ended."""
        # The attempts are removed under the lock, so two threads never report the same attempt.
        with self._lock:
            attempt_ids = list(self._scratch_folders)
            self._scratch_folders = {}
            self._pids = {}
        for attempt_id in attempt_ids:
            self._emit(AttemptEnded(attempt_id, self.lost, lost=True))


def _launch(
    python: str, connection: socket.socket, modules: Sequence[str], environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the process of a fork server, which has one end of the socket."""
    descriptor = connection.fileno()
    folder = str(Path(kfgcp.__file__).parent)
    # With -P the current folder is not on the path (Python 3.11, "Command line and environment"). A
    # file of the user, such as `json.py`, must not replace a module.
    command = [python, "-P", "-c", _LAUNCH, folder, str(descriptor)]
    command += modules
    return subprocess.Popen(
        command,
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # With _KFP_RUNTIME, kfp imports only its executor. That takes 0.06 s instead of 0.8 s
        # (decision 3).
        env=os.environ | dict(environ) | {"_KFP_RUNTIME": "true"},
        # Ctrl-C in a terminal sends SIGINT to the processes of the terminal's foreground group. In
        # a session of its own, the server does not get the signal. The engine ends the tasks.
        start_new_session=True,
    )


def _send_now(connection: socket.socket, data: bytes) -> int:
    """Send as much of the data as possible without waiting; return the number of bytes."""
    try:
        # The flag affects only this call (send(2)). O_NONBLOCK would also affect the reader thread.
        return connection.send(data, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return 0


def _read_end(report: Mapping[str, Any], scratch: Path) -> AttemptEnded:
    """Return the event for the end of an attempt that the fork server has reported."""
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
    """Return the failure that the process of a task wrote to a file, None without a valid file."""
    # The task can write to this folder, so the file may contain anything.
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
        failure = json.loads((scratch / FAILURE).read_text(encoding="utf-8", errors="replace"))
        line = failure["message"].strip()
        if line:
            exception = TaskException(**failure["exception"])
            return AttemptEnded(attempt_id, line, exception=exception)
    return None


def _describe_exit(code: int) -> str:
    """Return how a process ended, for messages. A negative code is the number of a signal."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
