"""Decide which hosts are this machine or inside a Kubernetes cluster.

Plain http and requests without a sign-in are allowed only to these hosts.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from kfgcp.errors import ConfigError

# The hosts that are this machine.
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

# The endings of the names that services have inside a Kubernetes cluster.
CLUSTER_DOMAINS: Final = (".svc", ".svc.cluster.local")


def is_loopback(address: str | None) -> bool:
    """Return whether an address is on this machine, as the address of a stand-in is.

    Example:
        >>> is_loopback("http://127.0.0.1:8080"), is_loopback("https://acme.example")
        (True, False)
    """
    return address is not None and urlsplit(address).hostname in LOOPBACK


def parse_address(text: str, name: str) -> tuple[str, str]:
    """Return the scheme and the host of an address.

    Args:
        text: the address, a URL of http or https.
        name: the name of the setting, for the message: `kfgcp.toml [env.dev]: host`.

    Raises:
        ConfigError: the text is not a URL of http or https.

    Example:
        >>> parse_address("https://acme.example:8443", "host")
        ('https', 'acme.example')
    """
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname:
            return url.scheme, url.hostname
    except ValueError:
        # urlsplit raises it for an IPv6 address without its closing bracket.
        pass
    raise ConfigError(
        f"{name} is {text!r}, not a URL.", hint="Write https://HOST or https://HOST:PORT."
    )
