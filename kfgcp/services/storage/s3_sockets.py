"""Make the connections of boto3 obey the deadline of `kfgcp.deadlines`.

`kfgcp.sockets` does the same for `requests`. Boto3 has timeouts for connecting and for each read,
but none for a whole answer. It has no public way to change its connections, so this module changes
private attributes of botocore's session. tests/services/storage/test_slow_stores.py fails when a
new version of botocore no longer has these attributes.
"""

from __future__ import annotations

from typing import Any

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from kfgcp.sockets import LimitedConnection, LimitedTlsSocket


class _Connection(LimitedConnection, AWSHTTPConnection):  # type: ignore[misc]
    """A connection of botocore without TLS."""


class _TlsConnection(LimitedConnection, AWSHTTPSConnection):  # type: ignore[misc]
    def connect(self) -> None:
        # Each client of boto3 has its own context, so this line does not change other clients.
        if self.ssl_context is not None:
            self.ssl_context.sslsocket_class = LimitedTlsSocket
        super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def mount_deadlines(client: Any) -> None:
    """Make the requests of a client of boto3 obey the deadline."""
    session = client._endpoint.http_session
    pools = session._pool_classes_by_scheme
    # The connection managers of the session share this mapping, also those for a proxy that boto3
    # makes later.
    pools["http"] = _Pool
    pools["https"] = _TlsPool
