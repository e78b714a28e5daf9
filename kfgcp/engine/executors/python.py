"""Run lightweight Python components in processes of this machine, forked from warm servers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kfgcp.engine import orphans
from kfgcp.engine.executors.base import Attempt, Emit
from kfgcp.engine.executors.process_messages import SignalMessage, StartMessage
from kfgcp.engine.executors.startup import read_at_start
from kfgcp.engine.executors.task_process import MODULE, TEMPORARY
from kfgcp.engine.executors.task_server import Server
from kfgcp.spec.lightweight import Lightweight


class PythonExecutor:
    """An executor whose attempts are children of fork servers.

    The servers start at once and import modules while the engine prepares the first task. One
    server has only KFP's executor and is ready in a moment. A second one imports common libraries
    that the components use, and runs the later tasks as soon as it is ready (decision 7).

    Tasks with variables that are read at start (see `startup`) have servers of their own. Tasks
    with the same such variables share them.

    Args:
        emit: takes the end of each attempt; called from a thread of the executor.
        python: the interpreter to run in.
        libraries: modules for the second server; without modules there is no second server.
        environ: variables that the servers start with, beside those of this process.
        run_id: marks the servers and all processes that are forked from them, see
            `kfgcp.engine.orphans`.

    Raises:
        OSError: the first server cannot be started.
    """

    def __init__(
        self,
        emit: Emit,
        python: str = sys.executable,
        libraries: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        run_id: str = "",
    ) -> None:
        self._emit = emit
        self._python = python
        self._libraries = libraries
        self._environ = environ or {}
        self._run_id = run_id
        # The executors for variables that are read at start, by the sorted variables.
        self._others: dict[tuple[tuple[str, str], ...], PythonExecutor] = {}
        self._programs: dict[str, Path] = {}
        self._server_of: dict[int, Server] = {}
        self._plain = self._start_server()
        self._warm: Server | None = None
        if libraries:
            # Without the second server, tasks import the libraries themselves.
            with suppress(OSError):
                self._warm = self._start_server(libraries)

    def start(self, attempt: Attempt) -> None:
        """Start an attempt and return. Its end is emitted exactly once.

        Raises:
            OSError: its files or a new server cannot be made.
        """
        variables_at_start = read_at_start(attempt.env)
        if variables_at_start and variables_at_start != self._environ:
            self._executor_with(variables_at_start).start(attempt)
            return
        function = attempt.work
        assert isinstance(function, Lightweight)
        copies_folder = str(attempt.copies_folder) if attempt.copies_folder is not None else None
        message: StartMessage = {
            "do": "start",
            "id": attempt.id,
            "program": str(self._program_file(function, attempt.scratch.parent)),
            "function": function.function,
            "executor_input": attempt.executor_input,
            "env": dict(attempt.env),
            "scratch": str(attempt.scratch),
            "log": str(attempt.log),
            "copies_folder": copies_folder,
        }
        (attempt.scratch / TEMPORARY).mkdir(parents=True)
        server = self._choose_server()
        self._server_of[attempt.id] = server
        server.start(attempt, message)

    def signal(self, attempt_id: int, number: int) -> None:
        """Send a signal to an attempt and all that it started; no effect when it has ended."""
        server = self._server_of.get(attempt_id)
        if server is not None:
            message: SignalMessage = {"do": "signal", "id": attempt_id, "signal": number}
            server.send(message)
        for executor in self._others.values():
            executor.signal(attempt_id, number)

    def kill(self, attempt_id: int) -> None:
        """Kill an attempt together with its server, which may not answer any more."""
        server = self._server_of.get(attempt_id)
        if server is not None:
            server.kill()
        for executor in self._others.values():
            executor.kill(attempt_id)

    def close(self) -> None:
        """End all servers, which kill their tasks."""
        for executor in self._others.values():
            executor.close()
        self._plain.close()
        if self._warm is not None:
            self._warm.close()

    def _executor_with(self, environ: Mapping[str, str]) -> PythonExecutor:
        """Return the executor whose servers start with these variables."""
        key = tuple(sorted(environ.items()))
        if key not in self._others:
            self._others[key] = PythonExecutor(
                self._emit, self._python, self._libraries, environ, self._run_id
            )
        return self._others[key]

    def _program_file(self, function: Lightweight, folder: Path) -> Path:
        """Return the file with the function's source, written once for all tasks that run it."""
        program = self._programs.get(function.source)
        if program is None:
            # Several executors write below one folder, so the id keeps their files apart.
            name = f"{id(self):x}-{len(self._programs)}"
            program = folder / "programs" / name / f"{MODULE}.py"
            program.parent.mkdir(parents=True)
            program.write_text(function.source, encoding="utf-8")
            self._programs[function.source] = program
        return program

    def _choose_server(self) -> Server:
        """Return the server with the libraries when it is ready, else the plain one.

        When the plain server has ended, a new one is started.
        """
        if self._warm is not None and self._warm.ready and not self._warm.lost:
            return self._warm
        if self._plain.lost:
            self._plain.close()
            self._plain = self._start_server()
        return self._plain

    def _start_server(self, libraries: Sequence[str] = ()) -> Server:
        environ = {**self._environ, orphans.RUN_ID_VARIABLE: self._run_id}
        return Server(self._emit, self._python, libraries, environ)
