"""A recorded run that the calling process executes.

As a program, this module is the engine process of a run.
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
from kfgcp.engine.settings import EngineSettings
from kfgcp.errors import ParamError, StateError
from kfgcp.model import RunState
from kfgcp.semantics.values import ValueProblem
from kfgcp.spec import graph
from kfgcp.store.store import Store


class LocalRun:
    """A recorded run that this process executes.

    Args:
        store: has the run.
        home: the state folder.
        run_id: the id of the run.
        run_lock: the lock of the run, which `execute` releases.
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
                f"The pipeline of run {run_id} is not in the store.", hint="Run its file again."
            )
        pipeline = graph.build(spec, request.platform_spec)
        layout = Layout(home, run.pipeline, run_id, request.pipeline_root)
        settings = EngineSettings(
            submit_dir=request.submit_dir,
            repeated_run_id=request.repeated_run_id,
            from_task=request.from_task,
            container_credentials=request.container_credentials,
            buckets=BucketSettings.from_dict(request.buckets),
        )
        try:
            inputs = root_inputs(pipeline.root, run.params, request.submit_dir)
        except ValueProblem as problem:
            raise ParamError(f"Wrong parameters: {problem}.") from None
        self._engine = Engine(store, layout, pipeline, inputs, request.options, settings)
        # The workspace that started the run may be closed before the run has ended.
        store.keep_open()

    def execute(self) -> RunState:
        """Execute the run in this thread, to its end."""
        try:
            return self._engine.execute()
        finally:
            self._store.allow_close()
            self._lock.release()

    def cancel(self, *, force: bool = False) -> None:
        """Ask the run to end, from a signal handler or another thread."""
        self._engine.cancel(force=force)


def main(home: str, run_id: str, lock_fd: str) -> None:
    """Execute a run in a process of its own, which `LocalBackend.submit` started.

    Args:
        home: the state folder.
        run_id: the id of the run.
        lock_fd: the number of the descriptor of the run's lock, which this process inherited.
    """
    import signal

    fd = int(lock_fd)
    # The processes of tasks must not keep the lock after the end of the engine.
    os.set_inheritable(fd, False)
    folder = Path(home)
    run = LocalRun(Store(folder), folder, run_id, lock.RunLock(lock_file(folder, run_id), fd))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: run.cancel())
    # The run continues when the terminal is closed.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run.execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
