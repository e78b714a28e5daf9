"""JSON messages, one a line, between the engine and its fork server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Whole messages out of the pieces that a socket delivers."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        *complete, rest = data.split(b"\n")
        for line in complete:
            self._pieces.append(line)
            yield json.loads(b"".join(self._pieces))
            self._pieces.clear()
        if rest:
            self._pieces.append(rest)


def receive(connection: socket.socket) -> bytes:
    """The next bytes; empty when the other side is gone."""
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""
