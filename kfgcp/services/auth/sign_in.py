"""Choose how the requests of an environment sign in, by its setting `auth`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kfgcp.config import Environment
from kfgcp.errors import ConfigError
from kfgcp.hosts import LOOPBACK
from kfgcp.services.auth.tokens import Anonymous, TokenFile, TokenSource

# The settings that contain the address of a service.
_ADDRESS_KEYS: Final = ("host", "api_endpoint", "logging_endpoint", "artifact_registry_endpoint")

# The values of `auth` with which requests to Google's services use the Google login. For
# "in-cluster" and "port-forward", `kfgcp.backends.kubeflow.sign_in` signs in to the cluster.
_WITH_GOOGLE_LOGIN: Final = ("google", "in-cluster", "port-forward")


def token_source(env: Environment) -> TokenSource:
    """Return the source of tokens for an environment, before its first token is read or requested.

    Raises:
        ConfigError: kfgcp does not know the value of `auth`, or a setting for it is missing.
    """
    mode = env.get("auth", "google")
    if mode == "anonymous":
        return _anonymous(env)
    if mode == "token-file":
        return TokenFile(Path(required_setting(env, "token_file")))
    account = env.get("impersonate_service_account")
    if mode == "iap":
        from kfgcp.services.auth.iap import iap_tokens

        return iap_tokens(required_setting(env, "iap_client_id"), account)
    if mode not in _WITH_GOOGLE_LOGIN:
        raise ConfigError(
            f"Environment '{env.name}': auth is {mode!r}, which is not a way to sign in."
        )
    from kfgcp.services.auth.google import google_tokens

    return google_tokens(account)


def ca_file(env: Environment) -> str | None:
    """Return the path of the file with certificates, or None when `ca_file` is not set.

    Raises:
        ConfigError: the file is missing, or contains no certificates.
    """
    setting = env.get("ca_file")
    if not setting:
        return None
    import ssl

    path = os.path.expanduser(str(setting))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        # OpenSSL raises an OSError for a missing file, and also for a file without certificates. A
        # path with a NUL character raises a ValueError, which has no `strerror`.
        if os.path.isfile(path):
            problem = "contains no certificates"
        else:
            problem = f"cannot be read: {getattr(error, 'strerror', error)}"
        raise ConfigError(
            f"Environment '{env.name}' has ca_file = \"{setting}\", which {problem}.",
            hint=(
                f"Set ca_file in [env.{env.name}] of kfgcp.toml to a file with the"
                " certificate of the certificate authority (CA), in PEM format."
            ),
        ) from None
    return path


def required_setting(env: Environment, key: str) -> str:
    """Return a setting that the value of `auth` requires.

    Raises:
        ConfigError: the environment does not have the setting.
    """
    value = env.get(key)
    if not value:
        auth = env.get("auth")
        reason = f', which auth = "{auth}" needs' if auth else ""
        raise ConfigError(
            f"Environment '{env.name}' has no {key}{reason}.",
            hint=f"Set {key} in [env.{env.name}] of kfgcp.toml.",
        )
    return str(value)


def _anonymous(env: Environment) -> Anonymous:
    """Return the source without tokens, for services on this machine.

    The checks of kfgcp.toml have the same rule.

    Raises:
        ConfigError: the environment has the address of another machine, or it has no address.
    """
    hosts = set()
    for key in _ADDRESS_KEYS:
        address = env.get(key)
        if address:
            hosts.add(urlsplit(address).hostname)
    if not hosts or not hosts <= set(LOOPBACK):
        raise ConfigError(
            f"Environment '{env.name}': auth = \"anonymous\" is allowed for an emulator on this"
            " machine only."
        )
    return Anonymous()
