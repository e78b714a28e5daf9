"""The base class of stand-ins that run pipelines.

Such a stand-in has two modes of execution, a bucket, and an environment for kfgcp.toml.
"""

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


class EmulatorVariable:
    """An environment variable of this process with the address of a stand-in, while one is open.

    Stand-ins may close in any order. The variable always has the address of the newest stand-in
    that is open. When none is open, it has the value that it had before the first one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._open_addresses: list[str] = []
        self._original: str | None = None

    def add(self, address: str) -> None:
        """Set the variable to the address of a stand-in that opens."""
        with self._lock:
            if not self._open_addresses:
                self._original = os.environ.get(self.name)
            self._open_addresses.append(address)
            os.environ[self.name] = address

    def remove(self, address: str) -> None:
        """Set the variable back when a stand-in closes."""
        with self._lock:
            if address not in self._open_addresses:
                return
            self._open_addresses.remove(address)
            value = self._open_addresses[-1] if self._open_addresses else self._original
            if value is None:
                os.environ.pop(self.name, None)
            else:
                os.environ[self.name] = value


_storage_variable: Final = EmulatorVariable("STORAGE_EMULATOR_HOST")


class RunningStandIn(StandIn):
    """A stand-in of a service that runs pipelines, with Cloud Storage at `storage_endpoint`.

    Attributes:
        mode: `engine` runs pipelines on the embedded engine, `instant` only makes runs up, see
            `kfgcp.testing.instant`.
        instant: the outcome of made-up runs.
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
            raise UsageError(f"There is no mode '{mode}'.", hint="Use engine or instant.")
        self.mode = mode
        self.instant = Instant()
        self.project = project
        self.project_number = PROJECT_NUMBER
        self._engines: Engines | None = None
        # A weak set, so that it does not keep deleted runs in memory.
        self._instant_runs: WeakSet[InstantRun] = WeakSet()
        self._lock = threading.Lock()
        self._storage = Storage(self.project_number, storage_port, host_names)
        try:
            super().__init__(port, host_names)
        except UsageError:
            # The port is taken, so this stand-in does not start. Its storage must not stay open.
            self._storage.close()
            raise
        self._storage.make_bucket(self.bucket)
        _storage_variable.add(self.storage_endpoint)

    def close(self) -> None:
        """End all runs, stop serving, and set STORAGE_EMULATOR_HOST back."""
        # End the runs first, because they write to the storage.
        if self._engines is not None:
            self._engines.close()
        super().close()
        self._storage.close()
        _storage_variable.remove(self.storage_endpoint)

    # -- addresses, buckets and settings

    @property
    def storage_endpoint(self) -> str:
        """Return the address of Cloud Storage, `http://127.0.0.1:PORT`."""
        return self._storage.endpoint

    @property
    def bucket(self) -> str:
        """Return the name of a bucket that exists."""
        return f"{self.project}-pipelines"

    @property
    def pipeline_root(self) -> str:
        """Return a gs:// folder in a bucket that exists."""
        return f"gs://{self.bucket}/runs"

    def make_bucket(self, name: str) -> None:
        """Create a bucket, unless one with this name exists."""
        self._storage.make_bucket(name)

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Return the settings of an environment in kfgcp.toml for this stand-in."""

    def toml(self, name: str = "stand-in") -> str:
        """Return a table for kfgcp.toml that defines an environment with this name."""
        text = f"[env.{name}]\n"
        for key, value in self.settings().items():
            text += f'{key} = "{value}"\n'
        return text

    @property
    def environ(self) -> dict[str, str]:
        """Return the result of `environ_of("stand-in")`."""
        return self.environ_of("stand-in")

    def environ_of(self, name: str) -> dict[str, str]:
        """Return the environment variables with which a process uses this stand-in.

        They are STORAGE_EMULATOR_HOST, and the variables that override the settings of an
        environment.

        Args:
            name: the name of the environment.
        """
        prefix = f"KFGCP_ENV_{name.upper().replace('-', '_')}_"
        variables = {_storage_variable.name: self.storage_endpoint}
        for key, value in self.settings().items():
            variables[prefix + key.upper()] = value
        return variables

    def finish_runs(self) -> None:
        """End the made-up runs that are running now.

        A test can set `instant.seconds` to a long time, and call this method to end the runs.
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
        """Start a run. See `Engines.start` for the arguments; `run` is the name of the run.

        Raises:
            KfgcpError: the engine cannot run this pipeline.
        """
        if self.mode == INSTANT:
            return self._make_up(submission, run, root, is_repeated=repeats is not None)
        with self._lock:
            if self._engines is None:
                self._engines = Engines()
            engines = self._engines
        return engines.start(submission, run, root, fail_fast=fail_fast, repeats=repeats)

    def _make_up(
        self, submission: Submission, run: str, root: str, *, is_repeated: bool
    ) -> InstantRun:
        """Return a made-up run. A run that repeats another one succeeds."""
        # Copy the values, because a test may change `instant` after it has submitted a run.
        outcome = replace(
            self.instant,
            metrics=dict(self.instant.metrics),
            failing={},
            failing_drivers={},
            skipped=frozenset(self.instant.skipped),
            cached=frozenset(self.instant.cached),
        )
        if not is_repeated:
            outcome.failing.update(self.instant.failing)
            outcome.failing_drivers.update(self.instant.failing_drivers)
        instant_run = InstantRun(submission, run, root, time.time(), outcome)
        with self._lock:
            self._instant_runs.add(instant_run)
        return instant_run
