"""The paths of the files of a run. Only this module defines them.

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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import quote

from kfgcp import private

FILE_USE: Final = "file-use"
"""The name of the lock of `kfgcp.engine.lock.FileUse`; no run has such an id."""

_DYING_SECONDS: Final = 30.0
"""When an engine is killed, its tasks end a moment later. They may write to the scratch folder of
their run for this long, at most."""

_LONGEST_NAME: Final = 200
"""The longest name of a file, in bytes. File systems usually allow 255. The rest is for suffixes,
such as `.times`."""

_LONG_NAME_START: Final = 160
"""How many bytes of a longer name stay at the start. A digest of the whole name follows them."""


@dataclass(frozen=True)
class Layout:
    """The paths of one run.

    Attributes:
        home: the state folder.
        pipeline: the name of the pipeline.
        run_id: the run.
        root: the pipeline root, "" for the state folder: the folder or URI below which output
            artifacts go. It does not end with a slash.
    """

    home: Path
    pipeline: str
    run_id: str
    root: str = ""

    @cached_property
    def artifacts(self) -> Path:
        """The folder of the run's artifacts in the state folder."""
        return self.home / "artifacts" / file_name(self.pipeline) / self.run_id

    @property
    def output_folders(self) -> Sequence[str]:
        """The folders below which runs write their output artifacts. One may be a URI."""
        folders = [str(self.home / "artifacts")]
        if self.root:
            folders.append(self.root)
        return folders

    @property
    def environments(self) -> Path:
        """The folder of virtual environments."""
        return self.home / "envs"

    @cached_property
    def logs(self) -> Path:
        """The folder of the run's logs."""
        return logs_folder(self.home, self.run_id)

    @cached_property
    def scratch(self) -> Path:
        """The folder of the working folders of all attempts."""
        return Path(tempfile.gettempdir()) / f"kfgcp-{self.run_id}"

    def artifact_folder(self, path: str, attempt: int) -> Path:
        """Return the folder in the state folder for the artifacts of an attempt.

        Args:
            path: the path of the task.
            attempt: the number of the attempt, from 1.
        """
        return self.artifacts / attempt_folder(path, attempt)

    def uri(self, path: str, attempt: int, name: str) -> str:
        """Return the place of an output artifact: a path, or a URI below a remote pipeline root.

        Args:
            path: the path of the task.
            attempt: the number of the attempt, from 1.
            name: the name of the output.
        """
        folder = str(self.artifacts)
        if self.root:
            folder = f"{self.root}/{file_name(self.pipeline)}/{self.run_id}"
        return f"{folder}/{attempt_folder(path, attempt)}/{file_name(name)}"

    def parameter_folder(self, path: str, attempt: int) -> Path:
        """Return the folder of the files that an attempt writes its output parameters to."""
        return self.scratch / "outputs" / task_folder(path) / str(attempt)

    def log(self, path: str, attempt: int) -> Path:
        """Return the log file of an attempt."""
        return log_file(self.home, self.run_id, path, attempt)

    @cached_property
    def copies_folder(self) -> Path:
        """The folder of copies of files in buckets, see `kfgcp.engine.bucket_copies`."""
        return self.scratch / "remote"

    @property
    def workspace(self) -> Path:
        """The folder that the tasks of the run share."""
        return workspace_folder(self.home, self.run_id)

    def prepare(self) -> None:
        """Make the scratch folder and the workspace of the run, readable for this user alone.

        An engine that was killed may have left a scratch folder, which this method replaces. Tasks
        of that engine may still write to the folder for a moment. So this method repeats the
        removal until the folder is gone.

        Raises:
            OSError: the old scratch folder cannot be removed, for example because it belongs to
                another user.
        """
        deadline = time.monotonic() + _DYING_SECONDS
        while True:
            self.remove_scratch()
            try:
                # All users can create files in the temporary folder. `mkdir` fails when the folder
                # exists. So this user owns it, and no other user can put files in it beforehand.
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
        """Remove the rights of other users from the log and the artifacts of an attempt.

        Files outside the state folder do not change.
        """
        if not private.is_private(self.home):
            return
        log = self.log(path, attempt)
        artifacts = self.artifact_folder(path, attempt)
        private.close(log)
        private.close_tree(artifacts)
        # A container may have made the folders above the log and the artifacts.
        self._close_parents(log)
        self._close_parents(artifacts)

    def working_folder(self, attempt_id: int) -> Path:
        """Return the working folder of an attempt."""
        return self.scratch / str(attempt_id)

    def remove_working_folder(self, attempt_id: int) -> None:
        """Remove the working folder of an attempt and all that is in it."""
        folder = self.working_folder(attempt_id)
        try:
            # Most tasks leave only an empty folder for temporary files. Then this is faster than
            # `rmtree`.
            for name in os.listdir(folder):
                os.rmdir(folder / name)
            os.rmdir(folder)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)

    def remove_workspace(self) -> None:
        """Remove the folder that the tasks of the run share."""
        shutil.rmtree(self.workspace, ignore_errors=True)

    def remove_scratch(self) -> None:
        """Remove the scratch folder, with the working folders of all attempts."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _close_parents(self, path: Path) -> None:
        for folder in path.parents:
            if folder == self.home:
                break
            private.close(folder)


def logs_folder(home: Path, run_id: str) -> Path:
    """Return the folder of a run's logs."""
    return home / "logs" / run_id


def log_file(home: Path, run_id: str, path: str, attempt: int) -> Path:
    """Return the log file of one attempt of the task at `path`.

    The log contains standard output and standard error, in the order in which they were written.
    """
    return logs_folder(home, run_id) / log_name(path, attempt)


def log_name(path: str, attempt: int) -> str:
    """Return the path of an attempt's log, relative to the logs folder of the run."""
    return f"{task_folder(path)}/{attempt}.log"


def workspace_folder(home: Path, run_id: str) -> Path:
    """Return the folder that the tasks of a run share."""
    return home / "workspaces" / run_id


def lock_file(home: Path, run_id: str) -> Path:
    """Return the file of a run's lock, or of the lock `FILE_USE`."""
    return home / "locks" / run_id


def attempt_folder(path: str, attempt: int) -> str:
    """Return the folder of an attempt's artifacts, relative to the artifacts folder of the run."""
    return f"{task_folder(path)}/{attempt}"


def task_folder(path: str) -> str:
    """Return the relative folder for a task path.

    The folder is the task path itself, except that `file_name` changes names which are not safe or
    too long for a file.
    """
    return "/".join(file_name(part) for part in path.split("/"))


def file_name(name: str) -> str:
    """Return the file name for a name of the spec, which may have any characters.

    Different names have different file names.

    Example:
        >>> file_name("train")
        'train'
        >>> file_name("../a b")
        '%2E%2E%2Fa b'
    """
    safe = quote(name, safe="[] ")
    # "." and ".." have a meaning as folders, and programs hide files whose name starts with a dot.
    if safe.startswith("."):
        safe = safe.replace(".", "%2E")
    if len(safe) <= _LONGEST_NAME:
        return safe
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{safe[:_LONG_NAME_START]}-{digest}"
