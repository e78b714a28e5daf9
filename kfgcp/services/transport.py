"""Sends one request over HTTP and returns its response, or the reason why there is none.

Nothing is retried, parsed or signed in here. Redirects are not followed, cookies and ~/.netrc are
not used, and requests to this machine use no proxy. HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE
work as in `requests`.

An exchange ends within a deadline, however slowly the bytes come. A stream has no deadline as a
whole. Instead, each piece of it has a deadline.
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
"""The parameters of a query. Those that are None are left out."""

# Connections that are kept open: more than the threads that share one transport.
POOL: Final = 24
# Bytes that are read at once.
CHUNK: Final = 65536
# The most bytes of an unpacked answer.
LARGEST: Final = 100_000_000
# The encodings of a body, with the window bits with which zlib unpacks them.
_UNPACK: Final = {
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
}
_NETWORK: Final = (
    "Check the connection to the network. Behind a proxy, set HTTPS_PROXY, and NO_PROXY for private"
    " addresses."
)


@dataclass(frozen=True, slots=True)
class Response:
    """The response of a server.

    Attributes:
        status: of HTTP.
        headers: their names are in lower case.
        body: the whole body, unpacked; empty for a stream.
        chunks: the pieces of a stream; None for other responses.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: Iterator[bytes] | None = None


class TransportError(Exception):
    """The reason why there is no complete response.

    Attributes:
        problem: completes `HOST ...` in one line.
        hint: what to do about it.
        sent: the server may have received the request.
        final: another try would fail too.
        tls: the host was reached, but not trusted.
        too_large: the answer was longer than `LARGEST`.
        unknown_name: the name of the host is unknown.
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
    """Open connections that threads share. They are made at the first use.

    Args:
        ca_file: certificates of the only authorities that are trusted, instead of those of
            `requests`.
        clock: the monotonic clock of deadlines, in seconds.
    """

    def __init__(
        self, ca_file: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._verify = ca_file
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
        """Return the answer to one request.

        Args:
            sign: adds the secret token to the prepared request.
            timeout: seconds to connect in, and to wait for the next bytes.
            seconds: how long the whole exchange may take. A deadline around this call also holds.
            stream: do not read the body of a successful answer. It may have any length, and the
                caller has to read it to its end or close it.
            certificate: the certificate of the client, in the form that `requests` takes.

        Raises:
            TransportError: there is no answer, or not a complete one.
        """
        from requests import Request

        with within(seconds, self._clock) as deadline:
            try:
                session = self._open()
                request = Request(
                    method, url, headers, params=params, data=data, auth=sign or unsigned
                )
                prepared = session.prepare_request(request)
                # The certificates are given here, because REQUESTS_CA_BUNDLE overrides those of the
                # session.
                options: Any = session.merge_environment_settings(
                    url, proxies(url), True, self._verify, certificate
                )
                # The adapter sends directly, because a session reads the whole body of a redirect,
                # of any length.
                response = session.get_adapter(url).send(prepared, timeout=timeout, **options)
                names = {name.lower(): value for name, value in response.headers.items()}
                if stream and 200 <= response.status_code < 300:
                    return Response(
                        response.status_code, names, b"", self._chunks(response, timeout, seconds)
                    )
                with response:
                    return Response(response.status_code, names, _whole_body(response))
            except TransportError:
                raise
            except Exception as error:
                raise explain(error, timeout, deadline) from None

    def close(self) -> None:
        """End the connections. A later exchange opens new ones."""
        with self._lock:
            if self._session is not None:
                self._session.close()

    def _open(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = new_session()
            return self._session

    def _chunks(
        self, response: requests.Response, timeout: tuple[float, float], seconds: float
    ) -> Iterator[bytes]:
        """Yield the body piece by piece. Each piece has its own deadline."""
        deadline = Deadline(seconds, self._clock)
        try:
            with response:
                pieces = _unpacked(response)
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


def _whole_body(response: requests.Response) -> bytes:
    body = bytearray()
    for piece in _unpacked(response):
        body += piece
        if len(body) > LARGEST:
            raise _unusable(f"sent more than {LARGEST // 1_000_000} MB", too_large=True)
    return bytes(body)


def _unpacked(response: requests.Response) -> Iterator[bytes]:
    """Yield the unpacked body in pieces of at most `CHUNK` bytes."""
    # A small body may unpack to very many bytes. Small pieces keep it from filling the memory.
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from _packed(response)
        return
    if encoding not in _UNPACK:
        raise _unusable(
            f"sent an answer in an unknown encoding: {redacted_line(encoding, limit=40)}"
        )
    unpack = zlib.decompressobj(_UNPACK[encoding])
    is_empty = True
    for packed in _packed(response):
        is_empty = False
        rest = packed
        while rest:
            # A gzip file may have several members (RFC 1952, section 2.2).
            if unpack.eof:
                unpack = zlib.decompressobj(_UNPACK[encoding])
            yield unpack.decompress(rest, CHUNK)
            rest = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
    if not unpack.eof and not is_empty:
        raise IncompleteRead(b"")


def _packed(response: requests.Response) -> Iterator[bytes]:
    """Yield the packed bytes as soon as they arrive, and then return the connection to the pool."""
    # `iter_content` of requests waits until it has a whole piece. So this reads from the response
    # of http.client, which decodes chunks. Libraries that replace it may give a file without a
    # length.
    body: Any = response.raw._fp
    left: int | None = None if getattr(body, "chunked", False) else getattr(body, "length", None)
    while left is None or left > 0:
        try:
            piece = body.read1(CHUNK if left is None else min(CHUNK, left))
        except TimeoutError:
            raise
        except OSError as error:
            # The connection or its encryption ended.
            raise IncompleteRead(b"", left) from error
        if not piece:
            break
        if left is not None:
            left -= len(piece)
        yield piece
    if left:
        raise IncompleteRead(b"", left)
    body.close()
    response.raw.release_conn()


def new_session() -> requests.Session:
    """Return a session that threads may share. It has enough connections, and no cookies."""
    from http.cookiejar import DefaultCookiePolicy

    import requests

    from kfgcp.sockets import DeadlineAdapter

    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["Accept-Encoding"] = "gzip"
    for scheme in ("https://", "http://"):
        session.mount(scheme, DeadlineAdapter(pool_connections=4, pool_maxsize=POOL))
    return session


def unsigned(request: Any) -> Any:
    """Return a prepared request unchanged, as the `auth` of requests without a token."""
    # Without `auth`, the library takes a password from ~/.netrc.
    return request


def proxies(url: str) -> dict[str, str]:
    """Return the `proxies` of a request: {} for those of the environment, else no proxy.

    Requests to this machine use none. Plain http uses none, because a proxy could read the token.
    """
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK and parts.scheme != "http":
        return {}
    # Not {"no_proxy": "*"}: requests puts that into os.environ for a moment and deletes it again.
    # When two threads do that at once, one gets a KeyError, or the variable stays for good.
    return {"http": "", "https": ""}


def explain(
    error: BaseException, timeout: tuple[float, float], deadline: Deadline | None = None
) -> TransportError:
    """Return the error for an exception of `requests` or of a library below it.

    Args:
        error: the exception.
        timeout: seconds to connect in, and to wait for the next bytes.
        deadline: of the exchange.
    """
    import requests

    if deadline is not None and deadline.has_passed:
        return TransportError(
            f"did not send a whole answer within {deadline.seconds:g} s",
            hint=f"{_NETWORK} request_seconds of the environment gives requests more time.",
            sent=True,
            final=True,
        )
    # Only reading a body raises it directly, so the headers had arrived.
    if isinstance(error, IncompleteRead):
        return TransportError("broke off in the middle of its answer", hint=_NETWORK, sent=True)
    causes = list(_causes(error))
    kinds = _class_names(causes)
    # The order matters: many errors are subclasses of others, or contain several causes.
    if isinstance(error, requests.exceptions.ProxyError):
        return _proxy(causes)
    if "SSLError" in kinds:
        return _tls(causes)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return TransportError(
            "cannot be found: its name is unknown",
            hint=f"Check the name. {_NETWORK}",
            unknown_name=True,
        )
    if isinstance(error, requests.ConnectTimeout):
        return TransportError(
            f"did not accept the connection within {timeout[0]:g} s", hint=_NETWORK
        )
    if "ConnectionRefusedError" in kinds:
        return TransportError(
            "refuses the connection", hint="Check the address, and that the server is running."
        )
    if kinds & {"NewConnectionError", "ConnectTimeoutError"}:
        reason = _system_error(causes) or "no connection"
        return TransportError(f"cannot be reached: {reason}", hint=_NETWORK)
    if kinds & {"ReadTimeout", "ReadTimeoutError", "TimeoutError"}:
        return TransportError(f"did not answer within {timeout[1]:g} s", hint=_NETWORK, sent=True)
    if any(isinstance(cause, zlib.error) for cause in causes):
        return _unusable("sent an answer that cannot be unpacked")
    if "LineTooLong" in kinds:
        return _unusable("sent a line that is too long")
    # http.client has no class of its own for this error.
    if any("got more than" in str(cause) for cause in causes):
        return _unusable("sent too many headers")
    if "IncompleteRead" in kinds or isinstance(error, requests.exceptions.ChunkedEncodingError):
        return TransportError("broke off in the middle of its answer", hint=_NETWORK, sent=True)
    if "BadStatusLine" in kinds and "RemoteDisconnected" not in kinds:
        return TransportError(
            "sent an answer that is not HTTP", hint="Check the address and the proxy.", sent=True
        )
    if "InvalidHeader" in kinds:
        return _unusable("sent headers that contradict each other")
    if isinstance(error, requests.ConnectionError):
        return TransportError("closed the connection without an answer", hint=_NETWORK, sent=True)
    if isinstance(error, OSError) and "CA certificate" in str(error):
        return TransportError(
            "cannot be checked: the file with certificates is not there",
            hint="Set ca_file or REQUESTS_CA_BUNDLE to a file that exists.",
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
    """Return the error for an answer that would be the same after another try."""
    hint = "Check the address, and whether a proxy changes answers."
    return TransportError(problem, hint=hint, sent=True, final=True, too_large=too_large)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all exceptions that it contains, each once."""
    # urllib3 and requests keep the cause in `args`, in `reason` or in the context.
    todo: list[Any] = [error]
    seen: set[int] = set()
    while todo:
        cause = todo.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            todo += cause.args
            todo += [getattr(cause, "reason", None), cause.__cause__, cause.__context__]


def _class_names(causes: list[BaseException]) -> set[str]:
    """Return the names of the classes of all causes, with their base classes."""
    names: set[str] = set()
    for cause in causes:
        names.update(kind.__name__ for kind in type(cause).__mro__)
    return names


def _system_error(causes: list[BaseException]) -> str:
    """Return the innermost message of the system, such as "No route to host", "" without one."""
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return ""


def _proxy(causes: list[BaseException]) -> TransportError:
    if any("407" in str(cause) for cause in causes):
        return TransportError(
            "is behind a proxy that asks for a sign-in",
            hint="Put user and password into HTTPS_PROXY: http://USER:PASSWORD@PROXY:PORT",
            final=True,
        )
    return TransportError(
        "is behind a proxy that does not let the request through",
        hint="Check HTTPS_PROXY, or list the host in NO_PROXY.",
    )


def _tls(causes: list[BaseException]) -> TransportError:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = cause.verify_message or cause.reason
            return TransportError(
                f"has a certificate that is not trusted: {reason}",
                hint=(
                    "If your company has its own certificates, set ca_file of the environment"
                    " (backend kubeflow) or REQUESTS_CA_BUNDLE to the file with them."
                ),
                final=True,
                tls=True,
            )
    return TransportError(
        "could not agree on TLS",
        hint="Check the proxy, and that the server uses https at this address.",
        tls=True,
    )
