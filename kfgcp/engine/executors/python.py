"""Lightweight Python components in processes of this machine, forked from warm servers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kfgcp.engine import orphans
from kfgcp.engine.executors.base import Attempt, Emit
from kfgcp.engine.executors.startup import read_at_start
from kfgcp.engine.executors.task_process import MODULE, TEMPORARY
from kfgcp.engine.executors.task_server import Server
from kfgcp.spec.lightweight import Lightweight


class PythonExecutor:
    """Runs attempts in children of fork servers, which start at once and import while the engine
    prepares.

    One server has KFP's executor and is there in a moment; a second one imports common libraries
    that the components use, and takes the tasks over when it is ready. Tasks with variables that
    are read at start (see `startup`) have servers of their own, shared by those with the same ones.

    Args:
        emit: takes the end of each attempt; called from a thread of the executor.
        python: the interpreter to run in.
        libraries: modules for the second server; none for no second server.
        environ: variables that the servers start with, beside those of this process.
        run_id: marks the servers, and with them all that is forked from them, as
            `kfgcp.engine.orphans` looks for it.
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
        self._others: dict[tuple[tuple[str, str], ...], PythonExecutor] = {}
        self._programs: dict[str, Path] = {}
        self._of: dict[int, Server] = {}
        self._plain = self._server()
        self._warm: Server | None = None
        if libraries:
            with suppress(OSError):  # without it, tasks import the libraries themselves
                self._warm = self._server(libraries)

    def start(self, attempt: Attempt) -> None:
        if (early := read_at_start(attempt.env)) and early != self._environ:
            return self._other(early).start(attempt)
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
            "remote": str(attempt.remote) if attempt.remote is not None else None,
        }
        (attempt.scratch / TEMPORARY).mkdir(parents=True)
        server = self._of[attempt.id] = self._choose()
        server.start(attempt, message)

    def signal(self, attempt_id: int, number: int) -> None:
        if (server := self._of.get(attempt_id)) is not None:
            server.send({"do": "signal", "id": attempt_id, "signal": number})
        for other in self._others.values():
            other.signal(attempt_id, number)

    def kill(self, attempt_id: int) -> None:
        if (server := self._of.get(attempt_id)) is not None:
            server.kill()
        for other in self._others.values():
            other.kill(attempt_id)

    def close(self) -> None:
        for other in self._others.values():
            other.close()
        self._plain.close()
        if self._warm is not None:
            self._warm.close()

    def _other(self, environ: Mapping[str, str]) -> PythonExecutor:
        """The executor whose servers start with these variables."""
        key = tuple(sorted(environ.items()))
        if key not in self._others:
            self._others[key] = PythonExecutor(
                self._emit, self._python, self._libraries, environ, self._run_id
            )
        return self._others[key]

    def _program(self, function: Lightweight, folder: Path) -> Path:
        """The file that holds the function's source, written once for all tasks that run it."""
        program = self._programs.get(function.source)
        if program is None:
            program = folder / "programs" / f"{id(self):x}-{len(self._programs)}" / f"{MODULE}.py"
            program.parent.mkdir(parents=True)
            program.write_text(function.source, encoding="utf-8")
            self._programs[function.source] = program
        return program

    def _choose(self) -> Server:
        """The server with the libraries once it is ready; a new plain one when the last one went
        down."""
        if self._warm is not None and self._warm.ready and not self._warm.lost:
            return self._warm
        if self._plain.lost:
            self._plain.close()
            self._plain = self._server()
        return self._plain

    def _server(self, libraries: Sequence[str] = ()) -> Server:
        return Server(
            self._emit, self._python, libraries, {**self._environ, orphans.MARK: self._run_id}
        )
