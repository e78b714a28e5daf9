"""Make the connections of `requests` obey the deadline of `kfgcp.deadlines`.

Each operation of a socket ends at its own timeout or at the deadline, whichever is earlier. The
operations are the name lookup, connecting, a CONNECT to a proxy, the TLS handshake, sending, and
reading each byte of the answer. The headers of an answer always have a deadline, even when the
caller has set none.

This module imports `requests`, which is slow: import it where a connection is made.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, DEFAULT_POOLSIZE, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

from kfgcp.deadlines import REQUEST_SECONDS, DeadlineError, call_within, current_deadline, within

Result = TypeVar("Result")


@contextmanager
def _limited(connected: socket.socket) -> Iterator[None]:
    """Let the operation in the block wait no longer than the deadline allows."""
    deadline = current_deadline()
    if deadline is None:
        yield
        return
    seconds_left = deadline.seconds_left
    if seconds_left <= 0:
        raise DeadlineError(f"did not end within {deadline.seconds:g} s")
    timeout = connected.gettimeout()
    connected.settimeout(seconds_left if timeout is None else min(timeout, seconds_left))
    try:
        yield
    finally:
        connected.settimeout(timeout)


class LimitedSocket(socket.socket):
    """A plain connection. The methods are those that http.client and urllib3 use."""

    def recv(self, *arguments: Any) -> bytes:
        with _limited(self):
            return super().recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        with _limited(self):
            return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        with _limited(self):
            return super().send(*arguments)

    def sendall(self, *arguments: Any) -> None:
        with _limited(self):
            super().sendall(*arguments)


class LimitedTlsSocket(ssl.SSLSocket):
    """A connection with TLS. `sendall` calls `send` for each part."""

    def do_handshake(self, block: bool = False) -> None:
        with _limited(self):
            super().do_handshake(block)

    def recv(self, *arguments: Any) -> bytes:
        with _limited(self):
            return super().recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        with _limited(self):
            return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        with _limited(self):
            return super().send(*arguments)


def connect_within(connect: Callable[[], socket.socket]) -> LimitedSocket:
    """Return a new connection within the deadline.

    The connection is made in a thread, because the timeout of a socket does not cover the name
    lookup, and applies to each address of a name separately.
    """
    deadline = current_deadline()
    seconds_left = REQUEST_SECONDS if deadline is None else deadline.seconds_left
    connected = call_within(seconds_left, connect, discard=socket.socket.close)
    timeout = connected.gettimeout()
    limited = LimitedSocket(
        connected.family, connected.type, connected.proto, fileno=connected.detach()
    )
    limited.settimeout(timeout)
    return limited


@contextmanager
def default_deadline() -> Iterator[None]:
    """Obey the deadline of the caller, or a default deadline when the caller has set none."""
    if current_deadline() is not None:
        yield
        return
    with within(REQUEST_SECONDS):
        yield


def read_headers(get_response: Callable[[], Result]) -> Result:
    """Return the response to a request with its headers, within a deadline.

    The client libraries set no deadline for the headers.
    """
    with default_deadline():
        return get_response()


class _Connection(HTTPConnection):
    def connect(self) -> None:
        with default_deadline():
            super().connect()

    def _new_conn(self) -> LimitedSocket:
        return connect_within(super()._new_conn)

    def getresponse(self, **options: Any) -> Any:
        response: Callable[..., Any] = super().getresponse
        return read_headers(lambda: response(**options))


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> LimitedSocket:
        return connect_within(super()._new_conn)

    def getresponse(self, **options: Any) -> Any:
        response: Callable[..., Any] = super().getresponse
        return read_headers(lambda: response(**options))

    def connect(self) -> None:
        """Connect with a TLS context of its own.

        Some versions of requests share one context with other code, whose sockets must not change.
        """
        context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
        context.sslsocket_class = LimitedTlsSocket
        self.ssl_context = context
        if not self.ca_certs and not self.ca_cert_dir:
            self.ca_certs = DEFAULT_CA_BUNDLE_PATH
        with default_deadline():
            super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


def mount_deadlines(session: requests.Session, connections: int = DEFAULT_POOLSIZE) -> None:
    """Make a session of another library obey deadlines.

    The deadlines cover each byte of a request and of the headers of its answer. The session keeps
    its number of retries.

    Args:
        session: the session to change.
        connections: how many connections to one host are kept, for threads that share the session.
    """
    for scheme in ("https://", "http://"):
        before = session.get_adapter(scheme)
        retries = before.max_retries if isinstance(before, HTTPAdapter) else 0
        session.mount(scheme, DeadlineAdapter(max_retries=retries, pool_maxsize=connections))


class DeadlineAdapter(HTTPAdapter):
    """The transport adapter of a session, to mount at `https://` and `http://`."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        # The manager for SOCKS has pools of its own, which connect through the proxy.
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager
