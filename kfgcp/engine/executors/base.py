"""An executor runs one attempt of a task: as a process or as a container.

An executor knows nothing of DAGs, retries or the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kfgcp.options import RunOptions
from kfgcp.spec.lightweight import Lightweight


@dataclass(frozen=True, slots=True)
class Command:
    """A command in an image, without placeholders.

    Attributes:
        image: the image.
        argv: the command and its arguments; empty runs the command of the image.
        resources: the limits of the task as the spec has them.
    """

    image: str
    argv: tuple[str, ...]
    resources: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to run.

    Attributes:
        id: unique in the engine.
        work: the function or command to run.
        executor_input: the ExecutorInput. The executor makes the folders of its outputs.
        env: variables beside those of the engine.
        scratch: the attempt's working folder, in a folder of the run. The executor makes it.
        log: the file for output and errors, in the order they are written.
        copies_folder: a folder with copies of files in buckets, see `kfgcp.engine.bucket_copies`.
        mounts: for a container, path in it -> folder here, `""` for an empty one.
        options: how the run is run.
    """

    id: int
    work: Lightweight | Command
    executor_input: Mapping[str, Any]
    env: Mapping[str, str]
    scratch: Path
    log: Path
    copies_folder: Path | None = None
    mounts: Mapping[str, str] = field(default_factory=dict)
    options: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, slots=True)
class Containers:
    """The settings that all containers of a run share.

    Attributes:
        workspace: a folder that they share at the path it has here.
        credentials: whether they get Google's credentials, see
            `kfgcp.engine.executors.container_credentials`.
        home: the state folder, whose files only their owner can read.
    """

    workspace: Path | None = None
    credentials: bool = False
    home: Path | None = None


@dataclass(frozen=True, slots=True)
class TaskException:
    """The exception that ended a task; fields that do not belong to it are empty.

    Attributes:
        missing_module: the module that an import did not find.
        undefined_name: the name that is not defined.
        is_missing_file: a file or folder was not there.
        missing_file: that file as the task named it; empty when the exception does not have it as
            an attribute.
        message: the message of the exception when a file is missing and `missing_file` is empty.
        in_component: the component's own code raised it.
        raised_in: the top-level package of the code that raised it.
    """

    missing_module: str = ""
    undefined_name: str = ""
    is_missing_file: bool = False
    missing_file: str = ""
    message: str = ""
    in_component: bool = False
    raised_in: str = ""


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The event that an attempt has ended.

    Attributes:
        id: the attempt.
        message: one line, why it failed; None when it exited with 0.
        lost: the attempt did not fail: the process that ran it ended.
        exception: the exception that ended it, None when it is unknown.
    """

    id: int
    message: str | None = None
    lost: bool = False
    exception: TaskException | None = None


@dataclass(frozen=True, slots=True)
class PackagesInstalled:
    """The event that the packages of an attempt have been installed and its process starts now."""

    id: int


Emit = Callable[[AttemptEnded | PackagesInstalled], None]
"""Takes the events of an executor; may be called from any thread."""


class Executor(Protocol):
    """The interface of every executor."""

    def start(self, attempt: Attempt) -> None:
        """Start an attempt and return. Its end is emitted exactly once, whatever happens to it."""

    def signal(self, attempt_id: int, number: int) -> None:
        """Send a signal to the attempt and all that it started; no effect when it has ended."""

    def kill(self, attempt_id: int) -> None:
        """Kill the attempt and the process that runs it, which may not answer any more.

        Other attempts in the same process may end too. Their ends are emitted with `lost`.
        """

    def close(self) -> None:
        """Kill all attempts that still run and free everything."""
