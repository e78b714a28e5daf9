"""The backend `local`: runs that the embedded engine executes on this machine.

The engine of a run is in the calling process, or in a process of its own. That process continues
when the calling process ends. Either way the engine holds the lock of its run. A run that has not
ended and whose lock is free was interrupted.

The store has the runs and reads them (`kfgcp/store/`), so this folder has no request.py,
read_run.py and filters.py (decision 23).
"""

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
from kfgcp.backends.local import local_run
from kfgcp.backends.local.local_run import LocalRun
from kfgcp.backends.local.logs import FileTail, is_severe, seconds_of
from kfgcp.backends.local.settings import LocalSettings
from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment, Project
from kfgcp.engine import cluster, lock, orphans, removal, unsupported
from kfgcp.engine.layout import Layout, log_file, logs_folder
from kfgcp.engine.logs import LogReader
from kfgcp.engine.root_inputs import root_inputs
from kfgcp.engine.uses import Uses
from kfgcp.errors import BackendError, ParamError, StateError, UsageError
from kfgcp.labels import SUBMISSION
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, TaskState, timestamp
from kfgcp.query import RunFilter
from kfgcp.semantics.values import ValueProblem
from kfgcp.services.storage import objects
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.services.storage.uris import is_bucket_uri, sign_in_hint
from kfgcp.spec import graph, platform
from kfgcp.store import database
from kfgcp.store.rows import Changes, Origin
from kfgcp.store.store import Store

ENGINE_LOG = "engine.log"

# These variables tell the process of a task which task it is. A run that a task submits must not
# inherit them.
TASK_VARIABLES = ("KFGCP_RUN_ID", "KFGCP_TASK", "KFGCP_SUBMIT_DIR")

# How long a deletion waits for the engine of a run that has ended. The engine removes temporary
# folders before its process ends.
ENDING_SECONDS = 30.0


class LocalBackend:
    """Runs on this machine, recorded in the store of the state folder.

    Several processes may share the store.
    """

    pace = Pace(0.05, 2.0)

    def __init__(self, project: Project, env: Environment, store: Store) -> None:
        self._env = env
        self._settings = LocalSettings.of(env.settings)
        self._home = project.home
        self._project_root = project.root
        self._store = store
        # Whether the folders that an earlier version left behind have been searched.
        self._has_searched = False

    # -- Backend

    def notes(self, request: SubmitRequest) -> list[str]:
        """Return what this machine does in another way than a cluster, a line each."""
        spec = request.spec
        pipeline = graph.build(spec.pipeline_spec, spec.platform_spec)
        cluster_settings = platform.pipeline_settings(spec.platform_spec)
        all_in_containers = request.options.executor == "docker"
        return list(cluster.notes(pipeline, cluster_settings, all_in_containers=all_in_containers))

    def submit(self, request: SubmitRequest) -> RunRef:
        """Record a run, and start a process that executes it."""
        run_id, run_lock = self._add(request)
        self._start_engine(run_id, run_lock)
        return RunRef(self._env.name, run_id)

    def get(self, ref: RunRef) -> Run:
        """Return a run as it is now."""
        self._reconcile(ref.run_id)
        return self._store.get(ref.run_id)

    def list(self, run_filter: RunFilter, page: str | None = None, size: int = 100) -> Page[Run]:
        """Return a page of the runs, newest first."""
        self.refresh()
        offset = int(page or 0)
        runs = self._store.select(run_filter, limit=size + 1, offset=offset)
        next_page = str(offset + size) if len(runs) > size else None
        return Page(runs[:size], next_page)

    def cancel(self, ref: RunRef) -> RunState:
        """Ask the engine of a run to end it, and return the state of the run."""
        self._store.request_cancel(ref.run_id, timestamp(time.time()))
        return self.get(ref).state

    # -- capabilities

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the lines that there are now."""
        since = seconds_of(log_filter.since)
        origins = self._store.origins(ref.run_id)
        for task in self._store.tasks(ref.run_id):
            if log_filter.task not in (None, task.path):
                continue
            origin = Origin(ref.run_id, task.path, task.attempts)
            if task.state is TaskState.CACHED:
                # The log of a cached task is that of the task whose outputs it has.
                origin = origins.get(task.path, origin)
            for attempt in range(1, origin.attempt + 1):
                if log_filter.attempt not in (None, attempt):
                    continue
                file = log_file(self._home, origin.run_id, origin.path, attempt)
                for line in LogReader(file, since).read(to_the_end=True):
                    if is_severe(line, log_filter.severity):
                        yield LogLine(task.path, attempt, line)

    def tail(self, ref: RunRef, log_filter: LogFilter) -> FileTail:
        """Return a reader of the lines of a run that has not ended."""
        return FileTail(self._home, ref.run_id, log_filter)

    def is_deletable(self, run: Run) -> bool:
        """Return whether a run has ended."""
        return run.state.final

    def delete(self, ref: RunRef) -> Deleted:
        """Remove a run, its record and its files. Files that other runs use are kept."""
        if not self._store.writable:
            raise database.read_only_error(self._home)
        self._refuse_unfinished(self.get(ref))
        deadline = time.monotonic() + ENDING_SECONDS
        while not self._forget(ref.run_id):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"The engine of run {ref.run_id} is still running.",
                    hint="End its process, and try again.",
                )
            time.sleep(0.02)
        if not self._has_searched:
            self._has_searched = True
            self._store.add_removals(self._left_behind())
        for folder in self._finish_removals():
            warnings.warn(
                f"{folder} cannot be removed. Does it belong to another user?",
                NotRemoved,
                stacklevel=2,
            )
        return self._kept(ref.run_id)

    def _forget(self, run_id: str) -> bool:
        """Remove the record of a run that has ended.

        Returns:
            False when its engine has not finished yet, so that nothing was removed.
        """
        with lock.FileUse(self._home).exclusive():
            # Another process may have deleted or resumed the run meanwhile.
            self._refuse_unfinished(self._store.get(run_id, with_tasks=False))
            run_lock = lock.take(self._home, run_id)
            if run_lock is None:
                return False
            try:
                self._refuse_unfinished(self._store.get(run_id, with_tasks=False))
                self._store.forget(run_id, has_files=True)
            finally:
                run_lock.release()
        return True

    def _finish_removals(self) -> Sequence[Path]:
        """Remove the files of deleted runs that no run uses, also those that a killed process left.

        Returns:
            The folders that could not be removed.
        """
        failed_folders = []
        for number, run_id in self._store.removals().items():
            failed_folder = removal.remove_files(self._home, run_id, self._store.users(run_id))
            if failed_folder is None:
                self._store.finish_removal(number)
            else:
                failed_folders.append(failed_folder)
        return failed_folders

    def _left_behind(self) -> Sequence[str]:
        """Return the runs without a record whose folders an earlier version left when it was
        killed.

        A run is recorded before its folders are made, so the folders are listed first.
        """
        folders = removal.find_run_folders(self._home)
        recorded_ids = self._store.known_ids() | set(self._store.removals().values())
        unrecorded_ids = sorted(folders.keys() - recorded_ids)
        if not unrecorded_ids:
            return []
        first, last = self._store.recorded_between()
        since = datetime.fromisoformat(first).timestamp()
        until = datetime.fromisoformat(last).timestamp()
        left_behind = []
        for run_id in unrecorded_ids:
            is_from_then = since <= removal.last_change(folders[run_id]) < until
            if is_from_then and not self._is_alive(run_id):
                left_behind.append(run_id)
        return left_behind

    def _is_alive(self, run_id: str) -> bool:
        """Return whether an engine holds the lock of a run."""
        run_lock = lock.take(self._home, run_id)
        if run_lock is None:
            return True
        run_lock.release()
        return False

    def _refuse_unfinished(self, run: Run) -> None:
        if not run.state.final:
            raise UsageError(
                f"Run {run.run_id} is {run.state}, and only a run that has ended can be deleted.",
                hint=f"Cancel it first: kfgcp cancel {run.run_id}",
            )

    def _kept(self, run_id: str) -> Deleted:
        """Return which files of a deleted run are kept, and which runs use them."""
        users = self._store.users(run_id)
        kept = removal.count_kept_files(self._home, run_id, users)
        user_ids = dict.fromkeys(itertools.chain(*users.values()))
        names = tuple(self._name_of(user) for user in user_ids)
        return Deleted(kept.files, kept.logs, names)

    def _name_of(self, run_id: str) -> str:
        """Return the name of a run if it is unique, else its id."""
        try:
            name = self._store.get(run_id, with_tasks=False).name
            is_unique = name and self._store.find(name) == run_id
        except UsageError:
            # The run was deleted meanwhile, or several runs have this name.
            return run_id
        return name if is_unique else run_id

    def open(self, request: SubmitRequest) -> LocalRun:
        """Record a new run, which the caller must execute."""
        run_id, run_lock = self._add(request)
        return self._local_run(run_id, run_lock)

    def reopen(self, ref: RunRef) -> LocalRun:
        """Return an interrupted run, which the caller must execute."""
        run_lock = self._take_interrupted(ref)
        return self._local_run(ref.run_id, run_lock)

    def resume(self, ref: RunRef) -> RunRef:
        """Start a process that continues an interrupted run."""
        run_lock = self._take_interrupted(ref)
        self._start_engine(ref.run_id, run_lock)
        return ref

    def refresh(self) -> None:
        """Bring the records up to date.

        A run whose engine has disappeared ends FAILED, so that no run stays RUNNING for ever.
        Deletions that were interrupted are finished.
        """
        if self._store.writable:
            self._finish_removals()
        for run_id in self._store.unfinished("local"):
            self._reconcile(run_id)

    # -- helpers

    def _local_run(self, run_id: str, run_lock: lock.RunLock) -> LocalRun:
        try:
            return LocalRun(self._store, self._home, run_id, run_lock)
        except BaseException:
            run_lock.release()
            raise

    def _take_interrupted(self, ref: RunRef) -> lock.RunLock:
        """Take the lock of an interrupted run, and prepare the run so that it can continue.

        Raises:
            UsageError: the run has ended, or another process executes it.
        """
        run_lock = lock.take(self._home, ref.run_id)
        if run_lock is None:
            raise UsageError(
                f"Run {ref.run_id} is still running.", hint=f"Follow it: kfgcp watch {ref.run_id}"
            )
        try:
            run = self._store.get(ref.run_id, with_tasks=False)
            is_interrupted = run.error is not None and run.error.kind is ErrorKind.INTERRUPTED
            if run.state.final and not is_interrupted:
                raise UsageError(
                    f"Run {ref.run_id} was not interrupted: it ended {run.state}.",
                    hint=f"Run it again without the tasks that succeeded: kfgcp rerun {ref.run_id}",
                )
            self._clean_up(ref.run_id)
            self._store.reopen(ref.run_id)
        except BaseException:
            run_lock.release()
            raise
        return run_lock

    def _start_engine(self, run_id: str, run_lock: lock.RunLock) -> None:
        """Start a process that executes a recorded run. It inherits the lock of the run.

        The process is in a session of its own, so that it continues when this one ends.

        Raises:
            StateError: the process cannot be started. The run has ended FAILED.
        """
        folder = logs_folder(self._home, run_id)
        command = [sys.executable, "-P", "-m", local_run.__name__]
        command += [str(self._home), run_id, str(run_lock.fd)]
        variables = {
            name: value for name, value in os.environ.items() if name not in TASK_VARIABLES
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ENGINE_LOG).open("ab") as log:
                subprocess.Popen(
                    command,
                    pass_fds=(run_lock.fd,),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=variables,
                )
        except OSError as error:
            problem = f"the engine could not be started: {error.strerror}"
            self._end(run_id, RunState.FAILED, ErrorInfo(problem))
            run_lock.release()
            raise StateError(
                f"The engine could not be started: {error.strerror}: {error.filename}."
            ) from error
        # The process has a descriptor of its own, which keeps the lock.
        run_lock.close()

    def _add(self, request: SubmitRequest) -> tuple[str, lock.RunLock]:
        """Record a new run, and return its id and its lock, which is taken.

        Raises:
            Unsupported: the engine cannot execute the pipeline.
            BackendError: the bucket for the artifacts cannot be used.
            ParamError: an artifact that was given does not exist.
        """
        pipeline = graph.build(request.spec.pipeline_spec)
        uses_docker = unsupported.refuse(pipeline, request.options)
        root = output_root(self._env, self._project_root)
        run_id = secrets.token_hex(6)
        run_lock = lock.take(self._home, run_id)
        # The id is new, so nobody else can have the lock.
        assert run_lock is not None
        run = self._new_run(request, run_id)
        stored = dataclasses.replace(
            stored_request(request),
            uses_docker=uses_docker,
            container_credentials=self._settings.container_credentials,
            pipeline_root=root,
            buckets=BucketSettings.of_environment(self._env).to_dict(),
        )
        try:
            # A deletion takes the exclusive lock. So the artifacts that the run was given cannot be
            # removed before their use is recorded.
            with lock.FileUse(self._home).shared():
                inputs = root_inputs(pipeline.root, request.params, request.submit_dir)
                uses = tuple(Uses(self._store, run_id).root_uses(inputs.artifacts))
                self._store.add_run(run, pipeline_spec=request.spec.pipeline_spec, request=stored)
                if uses:
                    self._store.apply(run_id, Changes(uses=uses))
        except ValueProblem as problem:
            run_lock.release()
            raise ParamError(f"Wrong parameters: {problem}.") from None
        except BaseException:
            run_lock.release()
            raise
        return run_id, run_lock

    def _new_run(self, request: SubmitRequest, run_id: str) -> Run:
        now = time.time()
        default_name = f"{request.spec.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}"
        return Run(
            run_id=run_id,
            env=self._env.name,
            backend="local",
            pipeline=request.spec.name,
            version=request.spec.version,
            state=RunState.PENDING,
            experiment=request.options.experiment,
            name=request.options.name or default_name,
            labels={**request.options.labels, SUBMISSION: run_id},
            created_at=timestamp(now),
            params=request.params,
        )

    def _reconcile(self, run_id: str) -> None:
        """End the record of a run whose engine has disappeared."""
        if self._store.get(run_id, with_tasks=False).state.final or not self._store.writable:
            return
        self._store.check_room()
        run_lock = lock.take(self._home, run_id)
        if run_lock is None:
            return
        try:
            # The engine may have ended the run before it released the lock.
            if self._store.get(run_id, with_tasks=False).state.final:
                return
            self._clean_up(run_id)
            is_cancelling = self._store.get(run_id, with_tasks=False).state is RunState.CANCELLING
            if is_cancelling or self._store.cancel_requests(run_id):
                self._end(run_id, RunState.CANCELLED, None)
            else:
                message = (
                    "the engine was killed or crashed before the run ended; continue it with:"
                    f" kfgcp run --resume {run_id}"
                )
                self._end(run_id, RunState.FAILED, ErrorInfo(message, kind=ErrorKind.INTERRUPTED))
        finally:
            run_lock.release()

    def _clean_up(self, run_id: str) -> None:
        """End the processes and containers of an engine that was killed, and remove its scratch
        folder."""
        orphans.kill(run_id)
        run = self._store.get(run_id, with_tasks=False)
        Layout(self._home, run.pipeline, run_id).remove_scratch()
        request = self._store.request(run_id)
        if request is not None and request.uses_docker:
            from kfgcp.engine.executors.docker import remove_containers

            remove_containers(run_id)

    def _end(self, run_id: str, state: RunState, error: ErrorInfo | None) -> None:
        """Record the end of a run, and that its unfinished tasks were cancelled."""
        now = timestamp(time.time())
        cancelled_tasks = [
            dataclasses.replace(task, state=TaskState.CANCELLED, ended_at=now)
            for task in self._store.tasks(run_id)
            if not task.state.final
        ]
        changes = Changes(tasks=cancelled_tasks, state=state, ended_at=now, error=error)
        self._store.end(run_id, changes)


def output_root(env: Environment, project_root: Path) -> str:
    """Return where output artifacts go: a URI in a bucket, a folder, or "" for the state folder.

    Raises:
        BackendError: the bucket cannot be listed.
    """
    root = LocalSettings.of(env.settings).pipeline_root or ""
    if is_bucket_uri(root):
        try:
            objects.check_root(root, BucketSettings.of_environment(env))
        except StorageProblem as problem:
            raise BackendError(
                f"The pipeline root of environment '{env.name}' cannot be used: {problem}.",
                hint=f"Check the bucket's name and your sign-in. {sign_in_hint(root)}",
            ) from None
        return root.rstrip("/")
    return str(project_root / file_uris.to_path(root)) if root else ""
