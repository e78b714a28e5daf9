"""A server that answers each connection with the bytes that a test gives it, right or wrong."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from patience import REQUEST

Answer = Callable[["Connection"], None]

TRICKLE_SECONDS = 0.05
"""The pause between two bytes of a trickle: far less than any timeout of a client."""


class Connection:
    """One connection of a client.

    Attributes:
        number: 0 for the first connection of the server, 1 for the next.
        request: the bytes of the request, headers and body.
        closing: is set when the test ends.
    """

    def __init__(self, connected: socket.socket, number: int, closing: threading.Event) -> None:
        self.socket = connected
        self.number = number
        self.closing = closing
        self.request = b""

    def read_request(self) -> bytes:
        """Read one request and return it; empty when the client hangs up."""
        request = b""
        while b"\r\n\r\n" not in request:
            chunk = self.socket.recv(65536)
            if not chunk:
                return b""
            request += chunk
        head, _, body = request.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            chunk = self.socket.recv(65536)
            if not chunk:
                break
            body += chunk
        self.request = head + b"\r\n\r\n" + body
        return self.request

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def trickle(self, data: bytes) -> None:
        """Send one byte after the other, until the client hangs up or the test ends."""
        for byte in data:
            self.socket.sendall(bytes([byte]))
            if self.closing.wait(TRICKLE_SECONDS):
                return

    def send_for_ever(self, data: bytes) -> None:
        while not self.closing.is_set():
            self.socket.sendall(data)

    def hold(self) -> None:
        """Do nothing until the test ends."""
        self.closing.wait(REQUEST)

    def reset(self) -> None:
        """End the connection with a reset instead of a regular end."""
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        self.socket.close()


class HostileServer:
    """Answers every request with `answer`.

    Args:
        answer: called with each connection, after its request was read.
        tls: speaks TLS with it.
        reads_requests: whether a request is read before `answer` is called.
    """

    def __init__(
        self, answer: Answer, *, tls: ssl.SSLContext | None = None, reads_requests: bool = True
    ) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._reads_requests = reads_requests
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connected, self.connections))
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _serve(self, connected: socket.socket, number: int) -> None:
        connected.settimeout(REQUEST)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connected.close)
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_side=True)
                stack.callback(connected.close)
            connection = Connection(connected, number, self._closing)
            if self._reads_requests and not connection.read_request():
                return
            self.requests.append(connection.request)
            self._answer(connection)

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(REQUEST)


@contextlib.contextmanager
def hostile_server(
    answer: Answer, *, tls: ssl.SSLContext | None = None, reads_requests: bool = True
) -> Iterator[HostileServer]:
    server = HostileServer(answer, tls=tls, reads_requests=reads_requests)
    try:
        yield server
    finally:
        server.close()
