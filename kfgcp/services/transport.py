"""One exchange over HTTP: a request is sent once, and a response or the reason why there is none
comes back.

Nothing is retried, parsed or signed in here. Redirects are not followed, cookies and ~/.netrc are
not used, and requests to this machine use no proxy. HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE
work as in `requests`.

An exchange ends within a deadline, however slowly the bytes come. A body that is read as it comes
has no deadline as a whole. Instead, each next piece has a deadline.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kfgcp.deadlines import REQUEST_SECONDS, Deadline, within
from kfgcp.hosts import LOOPBACK
from kfgcp.services.redact import redacted_line

if TYPE_CHECKING:
    import requests

POOL: Final = 24
"""Connections that are kept open: more than the threads that share one wire."""
CHUNK: Final = 65536
"""Bytes that are read at once."""
LARGEST: Final = 100_000_000
"""Bytes of an answer, unpacked."""
_UNPACK: Final = {
    "gzip": 16 + zlib.MAX_WBITS,
    "x-gzip": 16 + zlib.MAX_WBITS,
    "deflate": zlib.MAX_WBITS,
}
"""Encodings of a body, and what zlib calls them."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server sent.

    Attributes:
        status: of HTTP.
        headers: their names are in lower case.
        body: the whole body, unpacked; empty when `chunks` has it.
        chunks: the body as it comes, when the caller asked for that.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: Iterator[bytes] | None = None


class TransportError(Exception):
    """Why there is no whole response.

    Attributes:
        problem: completes `HOST ...` in one line.
        hint: what to do about it.
        sent: the server may have seen the request.
        final: it is of no use to try again.
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
    """Connections that are kept open and shared by threads; made at the first use.

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
        params: Mapping[str, Any] | None = None,
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
            sign: adds what must not be seen, the token, to the prepared request.
            timeout: seconds to connect in, and to wait for the next bytes.
            seconds: how long the whole exchange may take. A deadline around this call also holds.
            stream: do not read the body of a successful answer, which may have any length. The
                caller has to read it to its end, or close it.
            certificate: the certificate of the client, in the form that `requests` takes.

        Raises:
            TransportError: there is none, or not a whole one.
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
        """Yield the body as it comes. Each piece has its own deadline: bytes between pieces are not
        progress."""
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
    """Yield the unpacked body in pieces of at most `CHUNK` bytes, so that a small body cannot fill
    the memory."""
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
            if unpack.eof:  # gzip may have several members
                unpack = zlib.decompressobj(_UNPACK[encoding])
            yield unpack.decompress(rest, CHUNK)
            rest = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
    if not unpack.eof and not is_empty:
        raise IncompleteRead(b"")


def _packed(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it is sent, as soon as bytes come. At its end, return the connection to the
    pool.

    `iter_content` waits until it has as many bytes as it should return.
    """
    # The response of http.client, which decodes chunks. Libraries that replace it may give a file
    # without a length.
    body: Any = response.raw._fp
    left: int | None = None if getattr(body, "chunked", False) else getattr(body, "length", None)
    while left is None or left > 0:
        try:
            piece = body.read1(CHUNK if left is None else min(CHUNK, left))
        except TimeoutError:
            raise
        except OSError as error:  # the connection or its encryption ended
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
    """A session that threads may share: connections for all of them, and no cookies."""
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
    """For `auth=`: as it is. Without any, requests would put a password from ~/.netrc in the place
    of a token."""
    return request


def proxies(url: str) -> dict[str, str]:
    """For `proxies=`: those of the environment; none for this machine, and for what goes in clear,
    which they could read."""
    parts = urlsplit(url)
    # Not {"no_proxy": "*"}: requests puts that into os.environ for a moment and deletes it again.
    # When two threads do that at once, one gets a KeyError, or the variable stays for good.
    return {"http": "", "https": ""} if parts.hostname in LOOPBACK or parts.scheme == "http" else {}


def explain(
    error: BaseException, timeout: tuple[float, float], deadline: Deadline | None = None
) -> TransportError:
    """Return what an exception of `requests`, or of a library below it, means for an exchange."""
    import requests

    if deadline is not None and deadline.has_passed:
        return TransportError(
            f"did not send a whole answer within {deadline.seconds:g} s",
            hint=f"{_NETWORK} request_seconds of the environment gives requests more time.",
            sent=True,
            final=True,
        )
    if isinstance(error, IncompleteRead):  # the headers had arrived, whatever ended it
        return TransportError("broke off in the middle of its answer", hint=_NETWORK, sent=True)
    causes = list(_causes(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    why = next(
        (
            cause.strerror
            for cause in reversed(causes)
            if isinstance(cause, OSError) and cause.strerror
        ),
        None,
    )
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
        return TransportError(f"did not take the connection within {timeout[0]:g} s", hint=_NETWORK)
    if "ConnectionRefusedError" in kinds:
        return TransportError(
            "refuses the connection", hint="Check the address, and that the server is running."
        )
    if kinds & {"NewConnectionError", "ConnectTimeoutError"}:
        return TransportError(f"cannot be reached: {why or 'no connection'}", hint=_NETWORK)
    if kinds & {"ReadTimeout", "ReadTimeoutError", "TimeoutError"}:
        return TransportError(f"did not answer within {timeout[1]:g} s", hint=_NETWORK, sent=True)
    if any(isinstance(cause, zlib.error) for cause in causes):
        return _unusable("sent an answer that cannot be unpacked")
    if "LineTooLong" in kinds:
        return _unusable("sent a line that is too long")
    if any("got more than" in str(cause) for cause in causes):  # http.client has no type for it
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
            hint="Let ca_file or REQUESTS_CA_BUNDLE name a file that exists.",
            final=True,
            tls=True,
        )
    return TransportError(
        f"cannot be spoken to ({type(error).__name__})",
        hint="Check its address.",
        sent=True,
        final=True,
    )


def _unusable(problem: str, *, too_large: bool = False) -> TransportError:
    """Return the error for an answer that would be the same after another try."""
    hint = "Check the address, and whether a proxy changes answers."
    return TransportError(problem, hint=hint, sent=True, final=True, too_large=too_large)


_NETWORK: Final = (
    "Check the connection to the network. Behind a proxy, set HTTPS_PROXY, and NO_PROXY for private"
    " addresses."
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it holds: urllib3 and requests keep the cause in `args`, `reason`
    or the context."""
    todo: list[Any] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]


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
    untrusted = next(
        (cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None
    )
    if untrusted is None:
        return TransportError(
            "could not agree on TLS",
            hint="Check that the address is one of https, and the proxy.",
            tls=True,
        )
    return TransportError(
        f"has a certificate that is not trusted: {untrusted.verify_message or untrusted.reason}",
        hint=(
            "For a company's own certificates let ca_file of the environment (backend kubeflow), or"
            " REQUESTS_CA_BUNDLE, name the file with them."
        ),
        final=True,
        tls=True,
    )
