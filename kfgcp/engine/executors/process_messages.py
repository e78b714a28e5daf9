"""JSON messages between the engine and its fork server, one message a line.

The engine sends `StartMessage` and `SignalMessage`. The server answers each start with the process
id of the task (`{"id": 7, "pid": 4711}`) and reports its end (`{"id": 7, "status": 0}`). Its first
message is `{"id": null}`: everything is imported.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypedDict

_READ_BYTES: Final = 1 << 16


class StartMessage(TypedDict):
    """The order to start a task.

    Attributes:
        do: the kind of the message.
        id: the attempt.
        program: the file with the source of the component.
        function: the name of the function in it.
        executor_input: the ExecutorInput.
        env: variables of the task beside those of the server.
        scratch: the working folder.
        log: the file for output and errors.
        copies_folder: the folder with copies of files in buckets, None when there is none.
    """

    do: Literal["start"]
    id: int
    program: str
    function: str
    executor_input: Mapping[str, Any]
    env: Mapping[str, str]
    scratch: str
    log: str
    copies_folder: str | None


class SignalMessage(TypedDict):
    """The order to send a signal to a task and to all that it started."""

    do: Literal["signal"]
    id: int
    signal: int


def encode(message: Mapping[str, object]) -> bytes:
    """Return a message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """The messages in the pieces that a socket delivers."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the messages that a piece completes."""
        *complete, rest = data.split(b"\n")
        for line in complete:
            self._pieces.append(line)
            yield json.loads(b"".join(self._pieces))
            self._pieces.clear()
        if rest:
            self._pieces.append(rest)


def receive(connection: socket.socket) -> bytes:
    """Return the next bytes; empty when the other side has closed the connection."""
    try:
        return connection.recv(_READ_BYTES)
    except ConnectionError:
        return b""
