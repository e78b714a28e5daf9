"""How requests of an environment are signed in: its setting `auth` chooses where tokens come
from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kfgcp.config import Environment
from kfgcp.errors import ConfigError
from kfgcp.hosts import LOOPBACK
from kfgcp.services.auth.tokens import Anonymous, TokenFile, TokenSource

_ADDRESS_KEYS: Final = ("host", "api_endpoint", "logging_endpoint", "artifact_registry_endpoint")
"""The settings that are addresses of services."""
_WITH_GOOGLE_LOGIN: Final = ("google", "in-cluster", "port-forward")
"""Ways to sign in whose requests to services of Google have the login of Google. The last two lead
into a cluster."""


def token_source(env: Environment) -> TokenSource:
    """Return the tokens that the setting `auth` of an environment asks for. Nothing is read or sent
    yet.

    Raises:
        ConfigError: a setting that it needs is missing.
    """
    mode = env.get("auth", "google")
    if mode == "anonymous":
        return _anonymous(env)
    if mode == "token-file":
        return TokenFile(Path(required(env, "token_file")))
    account = env.get("impersonate_service_account")
    if mode == "iap":
        from kfgcp.services.auth.iap import iap_tokens

        return iap_tokens(required(env, "iap_client_id"), account)
    if mode not in _WITH_GOOGLE_LOGIN:
        raise ConfigError(
            f"Environment '{env.name}': auth is {mode!r}, which is not a way to sign in."
        )
    from kfgcp.services.auth.google import google_tokens

    return google_tokens(account)


def ca_file(env: Environment) -> str | None:
    """Return the path of the certificates that an environment names, None when it names none.

    Raises:
        ConfigError: the file is missing, or contains no certificates.
    """
    named = env.get("ca_file")
    if not named:
        return None
    import ssl

    path = os.path.expanduser(str(named))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        # The errors of ssl are of both kinds.
        problem = f"cannot be read: {getattr(error, 'strerror', error)}"
        if os.path.isfile(path):
            problem = "contains no certificates"
        raise ConfigError(
            f"Environment '{env.name}' has ca_file = \"{named}\", which {problem}.",
            hint=(
                f"Set ca_file in [env.{env.name}] of kfgcp.toml to the certificate of the"
                " authority, in PEM form."
            ),
        ) from None
    return path


def required(env: Environment, key: str) -> str:
    """Return a setting that `auth` needs.

    Raises:
        ConfigError: it is missing.
    """
    value = env.get(key)
    if not value:
        mode = f', which auth = "{env.get("auth")}" needs' if env.get("auth") else ""
        raise ConfigError(
            f"Environment '{env.name}' has no {key}{mode}.",
            hint=f"Set {key} in [env.{env.name}] of kfgcp.toml.",
        )
    return str(value)


def _anonymous(env: Environment) -> Anonymous:
    """Return no tokens, for this machine only. kfgcp.toml is checked for it too."""
    addresses = [env.get(key) for key in _ADDRESS_KEYS if env.get(key)]
    hosts = {urlsplit(address).hostname for address in addresses}
    if not hosts or not hosts <= set(LOOPBACK):
        raise ConfigError(
            f"Environment '{env.name}': auth = \"anonymous\" is allowed for an emulator on this"
            " machine only."
        )
    return Anonymous()
