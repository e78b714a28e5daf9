"""Define the sources of the tokens with which requests sign in.

`TokenFile` reads a token from a file. `RenewedTokens` keeps a token and fetches the next one before
the token expires; google.py and iap.py use it. `Anonymous` has no token, for emulators on this
machine. sign_in.py chooses the source for the setting `auth` of an environment.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from kfgcp.deadlines import REQUEST_SECONDS, within
from kfgcp.errors import AuthError, BackendError, Unreachable

# A token is renewed this many seconds before it expires. This is longer than a request takes, so no
# token expires on its way. The metadata server of Google replaces its token 300 seconds before the
# token expires. So at this time the metadata server has a new token.
RENEW_SECONDS_BEFORE_END: Final = 225.0

# The seconds until the next try, when a renewal failed and the old token is still valid.
RETRY_SECONDS: Final = 30.0

# The most bytes of a token file that are read.
_MAX_FILE_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token.

    Attributes:
        value: the secret text.
        quota_project: the project that pays for the requests, None for the project of the
            resources.
        account: the account that the token belongs to; "" when the account is not known.
    """

    value: str = field(repr=False)
    quota_project: str | None = None
    account: str = field(default="", compare=False)

    def sign(self, request: Any) -> Any:
        """Add the token to a prepared request, and return the request."""
        request.headers["Authorization"] = f"Bearer {self.value}"
        return request


class TokenSource(Protocol):
    """A source of tokens. Threads may share it."""

    @property
    def sign_in_hint(self) -> str:
        """The hint for the user when a service does not accept a token, in one line."""

    def get(self, refused: Token | None = None) -> Token | None:
        """Return the token for the next request, None for a request without a token.

        Args:
            refused: a token that a service did not accept. The source then fetches another token.
                When several threads pass the same `refused`, it fetches only once. When it gets no
                other token, the result is equal to `refused`.

        Raises:
            AuthError: there is no valid token: the user is not signed in, or the login has expired.
            Unreachable: the service that gives tokens does not answer.
        """


class Anonymous:
    """A source without tokens, for an emulator on this machine."""

    sign_in_hint = (
        "The service needs a sign-in. In [env.NAME] of kfgcp.toml, set auth to google, iap or"
        " token-file."
    )

    def get(self, refused: Token | None = None) -> None:
        return None


class TokenFile:
    """A source that reads its token from a file, and reads the file again when it has changed.

    Another program writes the file.

    Args:
        path: the file.
        sign_in_hint: the hint when the file has no valid token; "" for a hint to write a token to
            the file.
    """

    def __init__(self, path: Path, *, sign_in_hint: str = "") -> None:
        self._path = Path(os.path.expanduser(path))
        self._sign_in_hint = sign_in_hint
        self._lock = threading.Lock()
        # The time, the size and the number of the file when its token was read.
        self._file_version: tuple[int, ...] = ()
        self._token: Token | None = None

    @property
    def sign_in_hint(self) -> str:
        return self._sign_in_hint or f"Write a new token to {self._path}."

    def get(self, refused: Token | None = None) -> Token:
        with self._lock:
            try:
                stat = self._path.stat()
                file_version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                has_changed = file_version != self._file_version
                if self._token is None or has_changed or refused == self._token:
                    self._token = self._parse(self._path.read_bytes()[:_MAX_FILE_BYTES])
                    self._file_version = file_version
            except OSError as error:
                hint = "Write a token to this file, or set token_file to another file."
                raise AuthError(
                    f"The token file {self._path} cannot be read: {error.strerror}.",
                    hint=self._sign_in_hint or hint,
                ) from None
            return self._token

    def _parse(self, content: bytes) -> Token:
        """Return the token in the content of the file.

        Raises:
            AuthError: the content is not one token.
        """
        text = content.strip()
        # The other program has emptied the file, and is about to write the new token. Until then,
        # the old token counts.
        if not text and self._token is not None:
            return self._token
        if not text:
            raise AuthError(f"The token file {self._path} is empty.", hint=self.sign_in_hint)
        # A token has only visible characters of ASCII.
        if any(not 0x21 <= byte <= 0x7E for byte in text):
            raise AuthError(
                f"The token file {self._path} must contain one token and nothing else.",
                hint=self.sign_in_hint,
            )
        return Token(text.decode("ascii"))


class RenewedTokens:
    """A source that keeps its token, and fetches the next token shortly before the token expires.

    One thread fetches the next token, and the other threads wait for it.

    Args:
        fetch: returns a new token, and the time when it expires in seconds since 1970, None for
            never.
        sign_in_hint: see `TokenSource`.
        now: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        fetch: Callable[[], tuple[Token, float | None]],
        *,
        sign_in_hint: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.sign_in_hint = sign_in_hint
        self._fetch = fetch
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None
        # When the token expires, and when the next token is fetched, in seconds since 1970.
        self._expires_at = 0.0
        self._renew_at = 0.0
        # The error of the last fetch, None when it succeeded.
        self._last_error: BackendError | None = None
        self._fetch_count = 0

    def get(self, refused: Token | None = None) -> Token:
        count_before = self._fetch_count
        with self._lock:
            now = self._now()
            # The token that may be used, None when there is none or the service refused it.
            token = None if self._token == refused else self._token
            if token is not None and now < self._renew_at:
                return token
            # While this thread waited for the lock, another thread fetched and failed. Another
            # fetch would probably fail, too.
            if self._last_error is not None and self._fetch_count != count_before:
                raise self._last_error.amended()
            try:
                return self._renew(now)
            except (AuthError, Unreachable) as error:
                if token is not None and now < self._expires_at:
                    self._renew_at = now + RETRY_SECONDS
                    return token
                self._last_error = error.amended()
                raise
            finally:
                self._fetch_count += 1

    def _renew(self, now: float) -> Token:
        """Fetch a new token, and keep it. now: the time in seconds since 1970."""
        self._last_error = None
        with within(REQUEST_SECONDS):
            token, expires_at = self._fetch()
        self._token = token
        self._expires_at = float("inf") if expires_at is None else expires_at
        # A token with a short life is renewed after half of its life.
        half_life = (self._expires_at - now) / 2
        self._renew_at = max(self._expires_at - RENEW_SECONDS_BEFORE_END, now + half_life)
        return token
