"""Which executor runs a task: a process of this environment, one of a virtual environment, or a
container."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from kfgcp.engine.executors.base import Attempt, Command, Containers, Emit, Executor
from kfgcp.engine.executors.python import PythonExecutor
from kfgcp.engine.requirements import Requirements, is_built, missing_requirements
from kfgcp.engine.uv_program import uv_program
from kfgcp.options import RunOptions
from kfgcp.spec.lightweight import Lightweight

_CONTAINERS = "containers"
"""The key of the executor of all containers; the others have their requirements as keys."""


class Router:
    """An executor made of the others, each started when the first task needs it.

    Args:
        emit: takes the end of each attempt.
        environments: the folder of virtual environments.
        libraries: modules that processes of this environment have imported when a task starts.
        containers: what containers get.
        submit_dir: where relative paths among requirements lead from.
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
        self._made: dict[Requirements | str | None, Executor] = {}
        self._of: dict[int, Executor] = {}

    def warm_up(self, functions: Iterable[Lightweight], options: RunOptions) -> None:
        """Start the processes that will run these functions, while the caller does other things.

        A virtual environment is used only if it is built: a function that is never reached needs
        none.
        """
        if options.executor == "docker":
            return
        needed = dict.fromkeys(
            missing_requirements(function, strict=options.strict_env) for function in functions
        )
        if any(requirements is not None for requirements in needed):
            # Before there are threads, because the search is not thread-safe. The task that needs
            # uv reports an error.
            with suppress(OSError, ImportError):
                uv_program()
        for requirements in needed:
            if requirements is None or is_built(requirements, self._environments):
                with suppress(OSError):  # likewise
                    self._process(requirements)

    def start(self, attempt: Attempt) -> None:
        executor = self._choose(attempt)
        self._of[attempt.id] = executor
        executor.start(attempt)

    def signal(self, attempt_id: int, number: int) -> None:
        if (executor := self._of.get(attempt_id)) is not None:
            executor.signal(attempt_id, number)

    def kill(self, attempt_id: int) -> None:
        if (executor := self._of.get(attempt_id)) is not None:
            executor.kill(attempt_id)

    def forget(self, attempt_id: int) -> None:
        """The attempt's end was handled."""
        self._of.pop(attempt_id, None)

    def close(self) -> None:
        for executor in self._made.values():
            executor.close()

    def _choose(self, attempt: Attempt) -> Executor:
        if attempt.options.executor == "docker" or isinstance(attempt.work, Command):
            return self._docker()
        return self._process(missing_requirements(attempt.work, strict=attempt.options.strict_env))

    def _process(self, requirements: Requirements | None) -> Executor:
        if requirements not in self._made:
            if requirements is None:
                self._made[None] = PythonExecutor(
                    self._emit, libraries=self._libraries, run_id=self._run_id
                )
            else:
                from kfgcp.engine.executors.venv import VenvExecutor

                self._made[requirements] = VenvExecutor(
                    *(
                        self._emit,
                        requirements,
                        self._environments,
                        self._libraries,
                        self._submit_dir,
                        self._run_id,
                    )
                )
        return self._made[requirements]

    def _docker(self) -> Executor:
        if _CONTAINERS not in self._made:
            from kfgcp.engine.executors.docker import DockerExecutor

            self._made[_CONTAINERS] = DockerExecutor(self._emit, self._containers)
        return self._made[_CONTAINERS]
