"""Read and write the messages between the engine and its fork server: JSON, one message a line.

The engine sends `StartMessage` and `SignalMessage`. The server sends `{"id": null}` when it has
imported everything. When a task starts, the server sends the process id of the task
(`{"id": 7, "pid": 4711}`). When the task ends, it sends the wait status (`{"id": 7, "status": 0}`).
`id` is always the id of the attempt.
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
        id: the id of the attempt.
        program: the file with the source of the component.
        function: the name of the component's function in `program`.
        executor_input: the ExecutorInput.
        env: environment variables of the task, in addition to the variables of the server.
        scratch: the working folder of the attempt.
        log: the file for standard output and standard error.
        copies_folder: the folder with copies of files in buckets, None for no such folder.
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
    """The order to send a signal to a task and to all processes that it started.

    Attributes:
        do: the kind of the message.
        id: the id of the attempt.
        signal: the number of the signal.
    """

    do: Literal["signal"]
    id: int
    signal: int


def encode(message: Mapping[str, object]) -> bytes:
    """Return a message as a line of JSON, with the newline at its end."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class MessageDecoder:
    """A decoder of the messages in a stream of bytes, which come in pieces of any size."""

    def __init__(self) -> None:
        # The pieces of a message whose end has not come yet.
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the messages that end in the next bytes of the stream."""
        lines = data.split(b"\n")
        # After the last newline, the next message begins.
        incomplete_line = lines.pop()
        for line in lines:
            self._pieces.append(line)
            yield json.loads(b"".join(self._pieces))
            self._pieces.clear()
        if incomplete_line:
            self._pieces.append(incomplete_line)


def receive(connection: socket.socket) -> bytes:
    """Return the next bytes; empty when the other side has closed the connection."""
    try:
        return connection.recv(_READ_BYTES)
    except ConnectionError:
        return b""
