"""Make the connections of `requests` obey the deadline of `kfgcp.deadlines`.

Each operation of a socket ends at the timeout of the socket or at the deadline, whichever is
first. The operations are the name lookup, connecting, a CONNECT to a proxy, the TLS handshake,
sending, and each read of the answer. Connecting and the headers of an answer always have a
deadline, also when the caller has set none.

This module imports `requests`, which is slow. So import this module inside the function that makes
a connection.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, DEFAULT_POOLSIZE, HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs

from kfgcp.deadlines import REQUEST_SECONDS, DeadlineError, call_within, current_deadline, within


@contextmanager
def _limited(connected: socket.socket) -> Iterator[None]:
    """Stop the socket operation in the block at the deadline.

    Raises:
        DeadlineError: the deadline passed before the operation.
    """
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
    """A socket without TLS that obeys the deadline.

    It changes the methods that http.client and urllib3 call.
    """

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
    """A socket with TLS that obeys the deadline.

    `SSLSocket.sendall` calls `send`, so it needs no method here.
    """

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


@contextmanager
def default_deadline() -> Iterator[None]:
    """Set a deadline of REQUEST_SECONDS for the block, unless the caller has set a deadline."""
    if current_deadline() is not None:
        yield
        return
    with within(REQUEST_SECONDS):
        yield


class LimitedConnection(HTTPConnection):
    """A connection of urllib3 that always has a deadline to connect and to get the headers.

    Subclasses name another class of connections after this one, for example HTTPSConnection. The
    `super()` in these methods is then that other class.
    """

    def connect(self) -> None:
        with default_deadline():
            super().connect()

    def _new_conn(self) -> LimitedSocket:
        return _connect_before_deadline(super()._new_conn)

    def getresponse(self, **options: Any) -> Any:
        # Neither requests nor boto3 sets a deadline for the headers.
        get_response: Callable[..., Any] = super().getresponse
        with default_deadline():
            return get_response(**options)


class _TlsConnection(LimitedConnection, HTTPSConnection):
    def connect(self) -> None:
        """Connect with a TLS context that no other connection uses.

        Some versions of requests share one context with other code, whose sockets must not change.
        """
        context = create_urllib3_context(cert_reqs=resolve_cert_reqs(self.cert_reqs))
        context.sslsocket_class = LimitedTlsSocket
        self.ssl_context = context
        if not self.ca_certs and not self.ca_cert_dir:
            self.ca_certs = DEFAULT_CA_BUNDLE_PATH
        super().connect()


def _connect_before_deadline(connect: Callable[[], socket.socket]) -> LimitedSocket:
    """Call `connect` in a thread, and return its socket as a socket that obeys the deadline.

    A thread is needed because no timeout of a socket limits the name lookup, or the tries of all
    addresses of a name together.
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


class _Pool(HTTPConnectionPool):
    ConnectionCls = LimitedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


def mount_deadlines(session: requests.Session, connections: int = DEFAULT_POOLSIZE) -> None:
    """Make the requests of a session obey the deadline. The session keeps its number of retries.

    Args:
        session: a session of `requests` that another library has made.
        connections: how many connections to one host stay open, for threads that share the session.
    """
    for scheme in ("https://", "http://"):
        old_adapter = session.get_adapter(scheme)
        retries = old_adapter.max_retries if isinstance(old_adapter, HTTPAdapter) else 0
        session.mount(scheme, DeadlineAdapter(max_retries=retries, pool_maxsize=connections))


class DeadlineAdapter(HTTPAdapter):
    """An adapter of `requests` whose connections obey the deadline.

    Mount it at `https://` and `http://`.
    """

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        # A SOCKS manager has its own classes of pools. Only those connect through the proxy.
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager
