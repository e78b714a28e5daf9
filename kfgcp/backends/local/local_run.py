"""Execute a recorded run in this process.

`LocalRun` executes a run in the process of the caller. Started as a program, this module executes a
run in a process of its own: `python -m kfgcp.backends.local.local_run HOME RUN_ID LOCK_FD`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kfgcp.bucket_settings import BucketSettings
from kfgcp.engine import lock
from kfgcp.engine.layout import Layout, lock_file
from kfgcp.engine.loop import Engine
from kfgcp.engine.root_inputs import root_inputs
from kfgcp.engine.secrets import read_stored_secrets
from kfgcp.engine.settings import EngineSettings
from kfgcp.errors import ParamError, StateError
from kfgcp.model import RunState
from kfgcp.semantics.values import ValueProblem
from kfgcp.spec import graph
from kfgcp.store.store import Store


class LocalRun:
    """A recorded run that this process executes.

    Args:
        store: the store that has the run.
        home: the state folder.
        run_id: the id of the run.
        run_lock: the lock of the run, which the caller has taken and `execute` releases.

    Raises:
        StateError: the store does not have the pipeline of the run.
        ParamError: the parameters do not fit the pipeline.
    """

    def __init__(self, store: Store, home: Path, run_id: str, run_lock: lock.RunLock) -> None:
        self.run_id = run_id
        self._lock = run_lock
        self._store = store
        run = store.get(run_id)
        request = store.request(run_id)
        spec = store.spec(run.version)
        if spec is None or request is None:
            raise StateError(
                f"The pipeline of run {run_id} is not in the store.",
                hint="Run the pipeline file again.",
            )
        pipeline = graph.build(spec, request.platform_spec)
        layout = Layout(home, run.pipeline, run_id, request.pipeline_root)
        settings = EngineSettings(
            submit_dir=request.submit_dir,
            repeats=request.repeats,
            from_task=request.from_task,
            container_credentials=request.container_credentials,
            container_folders=request.container_folders,
            container_network=request.container_network,
            project_root=request.project_root,
            buckets=BucketSettings.from_dict(request.buckets),
            secrets=read_stored_secrets(request.secrets),
        )
        try:
            inputs = root_inputs(pipeline.root, run.params, request.submit_dir)
        except ValueProblem as problem:
            raise ParamError(f"Wrong parameters: {problem}.") from None
        self._engine = Engine(store, layout, pipeline, inputs, request.options, settings)
        # The caller may close its workspace, and so the store, before the run has ended.
        store.keep_open()

    def execute(self) -> RunState:
        """Execute the run in this thread, and return its final state."""
        try:
            return self._engine.execute()
        finally:
            self._store.allow_close()
            self._lock.release()

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end, from a signal handler or another thread."""
        self._engine.cancel(force=force)


def main(home: str, run_id: str, lock_fd: str) -> None:
    """Execute a run in this process, which `LocalBackend` started for it.

    Args:
        home: the state folder.
        run_id: the id of the run.
        lock_fd: the file descriptor of the run's lock, which this process inherited.
    """
    import signal

    fd = int(lock_fd)
    # The processes of tasks must not inherit the descriptor. They would keep the lock after the end
    # of the engine.
    os.set_inheritable(fd, False)
    home_folder = Path(home)
    run_lock = lock.RunLock(lock_file(home_folder, run_id), fd)
    run = LocalRun(Store(home_folder), home_folder, run_id, run_lock)
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: run.cancel())
    # A closed terminal sends SIGHUP. The run continues then.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run.execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
