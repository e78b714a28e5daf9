"""Jobs that the embedded engine runs, each in a thread of this process, with one state folder for
all of them.

Their artifacts are in the bucket of the job, which the engine finds by STORAGE_EMULATOR_HOST: while
jobs run, the last stand-in that was opened has to be theirs."""

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
_CLOSE_SECONDS: Final = 60.0


class Execution(Protocol):
    """What carries a job out."""

    @property
    def state(self) -> RunState:
        """As it is now."""

    def run(self) -> Run:
        """As it is now."""

    def cancel(self) -> None:
        """Asks it to end."""

    def log(self, path: str, attempt: int, *, ended: bool) -> Iterator[str]:
        """The lines of an attempt so far."""


class Engines:
    """Runs jobs; `close` ends those that still run and removes all files of them."""

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
            job: its name.
            root: where its artifacts go.
            fail_fast: no task starts after the first failure.
            repeats: an earlier one, from `start`, whose tasks are not done again where they
                succeeded.

        Raises:
            KfgcpError: the engine cannot run this pipeline.
        """
        workspace = self._workspace(root)
        request = SubmitRequest(
            spec=submission.spec,
            params=submission.params,
            options=RunOptions(env=_ENV, experiment="default", name=job, fail_fast=fail_fast),
            submit_dir=str(Path.cwd()),
            repeated_run_id=repeats.run_id if isinstance(repeats, _EngineRun) else None,
        )
        backend = workspace.backend()
        assert isinstance(backend, SupportsForeground)
        started = _EngineRun(workspace, backend.open(request))
        with self._lock:
            self._running = [run for run in self._running if run.alive] + [started]
        return started

    def close(self) -> None:
        with self._lock:
            running, self._running = self._running, []
        for run in running:
            run.end()
        for run in running:
            run.join(_CLOSE_SECONDS)
        for workspace in self._workspaces.values():
            workspace.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def _workspace(self, root: str) -> Workspace:
        """Return the workspace of the jobs whose artifacts go to `root`. All workspaces have one
        state folder."""
        with self._lock:
            if root not in self._workspaces:
                environment = Environment(
                    _ENV, "local", {"pipeline_root": Setting(root, "the job")}
                )
                project = Project(
                    "stand-in", "default", self._home, self._home, None, _ENV, {_ENV: environment}
                )
                self._workspaces[root] = Workspace.of_project(project)
            return self._workspaces[root]


class _EngineRun:
    def __init__(self, workspace: Workspace, opened: ForegroundRun) -> None:
        self._workspace = workspace
        self._opened = opened
        self._ref = RunRef(_ENV, opened.run_id)
        self._thread = threading.Thread(
            target=self._execute, name=f"job-{opened.run_id}", daemon=True
        )
        self._thread.start()

    @property
    def run_id(self) -> str:
        """The id that the engine gave it."""
        return self._ref.run_id

    @property
    def alive(self) -> bool:
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

    def end(self) -> None:
        """Kill what runs."""
        self._opened.cancel(force=True)

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    @property
    def _backend(self) -> Backend:
        # Requests are answered by several threads, and a backend belongs to one thread.
        return self._workspace.backend()

    def _execute(self) -> None:
        # A run whose engine ended early is FAILED when it is read.
        with suppress(KfgcpError):
            self._opened.execute()
