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
"""The key of the container executor in `Router._executors`. The other keys are `Requirements` of a
virtual environment, and None for this Python environment."""


class Router:
    """An executor that passes each attempt to another executor.

    It creates the other executors when the first task needs them.

    Args:
        emit: called with each event, such as the end of an attempt.
        environments: the folder of virtual environments.
        libraries: modules to import in advance, so that tasks start faster.
        containers: the settings of all containers.
        submit_dir: the folder that relative paths among requirements start from.
        run_id: marks the processes of the run, see `kfgcp.engine.orphans`.
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
        self._executor_of: dict[int, Executor] = {}

    def warm_up(self, functions: Iterable[Lightweight], options: RunOptions) -> None:
        """Start the processes that will run these functions, while the caller does other things.

        This method does not build virtual environments, because the run may never reach the
        functions that need them. It uses those that are built already.
        """
        if options.executor == "docker":
            return
        # A dict instead of a set, because it keeps the order of the functions.
        requirement_sets: dict[Requirements | None, None] = {}
        for function in functions:
            requirement_sets[missing_requirements(function, strict=options.strict_env)] = None
        if any(requirements is not None for requirements in requirement_sets):
            # The search for uv is not thread-safe (see `uv_program`), so it comes before there are
            # threads. When it fails, the task that needs uv reports the error.
            with suppress(OSError, ImportError):
                uv_program()
        for requirements in requirement_sets:
            if requirements is None or is_built(requirements, self._environments):
                # When a process cannot be started now, the task that needs it reports the error.
                with suppress(OSError):
                    self._process_executor(requirements)

    def start(self, attempt: Attempt) -> None:
        """Start an attempt in the executor that can run it."""
        executor = self._choose(attempt)
        # The executor may emit the end before `start` returns, and the engine then forgets the
        # attempt. So the entry comes first.
        self._executor_of[attempt.id] = executor
        executor.start(attempt)

    def signal(self, attempt_id: int, number: int) -> None:
        """Send a signal to an attempt; no effect when it has ended."""
        executor = self._executor_of.get(attempt_id)
        if executor is not None:
            executor.signal(attempt_id, number)

    def kill(self, attempt_id: int) -> None:
        """Kill an attempt and the process that runs it; no effect when it has ended."""
        executor = self._executor_of.get(attempt_id)
        if executor is not None:
            executor.kill(attempt_id)

    def forget(self, attempt_id: int) -> None:
        """Drop an attempt whose end was handled."""
        self._executor_of.pop(attempt_id, None)

    def close(self) -> None:
        """Close all executors."""
        for executor in self._executors.values():
            executor.close()

    def _choose(self, attempt: Attempt) -> Executor:
        options = attempt.options
        if options.executor == "docker" or isinstance(attempt.work, Command):
            return self._container_executor()
        return self._process_executor(missing_requirements(attempt.work, strict=options.strict_env))

    def _process_executor(self, requirements: Requirements | None) -> Executor:
        executor = self._executors.get(requirements)
        if executor is None:
            executor = self._new_process_executor(requirements)
            self._executors[requirements] = executor
        return executor

    def _new_process_executor(self, requirements: Requirements | None) -> Executor:
        if requirements is None:
            return PythonExecutor(self._emit, libraries=self._libraries, run_id=self._run_id)
        # Most runs need no virtual environment, and the import takes time.
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
