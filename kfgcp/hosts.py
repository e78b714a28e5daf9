"""Which hosts are this machine or in its cluster: plain http and requests without a sign-in are for
these only."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from kfgcp.errors import ConfigError

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""The hosts that are this machine."""
CLUSTER_DOMAINS: Final = (".svc", ".svc.cluster.local")
"""How the names of services end inside a Kubernetes cluster."""


def is_loopback(address: str | None) -> bool:
    """Return whether an address is on this machine, as that of a stand-in is."""
    return address is not None and urlsplit(address).hostname in LOOPBACK


def parse_address(text: str, name: str) -> tuple[str, str]:
    """Return the scheme and the host of an address.

    Args:
        text: the address, a URL of http or https.
        name: what has this value, for the message: `kfgcp.toml [env.dev]: host`.

    Raises:
        ConfigError: it is not such a URL.
    """
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname:
            return url.scheme, url.hostname
    except ValueError:
        # An IPv6 address without its closing bracket.
        pass
    raise ConfigError(
        f"{name} is {text!r}, not a URL.", hint="Write https://HOST or https://HOST:PORT."
    )
