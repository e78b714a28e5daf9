"""Servers of other people that speak the protocol of S3: moto's, which checks signatures, and
gofakes3's.

`make .venv-stores/stamp` installs them. Tests skip when that was not done.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from kfgcp.services.storage import connect, s3
from kfgcp.services.storage.reachability import ReachabilityChecks
from patience import PROCESS, REQUEST, wait_for

BIN = Path(__file__).parents[2] / ".venv-stores" / "bin"
HOST = "s3.test"
"""The host name that leads to this machine in tests that request it, also for subdomains."""

REGION = "eu-central-1"


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        url: its address.
        access_key: of somebody who may do everything.
        secret_key: of the same.
        checks_signatures: whether it refuses who has other keys.
        path_host: a host name that may have the bucket in the path. Below HOST the bucket is in the
            name.
        reader_key, reader_secret: of somebody who may read and list only; "" when the server has no
            such user.
    """

    url: str
    access_key: str
    secret_key: str
    checks_signatures: bool
    path_host: str
    reader_key: str = ""
    reader_secret: str = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self) -> Any:
        """Return a client of boto3 with the right keys and without any setting of ours."""
        return self._session().client("s3", endpoint_url=self.url)

    def _session(self) -> Any:
        import boto3

        return boto3.session.Session(self.access_key, self.secret_key, region_name=REGION)


@contextlib.contextmanager
def moto() -> Iterator[S3Server]:
    """Start moto's server with one user, who may do everything in S3."""
    program = _program("moto_server")
    port = free_port()
    with _process([str(program), "-H", "127.0.0.1", "-p", str(port)]) as process:
        server = S3Server(f"http://127.0.0.1:{port}", "none", "none", True, "localhost")
        wait_for(lambda: process.poll() is not None or _answers(port), REQUEST)
        iam = server._session().client("iam", endpoint_url=server.url)
        key = _user(iam, "runner", ["s3:*"])
        reader = _user(iam, "reader", ["s3:Get*", "s3:List*"])
        # From now on every request is checked: https://docs.getmoto.org/en/latest/docs/iam.html
        requests.post(
            f"{server.url}/moto-api/reset-auth", data=b"0", timeout=REQUEST
        ).raise_for_status()
        keys = (key["AccessKeyId"], key["SecretAccessKey"])
        reader_keys = (reader["AccessKeyId"], reader["SecretAccessKey"])
        yield S3Server(server.url, *keys, True, "localhost", *reader_keys)


def _user(iam: Any, name: str, actions: list[str]) -> dict[str, str]:
    """Make a user who may do some actions everywhere; return the keys."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
    }
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
    key: dict[str, str] = iam.create_access_key(UserName=name)["AccessKey"]
    return key


@contextlib.contextmanager
def gofakes3() -> Iterator[S3Server]:
    """Start the server of tests/support/s3_server."""
    program = _program("s3-server")
    with _process([str(program), HOST]) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        yield S3Server(url, "key", "secret", False, HOST)


SERVERS = {"moto": moto, "gofakes3": gofakes3}


def forget_s3_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make S3 as on a machine without any setting for it, and with no client or result of another
    test.

    The first request may take long, because the machine that runs tests can be busy.
    """
    for name in [
        name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "no-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "no-config"))
    monkeypatch.setattr(connect, "_REACHABILITY", ReachabilityChecks(limit=PROCESS))
    s3._client.cache_clear()


def _program(name: str) -> Path:
    program = BIN / name
    if not program.exists():
        pytest.skip(f"needs {name}: make .venv-stores/stamp")
    return program


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    """Return a port of this machine that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=REQUEST).close()
        return True
    return False


class CuttingProxy:
    """Passes connections on to a server, and cuts them after some bytes of an answer.

    Args:
        port: of the server.
        cut_after: how many bytes of the server's answers a connection passes on before it is cut.
        cuts: how many connections are cut; the others stay.
        on_cut: called after each cut.
    """

    def __init__(self, port: int, cut_after: int, cuts: int, on_cut: Any = lambda: None) -> None:
        self.passed = 0
        self.cuts = 0
        self._server_port = port
        self._cut_after = cut_after
        self._most_cuts = cuts
        self._on_cut = on_cut
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for sock in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                return
            self._sockets += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                is_cut = passed + len(data) > self._cut_after and self._may_cut()
                data = data[: self._cut_after - passed] if is_cut else data
                client.sendall(data)
                passed += len(data)
                with self._lock:
                    self.passed += len(data)
                if is_cut:
                    break
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _may_cut(self) -> bool:
        with self._lock:
            if self.cuts >= self._most_cuts:
                return False
            self.cuts += 1
        self._on_cut()
        return True


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return the files below a folder, and the folders in it as None."""
    entries: dict[str, bytes | None] = {}
    for around, folders, names in os.walk(folder):
        for name in folders:
            entries[os.path.relpath(os.path.join(around, name), folder)] = None
        for name in names:
            path = Path(around, name)
            entries[os.path.relpath(path, folder)] = path.read_bytes()
    return entries
