"""Run before Streamlit: refuse requests of foreign web pages, and add protective headers.

The guard decides which names and origins belong to the dashboard. Streamlit has its own check,
which does not know `host_names`. We do not turn that check off: without it, Streamlit allows every
origin with `Access-Control-Allow-Origin: *`. Instead, `_with_host_of_origin` makes accepted
websockets pass it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from kfgcp.cross_site import CrossSiteGuard

# The types of ASGI 3.0, https://asgi.readthedocs.io/en/latest/specs/main.html
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS: Final = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    # The same for browsers that do not know frame-ancestors.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}
HINT: Final = (
    "If this is a name of the dashboard, add the name to host_names in [dashboard] of kfgcp.toml."
    " Add the port too, unless it is 80 or 443."
)

# "Policy violation", RFC 6455, section 7.4.1.
_POLICY_VIOLATION: Final = 1008


class Protection:
    """An ASGI application around another one.

    Args:
        app: the other application. It gets only requests that the guard accepts.
        guard: decides about HTTP requests and websockets.
    """

    def __init__(self, app: Application, guard: CrossSiteGuard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The only other type is "lifespan". It announces the start and the end of the server.
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        method = scope.get("method", "GET")
        target = scope.get("raw_path") or scope["path"].encode()
        reason = self._guard.refusal(method, _text_headers(scope), target.decode("latin-1"))
        if scope["type"] == "http":
            send_with_headers = _add_headers(send)
            if reason is None:
                await self._app(scope, receive, send_with_headers)
            else:
                await _refuse(reason, send_with_headers)
        elif reason is None:
            await self._app(_with_host_of_origin(scope), receive, send)
        else:
            # The websocket is not accepted yet, so the server answers 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


def _text_headers(scope: Scope) -> Iterator[tuple[str, str]]:
    for name, value in scope["headers"]:
        yield name.decode("latin-1"), value.decode("latin-1")


def _with_host_of_origin(scope: Scope) -> Scope:
    """Return the scope of a websocket with the header `Host` as the browser sent it.

    The host and the port come from `Origin`, because a proxy may have put another name into `Host`.
    For the name from the proxy, Streamlit would ask a server on the internet for the address of
    this machine, and refuse the websocket (streamlit/web/server/server_util.py,
    `net_util.get_external_ip`).
    """
    origin: bytes | None = None
    headers: list[tuple[bytes, bytes]] = []
    for name, value in scope["headers"]:
        if name == b"origin" and origin is None:
            origin = value
        if name != b"host":
            headers.append((name, value))
    if origin is None:
        return scope
    host = urlsplit(origin.decode("latin-1").strip()).netloc
    headers.append((b"host", host.encode("latin-1")))
    return {**scope, "headers": headers}


def _add_headers(send: Send) -> Send:
    """Return a `send` that changes the headers of each response.

    It adds `HEADERS`. It removes headers that allow pages of other origins to read the response.
    """
    protective_headers = {}
    for header, content in HEADERS.items():
        protective_headers[header.lower().encode()] = content.encode()

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(protective_headers.items())
            for name, value in message.get("headers", ()):
                is_replaced = name.lower() in protective_headers
                if not is_replaced and not name.lower().startswith(b"access-control-"):
                    headers.append((name, value))
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


async def _refuse(reason: str, send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n{HINT}\n".encode()})
