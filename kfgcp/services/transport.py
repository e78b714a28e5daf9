"""Send one request over HTTP, and return the response or raise the reason why there is none.

This module does not retry, does not parse bodies, and does not choose tokens. It does not follow
redirects, uses no cookies and no ~/.netrc, and sends requests to this machine without a proxy.
HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE work as in `requests`.

Each exchange ends within a deadline, also when the bytes come slowly. A stream has no deadline for
the whole body, but a deadline for each piece.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kfgcp.deadlines import REQUEST_SECONDS, Deadline, within
from kfgcp.hosts import LOOPBACK
from kfgcp.services.redact import redacted_line

if TYPE_CHECKING:
    import requests

QueryParams = Mapping[str, str | int | float | Sequence[str] | None]
"""The parameters of a query. A parameter with the value None is left out."""

# The most connections to one host that stay open. No transport is shared by more threads, so no
# thread has to connect again.
POOL_SIZE: Final = 24
# The most bytes that are read at once, and the most bytes of an unpacked piece.
CHUNK: Final = 65536
# The most bytes of an unpacked answer.
LARGEST: Final = 100_000_000
# The encodings of a body that kfgcp can unpack, each with the `wbits` for zlib.
_ZLIB_WBITS: Final = {
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
}
_NETWORK_HINT: Final = (
    "Check the connection to the network. Behind a proxy, set HTTPS_PROXY, and NO_PROXY for private"
    " addresses."
)


@dataclass(frozen=True, slots=True)
class Response:
    """The response of a server.

    Attributes:
        status: the HTTP status.
        headers: the headers by their names in lower case.
        body: the whole body, unpacked; empty for a stream.
        chunks: the unpacked pieces of a stream; None for other responses.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: Iterator[bytes] | None = None


class TransportError(Exception):
    """The reason why a request has no complete response.

    Attributes:
        problem: the reason in words that continue the name of the host, such as "did not answer".
        hint: what the user can do.
        sent: the server may have received the request.
        final: another try would fail, too.
        tls: kfgcp reached the host, but could not make a trusted connection.
        too_large: the answer was longer than `LARGEST`.
        unknown_name: no server has the name of the host.
    """

    def __init__(
        self,
        problem: str,
        *,
        hint: str = "",
        sent: bool = False,
        final: bool = False,
        tls: bool = False,
        too_large: bool = False,
        unknown_name: bool = False,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.tls = tls
        self.too_large = too_large
        self.unknown_name = unknown_name
        self.hint = hint
        self.sent = sent
        self.final = final


class Transport:
    """A sender of requests, which keeps connections open for later requests. Threads may share it.

    Args:
        ca_file: a file with certificates. They replace the certificates that `requests` trusts.
        clock: the monotonic clock for deadlines, in seconds.
    """

    def __init__(
        self, ca_file: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ca_file = ca_file
        self._clock = clock
        self._lock = threading.Lock()
        self._session: requests.Session | None = None

    def exchange(
        self,
        method: str,
        url: str,
        *,
        params: QueryParams | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        sign: Callable[[Any], Any] | None = None,
        timeout: tuple[float, float] = (5, 60),
        seconds: float = REQUEST_SECONDS,
        stream: bool = False,
        certificate: Any = None,
    ) -> Response:
        """Send one request, and return the response.

        Args:
            method: the HTTP method.
            url: the address, without the parameters of the query.
            params: the parameters of the query.
            data: the body.
            headers: the headers without the token.
            sign: a function that adds the token to the prepared request.
            timeout: seconds to wait for a connection, and seconds to wait for the next bytes.
            seconds: how long the whole exchange may take. An earlier deadline of the caller counts,
                too.
            stream: True leaves the body of a response with status 2xx in `Response.chunks`. The
                body may have any length. The caller must read it to its end or close it.
            certificate: the certificate of the client, in the form that `requests` accepts.

        Raises:
            TransportError: there is no response, or it is not complete.
        """
        from requests import Request

        with within(seconds, self._clock) as deadline:
            try:
                session = self._get_session()
                request = Request(
                    method, url, headers, params=params, data=data, auth=sign or unsigned
                )
                prepared = session.prepare_request(request)
                # The certificates are an argument here, not an attribute of the session, because
                # REQUESTS_CA_BUNDLE would replace the attribute.
                options: Any = session.merge_environment_settings(
                    url, proxies(url), True, self._ca_file, certificate
                )
                # Not `session.send`, which would read the whole body of a redirect. That body may
                # have any length.
                response = session.get_adapter(url).send(prepared, timeout=timeout, **options)
                status = response.status_code
                headers_by_name = {name.lower(): value for name, value in response.headers.items()}
                if stream and 200 <= status < 300:
                    chunks = self._chunks(response, timeout, seconds)
                    return Response(status, headers_by_name, b"", chunks)
                with response:
                    return Response(status, headers_by_name, _read_whole_body(response))
            except TransportError:
                raise
            except Exception as error:
                raise explain(error, timeout, deadline) from None

    def close(self) -> None:
        """Close the connections. A later exchange opens new connections."""
        with self._lock:
            if self._session is not None:
                self._session.close()

    def _get_session(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = new_session()
            return self._session

    def _chunks(
        self, response: requests.Response, timeout: tuple[float, float], seconds: float
    ) -> Iterator[bytes]:
        """Yield the unpacked body piece by piece. Each piece has its own deadline."""
        deadline = Deadline(seconds, self._clock)
        try:
            with response:
                pieces = _unpack(response)
                while True:
                    with within(seconds, self._clock) as deadline:
                        piece = next(pieces, None)
                    if piece is None:
                        return
                    yield piece
        except TransportError:
            raise
        except Exception as error:
            raise explain(error, timeout, deadline) from None


def _read_whole_body(response: requests.Response) -> bytes:
    body = bytearray()
    for piece in _unpack(response):
        body += piece
        if len(body) > LARGEST:
            raise _unusable(f"sent more than {LARGEST // 1_000_000} MB", too_large=True)
    return bytes(body)


def _unpack(response: requests.Response) -> Iterator[bytes]:
    """Yield the unpacked body of a response in pieces of at most `CHUNK` bytes.

    A small body may unpack to very many bytes. As small pieces, they do not fill the memory.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from _read_packed(response)
        return
    if encoding not in _ZLIB_WBITS:
        raise _unusable(
            f"sent an answer in an unknown encoding: {redacted_line(encoding, limit=40)}"
        )
    decompressor = zlib.decompressobj(_ZLIB_WBITS[encoding])
    is_empty = True
    for packed_bytes in _read_packed(response):
        is_empty = False
        remaining = packed_bytes
        while remaining:
            # A gzip file may have several members (RFC 1952, section 2.2).
            if decompressor.eof:
                decompressor = zlib.decompressobj(_ZLIB_WBITS[encoding])
            yield decompressor.decompress(remaining, CHUNK)
            if decompressor.eof:
                remaining = decompressor.unused_data
            else:
                remaining = decompressor.unconsumed_tail
    if not decompressor.eof and not is_empty:
        raise IncompleteRead(b"")


def _read_packed(response: requests.Response) -> Iterator[bytes]:
    """Yield the bytes of a body as they arrive, and then return the connection to the pool.

    Raises:
        IncompleteRead: the connection ended before the body.
    """
    # `iter_content` of requests waits until it has a whole piece. So this function reads from the
    # response of http.client, which decodes chunks. A library that replaces this response may give
    # a file without `chunked` and `length`.
    body: Any = response.raw._fp
    bytes_left: int | None = None
    if not getattr(body, "chunked", False):
        bytes_left = getattr(body, "length", None)
    while bytes_left is None or bytes_left > 0:
        try:
            piece = body.read1(CHUNK if bytes_left is None else min(CHUNK, bytes_left))
        except TimeoutError:
            raise
        except OSError as error:
            # The connection broke, or its encryption did not end properly.
            raise IncompleteRead(b"", bytes_left) from error
        if not piece:
            break
        if bytes_left is not None:
            bytes_left -= len(piece)
        yield piece
    if bytes_left:
        raise IncompleteRead(b"", bytes_left)
    body.close()
    response.raw.release_conn()


def new_session() -> requests.Session:
    """Return a session of `requests` that threads may share. It keeps no cookies."""
    from http.cookiejar import DefaultCookiePolicy

    import requests

    from kfgcp.sockets import DeadlineAdapter

    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["Accept-Encoding"] = "gzip"
    for scheme in ("https://", "http://"):
        session.mount(scheme, DeadlineAdapter(pool_connections=4, pool_maxsize=POOL_SIZE))
    return session


def unsigned(request: Any) -> Any:
    """Return a prepared request unchanged. It is the `auth` of requests without a token.

    Without an `auth`, `requests` would add a password from ~/.netrc.
    """
    return request


def proxies(url: str) -> dict[str, str]:
    """Return the argument `proxies` for a request to an address.

    {} means the proxies in the environment variables. Requests to this machine use no proxy. Plain
    http uses no proxy either, because the proxy could read the token.
    """
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK and parts.scheme != "http":
        return {}
    # Not {"no_proxy": "*"}: `requests` would set this variable in os.environ for a moment. When two
    # threads do so at the same time, one gets a KeyError, or the variable stays set.
    return {"http": "", "https": ""}


def explain(
    error: BaseException, timeout: tuple[float, float], deadline: Deadline | None = None
) -> TransportError:
    """Return the TransportError for an exception of `requests` or of a library below it.

    Args:
        error: the exception.
        timeout: the timeout of the exchange: seconds for a connection, and seconds for bytes.
        deadline: the deadline of the exchange.
    """
    import requests

    if deadline is not None and deadline.has_passed:
        return TransportError(
            f"did not send a whole answer within {deadline.seconds:g} s",
            hint=(
                f"{_NETWORK_HINT} To give requests more time, set request_seconds in"
                " [env.NAME] of kfgcp.toml."
            ),
            sent=True,
            final=True,
        )
    # Only the functions above that read a body raise this class directly.
    if isinstance(error, IncompleteRead):
        return TransportError(
            "ended the connection in the middle of its answer", hint=_NETWORK_HINT, sent=True
        )
    causes = list(_causes(error))
    class_names = _class_names(causes)
    # The order matters: many errors are subclasses of others, or contain several causes.
    if isinstance(error, requests.exceptions.ProxyError):
        return _proxy_error(causes)
    if "SSLError" in class_names:
        return _tls_error(causes)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return TransportError(
            "cannot be found: its name is unknown",
            hint=f"Check the name. {_NETWORK_HINT}",
            unknown_name=True,
        )
    if isinstance(error, requests.ConnectTimeout):
        return TransportError(
            f"did not accept the connection within {timeout[0]:g} s", hint=_NETWORK_HINT
        )
    if "ConnectionRefusedError" in class_names:
        return TransportError(
            "refuses the connection", hint="Check the address, and that the server is running."
        )
    if class_names & {"NewConnectionError", "ConnectTimeoutError"}:
        reason = _system_error(causes) or "no connection"
        return TransportError(f"cannot be reached: {reason}", hint=_NETWORK_HINT)
    if class_names & {"ReadTimeout", "ReadTimeoutError", "TimeoutError"}:
        return TransportError(
            f"did not answer within {timeout[1]:g} s", hint=_NETWORK_HINT, sent=True
        )
    if any(isinstance(cause, zlib.error) for cause in causes):
        return _unusable("sent an answer that cannot be unpacked")
    if "LineTooLong" in class_names:
        return _unusable("sent a line that is too long")
    # http.client raises a general HTTPException with this message.
    if any("got more than" in str(cause) for cause in causes):
        return _unusable("sent too many headers")
    if "IncompleteRead" in class_names or isinstance(
        error, requests.exceptions.ChunkedEncodingError
    ):
        return TransportError(
            "ended the connection in the middle of its answer", hint=_NETWORK_HINT, sent=True
        )
    if "BadStatusLine" in class_names and "RemoteDisconnected" not in class_names:
        return TransportError(
            "sent an answer that is not HTTP", hint="Check the address and the proxy.", sent=True
        )
    if "InvalidHeader" in class_names:
        return _unusable("sent headers that contradict each other")
    if isinstance(error, requests.ConnectionError):
        return TransportError(
            "closed the connection without an answer", hint=_NETWORK_HINT, sent=True
        )
    if isinstance(error, OSError) and "CA certificate" in str(error):
        return TransportError(
            "cannot be reached, because the file of CA certificates does not exist",
            hint="Set ca_file or REQUESTS_CA_BUNDLE to the file with the CA certificates.",
            final=True,
            tls=True,
        )
    return TransportError(
        f"cannot be used ({type(error).__name__})",
        hint="Check its address.",
        sent=True,
        final=True,
    )


def _unusable(problem: str, *, too_large: bool = False) -> TransportError:
    """Return the error for an answer that kfgcp cannot use, and that would come again."""
    hint = "Check the address, and whether a proxy changes answers."
    return TransportError(problem, hint=hint, sent=True, final=True, too_large=too_large)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and all exceptions that caused it, each once.

    urllib3 and requests keep the cause of an exception in `args`, in `reason` or in the context.
    """
    candidates: list[Any] = [error]
    yielded_ids: set[int] = set()
    while candidates:
        cause = candidates.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in yielded_ids:
            yielded_ids.add(id(cause))
            yield cause
            candidates += cause.args
            candidates += [getattr(cause, "reason", None), cause.__cause__, cause.__context__]


def _class_names(causes: list[BaseException]) -> set[str]:
    """Return the names of the classes and base classes of all causes."""
    names: set[str] = set()
    for cause in causes:
        names.update(kind.__name__ for kind in type(cause).__mro__)
    return names


def _system_error(causes: list[BaseException]) -> str:
    """Return the message of the operating system, such as "No route to host", "" without one."""
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return ""


def _proxy_error(causes: list[BaseException]) -> TransportError:
    """Return the error for a proxy that does not forward the request."""
    if any("407" in str(cause) for cause in causes):
        return TransportError(
            "is behind a proxy that asks for a sign-in",
            hint="Put user and password into HTTPS_PROXY: http://USER:PASSWORD@PROXY:PORT",
            final=True,
        )
    return TransportError(
        "is behind a proxy that blocks the request",
        hint="Check HTTPS_PROXY, or list the host in NO_PROXY.",
    )


def _tls_error(causes: list[BaseException]) -> TransportError:
    """Return the error for a connection that TLS does not allow."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or cause.reason
            return TransportError(
                f"has a certificate that is not trusted: {reason}",
                hint=(
                    "If your company has its own certificates, set the variable REQUESTS_CA_BUNDLE"
                    " to the file with them. For the backend kubeflow, ca_file in [env.NAME] of"
                    " kfgcp.toml does the same."
                ),
                final=True,
                tls=True,
            )
    return TransportError(
        "could not agree on TLS",
        hint="Check the proxy, and that the server uses https at this address.",
        tls=True,
    )
