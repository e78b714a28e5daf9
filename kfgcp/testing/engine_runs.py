"""Run jobs on the embedded engine, each in a thread of this process.

The jobs of a stand-in share a state folder. The artifacts of a job are in a bucket. The engine
reaches the bucket at the address in STORAGE_EMULATOR_HOST, which is the address of the newest
stand-in. So only the newest stand-in can run jobs.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from kfgcp.backends.base import (
    Backend,
    ForegroundRun,
    LogFilter,
    RunRef,
    SubmitRequest,
    SupportsForeground,
    SupportsLogs,
)
from kfgcp.config import Environment, Project
from kfgcp.errors import KfgcpError
from kfgcp.model import Run, RunState, Task, TaskKind, TaskState
from kfgcp.options import RunOptions
from kfgcp.settings import Setting
from kfgcp.testing.rules import Submission
from kfgcp.workspace import Workspace

_ENV: Final = "stand-in"
# The longest time that `close` waits for the thread of a killed run.
_CLOSE_SECONDS: Final = 60.0


class Execution(Protocol):
    """The execution of a job: by the engine, or made up by `kfgcp.testing.instant`."""

    @property
    def state(self) -> RunState:
        """Return the state as it is now."""

    def run(self) -> Run:
        """Return the run with its tasks as it is now."""

    def cancel(self) -> None:
        """Cancel the run. It may still run for a while."""

    def log(self, path: str, attempt: int, *, ended: bool) -> Iterator[str]:
        """Yield the lines that an attempt has written so far.

        Args:
            path: the path of the task.
            attempt: the number of the attempt, from 1.
            ended: whether the attempt has ended.
        """


class Engines:
    """The jobs of a stand-in. `close` kills the jobs that still run, and removes all files."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="kfgcp-stand-in-"))
        self._workspaces: dict[str, Workspace] = {}
        self._running: list[_EngineRun] = []
        self._lock = threading.Lock()

    def start(
        self,
        submission: Submission,
        job: str,
        root: str,
        *,
        fail_fast: bool = False,
        repeats: Execution | None = None,
    ) -> Execution:
        """Start a job.

        Args:
            submission: the pipeline and its parameters.
            job: the name of the job.
            root: the gs:// folder for the artifacts of the job.
            fail_fast: no task starts after the first failure.
            repeats: an earlier execution from `start`, None for a new run. Tasks that succeeded in
                the earlier execution do not run again.

        Raises:
            KfgcpError: the engine cannot run this pipeline.
        """
        workspace = self._workspace(root)
        request = SubmitRequest(
            spec=submission.spec,
            params=submission.params,
            options=RunOptions(env=_ENV, experiment="default", name=job, fail_fast=fail_fast),
            submit_dir=str(Path.cwd()),
            repeats=repeats.run_id if isinstance(repeats, _EngineRun) else None,
        )
        backend = workspace.backend()
        assert isinstance(backend, SupportsForeground)
        engine_run = _EngineRun(workspace, backend.open(request))
        with self._lock:
            self._running = [run for run in self._running if run.is_alive]
            self._running.append(engine_run)
        return engine_run

    def close(self) -> None:
        """Kill the runs, and remove the state folder."""
        with self._lock:
            running = self._running
            self._running = []
        # Kill all runs before waiting for the first one, so that they end at the same time.
        for run in running:
            run.kill()
        for run in running:
            run.join(_CLOSE_SECONDS)
        for workspace in self._workspaces.values():
            workspace.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def _workspace(self, root: str) -> Workspace:
        """Return the workspace of the jobs whose artifacts go to `root`.

        All workspaces have one state folder.
        """
        with self._lock:
            if root not in self._workspaces:
                settings = {"pipeline_root": Setting(root, "the job")}
                environment = Environment(_ENV, "local", settings)
                project = Project(
                    "stand-in", "default", self._home, self._home, None, _ENV, {_ENV: environment}
                )
                self._workspaces[root] = Workspace.of_project(project)
            return self._workspaces[root]


class _EngineRun:
    """An execution by the engine, in a thread of its own."""

    def __init__(self, workspace: Workspace, foreground_run: ForegroundRun) -> None:
        self._workspace = workspace
        self._foreground_run = foreground_run
        run_id = foreground_run.run_id
        self._ref = RunRef(_ENV, run_id)
        self._thread = threading.Thread(target=self._execute, name=f"job-{run_id}", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str:
        """Return the id that the engine has given the run."""
        return self._ref.run_id

    @property
    def is_alive(self) -> bool:
        """Return whether the engine still works on the run."""
        return self._thread.is_alive()

    @property
    def state(self) -> RunState:
        return self.run().state

    def run(self) -> Run:
        return self._backend.get(self._ref)

    def cancel(self) -> None:
        self._backend.cancel(self._ref)

    def log(self, path: str, attempt: int, *, ended: bool) -> Iterator[str]:
        backend = self._backend
        assert isinstance(backend, SupportsLogs)
        state = TaskState.SUCCEEDED if ended else TaskState.RUNNING
        task = Task(path, TaskKind.CONTAINER, state, attempts=attempt)
        tail = backend.tail(self._ref, LogFilter(task=path, attempt=attempt))
        for line in tail.read([task]):
            yield line.text

    def kill(self) -> None:
        """Kill the tasks of the run."""
        self._foreground_run.cancel(force=True)

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    @property
    def _backend(self) -> Backend:
        # Each request has its own thread, and a backend may be used by one thread only. The
        # workspace returns the backend of the current thread.
        return self._workspace.backend()

    def _execute(self) -> None:
        # After such an error, `run` returns a run in the state FAILED.
        with suppress(KfgcpError):
            self._foreground_run.execute()
