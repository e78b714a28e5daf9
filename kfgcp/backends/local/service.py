"""The backend `local`: the embedded engine, in this process or in one of its own that outlives
it."""

from __future__ import annotations

import dataclasses
import itertools
import os
import secrets
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from kfgcp import file_uris
from kfgcp.backends.base import (
    Deleted,
    LogFilter,
    LogLine,
    NotRemoved,
    Pace,
    Page,
    RunRef,
    SubmitRequest,
    stored_request,
)
from kfgcp.backends.local.logs import FileTail, is_severe, seconds_of
from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment, Project
from kfgcp.engine import cluster, lock, orphans, remote, removal, unsupported
from kfgcp.engine.layout import Layout, lock_file, log_file, logs_folder
from kfgcp.engine.logs import LogReader
from kfgcp.engine.loop import Engine
from kfgcp.engine.root_inputs import root_inputs
from kfgcp.engine.settings import EngineSettings
from kfgcp.engine.uses import Uses
from kfgcp.errors import BackendError, ParamError, StateError, UsageError
from kfgcp.labels import SUBMISSION
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, Task, TaskState, timestamp
from kfgcp.query import RunFilter
from kfgcp.semantics.values import ValueProblem
from kfgcp.spec import graph, platform
from kfgcp.store import database
from kfgcp.store.rows import Changes, Origin
from kfgcp.store.store import Store

ENGINE_LOG = "engine.log"
TASK_VARIABLES = ("KFGCP_RUN_ID", "KFGCP_TASK", "KFGCP_SUBMIT_DIR")
"""What tells a task's process where it is; a run that is submitted from a task is another one."""
ENDING_SECONDS = 30.0
"""How long a deletion waits for the engine of a run that has ended: it removes temporary folders
before it goes."""


class LocalBackend:
    """Runs on this machine. Its runs live in the store of the state folder, which several processes
    may share."""

    pace = Pace(0.05, 2.0)

    def __init__(self, project: Project, env: Environment, store: Store) -> None:
        self._env = env
        self._home = project.home
        self._project_root = project.root
        self._store = store
        self._has_looked = False  # for what earlier versions left behind

    # -- Backend

    def notes(self, request: SubmitRequest) -> list[str]:
        spec = request.spec
        pipeline = graph.build(spec.pipeline_spec, spec.platform_spec)
        asked = platform.pipeline_settings(spec.platform_spec)
        return [
            *cluster.notes(pipeline, asked, all_in_containers=request.options.executor == "docker")
        ]

    def submit(self, request: SubmitRequest) -> RunRef:
        """Starts an engine process that outlives this one."""
        run_id, held = self._add(request)
        self._start_engine(run_id, held)
        return RunRef(self._env.name, run_id)

    def get(self, ref: RunRef) -> Run:
        self._reconcile(ref.run_id)
        return self._store.get(ref.run_id)

    def list(self, run_filter: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        self.refresh()
        offset = int(page or 0)
        runs = self._store.select(run_filter, limit=size + 1, offset=offset)
        next_page = str(offset + size) if len(runs) > size else None
        return Page(runs[:size], next_page)

    def cancel(self, ref: RunRef) -> RunState:
        self._store.request_cancel(ref.run_id, timestamp(time.time()))
        return self.get(ref).state

    # -- capabilities

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        since = seconds_of(log_filter.since)
        origins = self._store.origins(ref.run_id)
        for task in self._store.tasks(ref.run_id):
            made = Origin(ref.run_id, task.path, task.attempts)
            if task.state is TaskState.CACHED:  # its log is that of the task that ran
                made = origins.get(task.path, made)
            for number in range(1, made.attempt + 1):
                if log_filter.task in (None, task.path) and log_filter.attempt in (None, number):
                    log = log_file(self._home, made.run_id, made.path, number)
                    for line in LogReader(log, since).read(to_the_end=True):
                        if is_severe(line, log_filter.severity):
                            yield LogLine(task.path, number, line)

    def tail(self, ref: RunRef, log_filter: LogFilter) -> FileTail:
        return FileTail(self._home, ref.run_id, log_filter)

    def is_deletable(self, run: Run) -> bool:
        return run.state.final

    def delete(self, ref: RunRef) -> Deleted:
        if not self._store.writable:
            raise database.read_only(self._home)
        self._refuse_unfinished(self.get(ref))
        deadline = time.monotonic() + ENDING_SECONDS
        while not self._forget(ref.run_id):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"The engine of run {ref.run_id} still runs.",
                    hint="End its process, and try again.",
                )
            time.sleep(0.02)
        if not self._has_looked:
            self._has_looked = True
            self._store.add_removals(self._left_behind())
        for folder in self._finish_removals():
            warnings.warn(
                f"{folder} cannot be removed. Does it belong to another user?",
                NotRemoved,
                stacklevel=2,
            )
        return self._kept(ref.run_id)

    def _forget(self, run_id: str) -> bool:
        """Remove the record of a run that has ended; False while its engine still clears up."""
        with lock.FileUse(self._home).exclusive():
            # Somebody else may have deleted or resumed it since.
            self._refuse_unfinished(self._store.get(run_id, whole=False))
            held = lock.take(self._home, run_id)
            if held is None:
                return False
            try:
                self._refuse_unfinished(self._store.get(run_id, whole=False))
                self._store.forget(run_id, has_files=True)
            finally:
                held.release()
        return True

    def _finish_removals(self) -> Sequence[Path]:
        """Remove the files of deleted runs that no run uses, also those that a killed process left.

        Returns:
            Folders that could not be removed.
        """
        failed = []
        for number, run_id in self._store.removals().items():
            folder = removal.remove_files(self._home, run_id, self._store.users(run_id))
            if folder is None:
                self._store.finish_removal(number)
            else:
                failed.append(folder)
        return failed

    def _left_behind(self) -> Sequence[str]:
        """Return the runs without a record whose folders an earlier version left when it was
        killed.

        A run is recorded before its folders are made, so the folders are listed first.
        """
        folders = removal.find_run_folders(self._home)
        known = self._store.known_ids() | set(self._store.removals().values())
        unknown = sorted(folders.keys() - known)
        if not unknown:
            return []
        since, until = (
            datetime.fromisoformat(time).timestamp() for time in self._store.recorded_between()
        )
        changed = [
            run_id for run_id in unknown if since <= removal.last_change(folders[run_id]) < until
        ]
        return [run_id for run_id in changed if not self._is_alive(run_id)]

    def _is_alive(self, run_id: str) -> bool:
        held = lock.take(self._home, run_id)
        if held is not None:
            held.release()
        return held is None

    def _refuse_unfinished(self, run: Run) -> None:
        if not run.state.final:
            raise UsageError(
                f"Run {run.run_id} is {run.state}, and only a run that has ended can be deleted.",
                hint=f"Cancel it first: kfgcp cancel {run.run_id}",
            )

    def _kept(self, run_id: str) -> Deleted:
        """Return what is kept of a deleted run, and for whom."""
        users = self._store.users(run_id)
        kept = removal.count_kept(self._home, run_id, users)
        user_ids = dict.fromkeys(itertools.chain(*users.values()))
        names = tuple(self._name_of(user) for user in user_ids)
        return Deleted(kept.files, kept.logs, names)

    def _name_of(self, run_id: str) -> str:
        """Return what people call a run: its name, unless another run has the same."""
        try:
            name = self._store.get(run_id, whole=False).name
            return name if name and self._store.find(name) == run_id else run_id
        except UsageError:
            return run_id

    def open(self, request: SubmitRequest) -> LocalRun:
        run_id, held = self._add(request)
        try:
            return LocalRun(self._store, self._home, run_id, held)
        except BaseException:
            held.release()
            raise

    def resume(self, ref: RunRef) -> RunRef:
        held = self._take_interrupted(ref)
        self._start_engine(ref.run_id, held)
        return ref

    def reopen(self, ref: RunRef) -> LocalRun:
        held = self._take_interrupted(ref)
        try:
            return LocalRun(self._store, self._home, ref.run_id, held)
        except BaseException:
            held.release()
            raise

    def _take_interrupted(self, ref: RunRef) -> lock.RunLock:
        """Take the lock of an interrupted run, and prepare the run to go on.

        Raises:
            UsageError: it has ended, or is still running elsewhere.
        """
        held = lock.take(self._home, ref.run_id)
        if held is None:
            raise UsageError(
                f"Run {ref.run_id} is still running.", hint=f"Follow it: kfgcp watch {ref.run_id}"
            )
        try:
            run = self._store.get(ref.run_id, whole=False)
            interrupted = run.error is not None and run.error.kind is ErrorKind.INTERRUPTED
            if run.state.final and not interrupted:
                raise UsageError(
                    f"Run {ref.run_id} was not interrupted: it ended {run.state}.",
                    hint=f"Repeat it without what succeeded: kfgcp rerun {ref.run_id}",
                )
            self._clean_up(ref.run_id)
            self._store.reopen(ref.run_id)
        except BaseException:
            held.release()
            raise
        return held

    def refresh(self) -> None:
        """End runs whose engine is gone as FAILED, so that none stays RUNNING for ever, and finish
        deletions that were killed."""
        if self._store.writable:
            self._finish_removals()
        for run_id in self._store.unfinished("local"):
            self._reconcile(run_id)

    # -- helpers

    def _start_engine(self, run_id: str, held: lock.RunLock) -> None:
        """Start a process that executes a recorded run and outlives this one. It gets the lock of
        the run.

        Raises:
            StateError: it cannot be started. The run has ended FAILED.
        """
        folder = logs_folder(self._home, run_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ENGINE_LOG).open("ab") as log:
                subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__, str(self._home), run_id, str(held.fd)],
                    pass_fds=(held.fd,),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={
                        name: value
                        for name, value in os.environ.items()
                        if name not in TASK_VARIABLES
                    },
                )
        except OSError as error:
            self._end(
                run_id,
                RunState.FAILED,
                ErrorInfo(f"the engine could not be started: {error.strerror}"),
            )
            held.release()
            raise StateError(
                f"The engine could not be started: {error.strerror}: {error.filename}."
            ) from error
        held.close()

    def _add(self, request: SubmitRequest) -> tuple[str, lock.RunLock]:
        pipeline = graph.build(request.spec.pipeline_spec)
        uses_docker = unsupported.refuse(pipeline, request.options)
        root = output_root(self._env, self._project_root)
        run_id = secrets.token_hex(6)
        held = lock.take(self._home, run_id)
        assert held is not None
        now = time.time()
        run = Run(
            run_id=run_id,
            env=self._env.name,
            backend="local",
            pipeline=request.spec.name,
            version=request.spec.version,
            state=RunState.PENDING,
            experiment=request.options.experiment,
            name=request.options.name
            or f"{request.spec.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}",
            labels={**request.options.labels, SUBMISSION: run_id},
            created_at=timestamp(now),
            params=request.params,
        )
        stored = dataclasses.replace(
            stored_request(request),
            uses_docker=uses_docker,
            container_credentials=self._env.get("container_credentials", False),
            pipeline_root=root,
            buckets=BucketSettings.of_environment(self._env).to_dict(),
        )
        try:
            # No deletion comes between the look at the artifacts that the run was given and the
            # record of their use.
            with lock.FileUse(self._home).shared():
                given = root_inputs(pipeline.root, request.params, request.submit_dir)
                uses = tuple(Uses(self._store, run_id).root_uses(given.artifacts))
                self._store.add_run(run, pipeline_spec=request.spec.pipeline_spec, request=stored)
                if uses:
                    self._store.apply(run_id, Changes(uses=uses))
        except ValueProblem as problem:
            held.release()
            raise ParamError(f"Wrong parameters: {problem}.") from None
        except BaseException:
            held.release()
            raise
        return run_id, held

    def _reconcile(self, run_id: str) -> None:
        if self._store.get(run_id, whole=False).state.final or not self._store.writable:
            return
        self._store.check_room()
        held = lock.take(self._home, run_id)
        if held is None:
            return
        try:
            if self._store.get(run_id, whole=False).state.final:
                return
            self._clean_up(run_id)
            cancelling = self._store.get(run_id, whole=False).state is RunState.CANCELLING
            if cancelling or self._store.cancel_requests(run_id):
                self._end(run_id, RunState.CANCELLED, None)
            else:
                message = "the engine was killed or crashed before the run ended; "
                message += f"go on with: kfgcp run --resume {run_id}"
                self._end(run_id, RunState.FAILED, ErrorInfo(message, kind=ErrorKind.INTERRUPTED))
        finally:
            held.release()

    def _clean_up(self, run_id: str) -> None:
        """Ends what an engine that was killed left running, and removes its scratch folder."""
        orphans.kill(run_id)
        run = self._store.get(run_id, whole=False)
        Layout(self._home, run.pipeline, run_id).remove_scratch()
        request = self._store.request(run_id)
        if request is not None and request.uses_docker:
            from kfgcp.engine.executors.docker import remove_containers

            remove_containers(run_id)

    def _end(self, run_id: str, state: RunState, error: ErrorInfo | None) -> None:
        now = timestamp(time.time())
        tasks = [
            Task(
                **{
                    name: getattr(task, name)
                    for name in Task.__slots__
                    if name not in ("state", "ended_at")
                },
                state=TaskState.CANCELLED,
                ended_at=now,
            )
            for task in self._store.tasks(run_id)
            if not task.state.final
        ]
        self._store.end(run_id, Changes(tasks=tasks, state=state, ended_at=now, error=error))


def output_root(env: Environment, project_root: Path) -> str:
    """Where output artifacts go: a URI in a bucket that can be listed, a folder, or "" for the
    state folder.

    Raises:
        BackendError: the bucket cannot be listed.
    """
    root: str = env.get("pipeline_root") or ""
    if remote.is_remote(root):
        try:
            remote.check(root, BucketSettings.of_environment(env))
        except ValueProblem as problem:
            raise BackendError(
                f"The pipeline root of environment '{env.name}' cannot be used: {problem}.",
                hint=f"Check the bucket's name and your sign-in. {remote.sign_in_hint(root)}",
            ) from None
        return root.rstrip("/")
    return str(project_root / file_uris.to_path(root)) if root else ""


class LocalRun:
    """A recorded run whose engine is this process."""

    def __init__(self, store: Store, home: Path, run_id: str, held: lock.RunLock) -> None:
        self.run_id = run_id
        self._lock = held
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
            repeats=request.repeats,
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
        try:
            return self._engine.execute()
        finally:
            self._store.allow_close()
            self._lock.release()

    def cancel(self, *, force: bool = False) -> None:
        self._engine.cancel(force=force)


def main(home: str, run_id: str, lock_fd: str) -> None:
    """An engine process of its own: the lock's descriptor was handed over by
    `LocalBackend.submit`."""
    import signal

    fd = int(lock_fd)
    os.set_inheritable(fd, False)
    folder = Path(home)
    run = LocalRun(Store(folder), folder, run_id, lock.RunLock(lock_file(folder, run_id), fd))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: run.cancel())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run.execute()


if __name__ == "__main__":
    main(*sys.argv[1:])
