"""Without a network a task that reads from a bucket fails within seconds, and says why."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kfgcp.services.storage import google_credentials, reachability
from kfgcp.services.storage.reachability import NoAnswerError, ReachabilityChecks
from patience import PROCESS, REQUEST

SOURCE = """
from kfp import dsl
from kfp.dsl import Dataset, Input

@dsl.component(base_image="python:3.11")
def read(data: Input[Dataset]) -> str:
    return data.uri

@dsl.pipeline(name="imports")
def pipeline(uri: str) -> str:
    data = dsl.importer(artifact_uri=uri, artifact_class=Dataset)
    return read(data=data.output).output
"""
ISSUE_SECONDS = 10.0
"""Within so many seconds a task without a network has to fail."""


class Listener:
    """A socket of this machine that accepts connections and then hangs up, or never says
    anything."""

    def __init__(self, *, silent: bool) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._silent = silent
        self._held: list[socket.socket] = []
        self.connections = 0
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            if self._silent:
                self._held.append(connection)
            else:
                connection.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._held:
            connection.close()


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*, silent: bool) -> Listener:
        listeners.append(Listener(silent=silent))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def run(home: Path, environment: Callable[..., dict[str, str]]) -> Callable[..., Any]:
    (home / "imports.py").write_text(SOURCE, encoding="utf-8")

    def run(uri: str, **variables: str) -> Any:
        process = subprocess.run(
            [
                Path(sys.executable).with_name("kfgcp"),
                "run",
                "imports.py",
                "-p",
                f"uri={uri}",
                "--json",
            ],
            env={**environment(), "no_proxy": "127.0.0.1", "NO_GCE_CHECK": "true", **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=PROCESS,
        )
        return json.loads(process.stdout)

    return run


def test_the_limits_add_up_to_less_than_ten_seconds() -> None:
    assert reachability.LIMIT_SECONDS < ISSUE_SECONDS
    # Connecting and reading come on top of the search for the metadata server: three tries, with
    # pauses of 1 and 2 s that google.auth may stretch by a fifth. Only the first one is sent.
    assert reachability.CONNECT_SECONDS + reachability.READ_SECONDS < reachability.LIMIT_SECONDS
    assert google_credentials.METADATA_SECONDS + 1.2 * (1 + 2) < reachability.LIMIT_SECONDS


@pytest.mark.parametrize("silent", [True, False])
def test_a_store_that_does_not_answer_is_asked_once(
    silent: bool, run: Callable[..., Any], listen: Callable[..., Listener]
) -> None:
    store = listen(silent=silent)

    error = run("gs://shared/table.csv", STORAGE_EMULATOR_HOST=f"http://{store.address}")["error"]

    assert error["task"] == "read"
    assert error["message"].startswith("gs://shared/table.csv cannot be read: ")
    assert "\n" not in error["message"]
    assert store.connections == 1  # Google's client alone would try for two minutes


def test_a_refused_connection_is_the_reason(run: Callable[..., Any]) -> None:
    error = run("gs://shared/table.csv", STORAGE_EMULATOR_HOST="http://127.0.0.1:9")["error"]

    assert error["message"].startswith(
        "gs://shared/table.csv cannot be read: no connection, check the network and the proxy: "
    )
    assert "Connection refused" in error["message"]


def test_the_metadata_server_is_looked_for_once(
    listen: Callable[..., Listener], environment: Callable[..., dict[str, str]]
) -> None:
    metadata = listen(silent=False)
    code = (
        "from kfgcp.services.storage.google_credentials import google_credentials\n"
        "print(google_credentials())"
    )
    variables = {
        "GCE_METADATA_IP": metadata.address,
        "no_proxy": "127.0.0.1",
        "HOME": "/no/such/home",
        "CLOUDSDK_CONFIG": "/no/such/configuration",
    }
    inherited = {
        name: value
        for name, value in environment().items()
        if name != "GOOGLE_APPLICATION_CREDENTIALS"
    }

    process = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=PROCESS,
        check=True,
    )

    assert process.stdout == "(None, None)\n"
    assert metadata.connections == 1


def test_what_hangs_is_left_alone_after_the_limit() -> None:
    release = threading.Event()
    checks = ReachabilityChecks(limit=0.01)

    with pytest.raises(
        NoAnswerError, match=r"^no answer within 0\.01 s; check the network and the proxy$"
    ):
        checks.ensure_reachable("store", lambda: release.wait(REQUEST) and None)
    release.set()


def test_one_failure_answers_those_who_ask_right_after_it() -> None:
    now = [0.0]
    asked: list[str] = []
    checks = ReachabilityChecks(clock=lambda: now[0], limit=REQUEST)

    def refuse() -> None:
        asked.append("store")
        raise ConnectionError("refused")

    for _ in range(3):
        with pytest.raises(ConnectionError, match="refused"):
            checks.ensure_reachable("store", refuse)
    assert len(asked) == 1

    now[0] += reachability.FAILURE_VALID_SECONDS + 1
    checks.ensure_reachable("store", lambda: asked.append("again"))
    checks.ensure_reachable("store", refuse)
    assert asked == ["store", "again"]

    now[0] += reachability.SUCCESS_VALID_SECONDS + 1
    with pytest.raises(ConnectionError):
        checks.ensure_reachable("store", refuse)
    with pytest.raises(ConnectionError):
        checks.ensure_reachable("another store", refuse)
