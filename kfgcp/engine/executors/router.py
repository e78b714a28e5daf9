"""Choose the executor of a task: this environment, a virtual environment, or a container."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kfgcp.engine.executors.base import Attempt, Command, Containers, Emit, Executor
from kfgcp.engine.executors.python import PythonExecutor
from kfgcp.engine.requirements import Requirements, is_built, missing_requirements
from kfgcp.engine.uv_program import uv_program
from kfgcp.options import RunOptions
from kfgcp.spec.lightweight import Lightweight

_CONTAINERS_KEY: Final = "containers"
"""The key of the container executor in `Router._executors`. The key of any other executor is the
`Requirements` of its virtual environment, or None for this Python environment."""


class Router:
    """An executor that passes each attempt to another executor.

    It creates another executor when the first attempt needs it.

    Args:
        emit: called with each event, such as the end of an attempt.
        environments: the folder of virtual environments.
        libraries: modules to import in advance, so that tasks start faster.
        containers: the settings of all containers.
        submit_dir: the folder that relative paths in requirements start from.
        run_id: the run. Its processes have this id as a variable, see `kfgcp.engine.orphans`.
    """

    def __init__(
        self,
        emit: Emit,
        environments: Path,
        *,
        libraries: Sequence[str] = (),
        containers: Containers = Containers(),  # noqa: B008  # frozen
        submit_dir: str = "",
        run_id: str = "",
    ) -> None:
        self._run_id = run_id
        self._submit_dir = Path(submit_dir)
        self._containers = containers
        self._libraries = libraries
        self._emit = emit
        self._environments = environments
        self._executors: dict[Requirements | str | None, Executor] = {}
        self._executors_by_attempt: dict[int, Executor] = {}

    def warm_up(self, functions: Iterable[Lightweight], options: RunOptions) -> None:
        """Start the processes that will run functions, and return without waiting for them.

        The method does not build virtual environments, because the run may never reach the
        functions that need them. It starts processes only in environments that exist already.

        Args:
            functions: the functions of the pipeline.
            options: the user's options.
        """
        if options.executor == "docker":
            return
        # A dict instead of a set, because it keeps the order of the functions.
        requirement_sets: dict[Requirements | None, None] = {}
        for function in functions:
            requirement_sets[missing_requirements(function, strict=options.strict_env)] = None
        if any(requirements is not None for requirements in requirement_sets):
            # The search for uv is not thread-safe (see `uv_program`), so it comes before any
            # executor starts threads. If it fails, the first task that needs uv reports the error.
            with suppress(OSError, ImportError):
                uv_program()
        for requirements in requirement_sets:
            if requirements is None or is_built(requirements, self._environments):
                # If a process cannot be started now, the first task that needs it reports the
                # error.
                with suppress(OSError):
                    self._process_executor(requirements)

    def start(self, attempt: Attempt) -> None:
        """Start an attempt in the executor that can run it."""
        executor = self._choose_executor(attempt)
        # The entry comes before the start. The executor may emit the end before `start` returns,
        # and then the engine calls `forget`, which must find the entry.
        self._executors_by_attempt[attempt.id] = executor
        executor.start(attempt)

    def signal(self, attempt_id: int, signal_number: int) -> None:
        """Send a signal to an attempt. An attempt that has ended is ignored."""
        executor = self._executors_by_attempt.get(attempt_id)
        if executor is not None:
            executor.signal(attempt_id, signal_number)

    def kill(self, attempt_id: int) -> None:
        """Kill an attempt and the process that runs it. An attempt that has ended is ignored."""
        executor = self._executors_by_attempt.get(attempt_id)
        if executor is not None:
            executor.kill(attempt_id)

    def forget(self, attempt_id: int) -> None:
        """Remove an attempt from the memory of the router after the engine has handled its end."""
        self._executors_by_attempt.pop(attempt_id, None)

    def close(self) -> None:
        """Close all executors."""
        for executor in self._executors.values():
            executor.close()

    def _choose_executor(self, attempt: Attempt) -> Executor:
        options = attempt.options
        if options.executor == "docker" or isinstance(attempt.work, Command):
            return self._container_executor()
        requirements = missing_requirements(attempt.work, strict=options.strict_env)
        return self._process_executor(requirements)

    def _process_executor(self, requirements: Requirements | None) -> Executor:
        executor = self._executors.get(requirements)
        if executor is None:
            executor = self._new_process_executor(requirements)
            self._executors[requirements] = executor
        return executor

    def _new_process_executor(self, requirements: Requirements | None) -> Executor:
        if requirements is None:
            return PythonExecutor(self._emit, libraries=self._libraries, run_id=self._run_id)
        # The import takes time, and most runs need no virtual environment.
        from kfgcp.engine.executors.venv import VenvExecutor

        return VenvExecutor(
            self._emit,
            requirements,
            self._environments,
            self._libraries,
            self._submit_dir,
            self._run_id,
        )

    def _container_executor(self) -> Executor:
        executor = self._executors.get(_CONTAINERS_KEY)
        if executor is None:
            from kfgcp.engine.executors.docker import DockerExecutor

            executor = DockerExecutor(self._emit, self._containers)
            self._executors[_CONTAINERS_KEY] = executor
        return executor
