"""Sources of the tokens that requests carry.

A token comes from a file, or is renewed before it expires. An emulator on this machine gets none.
sign_in.py chooses the source for the setting `auth` of an environment. Tokens of Google's login are
in google.py and iap.py.
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

# A token is renewed this many seconds before it expires. This is longer than any request. Google's
# metadata server keeps a token until 300 seconds before its end, so it then has a new one.
AHEAD: Final = 225.0

# Seconds until the next try when a renewal before the end failed.
LATER: Final = 30.0

# The most bytes of a token file that are read.
_LARGEST: Final = 65536


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token.

    Attributes:
        value: the secret text.
        quota_project: the project that pays for the requests, when that is not the project of the
            resources.
        account: whose token it is; empty when that is not known.
    """

    value: str = field(repr=False)
    quota_project: str | None = None
    account: str = field(default="", compare=False)

    def sign(self, request: Any) -> Any:
        """Return a prepared request with the token."""
        request.headers["Authorization"] = f"Bearer {self.value}"
        return request


class TokenSource(Protocol):
    """A source of tokens. Threads may share it."""

    @property
    def sign_in_hint(self) -> str:
        """What to do when a token is not accepted, in one line."""

    def get(self, refused: Token | None = None) -> Token | None:
        """Return the token for the next request, None to send no token.

        Args:
            refused: a token that a service did not accept. Another token is fetched, once for all
                threads that pass the same one. The result is equal to `refused` when there is no
                other token.

        Raises:
            AuthError: there is no token: not signed in, expired, refused.
            Unreachable: the service that gives tokens does not answer.
        """


class Anonymous:
    """The source that has no token, for an emulator."""

    sign_in_hint = (
        "The service needs a sign-in: set auth of the environment to google, iap or token-file."
    )

    def get(self, refused: Token | None = None) -> None:
        return None


class TokenFile:
    """A token that another program writes into a file. It is read again when the file changes.

    Args:
        path: the file.
        sign_in_hint: what to do when there is no valid token; "" for writing a token to the file.
    """

    def __init__(self, path: Path, *, sign_in_hint: str = "") -> None:
        self._path = Path(os.path.expanduser(path))
        self._sign_in_hint = sign_in_hint
        self._lock = threading.Lock()
        self._read_state: tuple[int, ...] = ()
        self._token: Token | None = None

    @property
    def sign_in_hint(self) -> str:
        return self._sign_in_hint or f"Write a new token to {self._path}."

    def get(self, refused: Token | None = None) -> Token:
        with self._lock:
            try:
                stat = self._path.stat()
                state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if self._token is None or state != self._read_state or refused == self._token:
                    self._token = self._read(self._path.read_bytes()[:_LARGEST])
                    self._read_state = state
            except OSError as error:
                hint = "Write a token to it, or set token_file to another file."
                raise AuthError(
                    f"The token file {self._path} cannot be read: {error.strerror}.",
                    hint=self._sign_in_hint or hint,
                ) from None
            return self._token

    def _read(self, content: bytes) -> Token:
        text = content.strip()
        # Another program is writing the file at this moment, so the old token is used.
        if not text and self._token is not None:
            return self._token
        if not text:
            raise AuthError(f"The token file {self._path} is empty.", hint=self.sign_in_hint)
        if any(not 0x21 <= byte <= 0x7E for byte in text):
            raise AuthError(
                f"The token file {self._path} must contain one token and nothing else.",
                hint=self.sign_in_hint,
            )
        return Token(text.decode("ascii"))


class RenewedTokens:
    """A token that is kept until shortly before it expires.

    One thread fetches the next token, and the others wait for it.

    Args:
        fetch: returns a new token and when it expires: seconds since 1970, None for never.
        sign_in_hint: see `TokenSource`.
        now: returns the time, in seconds since 1970.
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
        self._ends = self._renew_at = 0.0
        self._failure: BackendError | None = None
        self._fetches = 0

    def get(self, refused: Token | None = None) -> Token:
        before = self._fetches
        with self._lock:
            now = self._now()
            if self._token is not None and self._token != refused and now < self._renew_at:
                return self._token
            # The fetch of another thread failed while this one waited for the lock.
            if self._failure is not None and before != self._fetches:
                raise self._failure.amended()
            try:
                return self._renew(now)
            except (AuthError, Unreachable) as error:
                if self._token is not None and self._token != refused and now < self._ends:
                    self._renew_at = now + LATER
                    return self._token
                self._failure = error.amended()
                raise
            finally:
                self._fetches += 1

    def _renew(self, now: float) -> Token:
        self._failure = None
        with within(REQUEST_SECONDS):
            token, ends = self._fetch()
        self._token = token
        self._ends = float("inf") if ends is None else ends
        # A token with a short life is renewed after half of it.
        half_life = (self._ends - now) / 2
        self._renew_at = max(self._ends - AHEAD, now + half_life)
        return token
