"""The backend `local`: runs that the embedded engine executes on this machine.

The engine executes a run in the calling process or in a new process. The new process continues when
the calling process ends. The engine holds the lock of its run until the run has ended. So when a
run has not ended and its lock is free, its engine was killed: the run was interrupted.

The store (`kfgcp/store/`) writes and reads the runs. So this folder has no request.py, read_run.py
and filters.py (decision 23).
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
    CapabilityT,
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
from kfgcp.backends.local.logs import FileTail, is_severe, to_timestamp
from kfgcp.backends.local.settings import LocalSettings
from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment, Project
from kfgcp.engine import lock, orphans, removal
from kfgcp.engine.layout import Layout, log_file, logs_folder
from kfgcp.engine.logs import LogReader
from kfgcp.engine.root_inputs import root_inputs
from kfgcp.engine.secrets import Secrets, read_stored_secrets, stored_secrets
from kfgcp.engine.uses import Uses
from kfgcp.errors import BackendError, ParamError, StateError, UsageError
from kfgcp.labels import SUBMISSION
from kfgcp.model import ErrorInfo, ErrorKind, Run, RunState, TaskState, timestamp
from kfgcp.query import RunFilter
from kfgcp.semantics.values import ValueProblem
from kfgcp.services.storage import objects
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.services.storage.uris import is_bucket_uri, sign_in_hint
from kfgcp.spec.json_values import JsonObject
from kfgcp.store import database
from kfgcp.store.rows import Changes, Origin
from kfgcp.store.store import Store

# The file in the folder of a run's logs that gets the output of the engine's process.
ENGINE_LOG = "engine.log"

# The engine sets these variables for the processes of tasks. When a task submits a run, the engine
# of that run must not inherit them.
TASK_VARIABLES = ("KFGCP_RUN_ID", "KFGCP_TASK", "KFGCP_SUBMIT_DIR")

# How long a deletion waits for the engine of a run that has ended, in seconds. The engine still
# holds the lock while it removes its temporary folders.
ENDING_SECONDS = 30.0

# How often a deletion tries to take the lock, in seconds.
LOCK_POLL_SECONDS = 0.02


class LocalBackend:
    """The backend that executes runs on this machine, and records them in the state folder.

    Several processes may use the same state folder.
    """

    pace = Pace(0.05, 2.0)

    def __init__(self, project: Project, env: Environment, store: Store) -> None:
        self._env = env
        self._settings = LocalSettings.of(env.settings)
        self._home = project.home
        self._project_root = project.root
        self._secret_places = stored_secrets(self._settings.tables.secrets, project.root)
        self._store = store
        # True after `delete` has searched for run folders without a record.
        self._has_searched = False

    # -- Backend

    def notes(self, request: SubmitRequest) -> list[str]:
        """Return a line for each warning of the rules, and for what this machine lacks."""
        # The rules take time to import, and most commands start no run.
        from kfgcp.backends.local.before_run import note_lines

        secret_places = Secrets(read_stored_secrets(self._secret_places))
        return note_lines(
            request.sent_spec,
            request.options,
            self._settings,
            request.ignored,
            secret_places,
        )

    def request_body(self, request: SubmitRequest) -> JsonObject:
        """Return what the store would record of a run, see `SupportsPreview`.

        The pipeline itself is left out: no service gets it.
        """
        return {
            "pipeline": request.spec.name,
            "version": request.spec.version,
            "params": dict(request.params),
            "options": request.options.to_dict(),
            "submit_dir": request.submit_dir,
            "pipeline_root": self._settings.pipeline_root or "",
            "container_credentials": self._settings.container_credentials,
            "container_folders": list(self._settings.container_folders),
            "container_network": self._settings.container_network or "",
        }

    def submit(self, request: SubmitRequest) -> RunRef:
        """Record a new run, and start a process that executes the run."""
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

    def capability(self, protocol: type[CapabilityT]) -> CapabilityT | None:
        """Return this backend or its registry, see `HasParts`."""
        if isinstance(self, protocol):
            return self
        # The registry takes time to import, and most commands do not use it.
        from kfgcp.backends.local.versions import FOLDER_NAME, LocalVersions

        folder = self._home / FOLDER_NAME
        if self._settings.registry is not None:
            folder = self._project_root / Path(self._settings.registry).expanduser()
        registry = LocalVersions(folder)
        return registry if isinstance(registry, protocol) else None

    def logs(self, ref: RunRef, log_filter: LogFilter) -> Iterator[LogLine]:
        """Yield the log lines of a run up to now, task by task."""
        since = to_timestamp(log_filter.since)
        cached_origins = self._store.origins(ref.run_id)
        for task in self._store.tasks(ref.run_id):
            if log_filter.task not in (None, task.path):
                continue
            origin = Origin(ref.run_id, task.path, task.attempts)
            if task.state is TaskState.CACHED:
                # A cached task has the log of the task whose outputs it uses.
                origin = cached_origins.get(task.path, origin)
            for attempt in range(1, origin.attempt + 1):
                if log_filter.attempt not in (None, attempt):
                    continue
                file = log_file(self._home, origin.run_id, origin.path, attempt)
                for line in LogReader(file, since).read(to_the_end=True):
                    if is_severe(line, log_filter.severity):
                        yield LogLine(task.path, attempt, line)

    def tail(self, ref: RunRef, log_filter: LogFilter) -> FileTail:
        """Return a reader of the log lines of a run that has not ended."""
        return FileTail(self._home, ref.run_id, log_filter)

    def is_deletable(self, run: Run) -> bool:
        """Return True for a run that has ended."""
        return run.state.final

    def delete(self, ref: RunRef) -> Deleted:
        """Remove the record and the files of a run. Files that other runs use are kept.

        Raises:
            UsageError: the run, or its engine, has not ended.
        """
        if not self._store.writable:
            raise database.read_only_error(self._home)
        self._refuse_unfinished(self.get(ref))
        deadline = time.monotonic() + ENDING_SECONDS
        while not self._try_to_forget(ref.run_id):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"The engine of run {ref.run_id} is still running.",
                    hint="Wait until the process that executes the run has ended, and try again.",
                )
            time.sleep(LOCK_POLL_SECONDS)
        if not self._has_searched:
            self._has_searched = True
            self._store.add_removals(self._find_unrecorded_runs())
        for folder in self._finish_removals():
            warnings.warn(
                f"{folder} cannot be removed. Does it belong to another user?",
                NotRemoved,
                stacklevel=2,
            )
        return self._describe_kept_files(ref.run_id)

    def _try_to_forget(self, run_id: str) -> bool:
        """Remove the record of a run that has ended.

        Returns:
            False when the engine of the run still holds the lock. Then nothing was removed.
        """
        with lock.FileUse(self._home).exclusive():
            # Another process may have resumed the run, and its engine holds the lock then. This
            # check refuses the deletion at once, so that `delete` does not wait for that engine.
            self._refuse_unfinished(self._store.get(run_id, with_tasks=False))
            run_lock = lock.take(self._home, run_id)
            if run_lock is None:
                return False
            try:
                # From here on, no other process can resume the run, so this check is reliable.
                self._refuse_unfinished(self._store.get(run_id, with_tasks=False))
                self._store.forget(run_id, has_files=True)
            finally:
                run_lock.release()
        return True

    def _finish_removals(self) -> Sequence[Path]:
        """Remove the files of deleted runs, except files that other runs use.

        This includes deletions whose process was killed before it had removed all files.

        Returns:
            The folders that could not be removed.
        """
        failed_folders = []
        for removal_id, run_id in self._store.removals().items():
            failed_folder = removal.remove_files(self._home, run_id, self._store.users(run_id))
            if failed_folder is None:
                self._store.finish_removal(removal_id)
            else:
                failed_folders.append(failed_folder)
        return failed_folders

    def _find_unrecorded_runs(self) -> Sequence[str]:
        """Return the ids of the runs that have folders but no record.

        Earlier versions of kfgcp left such folders when they were killed during a deletion.
        """
        # The order matters. A new run is recorded before it gets folders. So each new run in this
        # list of folders is among the recorded ids below.
        folders = removal.find_run_folders(self._home)
        recorded_ids = self._store.known_ids() | set(self._store.removals().values())
        unrecorded_ids = sorted(folders.keys() - recorded_ids)
        if not unrecorded_ids:
            return []
        first_record, last_record = self._store.recorded_between()
        since = datetime.fromisoformat(first_record).timestamp()
        until = datetime.fromisoformat(last_record).timestamp()
        abandoned_ids = []
        for run_id in unrecorded_ids:
            # Folders from another time may belong to runs that this store never had.
            is_abandoned = since <= removal.last_change(folders[run_id]) < until
            if is_abandoned and not self._has_engine(run_id):
                abandoned_ids.append(run_id)
        return abandoned_ids

    def _has_engine(self, run_id: str) -> bool:
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
                hint=f"Cancel the run first: kfgcp cancel {run.run_id}",
            )

    def _describe_kept_files(self, run_id: str) -> Deleted:
        """Return how many files of a deleted run are kept, and which runs use them."""
        users_by_origin = self._store.users(run_id)
        kept = removal.count_kept_files(self._home, run_id, users_by_origin)
        user_ids = dict.fromkeys(itertools.chain.from_iterable(users_by_origin.values()))
        user_names = tuple(self._name_or_id(user_id) for user_id in user_ids)
        return Deleted(kept.files, kept.logs, user_names)

    def _name_or_id(self, run_id: str) -> str:
        """Return the name of a run when no other run has the same name, else the id of the run."""
        try:
            name = self._store.get(run_id, with_tasks=False).name
            is_unique = name and self._store.find(name) == run_id
        except UsageError:
            # Another process has deleted the run, or several runs have this name.
            return run_id
        return name if is_unique else run_id

    def open(self, request: SubmitRequest) -> LocalRun:
        """Record a new run, and return it. The caller must then execute the run."""
        run_id, run_lock = self._add(request)
        return self._local_run(run_id, run_lock)

    def reopen(self, ref: RunRef) -> LocalRun:
        """Return an interrupted run that is ready to continue. The caller must then execute it."""
        run_lock = self._take_interrupted(ref)
        return self._local_run(ref.run_id, run_lock)

    def resume(self, ref: RunRef) -> RunRef:
        """Start a process that continues an interrupted run."""
        run_lock = self._take_interrupted(ref)
        self._start_engine(ref.run_id, run_lock)
        return ref

    def refresh(self) -> None:
        """Update the records of runs whose engine was killed, and finish interrupted deletions.

        Such a run ends FAILED, so that it does not stay RUNNING for ever.
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
        """Take the lock of an interrupted run, clean up, and make the run RUNNING again.

        Raises:
            UsageError: the run has ended, or another process executes it.
        """
        run_lock = lock.take(self._home, ref.run_id)
        if run_lock is None:
            raise UsageError(
                f"Run {ref.run_id} is still running.",
                hint=f"Follow the run: kfgcp watch {ref.run_id}",
            )
        try:
            run = self._store.get(ref.run_id, with_tasks=False)
            is_interrupted = run.error is not None and run.error.kind is ErrorKind.INTERRUPTED
            if run.state.final and not is_interrupted:
                raise UsageError(
                    f"Run {ref.run_id} was not interrupted: it ended as {run.state}.",
                    hint=f"Run it again without the tasks that succeeded: kfgcp rerun {ref.run_id}",
                )
            self._clean_up(ref.run_id)
            self._store.reopen(ref.run_id)
        except BaseException:
            run_lock.release()
            raise
        return run_lock

    def _start_engine(self, run_id: str, run_lock: lock.RunLock) -> None:
        """Start a process that executes a recorded run. The process inherits the lock of the run.

        Raises:
            StateError: the process cannot be started. The run is then interrupted, because nothing
                of it was executed.
        """
        folder = logs_folder(self._home, run_id)
        command = [sys.executable, "-P", "-m", local_run.__name__]
        command += [str(self._home), run_id, str(run_lock.fd)]
        engine_variables = dict(os.environ)
        for name in TASK_VARIABLES:
            engine_variables.pop(name, None)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ENGINE_LOG).open("ab") as engine_log:
                subprocess.Popen(
                    command,
                    pass_fds=(run_lock.fd,),
                    stdin=subprocess.DEVNULL,
                    stdout=engine_log,
                    stderr=engine_log,
                    # In its own session, the process continues when this process ends.
                    start_new_session=True,
                    env=engine_variables,
                )
        except OSError as error:
            # An error of fork(2) has no file.
            where = "" if error.filename is None else f": {error.filename}"
            try:
                self._interrupt(run_id, f"the engine could not be started: {error.strerror}")
            finally:
                run_lock.release()
            raise StateError(
                f"The engine could not be started: {error.strerror}{where}.",
                hint=f"Continue the run later: kfgcp run --resume {run_id}",
            ) from error
        # Close the descriptor of this process only. The engine's descriptor keeps the lock.
        run_lock.close()

    def _add(self, request: SubmitRequest) -> tuple[str, lock.RunLock]:
        """Record a new run and take its lock. Return the id of the run, and the lock.

        Raises:
            Unsupported: the engine cannot execute the pipeline.
            BackendError: the bucket for the artifacts cannot be used.
            ParamError: a parameter names an artifact that does not exist.
        """
        # The rules take time to import, and most commands start no run.
        from kfgcp.backends.local.before_run import refuse

        pipeline, uses_docker = refuse(request.spec, request.options, self._settings)
        root = output_root(self._env, self._project_root)
        run_id = secrets.token_hex(6)
        run_lock = lock.take(self._home, run_id)
        # The id is new, so no other process can hold the lock.
        assert run_lock is not None
        run = self._new_run(request, run_id)
        engine_request = dataclasses.replace(
            stored_request(request),
            uses_docker=uses_docker,
            container_credentials=self._settings.container_credentials,
            container_folders=self._settings.writable_folders(self._project_root, self._home),
            container_network=self._settings.container_network or "",
            project_root=str(self._project_root),
            pipeline_root=root,
            buckets=BucketSettings.of_environment(self._env).to_dict(),
            secrets=self._secret_places,
        )
        try:
            # A deletion needs the exclusive lock. So it cannot remove the input artifacts of this
            # run before the store has recorded that the run uses them.
            with lock.FileUse(self._home).shared():
                inputs = root_inputs(pipeline.root, request.params, request.submit_dir)
                uses = tuple(Uses(self._store, run_id).root_uses(inputs.artifacts))
                self._store.add_run(
                    run, pipeline_spec=request.spec.pipeline_spec, request=engine_request
                )
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
        """Record the end of a run whose engine was killed. Other runs stay unchanged."""
        if self._store.get(run_id, with_tasks=False).state.final or not self._store.writable:
            return
        self._store.check_room()
        run_lock = lock.take(self._home, run_id)
        if run_lock is None:
            # The engine is running.
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
                self._interrupt(run_id, "the engine was killed or crashed before the run ended")
        finally:
            run_lock.release()

    def _clean_up(self, run_id: str) -> None:
        """Remove what a killed engine left: processes, containers, and its temporary folder."""
        orphans.kill(run_id)
        run = self._store.get(run_id, with_tasks=False)
        Layout(self._home, run.pipeline, run_id).remove_scratch()
        request = self._store.request(run_id)
        if request is not None and request.uses_docker:
            from kfgcp.engine.executors.docker import remove_containers

            remove_containers(run_id)

    def _interrupt(self, run_id: str, problem: str) -> None:
        """Record that a run was interrupted, so that it can be resumed."""
        message = f"{problem}; continue the run with: kfgcp run --resume {run_id}"
        self._end(run_id, RunState.FAILED, ErrorInfo(message, kind=ErrorKind.INTERRUPTED))

    def _end(self, run_id: str, state: RunState, error: ErrorInfo | None) -> None:
        """Record the end of a run. Its tasks that have not ended become CANCELLED."""
        now = timestamp(time.time())
        cancelled_tasks = [
            dataclasses.replace(task, state=TaskState.CANCELLED, ended_at=now)
            for task in self._store.tasks(run_id)
            if not task.state.final
        ]
        changes = Changes(tasks=cancelled_tasks, state=state, ended_at=now, error=error)
        self._store.end(run_id, changes)


def output_root(env: Environment, project_root: Path) -> str:
    """Return the folder for output artifacts: a bucket URI, a path, or "" for the state folder.

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
                hint=f"Check the name of the bucket and your sign-in. {sign_in_hint(root)}",
            ) from None
        return root.rstrip("/")
    return str(project_root / file_uris.to_path(root)) if root else ""
