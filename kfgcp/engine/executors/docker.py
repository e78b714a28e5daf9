"""Run tasks in containers of a Docker engine on this machine.

A container sees the folders of the attempt (its artifacts, its outputs) and its input artifacts at
the paths they have here, so the ExecutorInput means the same inside and outside. The exit status is
the container's own.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from kfgcp import private
from kfgcp.engine import orphans
from kfgcp.engine.executors import container_credentials as credentials
from kfgcp.engine.executors import ownership
from kfgcp.engine.executors.base import Attempt, AttemptEnded, Command, Containers, Emit
from kfgcp.engine.executors.pip_command import hide_index_passwords
from kfgcp.engine.hints import exception_in_log
from kfgcp.engine.logs import log_tail
from kfgcp.errors import MissingExtra, Unsupported
from kfgcp.machine import start_thread
from kfgcp.semantics.placeholders import MOUNTS

LABEL: Final = "kfgcp.run"

# The names of the program that is missing where an engine cannot honour `init`.
_NO_INIT: Final = re.compile(r"docker-init|tini|catatonit|container-init|init binary")

# 128 + SIGKILL, as a shell reports it. The kernel kills a container that exceeds its memory so.
_KILLED: Final = 137

Binds = dict[str, dict[str, str]]
"""What a container sees of this machine: path here -> `bind`, the path in it, and `mode`."""


def connect() -> Any:
    """Return a client of the Docker engine that answers here.

    Raises:
        MissingExtra: the docker package is not installed.
        Unsupported: no engine answers.
    """
    try:
        import docker
    except ImportError:
        raise MissingExtra("Running containers", "docker") from None
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        raise Unsupported(
            f"No Docker engine answers: {_one_line(error)}",
            hint="Start Docker, or set DOCKER_HOST. Lightweight Python components need none.",
        ) from None
    return client


def remove_containers(run_id: str) -> None:
    """Remove the containers that a killed engine left running.

    Nothing happens when no Docker engine answers.
    """
    with suppress(Exception):
        client = connect()
        for container in client.containers.list(all=True, filters={"label": f"{LABEL}={run_id}"}):
            container.remove(force=True)
        client.close()


class DockerExecutor:
    """An executor that runs each attempt in a container of its own, watched by a thread.

    Where the engine has a small init program, it is the first process of the container. A process
    with the id 1 ignores SIGTERM unless it has a handler (kill(2)), so a shell in that place could
    not be asked to end.

    Args:
        emit: takes the end of each attempt; called from any thread.
        options: the settings of all containers.

    Raises:
        MissingExtra: the docker package is not installed.
        Unsupported: no engine answers.
    """

    def __init__(self, emit: Emit, options: Containers = Containers()) -> None:  # noqa: B008  # frozen
        self._emit = emit
        self._options = options
        self._workspace = None if options.workspace is None else str(options.workspace)
        self._has_init = True
        self._client = connect()
        self._lock = threading.Lock()
        self._containers: dict[int, Any] = {}
        self._stopped: set[int] = set()
        self._threads: list[threading.Thread] = []

    def start(self, attempt: Attempt) -> None:
        """Start an attempt and return. Its end is emitted exactly once.

        Raises:
            OSError: its folders or the thread cannot be made.
        """
        log_folder = attempt.log.parent
        private.make_folders(log_folder)
        attempt.log.touch(0o600 if private.is_private(log_folder) else 0o660)
        for folder in {str(attempt.scratch)} | _output_folders(attempt):
            # The engine would make missing folders too, but they would belong to root.
            os.makedirs(folder, exist_ok=True)
        self._threads.append(start_thread(self._watch, "kfgcp-container", attempt))

    def signal(self, attempt_id: int, number: int) -> None:
        """Send a signal to a container. An attempt without a container does not start any more."""
        # The lock pairs with `_run_once`: either the container is here, or it is not started.
        with self._lock:
            self._stopped.add(attempt_id)
            container = self._containers.get(attempt_id)
        if container is not None:
            # The container may have ended meanwhile.
            with suppress(Exception):
                container.kill(signal=number)

    def kill(self, attempt_id: int) -> None:
        """Kill a container. The process that runs it is the Docker engine, which stays."""
        self.signal(attempt_id, signal.SIGKILL)

    def close(self) -> None:
        """Remove all containers and wait for the threads that watch them."""
        with self._lock:
            running = list(self._containers.values())
        for container in running:
            with suppress(Exception):
                container.remove(force=True)
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _watch(self, attempt: Attempt) -> None:
        """Run a container to its end and emit that. This is a thread."""
        message: str | None
        try:
            message = self._run(attempt)
        except Unsupported as error:
            message = error.message
        except Exception as error:
            message = f"the container could not run: {_one_line(error)}"
        exception = exception_in_log(log_tail(attempt.log)) if message is not None else None
        self._emit(AttemptEnded(attempt.id, message, exception=exception))

    def _run(self, attempt: Attempt) -> str | None:
        """Run a container and return why it failed, None when it exited with 0."""
        command = attempt.work
        assert isinstance(command, Command)
        volumes = _volumes(attempt, self._options)
        options = self._container_options(attempt, command, volumes)
        writable = [path for path, bind in volumes.items() if bind["mode"] == "rw"]
        try:
            status = self._run_once(attempt, command.image, options, writable)
        except _NoInitError:
            self._has_init = False
            status = self._run_once(attempt, command.image, options, writable)
        if status is None:
            return "stopped before it started"
        # Before the end is emitted, because the engine then reads and moves the files.
        problem = ownership.hand_over(self._client, command.image, writable, options["labels"])
        if problem is not None:
            with attempt.log.open("a", encoding="utf-8") as log:
                log.write(f"kfgcp: files of this task do not belong to you: {problem}\n")
        return _describe_exit(int(status["StatusCode"]), command)

    def _container_options(
        self, attempt: Attempt, command: Command, volumes: Binds
    ) -> dict[str, Any]:
        """Return the options of a container as the docker package has them."""
        argv, index_variables = hide_index_passwords(command.argv)
        environment: dict[str, str] = {}
        if self._options.credentials:
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
        return options | _limits(command)

    def _run_once(
        self, attempt: Attempt, image: str, options: dict[str, Any], writable: list[str]
    ) -> dict[str, Any] | None:
        """Run a container and return how it ended, None when it was stopped before it started.

        Raises:
            _NoInitError: the engine has no init program.
        """
        with_init = self._has_init
        container = None
        try:
            with _detect_missing_init(with_init):
                container = self._create(image, init=with_init, **options)
            user = container.attrs["Config"].get("User") or ""
            if self._options.home is not None:
                binds = options["volumes"].items()
                inputs = [path for path, bind in binds if bind["mode"] == "ro"]
                ownership.make_readable(inputs, self._options.home, user)
            with ownership.writable(writable, self._workspace, user):
                with self._lock:
                    if attempt.id in self._stopped:
                        return None
                    self._containers[attempt.id] = container
                # Attached before the start, so that no output is missed. Following the logs instead
                # can miss a last line without a newline.
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

    def _create(self, image: str, **options: Any) -> Any:
        """Return a new container. Its image is pulled when it is not here."""
        from docker.errors import APIError, ImageNotFound

        try:
            return self._client.containers.create(image, **options)
        except ImageNotFound:
            try:
                self._client.images.pull(image)
            except APIError as error:
                problem = f"the image {image} is not here and cannot be pulled: {_one_line(error)}"
                raise Unsupported(problem) from None
            return self._client.containers.create(image, **options)


class _NoInitError(Exception):
    """The engine lacks the program that would be the first process of a container."""


@contextmanager
def _detect_missing_init(with_init: bool) -> Iterator[None]:
    """Turn the failure of a missing init program into `_NoInitError`.

    The API has no error code for it, so the message of the engine must do.
    """
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        if with_init and _NO_INIT.search(str(error)):
            raise _NoInitError from None
        raise


def _volumes(attempt: Attempt, options: Containers) -> Binds:
    """Return what a container sees of this machine.

    The folders that the attempt writes to and the artifacts that it reads have the same paths in
    the container. There may also be Google's credentials, copies of files in buckets, and folders
    that stand in for volumes of a cluster.
    """
    binds: Binds = {}
    written = _output_folders(attempt)
    if options.workspace is not None:
        written.add(str(options.workspace))
    for path in written:
        binds[path] = {"bind": path, "mode": "rw"}
    for path in _input_paths(attempt) - written:
        binds[path] = {"bind": path, "mode": "ro"}
    if options.credentials:
        binds[str(credentials.find())] = {"bind": credentials.INSIDE, "mode": "ro"}
    if attempt.copies_folder is not None:
        for name in MOUNTS.values():
            copies = attempt.copies_folder / name
            if copies.is_dir():
                binds[str(copies)] = {"bind": f"/{name}", "mode": "rw"}
    for inside, here in _cluster_volumes(attempt):
        binds[here] = {"bind": inside, "mode": "rw"}
    return binds


def _output_folders(attempt: Attempt) -> set[str]:
    """Return the folders of the attempt's outputs."""
    outputs = attempt.executor_input["outputs"]
    files: set[str] = {outputs["outputFile"]}
    files |= {parameter["outputFile"] for parameter in outputs["parameters"].values()}
    files |= {uri for uri in _artifact_uris(outputs) if uri.startswith("/")}
    return {os.path.dirname(file) for file in files}


def _input_paths(attempt: Attempt) -> set[str]:
    """Return the paths of the input artifacts that are on this machine."""
    uris = _artifact_uris(attempt.executor_input["inputs"])
    return {uri for uri in uris if uri.startswith("/") and os.path.exists(uri)}


def _artifact_uris(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the URIs of all artifacts among the inputs or outputs of an ExecutorInput."""
    for artifacts in values["artifacts"].values():
        for artifact in artifacts["artifacts"]:
            yield artifact["uri"]


def _cluster_volumes(attempt: Attempt) -> Iterator[tuple[str, str]]:
    """Yield the folders that stand in for volumes: path in the container, and folder here."""
    for number, (path, folder) in enumerate(attempt.mounts.items()):
        if folder:
            yield path, folder
            continue
        empty_folder = str(attempt.scratch / f"volume-{number}")
        os.makedirs(empty_folder)
        yield path, empty_folder


def _limits(command: Command) -> dict[str, int]:
    """Return the cpu and memory limits of the spec.

    Numbers in the spec are cores and gigabytes (10**9).
    """
    limits: dict[str, int] = {}
    resources = command.resources
    cpu = resources.get("cpuLimit") or resources.get("resourceCpuLimit")
    memory = resources.get("memoryLimit") or resources.get("resourceMemoryLimit")
    if cpu:
        limits["nano_cpus"] = int(_cores(cpu) * 1e9)
    if memory:
        limits["mem_limit"] = _bytes(memory)
        # Without this limit of memory and swap together, the container may use swap as well.
        limits["memswap_limit"] = limits["mem_limit"]
    return limits


def _cores(value: object) -> float:
    """Return a number of cores: `0.5` and `500m` are the same."""
    text = str(value)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bytes(value: object) -> int:
    """Return a size in bytes: a number of gigabytes, or text such as `512Mi`."""
    text = str(value)
    for power, letter in enumerate("KMGTPE", 1):
        for suffix, base in ((f"{letter}i", 1024), (letter, 1000)):
            if text.endswith(suffix):
                return int(float(text.removesuffix(suffix)) * base**power)
    return int(text) if isinstance(value, str) else int(float(text) * 10**9)


def _describe_exit(code: int, command: Command) -> str | None:
    """Return why a container failed, None when it exited with 0."""
    if code == 0:
        return None
    message = f"the container of {command.image} exited with code {code}"
    if code == _KILLED:
        message += " (137: killed, perhaps for memory beyond its limit)"
    return message


def _one_line(error: Exception) -> str:
    explanation = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explanation).split())
