"""Connections for boto3 that obey the deadline of `kfgcp.deadlines`.

`kfgcp.sockets` has the same for `requests`. Boto3 has timeouts for connecting and for each read,
but none for a whole answer. It has no public way to change its connections, so this module sets
private attributes of botocore's session. tests/services/storage/test_slow_stores.py fails when
botocore changes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from kfgcp.sockets import (
    LimitedSocket,
    LimitedTlsSocket,
    connect_within,
    default_deadline,
    read_headers,
)


class _Connection(AWSHTTPConnection):  # type: ignore[misc]
    def connect(self) -> None:
        with default_deadline():
            super().connect()

    def _new_conn(self) -> LimitedSocket:
        return connect_within(super()._new_conn)

    def getresponse(self, **options: Any) -> Any:
        response: Callable[..., Any] = super().getresponse
        return read_headers(lambda: response(**options))


class _TlsConnection(AWSHTTPSConnection):  # type: ignore[misc]
    def _new_conn(self) -> LimitedSocket:
        return connect_within(super()._new_conn)

    def getresponse(self, **options: Any) -> Any:
        response: Callable[..., Any] = super().getresponse
        return read_headers(lambda: response(**options))

    def connect(self) -> None:
        # No other client of boto3 uses this context.
        if self.ssl_context is not None:
            self.ssl_context.sslsocket_class = LimitedTlsSocket
        with default_deadline():
            super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def mount_deadlines(client: Any) -> None:
    """Make a client of boto3 obey deadlines."""
    session = client._endpoint.http_session
    pools = session._pool_classes_by_scheme
    # All connection managers share this mapping, also those that are made later for a proxy.
    pools["http"] = _Pool
    pools["https"] = _TlsPool
