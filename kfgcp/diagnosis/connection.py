"""What the checks of remote services share: a first request without a token, and who is signed
in."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside
from kfgcp.errors import Refused, Remedy, Unreachable
from kfgcp.hosts import is_loopback
from kfgcp.services.auth.tokens import Token
from kfgcp.services.redact import redacted_line
from kfgcp.services.transport import Response, Transport, TransportError
from kfgcp.spec.documents import parse_json

SECONDS: Final = 30.0
"""How long one exchange of a diagnosis may take. It is short, because a person waits for the
result."""
PATIENCE: Final[Mapping[str, Any]] = {
    "budget": 15,
    "retries": 2,
    "read_timeout": 20,
    "seconds": SECONDS,
}
"""Limits for calls of `ServiceClient`."""
TIMEOUT: Final = (5.0, 20.0)
_TOKEN_INFO: Final = "https://oauth2.googleapis.com"  # noqa: S105


class Doorbell:
    """One request without a token, whose answer says whether a host is there, trusted, and what
    time it has."""

    def __init__(self, address: str, path: str, ca_file: str | None = None) -> None:
        self.host = urlsplit(address).netloc
        self.name = urlsplit(address).hostname or ""
        self._url = f"{address.rstrip('/')}/{path}"
        self._wire = Transport(ca_file)
        self._heard: Response | TransportError | None = None

    def ring(self) -> Response:
        """The answer, of any status; asked for once.

        Raises:
            TransportError: there is none.
        """
        if self._heard is None:
            try:
                self._heard = self._wire.exchange(
                    "GET", self._url, timeout=TIMEOUT, seconds=SECONDS
                )
            except TransportError as failure:
                self._heard = failure
        if isinstance(self._heard, TransportError):
            raise self._heard
        return self._heard


def unreachable(host: str, failure: TransportError, hint: str = "") -> Unreachable:
    return Unreachable(f"{host} {failure.problem}.", hint=hint or failure.hint)


def signed_in(env: Environment, token: Token | None, *, of_google: bool) -> tuple[str | Aside, str]:
    """Return who is signed in, in words, and the account; the account is empty when it is not
    known.

    Args:
        env: the environment.
        token: of its requests.
        of_google: the token is for an API of Google, so Google may be asked whose it is.
    """
    if token is None:
        return "none: an emulator needs no sign-in", ""
    account = token.account or env.get("impersonate_service_account") or _claimed(token)
    if not account and of_google and env.get("auth", "google") in ("google", "token-file"):
        endpoint = env.get("api_endpoint")
        account = _asked(endpoint if endpoint and is_loopback(endpoint) else _TOKEN_INFO, token)
    return (
        f"signed in as {account}" if account else "signed in; the token does not tell as whom"
    ), account


def _claimed(token: Token) -> str:
    """Whose token it is by what it says itself, when it is a JWT: an e-mail address, or an account
    of Kubernetes."""
    parts = token.value.split(".")
    try:
        payload = (
            urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)) if len(parts) == 3 else b"{}"
        )
        claims = parse_json(payload.decode())
    except ValueError:
        return ""
    name = (claims.get("email") or claims.get("sub")) if isinstance(claims, dict) else None
    return redacted_line(name, limit=200) if isinstance(name, str) else ""


def _asked(address: str, token: Token) -> str:
    """Whose token of Google it is, by the service that knows; the token is in the body, not in the
    address."""
    form = urlencode({"access_token": token.value}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    how: dict[str, Any] = {"data": form, "headers": headers, "timeout": TIMEOUT, "seconds": SECONDS}
    try:
        answer = Transport().exchange("POST", f"{address}/tokeninfo", **how)
        facts = parse_json(answer.body.decode())
    except (TransportError, ValueError):
        return ""
    email = facts.get("email") if answer.status == 200 and isinstance(facts, dict) else None
    return email if isinstance(email, str) else ""


def member(account: str) -> str:
    """An account as gcloud's `--member` wants it."""
    kind = "serviceAccount" if account.endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{account or 'YOUR_ACCOUNT'}"


def with_command(refused: Refused, command: str) -> Refused:
    """Return the refusal with the command that gives access, when access is what is missing."""
    if refused.status == 403 and refused.remedy is Remedy.GRANT_ACCESS:
        return refused.amended(hint=f"{refused.hint}\n{command}")
    return refused
