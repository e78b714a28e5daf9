"""Where a run keeps its files.

<home>/artifacts/<pipeline>/<run>/<task path>/<attempt>/<artifact>
<home>/logs/<run>/<task path>/<attempt>.log
<home>/logs/<run>/<task path>/<attempt>.times
                                sizes of the log with their times, see `kfgcp.engine.log_times`
<home>/workspaces/<run>/        shared by the tasks of a run, removed when it ends
<home>/envs/<key>/              virtual environments for packages_to_install, shared by all runs
<home>/locks/<run>              held by the engine while the run is alive
<home>/locks/file-use           see `kfgcp.engine.lock.FileUse`
<temporary folder>/kfgcp-<run>/<n>/
                                an attempt's working folder, removed when it ends
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from kfgcp import private

FILE_USE = "file-use"
"""The name of the lock of `kfgcp.engine.lock.FileUse`; no run has such an id."""

_DYING_SECONDS = 30.0
"""How long tasks of an engine that was killed may still write to the scratch folder of their
run."""


@dataclass(frozen=True)
class Layout:
    """root: where output artifacts go instead, a folder or a URI without a slash at its end."""

    home: Path
    pipeline: str
    run_id: str
    root: str = ""

    @cached_property
    def artifacts(self) -> Path:
        return self.home / "artifacts" / file_name(self.pipeline) / self.run_id

    @property
    def environments(self) -> Path:
        return self.home / "envs"

    @cached_property
    def logs(self) -> Path:
        return logs_folder(self.home, self.run_id)

    @cached_property
    def scratch(self) -> Path:
        return Path(tempfile.gettempdir()) / f"kfgcp-{self.run_id}"

    def attempt(self, path: str, attempt: int) -> Path:
        """The folder of an attempt's artifacts."""
        return self.artifacts / attempt_folder(path, attempt)

    def uri(self, path: str, attempt: int, name: str) -> str:
        """Where an output artifact of an attempt goes: a path, or a URI below a remote pipeline
        root."""
        folder = (
            f"{self.root}/{file_name(self.pipeline)}/{self.run_id}"
            if self.root
            else str(self.artifacts)
        )
        return f"{folder}/{attempt_folder(path, attempt)}/{file_name(name)}"

    def outputs(self, path: str, attempt: int) -> Path:
        """The folder of the files that an attempt writes its output parameters to."""
        return self.scratch / "outputs" / task_folder(path) / str(attempt)

    def log(self, path: str, attempt: int) -> Path:
        return log_file(self.home, self.run_id, path, attempt)

    @cached_property
    def remote(self) -> Path:
        """The folder of copies of what lies in buckets."""
        return self.scratch / "remote"

    @property
    def workspace(self) -> Path:
        return workspace_folder(self.home, self.run_id)

    def prepare(self) -> None:
        """Makes the run's own folders, for this user alone; an engine that was killed may have left
        a scratch folder, and tasks that die with it may write to it for a moment more.

        Raises:
            OSError: there is a scratch folder that cannot be removed, another user's for example.
        """
        deadline = time.monotonic() + _DYING_SECONDS
        while True:
            self.remove_scratch()
            try:
                self.scratch.mkdir(mode=0o700)
                break
            except FileExistsError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        private.make_folders(self.workspace)
        if private.is_private(self.home):
            private.close_tree(self.logs)
            private.close(self.logs.parent)

    def close_attempt(self, path: str, attempt: int) -> None:
        """Remove the rights of others from the log and the artifacts of an attempt in the state
        folder."""
        if not private.is_private(self.home):
            return
        log, artifacts = self.log(path, attempt), self.attempt(path, attempt)
        private.close(log)
        private.close_tree(artifacts)
        for start in (log.parent, artifacts.parent):
            for folder in (start, *start.parents):
                if folder == self.home:
                    break
                private.close(folder)

    def working_folder(self, attempt_id: int) -> Path:
        return self.scratch / str(attempt_id)

    def remove_working_folder(self, attempt_id: int) -> None:
        folder = self.working_folder(attempt_id)
        try:  # most tasks leave nothing but an empty folder in it
            for name in os.listdir(folder):
                os.rmdir(folder / name)
            os.rmdir(folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)

    def remove_workspace(self) -> None:
        shutil.rmtree(self.workspace, ignore_errors=True)

    def remove_scratch(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)


def logs_folder(home: Path, run_id: str) -> Path:
    return home / "logs" / run_id


def log_file(home: Path, run_id: str, path: str, attempt: int) -> Path:
    """The log of one attempt of the task at `path`, output and errors in the order they were
    written."""
    return logs_folder(home, run_id) / log_name(path, attempt)


def log_name(path: str, attempt: int) -> str:
    """Where the log of an attempt is, below the folder of its run's logs."""
    return f"{task_folder(path)}/{attempt}.log"


def workspace_folder(home: Path, run_id: str) -> Path:
    return home / "workspaces" / run_id


def lock_file(home: Path, run_id: str) -> Path:
    return home / "locks" / run_id


def attempt_folder(path: str, attempt: int) -> str:
    """Where the artifacts of an attempt are, below the folder of its run."""
    return f"{task_folder(path)}/{attempt}"


def task_folder(path: str) -> str:
    """A task path as a relative folder: the same text unless a name would leave the folder or is
    too long for it."""
    return "/".join(file_name(part) for part in path.split("/"))


def file_name(name: str) -> str:
    """A name of the spec as the name of a file: another one for each name, whatever characters it
    has."""
    safe = quote(name, safe="[] ")
    if safe.startswith("."):
        safe = safe.replace(".", "%2E")
    return (
        safe
        if len(safe) <= 200
        else f"{safe[:160]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    )
