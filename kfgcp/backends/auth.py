"""Where the tokens of requests come from: Google's login, a file, or nowhere for an emulator on this machine.

`auth` of an environment chooses: `google` (the default) is in google_login.py, `iap` in iap_login.py, `port-forward` in
port_forward.py; `token-file`, `in-cluster` and `anonymous` are here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from kfgcp.config import ADDRESSES, LOOPBACK, Environment
from kfgcp.deadlines import REQUEST_SECONDS, within
from kfgcp.errors import AuthError, BackendError, ConfigError, Unreachable

AHEAD: Final = 225.0
"""Seconds before its end that a token is renewed: longer than any request, and when Google's metadata server, which
keeps a token until 300 seconds before its end, has a new one."""
LATER: Final = 30.0
"""Seconds until the next try when renewing ahead failed."""
_LARGEST: Final = 65536
"""Bytes of a token file."""
_PROJECTED: Final = "/var/run/secrets/kubeflow/pipelines/token"
_PROJECTED_VARIABLE: Final = "KF_PIPELINES_SA_TOKEN_PATH"
"""Where a pod has its token for Kubeflow Pipelines, and what names another place: as the SDK has it."""
_MEND_PROJECTED: Final = (
    "Give the pod a projected service account token for the audience pipelines.kubeflow.org, and the account access to "
    f"the namespace. {_PROJECTED_VARIABLE} names another place of the token."
)


KUBE_NAMESPACE: Final = "kubeflow"
KUBE_SERVICE: Final = "ml-pipeline-ui"
"""Where Kubeflow is in its cluster unless the settings say otherwise: the service that has logs and metadata too."""
KUBE_PORTS: Final = {"ml-pipeline": 8888}
"""Ports of services by their manifests in Kubeflow Pipelines; those of others are 80."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token.

    quota_project: the project that pays for requests, when it is another than theirs. account: whose it is, "" when
    that is not known.
    """

    value: str = field(repr=False)
    quota_project: str | None = None
    account: str = field(default="", compare=False)

    def sign(self, request: Any) -> Any:
        """The prepared request with the token."""
        request.headers["Authorization"] = f"Bearer {self.value}"
        return request


class TokenSource(Protocol):
    """Gives tokens; threads may share it."""

    @property
    def mend(self) -> str:
        """What to do when a token is not accepted, in one line."""

    def get(self, refused: Token | None = None) -> Token | None:
        """The token to send now, None to send none.

        Args:
            refused: a token that a service did not accept: another one is got, once for all threads that say so. What
                comes back is equal to it when there is no other.

        Raises:
            AuthError: there is none: not signed in, expired, refused.
            Unreachable: the service that gives tokens does not answer.
        """


def token_source(env: Environment) -> TokenSource:
    """The tokens that an environment's `auth` asks for; nothing is read or sent yet.

    Raises:
        ConfigError: a setting that it needs is missing.
    """
    mode = env.get("auth", "google")
    where = f"Environment '{env.name}'"
    if mode == "anonymous":
        return _anonymous(env, where)
    if mode == "token-file":
        return TokenFile(Path(_needed(env, "token_file")))
    if in_cluster(env):
        return TokenFile(Path(os.environ.get(_PROJECTED_VARIABLE) or _PROJECTED), mend=_MEND_PROJECTED)
    if mode == "port-forward":
        from kfgcp.backends.port_forward import forwarded

        return forwarded(env)
    account = env.get("impersonate_service_account")
    if mode == "iap":
        from kfgcp.backends.iap_login import iap_tokens

        return iap_tokens(_needed(env, "iap_client_id"), account)
    from kfgcp.backends.google_login import google_tokens

    return google_tokens(account)


def address_and_tokens(env: Environment) -> tuple[str, TokenSource]:
    """Where the Kubeflow Pipelines of an environment is, and its tokens; nothing is read, started or sent yet.

    Raises:
        ConfigError: a setting is missing.
    """
    if env.get("auth") == "port-forward":
        from kfgcp.backends.port_forward import forwarded

        tokens = forwarded(env)
        return tokens.address, tokens
    address = env.get("api_endpoint") or env.get("host")
    if not address and in_cluster(env):
        service, namespace = env.get("kube_service", KUBE_SERVICE), env.get("kube_namespace", KUBE_NAMESPACE)
        port = f":{KUBE_PORTS[service]}" if service in KUBE_PORTS else ""
        address = f"http://{service}.{namespace}.svc{port}"
    return address or _needed(env, "host"), token_source(env)


def in_cluster(env: Environment) -> bool:
    """Whether its tokens are for the cluster that this machine is in, and services there may be spoken to over http."""
    return bool(env.get("auth") == "in-cluster")


def ca_file(env: Environment) -> str | None:
    """The file with certificates that an environment names.

    Raises:
        ConfigError: it is not there, or holds none.
    """
    named = env.get("ca_file")
    if not named:
        return None
    import ssl

    path = os.path.expanduser(str(named))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:  # of both kinds are those of ssl
        wrong = (
            "holds no certificates" if os.path.isfile(path) else f"cannot be read: {getattr(error, 'strerror', error)}"
        )
        raise ConfigError(
            f"Environment '{env.name}' has ca_file = \"{named}\", which {wrong}.",
            hint=f"Let ca_file in [env.{env.name}] of kfgcp.toml name the certificate of the authority, as PEM.",
        ) from None
    return path


def _needed(env: Environment, key: str) -> str:
    value = env.get(key)
    if not value:
        mode = f', which auth = "{env.get("auth")}" needs' if env.get("auth") else ""
        raise ConfigError(
            f"Environment '{env.name}' has no {key}{mode}.", hint=f"Set {key} in [env.{env.name}] of kfgcp.toml."
        )
    return str(value)


class Anonymous:
    """No token, for an emulator."""

    mend = "The service wants a sign-in: set auth of the environment to google, iap or token-file."

    def get(self, refused: Token | None = None) -> None:
        return None


class TokenFile:
    """A token that somebody else writes into a file: the first line, read again whenever the file changes.

    mend: what to do when there is no good one, instead of writing it.
    """

    def __init__(self, path: Path, *, mend: str = "") -> None:
        self._path = Path(os.path.expanduser(path))
        self._mend = mend
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._token: Token | None = None

    @property
    def mend(self) -> str:
        return self._mend or f"Write a new token to {self._path}."

    def get(self, refused: Token | None = None) -> Token:
        with self._lock:
            try:
                stat = self._path.stat()
                seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if self._token is None or seen != self._seen or refused == self._token:
                    self._token = self._read(self._path.read_bytes()[:_LARGEST])
                    self._seen = seen
            except OSError as error:
                raise AuthError(
                    f"The token file {self._path} cannot be read: {error.strerror}.",
                    hint=self._mend or "Write a token to it, or let token_file name another.",
                ) from None
            return self._token

    def _read(self, content: bytes) -> Token:
        text = content.strip()
        if not text and self._token is not None:
            return self._token  # it is being written just now
        if not text:
            raise AuthError(f"The token file {self._path} is empty.", hint=self.mend)
        if any(not 0x21 <= byte <= 0x7E for byte in text):
            raise AuthError(f"The token file {self._path} does not hold a token, and nothing else.", hint=self.mend)
        return Token(text.decode("ascii"))


class Renewing:
    """Keeps a token until shortly before it ends, then gets the next; threads that need one wait for the one that asks.

    Args:
        fetch: a new token and when it ends, in seconds since 1970, None for never.
        mend: see `TokenSource`.
        now: the time.
    """

    def __init__(
        self, fetch: Callable[[], tuple[Token, float | None]], *, mend: str, now: Callable[[], float] = time.time
    ) -> None:
        self.mend = mend
        self._fetch = fetch
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._ends = self._renew_at = 0.0
        self._failure: BackendError | None = None
        self._fetches = 0

    def get(self, refused: Token | None = None) -> Token:
        before = self._fetches
        with self._lock:
            now = self._now()
            if self._token is not None and self._token != refused and now < self._renew_at:
                return self._token
            if self._failure is not None and before != self._fetches:  # it failed while this thread waited
                raise _again(self._failure)
            try:
                return self._renew(now)
            except (AuthError, Unreachable) as error:
                if self._token is not None and self._token != refused and now < self._ends:
                    self._renew_at = now + LATER
                    return self._token
                self._failure = _again(error)
                raise
            finally:
                self._fetches += 1

    def _renew(self, now: float) -> Token:
        self._failure = None
        with within(REQUEST_SECONDS):
            token, ends = self._fetch()
        self._token = token
        self._ends = float("inf") if ends is None else ends
        self._renew_at = max(self._ends - AHEAD, now + (self._ends - now) / 2)
        return token


def _again(error: BackendError) -> BackendError:
    """The same error as an object of its own: each thread raises, and may add to, its own."""
    return type(error)(error.message, hint=error.hint)


def _anonymous(env: Environment, where: str) -> Anonymous:
    """Only for this machine; kfgcp.toml is checked for it too."""
    addresses = [env.get(key) for key in ADDRESSES if env.get(key)]
    if not addresses or any(urlsplit(address).hostname not in LOOPBACK for address in addresses):
        raise ConfigError(f'{where}: auth = "anonymous" is allowed for an emulator on this machine only.')
    return Anonymous()
