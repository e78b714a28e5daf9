"""Run components in processes of their own, without an import of kfp for each process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patience import PROCESS, wait_for

PROGRAM = Path(__file__).with_name("component_server.py")


class ComponentServer:
    """A process that has imported kfp and the libraries of components, and forks itself.

    It runs one component at a time.
    """

    def __init__(self) -> None:
        # -P: the modules of this folder must not hide others.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        assert self._read_answer() == "ready"
        # Warnings of the imports belong to no component.
        self.read_errors()

    def start(self, order: Mapping[str, object]) -> ComponentProcess:
        """Start a component, as `component_server.py` describes an order."""
        return ComponentProcess(self, pid=self.request(order))

    def request(self, value: object) -> Any:
        """Send a request and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()
        return self._read_answer()

    def read_errors(self) -> str:
        """Return what was written to standard error since the last call."""
        assert self._process.stderr is not None
        # The pipe does not block: None is an empty pipe.
        written: bytes | None = self._process.stderr.read()
        return (written or b"").decode()

    def close(self) -> None:
        """End the server."""
        self._process.communicate(timeout=PROCESS)

    def _read_answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(timeout=PROCESS)
            raise AssertionError(f"the server of components ended: {self.read_errors()}")
        return json.loads(line)


class ComponentProcess:
    """A process that runs a component. It stays a zombie until its exit code was read.

    Attributes:
        pid: its process id.
        returncode: its exit code, or the negative number of the signal that ended it. None while
            it runs.
    """

    def __init__(self, server: ComponentServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None
        self._errors = ""

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self.returncode is None:
            self.returncode = self._server.request(None)
            # A full pipe would block the process.
            self._errors += self._server.read_errors()
        return self.returncode

    def end(self) -> str:
        """Wait until the process ends, and return what it printed."""
        wait_for(lambda: self.poll() is not None)
        return self._errors

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, if it has not ended."""
        self.send_signal(signal.SIGKILL)
        self.end()
