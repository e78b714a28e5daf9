"""Tasks in containers of a Docker engine on this machine.

A container sees the folders of the attempt (its artifacts, its outputs) and its input artifacts at
the paths they have here, so the ExecutorInput means the same inside and outside. The exit status is
the container's own.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kfgcp import private
from kfgcp.engine.executors import container_credentials as credentials
from kfgcp.engine.executors import ownership
from kfgcp.engine.executors.base import Attempt, AttemptEnded, Command, Containers, Emit
from kfgcp.engine.executors.pip_command import hide_index_passwords
from kfgcp.engine.hints import exception_in_log
from kfgcp.engine.logs import log_tail
from kfgcp.errors import MissingExtra, Unsupported
from kfgcp.machine import start_thread
from kfgcp.semantics.placeholders import MOUNTS

LABEL = "kfgcp.run"
_NO_INIT = re.compile(r"docker-init|tini|catatonit|container-init|init binary")
"""What engines call the program that is missing where they cannot honour `init`."""


def connect() -> Any:
    """A client of the Docker engine that answers here.

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
    """Removes what an engine that was killed left running; does nothing where no Docker engine
    answers."""
    with suppress(Exception):
        client = connect()
        for container in client.containers.list(all=True, filters={"label": f"{LABEL}={run_id}"}):
            container.remove(force=True)
        client.close()


class DockerExecutor:
    """Runs each attempt in a container of its own, watched by a thread.

    A small init is its first process, where the engine has one: a shell in that place would ignore
    SIGTERM.
    """

    def __init__(self, emit: Emit, options: Containers = Containers()) -> None:  # noqa: B008  # frozen
        self._emit = emit
        self._options = options
        self._workspace = None if options.workspace is None else str(options.workspace)
        self._init = True
        self._client = connect()
        self._lock = threading.Lock()
        self._containers: dict[int, Any] = {}
        self._stopped: set[int] = set()
        self._threads: list[threading.Thread] = []

    def start(self, attempt: Attempt) -> None:
        private.make_folders(attempt.log.parent)
        attempt.log.touch(0o600 if private.is_private(attempt.log.parent) else 0o660)
        for folder in (str(attempt.scratch), *_written(attempt)):
            os.makedirs(folder, exist_ok=True)
        self._threads.append(start_thread(self._watch, "kfgcp-container", attempt))

    def signal(self, attempt_id: int, number: int) -> None:
        with self._lock:
            self._stopped.add(attempt_id)
            container = self._containers.get(attempt_id)
        if container is not None:
            with suppress(Exception):  # it has ended meanwhile
                container.kill(signal=number)

    def kill(self, attempt_id: int) -> None:
        self.signal(
            attempt_id, signal.SIGKILL
        )  # what runs it is the Docker engine, which is not ours to kill

    def close(self) -> None:
        with self._lock:
            running = list(self._containers.values())
        for container in running:
            with suppress(Exception):
                container.remove(force=True)
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _watch(self, attempt: Attempt) -> None:
        message: str | None
        try:
            message = self._run(attempt)
        except Unsupported as error:
            message = error.message
        except Exception as error:
            message = f"the container could not run: {_one_line(error)}"
        exception = exception_in_log(log_tail(attempt.log)) if message is not None else None
        self._emit(AttemptEnded(attempt.id, message, exception=exception))

    def _create(self, image: str, **options: Any) -> Any:
        """A container, of an image that is pulled when it is not here."""
        from docker.errors import APIError, ImageNotFound

        try:
            return self._client.containers.create(image, **options)
        except ImageNotFound:
            try:
                self._client.images.pull(image)
            except APIError as error:
                why = f"the image {image} is not here and cannot be pulled: {_one_line(error)}"
                raise Unsupported(why) from None
            return self._client.containers.create(image, **options)

    def _run(self, attempt: Attempt) -> str | None:
        command = attempt.work
        assert isinstance(command, Command)
        labels = {LABEL: attempt.env.get("KFGCP_RUN_ID", "")}
        volumes = _volumes(attempt, self._options)
        argv, variables = hide_index_passwords(command.argv)
        options: dict[str, Any] = {
            "command": argv[1:] if argv else None,
            "entrypoint": argv[:1] or None,
            "environment": (credentials.environment() if self._options.credentials else {})
            | dict(attempt.env)
            | variables,
            "volumes": volumes,
            "labels": labels,
            **_limits(command),
        }
        written = [path for path, bind in volumes.items() if bind["mode"] == "rw"]
        try:
            status = self._run_once(attempt, command.image, options, written)
        except _NoInit:
            self._init = False
            status = self._run_once(attempt, command.image, options, written)
        if status is None:
            return "stopped before it started"
        problem = ownership.hand_over(self._client, command.image, written, labels)
        if problem is not None:
            with attempt.log.open("a", encoding="utf-8") as log:
                log.write(f"kfgcp: files of this task do not belong to you: {problem}\n")
        return _why(status, command)

    def _run_once(
        self, attempt: Attempt, image: str, options: dict[str, Any], written: list[str]
    ) -> dict[str, Any] | None:
        """How the container ended, None when it was stopped before it started."""
        init = self._init
        container = None
        try:
            with _init_missing(init):
                container = self._create(image, init=init, **options)
            user = container.attrs["Config"].get("User") or ""
            if self._options.home is not None:
                read = [path for path, bind in options["volumes"].items() if bind["mode"] == "ro"]
                ownership.make_readable(read, self._options.home, user)
            with ownership.writable(written, self._workspace, user):
                with self._lock:
                    if attempt.id in self._stopped:
                        return None
                    self._containers[attempt.id] = container
                output = container.attach(
                    stream=True
                )  # following its logs can miss a last line without a newline
                with _init_missing(init):
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


class _NoInit(Exception):
    """The engine lacks the program that would be the first process of a container."""


@contextmanager
def _init_missing(wanted: bool) -> Iterator[None]:
    """Tells the failure of a missing init from any other."""
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        if wanted and _NO_INIT.search(str(error)):
            raise _NoInit from None
        raise


def _volumes(attempt: Attempt, options: Containers) -> dict[str, dict[str, str]]:
    """Binds by the same path inside: what the attempt writes to, and what it reads; and Google's
    credentials."""
    written = _written(attempt)
    if options.workspace is not None:
        written.add(str(options.workspace))
    read = {
        artifact["uri"]
        for item in attempt.executor_input["inputs"]["artifacts"].values()
        for artifact in item["artifacts"]
        if artifact["uri"].startswith("/") and os.path.exists(artifact["uri"])
    }
    binds = {path: {"bind": path, "mode": "rw"} for path in written}
    binds |= {path: {"bind": path, "mode": "ro"} for path in read - written}
    if options.credentials:
        binds[str(credentials.find())] = {"bind": credentials.INSIDE, "mode": "ro"}
    mounts = (
        [attempt.remote / mount for mount in MOUNTS.values()] if attempt.remote is not None else []
    )
    binds |= {
        str(path): {"bind": f"/{path.name}", "mode": "rw"} for path in mounts if path.is_dir()
    }
    return binds | {here: {"bind": path, "mode": "rw"} for path, here in _mounted(attempt)}


def _mounted(attempt: Attempt) -> Iterator[tuple[str, str]]:
    """Path in the container and folder here of what stands in for volumes of a cluster."""
    for number, (path, here) in enumerate(attempt.mounts.items()):
        if not here:
            here = str(attempt.scratch / f"volume-{number}")
            os.makedirs(here)
        yield path, here


def _written(attempt: Attempt) -> set[str]:
    """The folders of the attempt's outputs."""
    outputs = attempt.executor_input["outputs"]
    uris = [
        artifact["uri"] for item in outputs["artifacts"].values() for artifact in item["artifacts"]
    ]
    files = [
        outputs["outputFile"],
        *(item["outputFile"] for item in outputs["parameters"].values()),
    ]
    files += [uri for uri in uris if uri.startswith("/")]
    return {os.path.dirname(file) for file in files}


def _limits(command: Command) -> dict[str, Any]:
    """The cpu and memory limits of the spec; numbers there are cores and gigabytes (10**9)."""
    limits: dict[str, Any] = {}
    cpu = command.resources.get("cpuLimit") or command.resources.get("resourceCpuLimit")
    memory = command.resources.get("memoryLimit") or command.resources.get("resourceMemoryLimit")
    if cpu:
        limits["nano_cpus"] = int(_cores(cpu) * 1e9)
    if memory:
        limits["mem_limit"] = limits["memswap_limit"] = _bytes(memory)
    return limits


def _cores(value: Any) -> float:
    text = str(value)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _bytes(value: Any) -> int:
    text = str(value)
    for power, letter in enumerate("KMGTPE", 1):
        for suffix, base in ((f"{letter}i", 1024), (letter, 1000)):
            if text.endswith(suffix):
                return int(float(text.removesuffix(suffix)) * base**power)
    return int(text) if isinstance(value, str) else int(float(value) * 10**9)


def _why(status: dict[str, Any], command: Command) -> str | None:
    code = int(status["StatusCode"])
    if code == 0:
        return None
    out_of_memory = " (137: killed, perhaps for memory beyond its limit)" if code == 137 else ""
    return f"the container of {command.image} exited with code {code}{out_of_memory}"


def _one_line(error: Exception) -> str:
    explanation = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explanation).split())
