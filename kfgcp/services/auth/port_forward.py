"""Reaches a service inside a cluster with `kubectl port-forward`, until this process ends.

kubectl is started when the first request is sent, on a local port that stays the same. It is
started again when it has ended or has lost the pod. It runs below a shell that ends it at the end
of a pipe. The system closes the pipe however this process ends, so no kubectl is left behind.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from typing import Final

from kfgcp.errors import BackendError, Unreachable
from kfgcp.machine import start_thread
from kfgcp.services.auth.tokens import Token
from kfgcp.services.redact import redacted_line

# Seconds until a new kubectl must listen. Before that it asks the cluster for the service and for
# one of its pods.
START_SECONDS: Final = 30.0

# Seconds until a kubectl that was asked to end is killed.
END_SECONDS: Final = 3.0

# Lines of kubectl.
_LISTENING: Final = "Forwarding from "
_CONNECTION: Final = "Handling connection "
# After these lines kubectl forwards nothing any more. Older versions do not end then.
_LOST: Final = ("lost connection to pod", "error occurred forwarding")

# A pattern in the error of kubectl -> what to do. They are about its configuration, the cluster and
# rights.
_HINTS: Final = {
    r"context .* does not exist|context was not found": (
        "Set kube_context to one of these: kubectl config get-contexts"
    ),
    r"error loading config file|invalid configuration": (
        "Correct that file, or set KUBECONFIG to another one."
    ),
    r"localhost:8080": (
        "kubectl has no cluster: gcloud container clusters get-credentials CLUSTER --location"
        " LOCATION, or set kube_context. See them: kubectl config get-contexts"
    ),
    r"(?i)services? .* not found|namespaces? .* not found": (
        "Set kube_namespace and kube_service to one of: kubectl get services --all-namespaces"
    ),
    r"is forbidden": (
        "Ask for the verb create on pods/portforward, and get on services and pods, in the"
        " namespace."
    ),
    r"must be logged in|Unauthorized|credentials|auth-plugin": (
        "Sign in: gcloud auth login, then gcloud components install gke-gcloud-auth-plugin"
    ),
}

# Starts kubectl, and ends it when the pipe at descriptor 3 ends. kubectl itself must not hold the
# pipe, and must not read the terminal.
_SHELL: Final = """\
exec 3<&0
"$@" 3<&- </dev/null &
child=$!
{ read -r _; kill "$child"; } <&3 >/dev/null 2>&1 &
watch=$!
exec 3<&- </dev/null
wait "$child"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
"""


class PortForward:
    """A forwarded port: requests to `address` reach the service.

    It is also a `TokenSource`, which starts kubectl when a request needs it, and has no token.
    Threads may share it.

    Args:
        context: of kubectl; None for the current one.
        namespace: of the service.
        service: the name of the service.
        port: of the service.

    Attributes:
        target: the service in words.
    """

    def __init__(self, context: str | None, namespace: str, service: str, port: int) -> None:
        self.target = f"svc/{service} in the namespace {namespace}"
        # The socket reserves the port until kubectl takes it.
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._port: int = self._socket.getsockname()[1]
        self._command = ["kubectl"]
        if context:
            self._command += ["--context", context]
        ports = f"{self._port}:{port}"
        self._command += ["port-forward", "-n", namespace, f"svc/{service}", ports]
        self._lock = threading.Lock()
        self._running: _Kubectl | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def sign_in_hint(self) -> str:
        return (
            f"{self.target} needs a sign-in. Forward another service, or set host to the public"
            " address."
        )

    def get(self, refused: Token | None = None) -> None:
        """Return no token, when kubectl listens.

        Raises:
            BackendError: kubectl is not installed, or its configuration must be corrected.
            Unreachable: kubectl cannot reach the service.
        """
        with self._lock:
            if self._running is None or not self._running.is_forwarding:
                self._end()
                self._start()

    def close(self) -> None:
        """End kubectl. A later request starts it again."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        if shutil.which("kubectl") is None:
            raise BackendError(
                'auth = "port-forward" needs kubectl, which is not on the PATH.',
                hint=(
                    "Install it (gcloud components install kubectl), or forward by yourself and set"
                    ' auth = "anonymous" and host = "http://localhost:PORT".'
                ),
            )
        self._socket.close()
        atexit.register(self.close)
        self._running = running = _Kubectl(self._command)
        problem = running.wait()
        if problem is not None:
            self._end()
            raise self._error(problem)

    def _error(self, problem: str) -> BackendError:
        message = f"kubectl cannot forward a port to {self.target}: {problem}."
        for pattern, hint in _HINTS.items():
            if re.search(pattern, problem):
                # The user must correct something first, so another try would fail too.
                return BackendError(message, hint=hint)
        return Unreachable(message, hint=f"See its output: {shlex.join(self._command)}")

    def _end(self) -> None:
        if self._running is not None:
            atexit.unregister(self.close)
            self._running.end()
            self._running = None


class _Kubectl:
    """One process of kubectl, below its shell."""

    def __init__(self, command: list[str]) -> None:
        self._owner = os.getpid()
        self._last_message = ""
        self._is_listening = False
        self._is_lost = False
        # Set when kubectl listens or has ended.
        self._has_started = threading.Event()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, "kfgcp-port-forward", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        start_thread(self._read, "kfgcp-kubectl")

    @property
    def is_forwarding(self) -> bool:
        """Whether it lives and has not lost the pod."""
        return self._process.poll() is None and not self._is_lost

    def wait(self) -> str | None:
        """Wait until kubectl listens. Return None then, else why it does not."""
        if not self._has_started.wait(START_SECONDS):
            return f"it does not listen after {START_SECONDS:g} s"
        if self._is_listening:
            return None
        return self._last_message or f"it ended with status {self._process.wait()}"

    def end(self) -> None:
        """End kubectl and everything that it started."""
        # A process that was forked from this one must not end a kubectl that is not its own.
        if os.getpid() != self._owner:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        # The group has the id of the shell. macOS refuses signals to a group that has ended.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        """Read the output of kubectl until it ends."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._read_line(redacted_line(line.decode("utf-8", "replace")))
        self._has_started.set()

    def _read_line(self, line: str) -> None:
        if line.startswith(_LISTENING):
            self._is_listening = True
            self._has_started.set()
        elif line and not line.startswith(_CONNECTION):
            self._last_message = line.rstrip(".")
            if any(text in line for text in _LOST):
                self._is_lost = True


# One forwarded port for each context, namespace and service.
_open: dict[tuple[str | None, str, str], PortForward] = {}
_open_lock = threading.Lock()


def shared_port_forward(
    context: str | None, namespace: str, service: str, port: int
) -> PortForward:
    """Return the forwarded port to a service. Nothing is started yet.

    Calls for the same service return the same object.
    """
    key = (context, namespace, service)
    with _open_lock:
        if key not in _open:
            _open[key] = PortForward(context, namespace, service, port)
        return _open[key]
