"""Lightweight Python components in processes of this machine, forked from a warm server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import kfgcp
from kfgcp.engine.executors import wire
from kfgcp.engine.executors.base import Attempt, Emit, Ended
from kfgcp.engine.executors.task_process import FAILURE, MODULE, TEMPORARY
from kfgcp.spec.lightweight import Lightweight

_LAUNCH = """
import importlib.util, sys
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location("kfgcp", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["kfgcp"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from kfgcp.engine.executors.forkserver import main
main()
"""
"""Imports this kfgcp, and nothing else of this environment, in whatever interpreter it is run by."""


class PythonExecutor:
    """Runs attempts in children of one fork server, which starts at once and imports while the engine prepares.

    Args:
        emit: takes the end of each attempt; called from a thread of the executor.
        python: the interpreter to run in.
    """

    def __init__(self, emit: Emit, python: str = sys.executable) -> None:
        self._emit = emit
        self._python = python
        self._programs: dict[str, Path] = {}
        self._server: _Server | None = None
        self._connect()

    def start(self, attempt: Attempt) -> None:
        function = attempt.work
        assert isinstance(function, Lightweight)
        message = {
            "do": "start",
            "id": attempt.id,
            "program": str(self._program(function, attempt.scratch.parent)),
            "function": function.function,
            "executor_input": attempt.executor_input,
            "env": dict(attempt.env),
            "scratch": str(attempt.scratch),
            "log": str(attempt.log),
        }
        (attempt.scratch / TEMPORARY).mkdir(parents=True)
        self._connect().start(attempt, message)

    def signal(self, attempt_id: int, number: int) -> None:
        if self._server is not None:
            self._server.send({"do": "signal", "id": attempt_id, "signal": number})

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _program(self, function: Lightweight, folder: Path) -> Path:
        """The file that holds the function's source, written once for all tasks that run it."""
        program = self._programs.get(function.source)
        if program is None:
            program = folder / "programs" / f"{id(self):x}-{len(self._programs)}" / f"{MODULE}.py"
            program.parent.mkdir(parents=True)
            program.write_text(function.source, encoding="utf-8")
            self._programs[function.source] = program
        return program

    def _connect(self) -> _Server:
        """The fork server; a new one when the last one went down."""
        if self._server is None or self._server.lost:
            if self._server is not None:
                self._server.close()
            self._server = _Server(self._emit, self._python)
        return self._server


class _Server:
    """A fork server and the thread that listens to it."""

    def __init__(self, emit: Emit, python: str) -> None:
        self.lost = ""
        self._emit = emit
        self._lock = threading.Lock()
        self._running: dict[int, Path] = {}  # attempt id -> scratch
        self._closed = False
        ours, theirs = socket.socketpair()
        self._connection = ours
        with theirs:
            self._process = subprocess.Popen(
                [python, "-P", "-c", _LAUNCH, str(Path(kfgcp.__file__).parent), str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"_KFP_RUNTIME": "true"},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="kfgcp-executor", daemon=True)
        self._reader.start()

    def start(self, attempt: Attempt, message: dict[str, object]) -> None:
        with self._lock:
            self._running[attempt.id] = attempt.scratch
        self.send(message)
        if self.lost:
            self._report_lost()

    def send(self, message: dict[str, object]) -> None:
        with suppress(ConnectionError):  # the reader sees that the server is gone, and reports it
            self._connection.sendall(wire.encode(message))

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._reader.join()
        self._connection.close()

    def _read(self) -> None:
        lines = wire.Lines()
        while data := wire.receive(self._connection):
            for message in lines.feed(data):
                with self._lock:
                    scratch = self._running.pop(message["id"], None)
                if scratch is not None:
                    error = message.get("error") or _why(message["status"], scratch)
                    self._emit(Ended(message["id"], error))
        if not self._closed:
            self.lost = f"the process that starts tasks was {_described(self._process.wait())}"
            self._report_lost()

    def _report_lost(self) -> None:
        with self._lock:
            lost, self._running = list(self._running), {}
        for attempt_id in lost:
            self._emit(Ended(attempt_id, self.lost, lost=True))


def _why(status: int, scratch: Path) -> str | None:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return None
    if code == 1:
        with suppress(OSError):
            line = (scratch / FAILURE).read_text(encoding="utf-8", errors="replace").strip()
            if line:
                return line
    return f"the process was {_described(code)}" if code < 0 else f"the process exited with code {code}"


def _described(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
