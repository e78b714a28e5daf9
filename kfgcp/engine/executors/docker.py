"""Run tasks in containers of a Docker engine on this machine.

The folders of the attempt and its input artifacts have the same paths in the container and on this
machine. So the paths in the ExecutorInput are valid in both. The exit status of the task is the
exit status of the container.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kfgcp import file_uris, private
from kfgcp.data_folders import is_for_data_only
from kfgcp.engine import orphans
from kfgcp.engine.executors import container_credentials as credentials
from kfgcp.engine.executors import ownership
from kfgcp.engine.executors.base import Attempt, AttemptEnded, Command, Containers, Emit
from kfgcp.engine.executors.pip_command import hide_index_passwords
from kfgcp.engine.hints import exception_in_log
from kfgcp.engine.logs import log_tail
from kfgcp.errors import Unsupported
from kfgcp.machine import start_thread
from kfgcp.semantics.placeholders import MOUNTS
from kfgcp.services.docker_engine import connect, explain

if TYPE_CHECKING:
    from docker.models.images import Image as LocalImage

LABEL: Final = "kfgcp.run"
"""The label of a container with the id of its run."""

# Names of init programs in the error messages of container engines that do not have one.
_NO_INIT: Final = re.compile(r"docker-init|tini|catatonit|container-init|init binary")

READ_ONLY_LABEL: Final = "dev.kfgcp.read-only-root"
"""The label of an image whose programs write only below /tmp. Its containers get a read-only root,
as in a cluster with strict rules."""

# An image of the project that nobody has pushed, see kfgcp/deploy/images/catalogue.py.
_CONTENT_TAG: Final = re.compile(r"(?P<name>[^/:]+):c-[0-9a-f]{12}\Z")

# 128 + SIGKILL, as a shell reports it. The kernel sends SIGKILL to a container that exceeds its
# memory limit.
_KILLED: Final = 137

# The most bytes of a path on Linux (PATH_MAX).
_MAX_PATH: Final = 4096

Binds = dict[str, dict[str, str]]
"""The files and folders of this machine in a container. The key is the path on this machine. The
value has `bind`, the path in the container, and `mode`, "rw" or "ro"."""


def remove_containers(run_id: str) -> None:
    """Remove the containers of a run whose engine was killed.

    Do nothing when no Docker engine answers.
    """
    with suppress(Exception):
        client = connect()
        for container in client.containers.list(all=True, filters={"label": f"{LABEL}={run_id}"}):
            container.remove(force=True)
        client.close()


class DockerExecutor:
    """An executor that runs each attempt in a container of its own, with a thread for each.

    If the Docker engine has a small init program, this program is the first process of the
    container. The first process has the id 1 and ignores SIGTERM unless it has a handler (kill(2)).
    So without an init program, a shell as the first process could not be asked to end.

    Args:
        emit: takes the end of each attempt; called from any thread.
        settings: the settings of all containers.

    Raises:
        MissingExtra: the docker package is not installed.
        Unsupported: no Docker engine answers.
    """

    def __init__(self, emit: Emit, settings: Containers = Containers()) -> None:  # noqa: B008  # frozen
        self._emit = emit
        self._settings = settings
        # Becomes False when the engine reports that it has no init program.
        self._has_init = True
        self._client = connect()
        self._lock = threading.Lock()
        self._containers: dict[int, Any] = {}
        self._stopped: set[int] = set()
        self._threads: list[threading.Thread] = []

    def start(self, attempt: Attempt) -> None:
        """Start an attempt and return at once. The end of the attempt is emitted exactly once.

        Raises:
            OSError: the folders of the attempt cannot be made, or the thread cannot be started.
        """
        log_folder = attempt.log.parent
        private.make_folders(log_folder)
        attempt.log.touch(0o600 if private.is_private(log_folder) else 0o660)
        for folder in {str(attempt.scratch)} | _output_folders(attempt):
            # If a folder is missing, the Docker engine makes it, but then it belongs to root.
            os.makedirs(folder, exist_ok=True)
        self._threads.append(start_thread(self._run_and_emit, "kfgcp-container", attempt))

    def signal(self, attempt_id: int, signal_number: int) -> None:
        """Send a signal to a container. If the container has not started, it never starts."""
        # `_run_once` uses the same lock. So either the container is in `_containers` already, or
        # `_run_once` sees that the attempt was stopped and does not start it.
        with self._lock:
            self._stopped.add(attempt_id)
            container = self._containers.get(attempt_id)
        if container is not None:
            # The container may have ended meanwhile.
            with suppress(Exception):
                container.kill(signal=signal_number)

    def kill(self, attempt_id: int) -> None:
        """Kill a container. The Docker engine that runs it is not killed."""
        self.signal(attempt_id, signal.SIGKILL)

    def close(self) -> None:
        """Remove all containers, and wait for their threads to end."""
        with self._lock:
            running = list(self._containers.values())
        for container in running:
            with suppress(Exception):
                container.remove(force=True)
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _run_and_emit(self, attempt: Attempt) -> None:
        """Run an attempt to its end, and emit its end.

        This method runs in its own thread.
        """
        message: str | None
        try:
            message = self._run(attempt)
        except Unsupported as error:
            message = error.message
        except Exception as error:
            message = f"the container failed to run: {explain(error)}"
        exception = exception_in_log(log_tail(attempt.log)) if message is not None else None
        self._emit(AttemptEnded(attempt.id, message, exception=exception))

    def _run(self, attempt: Attempt) -> str | None:
        """Run an attempt and return why it failed, None when it exited with 0."""
        command = attempt.work
        assert isinstance(command, Command)
        volumes = _volumes(attempt, self._settings)
        options = self._container_options(attempt, command, volumes)
        writable = self._writable_paths(volumes)
        try:
            status = self._run_once(attempt, command.image, options, writable)
        except _NoInitError:
            self._has_init = False
            status = self._run_once(attempt, command.image, options, writable)
        if status is None:
            return "stopped before it started"
        # This comes before the end is emitted, because then the engine reads and moves the files.
        problem = ownership.hand_over(self._client, command.image, writable, options["labels"])
        if problem is not None:
            with attempt.log.open("a", encoding="utf-8") as log:
                log.write(
                    "kfgcp: files that this task wrote belong to another user, and kfgcp could"
                    f" not change that: {problem}\n"
                )
        return _describe_exit(int(status["StatusCode"]), command)

    def _writable_paths(self, volumes: Binds) -> ownership.WritablePaths:
        """Return the paths of this machine that a container may write to."""
        shared = set(self._settings.folders)
        if self._settings.workspace is not None:
            shared.add(str(self._settings.workspace))
        writable = ownership.WritablePaths()
        for path, bind in volumes.items():
            if bind["mode"] != "rw":
                continue
            if path in shared:
                writable.shared.append(path)
            else:
                writable.own.append(path)
        return writable

    def _container_options(
        self, attempt: Attempt, command: Command, volumes: Binds
    ) -> dict[str, Any]:
        """Return the options of a container for the docker package."""
        argv, index_variables = hide_index_passwords(command.argv)
        environment: dict[str, str] = {}
        if self._settings.credentials:
            environment |= credentials.environment()
        environment |= attempt.env
        environment |= index_variables
        options: dict[str, Any] = {
            "command": argv[1:] if argv else None,
            "entrypoint": argv[:1] or None,
            "environment": environment,
            "volumes": volumes,
            "labels": {LABEL: attempt.env.get(orphans.RUN_ID_VARIABLE, "")},
        }
        if self._settings.network:
            options["network_mode"] = self._settings.network
        return options | _limits(command)

    def _run_once(
        self,
        attempt: Attempt,
        image: str,
        options: dict[str, Any],
        writable: ownership.WritablePaths,
    ) -> dict[str, Any] | None:
        """Run a container and return its status, None when it was stopped before it started.

        Args:
            attempt: the attempt.
            image: the image of the container.
            options: the result of `_container_options`.
            writable: the paths that the container may write to.

        Raises:
            _NoInitError: the Docker engine has no init program.
            Unsupported: a folder is not for data only.
        """
        with_init = self._has_init
        container = None
        try:
            with _detect_missing_init(with_init):
                container = self._create(image, init=with_init, **options)
            user = container.attrs["Config"].get("User") or ""
            if self._settings.home is not None:
                binds = options["volumes"].items()
                inputs = [path for path, bind in binds if bind["mode"] == "ro"]
                ownership.make_readable(inputs, self._settings.home, user)
            # Pulling the image can take minutes, so this comes after it.
            self._refuse_state_folders(writable.shared)
            with ownership.writable(writable, user):
                with self._lock:
                    if attempt.id in self._stopped:
                        return None
                    self._containers[attempt.id] = container
                # This comes before the start, so that no output is lost. The other way to get the
                # output, following the logs, can lose a last line without a newline.
                output = container.attach(stream=True)
                with _detect_missing_init(with_init):
                    container.start()
                with attempt.log.open("ab", buffering=0) as log:
                    for chunk in output:
                        log.write(chunk)
                status: dict[str, Any] = container.wait()
                return status
        finally:
            with self._lock:
                self._containers.pop(attempt.id, None)
            if container is not None:
                with suppress(Exception):
                    container.remove(force=True)

    def _refuse_state_folders(self, folders: Sequence[str]) -> None:
        """Check the folders of `container_folders` again, because a link may have replaced one.

        Raises:
            Unsupported: a folder leads to the project or to the state folder.
        """
        home = self._settings.home
        if home is None:
            return
        root = Path(self._settings.project_root or home)
        for folder in folders:
            is_checked = folder in self._settings.folders
            if is_checked and not is_for_data_only(folder, root, home):
                raise Unsupported(
                    f"the folder {folder} of container_folders leads to the project or to the state"
                    " folder now"
                )

    def _create(self, image: str, **options: Any) -> Any:
        """Return a new container. If its image is not on this machine, pull the image first.

        Raises:
            Unsupported: the image cannot be pulled.
        """
        labels = self._find_or_pull(image).labels
        if labels.get(READ_ONLY_LABEL) == "true":
            options |= {"read_only": True, "tmpfs": {"/tmp": ""}}  # noqa: S108
        return self._client.containers.create(image, **options)

    def _find_or_pull(self, image: str) -> LocalImage:
        from docker.errors import APIError, ImageNotFound

        try:
            return self._client.images.get(image)
        except ImageNotFound:
            pass
        try:
            self._client.images.pull(image)
            return self._client.images.get(image)
        except APIError as error:
            problem = (
                f"the image {image} is not on this machine and cannot be pulled: {explain(error)}"
            )
        built = _CONTENT_TAG.search(image)
        if built is not None:
            name = built["name"].removeprefix("components-")
            problem = (
                f"the image {image} is not on this machine: build it with kfgcp images build {name}"
            )
        raise Unsupported(problem)


class _NoInitError(Exception):
    """The Docker engine has no init program, which would be the first process of a container."""


@contextmanager
def _detect_missing_init(with_init: bool) -> Iterator[None]:
    """Raise `_NoInitError` when the Docker engine fails because of a missing init program.

    Args:
        with_init: whether the container was created with an init program.
    """
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        # The Docker API has no error code for this failure, so only the message shows it.
        if with_init and _NO_INIT.search(str(error)):
            raise _NoInitError from None
        raise


def _volumes(attempt: Attempt, settings: Containers) -> Binds:
    """Return the files and folders of this machine that an attempt needs in its container.

    These are the folders that the attempt writes to, and the artifacts that it reads. They may also
    be credentials of Google, copies of files in buckets, and folders instead of cluster volumes.
    """
    binds: Binds = {}
    writable = _output_folders(attempt)
    if settings.workspace is not None:
        writable.add(str(settings.workspace))
    named_paths = _parameter_paths(attempt)
    for folder in settings.folders:
        if any(path.is_relative_to(folder) for path in named_paths):
            os.makedirs(folder, exist_ok=True)
            writable.add(folder)
    for path in writable:
        binds[path] = {"bind": path, "mode": "rw"}
    readable = _input_paths(attempt) | _readable_paths(attempt, named_paths, settings)
    for path in readable - writable:
        binds[path] = {"bind": path, "mode": "ro"}
    if settings.credentials:
        binds[str(credentials.find())] = {"bind": credentials.INSIDE, "mode": "ro"}
    if attempt.copies_folder is not None:
        for name in MOUNTS.values():
            copies = attempt.copies_folder / name
            if copies.is_dir():
                binds[str(copies)] = {"bind": f"/{name}", "mode": "rw"}
    for path_in_container, folder in _cluster_volumes(attempt):
        binds[folder] = {"bind": path_in_container, "mode": "rw"}
    return binds


def _output_folders(attempt: Attempt) -> set[str]:
    """Return the folders on this machine that the attempt writes its outputs to."""
    outputs = attempt.executor_input["outputs"]
    files: set[str] = {outputs["outputFile"]}
    files |= {parameter["outputFile"] for parameter in outputs["parameters"].values()}
    files |= {uri for uri in _artifact_uris(outputs) if uri.startswith("/")}
    return {os.path.dirname(file) for file in files}


def _input_paths(attempt: Attempt) -> set[str]:
    """Return the paths of the input artifacts that are on this machine."""
    uris = _artifact_uris(attempt.executor_input["inputs"])
    return {uri for uri in uris if uri.startswith("/") and os.path.exists(uri)}


def _parameter_paths(attempt: Attempt) -> list[Path]:
    """Return the absolute paths that input parameters may name.

    A text that is not meant as a path is among them too, as a path below the folder in which the
    run was started.
    """
    submit_folder = _submit_folder(attempt)
    if submit_folder is None:
        return []
    paths = []
    for value in attempt.executor_input["inputs"].get("parameterValues", {}).values():
        if not isinstance(value, str) or not value or len(value) > _MAX_PATH or "\0" in value:
            continue
        if "://" in value and not file_uris.is_file_uri(value):
            continue
        paths.append(Path(os.path.normpath(submit_folder / file_uris.to_path(value))))
    return paths


def _readable_paths(attempt: Attempt, named_paths: list[Path], settings: Containers) -> set[str]:
    """Return the files and folders that input parameters name, if they are below the folder in
    which the run was started.

    Nothing outside of this folder is shared by accident, and not the folder itself.
    """
    submit_folder = _submit_folder(attempt)
    paths: set[str] = set()
    if submit_folder is None:
        return paths
    for path in named_paths:
        is_below = path != submit_folder and path.is_relative_to(submit_folder)
        is_state = settings.home is not None and path.is_relative_to(settings.home)
        is_writable = any(path.is_relative_to(folder) for folder in settings.folders)
        with suppress(OSError):
            if is_below and not is_state and not is_writable and path.exists():
                paths.add(str(path))
    return paths


def _submit_folder(attempt: Attempt) -> Path | None:
    """Return the folder in which the run was started, None when it is not known."""
    folder = Path(attempt.env.get("KFGCP_SUBMIT_DIR", ""))
    if folder.is_absolute():
        return folder
    return None


def _artifact_uris(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the URIs of all artifacts in the inputs or in the outputs of an ExecutorInput."""
    for artifacts in values["artifacts"].values():
        for artifact in artifacts["artifacts"]:
            yield artifact["uri"]


def _cluster_volumes(attempt: Attempt) -> Iterator[tuple[str, str]]:
    """Yield a path in the container and a folder of this machine, for each volume of a cluster."""
    for number, (path, folder) in enumerate(attempt.mounts.items()):
        if folder:
            yield path, folder
            continue
        empty_folder = str(attempt.scratch / f"volume-{number}")
        os.makedirs(empty_folder)
        yield path, empty_folder


def _limits(command: Command) -> dict[str, int]:
    """Return the cpu and memory limits of a task as options for the docker package."""
    limits: dict[str, int] = {}
    resources = command.resources
    cpu = resources.get("cpuLimit") or resources.get("resourceCpuLimit")
    memory = resources.get("memoryLimit") or resources.get("resourceMemoryLimit")
    if cpu:
        limits["nano_cpus"] = int(_cores(cpu) * 1e9)
    if memory:
        limits["mem_limit"] = _bytes(memory)
        # This is the limit for memory and swap together. Without it, the container could use swap
        # in addition to its memory.
        limits["memswap_limit"] = limits["mem_limit"]
    return limits


def _cores(value: object) -> float:
    """Return a number of cores. In the spec it is a number, or text such as `500m` for 0.5."""
    text = str(value)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bytes(value: object) -> int:
    """Return a size in bytes. In the spec it is a number of gigabytes, or text such as `512Mi`."""
    text = str(value)
    for power, letter in enumerate("KMGTPE", 1):
        for suffix, base in ((f"{letter}i", 1024), (letter, 1000)):
            if text.endswith(suffix):
                return int(float(text.removesuffix(suffix)) * base**power)
    if isinstance(value, str):
        # Text without a suffix is a number of bytes.
        return int(text)
    return int(float(text) * 10**9)


def _describe_exit(code: int, command: Command) -> str | None:
    """Return why a container failed, None when it exited with 0."""
    if code == 0:
        return None
    message = f"the container of {command.image} exited with code {code}"
    if code == _KILLED:
        message += " (137: killed, perhaps because it used more memory than its limit)"
    return message
