"""Refuse requests that foreign web pages send to our servers on this machine.

A page of any site can make the browser of its reader send requests to 127.0.0.1. So it is not
enough that a server listens only on loopback. Two things in a request show that a foreign page may
have sent it:

- `Host` is not a name of this server. The name of a foreign site can lead to 127.0.0.1 ("DNS
  rebinding"). The browser then takes the foreign page and our server for one origin.
- `Origin` or `Sec-Fetch-Site` says that a page of another origin sent the request. Programs send
  neither header.

`kfgcp.testing.stand_in` also checks the content type: a foreign page can send text and forms
without the permission of the server, but not JSON.

Each of our servers asks a `CrossSiteGuard` before it reads any other part of a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

# RFC 3986, section 3.2: a host name or an IPv6 address in brackets, and a port.
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?")
_ORIGIN: Final = re.compile(r"(https?)://([^/?#]+)", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Allowed values of `Sec-Fetch-Site`: our own page sent the request, or the user typed the address.
# `same-site` is not allowed: it can be a page on another port of this host.
_OWN_SITES: Final = ("same-origin", "none")

_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and a port.

    Attributes:
        host: in lower case, without a dot at its end.
        port: None when the text had none.
    """

    host: str
    port: int | None

    @property
    def is_loopback(self) -> bool:
        """Whether the host is a loopback name or address of this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def port_for(self, scheme: str) -> int:
        """Return the port, or without one the usual port of `http` or `https`."""
        return _DEFAULT_PORTS[scheme] if self.port is None else self.port


def parse_authority(text: str) -> Authority | None:
    """Return the host and port of a text, None when the text is something else.

    Args:
        text: the value of a header `Host`, or a configured host name.

    Example:
        >>> parse_authority("localhost:8501")
        Authority(host='localhost', port=8501)
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host = match[1].lower()
    port = int(match[2]) if match[2] else None
    if host.startswith("["):
        try:
            host = ip_address(host[1:-1]).compressed
        except ValueError:
            return None
    host = host.removesuffix(".")
    if not host or (port is not None and port > _MAX_PORT):
        return None
    return Authority(host, port)


@dataclass(frozen=True, slots=True)
class CrossSiteGuard:
    """Decides which requests a server refuses.

    Args:
        port: the port that the server listens on.
        host_names: further names that lead to the server. `localhost:9000` allows one port.
            `dash.acme.example` allows any port in `Host`, because a proxy may add its own. In the
            origin of a page it allows only the usual ports 80 and 443, because another port of the
            host is another server.
        allow_links: a link on a foreign page may open a page of this server. Links in chats and
            the return from a sign-in need this. Only for servers on which GET changes nothing.

    Example:
        >>> CrossSiteGuard(8501).refusal("GET", [("Host", "evil.example")])
        "The Host header 'evil.example' is not a name of this server."
    """

    port: int
    host_names: Sequence[str] = ()
    allow_links: bool = False

    def refusal(
        self, method: str, headers: Iterable[tuple[str, str]], target: str = "/"
    ) -> str | None:
        """Return why a request is refused, None when the request is allowed.

        Args:
            method: the method of the request; `GET` for a websocket.
            headers: all headers in their order, a repeated one as often as it was sent.
            target: the second word of the request line.
        """
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.lower(), []).append(value.strip())
        hosts = values.get("host", [])
        if len(hosts) != 1:
            return "A request needs exactly one Host header."
        host = parse_authority(hosts[0])
        if host is None or not self._is_ours(host):
            return f"The Host header {hosts[0]!r} is not a name of this server."
        is_path = target == "*" or target.startswith("/")
        if not is_path and not self._is_same_origin(target, host):
            return "The address in the request line is not an address of this server."
        if self.allow_links and _is_link(method, values):
            return None
        for origin in values.get("origin", []):
            if not self._is_same_origin(origin, host):
                return f"A page of the origin {origin!r} is not allowed to use this server."
        for site in values.get("sec-fetch-site", []):
            if site.lower() not in _OWN_SITES:
                return "A page of another origin is not allowed to use this server."
        return None

    def _is_ours(self, host: Authority) -> bool:
        if host.is_loopback and host.port_for("http") == self.port:
            return True
        return self._is_configured(host)

    def _is_configured(self, host: Authority) -> bool:
        # `Host` does not tell the scheme, so a host without a port may mean either usual port.
        usual_ports = tuple(_DEFAULT_PORTS.values())
        possible_ports = usual_ports if host.port is None else (host.port,)
        ports = self._configured_ports(host.host)
        return None in ports or any(port in ports for port in possible_ports)

    def _is_configured_origin(self, origin: Authority, scheme: str) -> bool:
        port = origin.port_for(scheme)
        ports = self._configured_ports(origin.host)
        return port in ports or (None in ports and port == _DEFAULT_PORTS[scheme])

    def _configured_ports(self, host: str) -> set[int | None]:
        """Return the ports of the configured names with this host; None for a name without one."""
        ports: set[int | None] = set()
        for text in self.host_names:
            name = parse_authority(text)
            if name is not None and name.host == host:
                ports.add(name.port)
        return ports

    def _is_same_origin(self, address: str, host: Authority) -> bool:
        """Return whether an address begins with the origin that browsers see for this server."""
        match = _ORIGIN.match(address)
        origin = parse_authority(match[2]) if match else None
        if match is None or origin is None:
            return False
        scheme = match[1].lower()
        if origin.host == host.host and origin.port_for(scheme) == host.port_for(scheme):
            return True
        # Behind a proxy, Host may differ from the origin, so a configured name is enough. A
        # loopback name is not enough, because each of its ports can be another server.
        return not origin.is_loopback and self._is_configured_origin(origin, scheme)


def _is_link(method: str, values: dict[str, list[str]]) -> bool:
    """Return whether the browser opens the address in a tab or window.

    No other page can read the answer there.
    """
    if method not in ("GET", "HEAD") or "origin" in values:
        return False
    is_navigation = values.get("sec-fetch-mode") == ["navigate"]
    return is_navigation and values.get("sec-fetch-dest") == ["document"]
