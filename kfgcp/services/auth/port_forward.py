"""The way to a service inside a cluster by `kubectl port-forward`, for as long as this process
lives.

kubectl is started when the first request is sent, on a local port that stays the same, and again
when it has ended or says that it lost the pod. It runs below a shell that waits for the end of a
pipe, which the system closes however this process ends, so that no kubectl is left behind.
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

START_SECONDS: Final = 30.0
"""Seconds until a new kubectl must listen: it asks the cluster for the service and a pod of it
first."""
_LISTENS: Final = "Forwarding from "
_HANDLES: Final = "Handling connection "
_LOST: Final = ("lost connection to pod", "error occurred forwarding")
"""What kubectl says when it forwards nothing any more: older versions live on all the same."""
_HINTS: Final = {
    r"context .* does not exist|context was not found": (
        "Let kube_context be one of these: kubectl config get-contexts"
    ),
    r"error loading config file|invalid configuration": (
        "Mend that file, or let KUBECONFIG name another one."
    ),
    r"localhost:8080": (
        "kubectl has no cluster: gcloud container clusters get-credentials CLUSTER --location"
        " LOCATION, or set kube_context. See them: kubectl config get-contexts"
    ),
    r"(?i)services? .* not found|namespaces? .* not found": (
        "Let kube_namespace and kube_service name it: kubectl get services --all-namespaces"
    ),
    r"is forbidden": (
        "Ask for the verb create on pods/portforward, and get on services and pods, in the"
        " namespace."
    ),
    r"must be logged in|Unauthorized|credentials|auth-plugin": (
        "Sign in: gcloud auth login, then gcloud components install gke-gcloud-auth-plugin"
    ),
}
"""What kubectl says, of its configuration, the cluster and rights -> what to do."""
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

    It is also a source of tokens, which gives none, but starts kubectl when a request needs it.
    Threads may share it.

    Args:
        context: of kubectl; None for the current one.
        namespace: of the service.
        service: the name of the service.
        port: of the service.
    """

    def __init__(self, context: str | None, namespace: str, service: str, port: int) -> None:
        where = ["--context", context] if context else []
        self.target = f"svc/{service} in the namespace {namespace}"
        self._socket = socket.socket()  # holds the port until kubectl takes it
        self._socket.bind(("127.0.0.1", 0))
        self._port: int = self._socket.getsockname()[1]
        ports = f"{self._port}:{port}"
        self._command = [
            "kubectl",
            *where,
            "port-forward",
            "-n",
            namespace,
            f"svc/{service}",
            ports,
        ]
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
        """No token; kubectl runs and listens.

        Raises:
            BackendError: kubectl is not installed.
            Unreachable: it cannot reach the service.
        """
        with self._lock:
            if self._running is None or not self._running.forwards:
                self._end()
                self._start()

    def close(self) -> None:
        """Ends kubectl; a later request starts it again."""
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
        failure = running.wait()
        if failure is not None:
            self._end()
            hint = next((hint for sign, hint in _HINTS.items() if re.search(sign, failure)), None)
            # When something must be fixed first, another try is of no use.
            kind = BackendError if hint else Unreachable
            raise kind(
                f"kubectl cannot forward a port to {self.target}: {failure}.",
                hint=hint or f"See what it says: {shlex.join(self._command)}",
            )

    def _end(self) -> None:
        if self._running is not None:
            atexit.unregister(self.close)
            self._running.end()
            self._running = None


class _Kubectl:
    """One process of kubectl, below its shell."""

    def __init__(self, command: list[str]) -> None:
        self._owner = os.getpid()
        self._said = ""
        self._listens = self._lost = False
        self._told = threading.Event()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, "kfgcp-port-forward", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        start_thread(self._read, "kfgcp-kubectl")

    @property
    def forwards(self) -> bool:
        """Whether it lives and has not said that it lost the pod."""
        return self._process.poll() is None and not self._lost

    def wait(self) -> str | None:
        """None as soon as it says that it listens; else why it does not, in words."""
        if not self._told.wait(START_SECONDS):
            return f"it does not listen after {START_SECONDS:g} s"
        return (
            None if self._listens else self._said or f"it ended with status {self._process.wait()}"
        )

    def end(self) -> None:
        """Ends it and all that it started; does nothing in a process that was forked from its
        own."""
        if os.getpid() != self._owner:
            return
        for number, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _read(self) -> None:
        """Reads what it says until it ends."""
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                text = redacted_line(line.decode("utf-8", "replace"))
                if text.startswith(_LISTENS):
                    self._listens = True
                    self._told.set()
                elif text and not text.startswith(_HANDLES):
                    self._said = text.rstrip(".")
                    self._lost = self._lost or any(sign in text for sign in _LOST)
        self._told.set()


_open: dict[tuple[str | None, str, str], PortForward] = {}
_open_lock = threading.Lock()


def shared_port_forward(
    context: str | None, namespace: str, service: str, port: int
) -> PortForward:
    """Return the forwarded port to a service: one for all that ask for the same. Nothing is started
    yet."""
    key = (context, namespace, service)
    with _open_lock:
        if key not in _open:
            _open[key] = PortForward(context, namespace, service, port)
        return _open[key]
