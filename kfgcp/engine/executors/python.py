"""Run lightweight Python components in processes that are forked from a server.

The fork server has already imported what the components need, so a task starts in a moment.
"""

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
from kfgcp.engine.libraries import imported_libraries
from kfgcp.spec.lightweight import Lightweight


class PythonExecutor:
    """An executor whose attempts are children of fork servers.

    The servers start at once and import modules while the engine prepares the first task. The plain
    server imports only KFP's executor and is ready in a moment. The warm server also imports common
    libraries that the components use. As soon as it is ready, new tasks run there. Until then, one
    task that uses such libraries imports them itself, and the next ones wait (decision 7).

    A task may have variables that are read at start (see `startup`). Such a task needs other
    servers, so another `PythonExecutor` runs it. Tasks with the same variables share that executor.

    Args:
        emit: takes the end of each attempt; called from a thread of the executor.
        python: the Python interpreter of the servers.
        libraries: the modules that the warm server imports. If empty, there is no warm server.
        environ: environment variables of the servers, in addition to the variables of this process.
        run_id: the run. The servers and their children have this id as a variable, see
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
        # Sorted variables that are read at start -> the executor of tasks with these variables.
        self._other_executors: dict[tuple[tuple[str, str], ...], PythonExecutor] = {}
        # Source of a component -> the file with the source.
        self._program_files: dict[str, Path] = {}
        # Source of a component -> whether it imports some of the libraries.
        self._uses_libraries: dict[str, bool] = {}
        self._has_task_imported_libraries = False
        self._servers_by_attempt: dict[int, Server] = {}
        self._plain_server = self._start_server()
        self._warm_server: Server | None = None
        if libraries:
            # If the warm server cannot start, tasks import the libraries themselves.
            with suppress(OSError):
                self._warm_server = self._start_server(libraries)

    def start(self, attempt: Attempt) -> None:
        """Start an attempt and return at once. The end of the attempt is emitted exactly once.

        Raises:
            OSError: the files of the attempt cannot be written, or a server cannot be started.
        """
        variables_at_start = read_at_start(attempt.env)
        if variables_at_start and variables_at_start != self._environ:
            self._executor_with(variables_at_start).start(attempt)
            return
        function = attempt.work
        assert isinstance(function, Lightweight)
        program_file = self._write_program(function, attempt.scratch.parent)
        copies_folder = None if attempt.copies_folder is None else str(attempt.copies_folder)
        message: StartMessage = {
            "do": "start",
            "id": attempt.id,
            "program": str(program_file),
            "function": function.function,
            "executor_input": attempt.executor_input,
            "env": dict(attempt.env),
            "scratch": str(attempt.scratch),
            "log": str(attempt.log),
            "copies_folder": copies_folder,
        }
        (attempt.scratch / TEMPORARY).mkdir(parents=True)
        server = self._choose_server(function.source)
        self._servers_by_attempt[attempt.id] = server
        server.start(attempt, message)

    def signal(self, attempt_id: int, signal_number: int) -> None:
        """Send a signal to an attempt and to all processes that it started.

        An attempt that has ended is ignored.
        """
        server = self._servers_by_attempt.get(attempt_id)
        if server is not None:
            message: SignalMessage = {"do": "signal", "id": attempt_id, "signal": signal_number}
            server.send(message)
        for executor in self._other_executors.values():
            executor.signal(attempt_id, signal_number)

    def kill(self, attempt_id: int) -> None:
        """Kill an attempt together with its server. This works also when the server hangs."""
        server = self._servers_by_attempt.get(attempt_id)
        if server is not None:
            server.kill()
        for executor in self._other_executors.values():
            executor.kill(attempt_id)

    def close(self) -> None:
        """End all servers, which kill their tasks."""
        for executor in self._other_executors.values():
            executor.close()
        self._plain_server.close()
        if self._warm_server is not None:
            self._warm_server.close()

    def _executor_with(self, environ: Mapping[str, str]) -> PythonExecutor:
        """Return the executor whose servers start with these variables."""
        key = tuple(sorted(environ.items()))
        if key not in self._other_executors:
            self._other_executors[key] = PythonExecutor(
                self._emit, self._python, self._libraries, environ, self._run_id
            )
        return self._other_executors[key]

    def _write_program(self, function: Lightweight, folder: Path) -> Path:
        """Return the file with a function's source. The first task that runs it writes the file."""
        file = self._program_files.get(function.source)
        if file is None:
            # Several executors may write below the same folder, so the name has the executor's id.
            name = f"{id(self):x}-{len(self._program_files)}"
            file = folder / "programs" / name / f"{MODULE}.py"
            file.parent.mkdir(parents=True)
            file.write_text(function.source, encoding="utf-8")
            self._program_files[function.source] = file
        return file

    def _choose_server(self, source: str) -> Server:
        """Return the server for a task.

        It is the warm server when it is ready. Before that, it is the plain server, except for
        tasks that use the libraries: only the first of them starts at once, and imports them
        itself. If several tasks did so at the same time, each would take about as long as the warm
        server needs. So they wait for it.

        When the plain server has ended, a new plain server is started.

        Args:
            source: the source of the task's component.
        """
        if self._warm_server is not None and not self._warm_server.lost:
            if self._warm_server.ready:
                return self._warm_server
            if self._imports_libraries(source):
                if self._has_task_imported_libraries:
                    return self._warm_server
                self._has_task_imported_libraries = True
        if self._plain_server.lost:
            self._plain_server.close()
            self._plain_server = self._start_server()
        return self._plain_server

    def _imports_libraries(self, source: str) -> bool:
        """Return whether the source of a component imports libraries of the warm server."""
        if source not in self._uses_libraries:
            imported = imported_libraries(source)
            self._uses_libraries[source] = any(name in self._libraries for name in imported)
        return self._uses_libraries[source]

    def _start_server(self, libraries: Sequence[str] = ()) -> Server:
        environ = {**self._environ, orphans.RUN_ID_VARIABLE: self._run_id}
        return Server(self._emit, self._python, libraries, environ)
