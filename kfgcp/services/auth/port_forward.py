"""Reach a service inside a cluster with `kubectl port-forward`, until this process ends.

The first request starts kubectl. A later request starts it again when kubectl has ended or has lost
its pod. The local port stays the same.

No kubectl may stay behind when this process ends, not even when this process is killed. So kubectl
runs below a shell that reads from a pipe. The system closes the pipe when this process ends, and
the shell then ends kubectl.
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

# How long kubectl may take until it listens. It first asks the cluster for the service and a pod.
START_SECONDS: Final = 30.0

# How long kubectl may take to end after SIGTERM. Then it gets SIGKILL.
END_SECONDS: Final = 3.0

# The beginnings of two lines that kubectl prints: when it listens, and for each connection.
_LISTENING: Final = "Forwarding from "
_CONNECTION: Final = "Handling connection "
# After a line with one of these texts, kubectl does not forward any more. Older versions of kubectl
# still run then.
_LOST: Final = ("lost connection to pod", "error occurred forwarding")

# A pattern in an error of kubectl -> the hint. These errors stay until the user changes something.
_HINTS: Final = {
    r"context .* does not exist|context was not found": (
        "List the contexts: kubectl config get-contexts. Then set kube_context to one of them."
    ),
    r"error loading config file|invalid configuration": (
        "Correct the kubeconfig file, or set KUBECONFIG to another file."
    ),
    r"localhost:8080": (
        "kubectl knows no cluster. Add a cluster: gcloud container clusters get-credentials"
        " CLUSTER --location LOCATION. Or set kube_context to one of your contexts: kubectl"
        " config get-contexts"
    ),
    r"(?i)services? .* not found|namespaces? .* not found": (
        "List the services: kubectl get services --all-namespaces. Then set kube_namespace and"
        " kube_service to the namespace and the name of one service."
    ),
    r"is forbidden": (
        'In this namespace, you need the Kubernetes permissions "create" on pods/portforward, and'
        ' "get" on services and pods. Ask your administrator for them.'
    ),
    r"must be logged in|Unauthorized|credentials|auth-plugin": (
        "Sign in: gcloud auth login, then gcloud components install gke-gcloud-auth-plugin"
    ),
}

# The shell script that starts kubectl, and ends it when the pipe at descriptor 3 is closed. kubectl
# must not inherit the pipe, and must not read the terminal.
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
    """A local port whose connections reach a service in a cluster.

    It is also a `TokenSource` without tokens: `get` starts kubectl, because a `ServiceClient` calls
    `get` before each request. Threads may share it.

    Args:
        context: the context of kubectl; None for the current context.
        namespace: the namespace of the service.
        service: the name of the service.
        port: the port of the service.

    Attributes:
        target: the service and its namespace, for messages.
    """

    def __init__(self, context: str | None, namespace: str, service: str, port: int) -> None:
        self.target = f"svc/{service} in the namespace {namespace}"
        # A socket with a free port, so that no other program takes the port before kubectl starts.
        self._reserved = socket.socket()
        self._reserved.bind(("127.0.0.1", 0))
        self._port: int = self._reserved.getsockname()[1]
        self._command = ["kubectl"]
        if context:
            self._command += ["--context", context]
        ports = f"{self._port}:{port}"
        self._command += ["port-forward", "-n", namespace, f"svc/{service}", ports]
        self._lock = threading.Lock()
        self._kubectl: _Kubectl | None = None

    @property
    def address(self) -> str:
        """The address at which the service can be reached."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def sign_in_hint(self) -> str:
        return (
            f"{self.target} needs a sign-in. Forward another service, or set host to the public"
            " address."
        )

    def get(self, refused: Token | None = None) -> None:
        """Start kubectl, unless it forwards already. Return None, because there is no token.

        Raises:
            BackendError: kubectl is not installed, or the user must correct its configuration.
            Unreachable: kubectl cannot reach the service.
        """
        with self._lock:
            if self._kubectl is None or not self._kubectl.is_forwarding:
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
                    "Install kubectl (gcloud components install kubectl), or forward the port"
                    ' yourself and set auth = "anonymous" and host = "http://localhost:PORT".'
                ),
            )
        self._reserved.close()
        atexit.register(self.close)
        self._kubectl = _Kubectl(self._command)
        problem = self._kubectl.wait_until_listening()
        if problem is not None:
            self._end()
            raise self._error(problem)

    def _error(self, problem: str) -> BackendError:
        message = f"kubectl cannot forward a port to {self.target}: {problem}."
        for pattern, hint in _HINTS.items():
            if re.search(pattern, problem):
                # Another try would fail too. Unlike Unreachable, a BackendError is not tried again.
                return BackendError(message, hint=hint)
        return Unreachable(
            message, hint=f"To see the output of kubectl: {shlex.join(self._command)}"
        )

    def _end(self) -> None:
        if self._kubectl is not None:
            atexit.unregister(self.close)
            self._kubectl.end()
            self._kubectl = None


class _Kubectl:
    """One process of kubectl, below its shell."""

    def __init__(self, command: list[str]) -> None:
        self._parent_pid = os.getpid()
        self._last_message = ""
        self._is_listening = False
        self._has_lost_pod = False
        # Set when kubectl listens, or when its output has ended.
        self._start_is_decided = threading.Event()
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
        """True while kubectl runs and has not lost its pod."""
        return self._process.poll() is None and not self._has_lost_pod

    def wait_until_listening(self) -> str | None:
        """Wait until kubectl listens, and return None. Return the problem when kubectl fails."""
        if not self._start_is_decided.wait(START_SECONDS):
            return f"kubectl did not listen within {START_SECONDS:g} s"
        if self._is_listening:
            return None
        return self._last_message or f"kubectl ended with status {self._process.wait()}"

    def end(self) -> None:
        """End the shell, kubectl and all processes that kubectl started."""
        # A fork of this process also runs the functions of `atexit`. It must not end the kubectl of
        # its parent.
        if os.getpid() != self._parent_pid:
            return
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _signal(self, signal_number: signal.Signals) -> None:
        # The id of the process group is the id of the shell. When the group has ended, macOS raises
        # PermissionError, and other systems raise ProcessLookupError.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal_number)

    def _read(self) -> None:
        """Read the output of kubectl until it ends."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._read_line(redacted_line(line.decode("utf-8", "replace")))
        self._start_is_decided.set()

    def _read_line(self, line: str) -> None:
        if line.startswith(_LISTENING):
            self._is_listening = True
            self._start_is_decided.set()
        elif line and not line.startswith(_CONNECTION):
            self._last_message = line.rstrip(".")
            if any(text in line for text in _LOST):
                self._has_lost_pod = True


# The forwarded ports of this process, by context, namespace and service.
_port_forwards: dict[tuple[str | None, str, str], PortForward] = {}
_port_forwards_lock = threading.Lock()


def shared_port_forward(
    context: str | None, namespace: str, service: str, port: int
) -> PortForward:
    """Return the forwarded port for a service. All calls for a service return the same object.

    This function does not start kubectl.
    """
    key = (context, namespace, service)
    with _port_forwards_lock:
        if key not in _port_forwards:
            _port_forwards[key] = PortForward(context, namespace, service, port)
        return _port_forwards[key]
