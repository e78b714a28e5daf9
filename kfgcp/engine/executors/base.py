"""The interface of executors, which run attempts of tasks as processes or containers.

An executor does not know DAGs, retries or the store.
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
    """A command to run in a container. Its placeholders are filled in.

    Attributes:
        image: the image of the container.
        argv: the command and its arguments; empty for the image's own command.
        resources: the `resources` of the container in the spec, such as cpu and memory limits.
    """

    image: str
    argv: tuple[str, ...]
    resources: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to run.

    Attributes:
        id: a number that no other attempt of the engine has.
        work: the function or command to run.
        executor_input: the ExecutorInput. The executor makes the folders of the outputs in it.
        env: environment variables that the task has in addition to the engine's own.
        scratch: the working folder of the attempt. The executor makes it.
        log: the file for standard output and standard error, in the order in which they are
            written.
        copies_folder: a folder with copies of files in buckets, see `kfgcp.engine.bucket_copies`.
            None when there is no such folder.
        mounts: the folders to mount in a container: path in the container -> folder here, `""`
            for a new empty folder.
        options: the user's options.
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
        workspace: a folder that all containers share. It has the same path in the containers and
            on this machine. None for no shared folder.
        credentials: whether containers get Google's credentials, see
            `kfgcp.engine.executors.container_credentials`.
        home: the state folder. Only its owner can read files in it, so the executor must make
            input artifacts readable. None when that is not needed.
        folders: the absolute paths of folders that a container may write to, when a parameter of
            its task names the folder or a path in it.
        network: the network of containers. Empty for the default one.
        project_root: the folder of kfgcp.toml. Empty when it is not known.
    """

    workspace: Path | None = None
    credentials: bool = False
    home: Path | None = None
    folders: tuple[str, ...] = ()
    network: str = ""
    project_root: str = ""


@dataclass(frozen=True, slots=True)
class TaskException:
    """The exception that ended a task. Fields that do not apply to the exception are empty.

    Attributes:
        missing_module: the module that an import did not find.
        undefined_name: the name that is not defined.
        is_missing_file: whether the task did not find a file or folder.
        missing_file: the path of that file or folder, as the task wrote it. It is empty when the
            exception does not have the path as an attribute.
        message: the message of the exception, only when `is_missing_file` is true and
            `missing_file` is empty.
        read_only_file: the path that a task in a container could not write, because the file system
            is read-only.
        in_component: whether the component's own code raised the exception.
        raised_in: the top-level package of the code that raised the exception.
    """

    missing_module: str = ""
    undefined_name: str = ""
    is_missing_file: bool = False
    missing_file: str = ""
    message: str = ""
    read_only_file: str = ""
    in_component: bool = False
    raised_in: str = ""


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """The event that an attempt has ended.

    Attributes:
        id: the attempt.
        message: one line with the reason of the failure; None when the attempt exited with 0.
        lost: whether the attempt ended only because the process that ran it has ended. Then the
            attempt itself did not fail.
        exception: the exception that ended the attempt, None when it is unknown.
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
        """Start an attempt and return at once. The end of the attempt is emitted exactly once."""

    def signal(self, attempt_id: int, signal_number: int) -> None:
        """Send a signal to an attempt and to all processes that it started.

        An attempt that has ended is ignored.
        """

    def kill(self, attempt_id: int) -> None:
        """Kill an attempt and the process that runs it. This works also when the process hangs.

        Other attempts of the same process end too. Their ends are emitted with `lost`.
        """

    def close(self) -> None:
        """Kill all running attempts, and end all processes and threads of the executor."""
