"""What stand-ins that run pipelines share: modes, a bucket, an environment of kfgcp.toml that leads
there."""

from __future__ import annotations

import os
import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from weakref import WeakSet

from kfgcp.errors import UsageError
from kfgcp.testing.engine_runs import Engines, Execution
from kfgcp.testing.instant import Instant, InstantRun
from kfgcp.testing.rules import Submission
from kfgcp.testing.stand_in import StandIn
from kfgcp.testing.storage import Storage

ENGINE: Final = "engine"
INSTANT: Final = "instant"
PROJECT: Final = "stand-in-project"
PROJECT_NUMBER: Final = 123456789012
_EMULATOR: Final = "STORAGE_EMULATOR_HOST"


class _StorageVariable:
    """STORAGE_EMULATOR_HOST of this process, while stand-ins are open.

    It names the storage that was opened last among those that are still open, in whatever order
    they are closed. When none is open it has the value that it had before the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[str] = []
        self._before: str | None = None

    def opened(self, address: str) -> None:
        with self._lock:
            if not self._open:
                self._before = os.environ.get(_EMULATOR)
            self._open.append(address)
            os.environ[_EMULATOR] = address

    def closed(self, address: str) -> None:
        with self._lock:
            if address not in self._open:
                return
            self._open.remove(address)
            value = self._open[-1] if self._open else self._before
            if value is None:
                os.environ.pop(_EMULATOR, None)
            else:
                os.environ[_EMULATOR] = value


_storage_variable: Final = _StorageVariable()


class RunningStandIn(StandIn):
    """A service that runs pipelines, and Cloud Storage (at `storage_endpoint`), until it is closed.

    Attributes:
        mode: `engine` runs what is submitted on the embedded engine; `instant` makes runs up, see
            `instant`.
        instant: how made-up runs turn out.
    """

    def __init__(
        self,
        *,
        mode: str,
        project: str,
        port: int,
        storage_port: int,
        host_names: Sequence[str] = (),
    ) -> None:
        if mode not in (ENGINE, INSTANT):
            raise UsageError(f"There is no mode '{mode}'.", hint="mode is engine or instant.")
        self.mode = mode
        self.instant = Instant()
        self.project = project
        self.project_number = PROJECT_NUMBER
        self._engines: Engines | None = None
        self._instant_runs: WeakSet[InstantRun] = WeakSet()
        self._lock = threading.Lock()
        self._storage = Storage(self.project_number, storage_port, host_names)
        try:
            super().__init__(port, host_names)
        except UsageError:
            self._storage.close()
            raise
        self._storage.make_bucket(self.bucket)
        _storage_variable.opened(self.storage_endpoint)

    def close(self) -> None:
        """Ends the runs that go on, stops serving, and puts STORAGE_EMULATOR_HOST back."""
        if self._engines is not None:
            self._engines.close()
        super().close()
        self._storage.close()
        _storage_variable.closed(self.storage_endpoint)

    # -- where

    @property
    def storage_endpoint(self) -> str:
        """`http://127.0.0.1:PORT` of Cloud Storage."""
        return self._storage.endpoint

    @property
    def bucket(self) -> str:
        return f"{self.project}-pipelines"

    @property
    def pipeline_root(self) -> str:
        """A gs:// folder in a bucket that is there."""
        return f"gs://{self.bucket}/runs"

    def make_bucket(self, name: str) -> None:
        """Makes a bucket unless there is one of that name."""
        self._storage.make_bucket(name)

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """The settings of an environment of kfgcp.toml that leads here."""

    def toml(self, name: str = "stand-in") -> str:
        """The table of kfgcp.toml for an environment of that name."""
        lines = (f'{key} = "{value}"' for key, value in self.settings().items())
        return "\n".join([f"[env.{name}]", *lines]) + "\n"

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables that lead here, those of the environment `stand-in`; see
        `environ_of`."""
        return self.environ_of("stand-in")

    def environ_of(self, name: str) -> dict[str, str]:
        """Environment variables for processes: of Cloud Storage, and of an environment that
        kfgcp.toml may name."""
        prefix = f"KFGCP_ENV_{name.upper().replace('-', '_')}_"
        return {_EMULATOR: self.storage_endpoint} | {
            prefix + key.upper(): value for key, value in self.settings().items()
        }

    def finish_runs(self) -> None:
        """End the made-up runs that are under way now.

        A test gives them a long time with `instant.seconds`, and ends them when it has seen enough.
        """
        with self._lock:
            runs = list(self._instant_runs)
        for run in runs:
            run.finish()

    # -- for the service

    def execute(
        self,
        submission: Submission,
        run: str,
        root: str,
        *,
        fail_fast: bool = False,
        repeats: Execution | None = None,
    ) -> Execution:
        """Starts a run; arguments as of `Engines.start`. A made-up run that repeats another
        succeeds.

        Raises:
            KfgcpError: the engine cannot run this pipeline.
        """
        if self.mode == INSTANT:
            failing, failing_drivers = (
                dict(self.instant.failing),
                dict(self.instant.failing_drivers),
            )
            if repeats is not None:
                failing, failing_drivers = {}, {}
            how = replace(
                self.instant,
                metrics=dict(self.instant.metrics),
                failing=failing,
                failing_drivers=failing_drivers,
                skipped=frozenset(self.instant.skipped),
                cached=frozenset(self.instant.cached),
            )
            started = InstantRun(submission, run, root, time.time(), how)
            with self._lock:
                self._instant_runs.add(started)
            return started
        with self._lock:
            self._engines = self._engines or Engines()
        return self._engines.start(submission, run, root, fail_fast=fail_fast, repeats=repeats)
