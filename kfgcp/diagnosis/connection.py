"""The first requests to a remote service, and the account that is signed in."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Final, TypedDict
from urllib.parse import urlencode, urlsplit

from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside
from kfgcp.errors import Refused, Remedy, Unreachable
from kfgcp.hosts import is_loopback
from kfgcp.services.auth.tokens import Token
from kfgcp.services.redact import redacted_line
from kfgcp.services.transport import Response, Transport, TransportError
from kfgcp.spec.documents import parse_json


class CallLimits(TypedDict):
    """Limits for the calls of a `ServiceClient`; its arguments have the same names."""

    budget: float
    retries: int
    read_timeout: float
    seconds: float


# How long one exchange of a diagnosis may take. It is short, because a person waits for the result.
SECONDS: Final = 30.0
CALL_LIMITS: Final[CallLimits] = {
    "budget": 15,
    "retries": 2,
    "read_timeout": 20,
    "seconds": SECONDS,
}
# Seconds to connect, and to wait for the next bytes.
TIMEOUT: Final = (5.0, 20.0)
_TOKEN_INFO: Final = "https://oauth2.googleapis.com"  # noqa: S105


class HostProbe:
    """One request without a token to a host, whose answer several checks use.

    It shows whether the host can be reached, whether its certificate is trusted, and its time.

    Args:
        address: of the service.
        path: of the request, below the address.
        ca_file: certificates of the only authorities that are trusted.

    Attributes:
        host: the host with its port.
        name: the name of the host alone.
    """

    def __init__(self, address: str, path: str, ca_file: str | None = None) -> None:
        parts = urlsplit(address)
        self.host = parts.netloc
        self.name = parts.hostname or ""
        self._url = f"{address.rstrip('/')}/{path}"
        self._transport = Transport(ca_file)
        self._result: Response | TransportError | None = None

    def response(self) -> Response:
        """Return the answer, which may have any status. The request is sent only once.

        Raises:
            TransportError: there is no answer.
        """
        if self._result is None:
            self._result = self._send()
        if isinstance(self._result, TransportError):
            raise self._result
        return self._result

    def _send(self) -> Response | TransportError:
        try:
            return self._transport.exchange("GET", self._url, timeout=TIMEOUT, seconds=SECONDS)
        except TransportError as error:
            return error


def unreachable(host: str, failure: TransportError, hint: str = "") -> Unreachable:
    """Return our error for a host that did not answer.

    Args:
        host: of the service.
        failure: why there is no answer.
        hint: in place of the hint of the failure.
    """
    return Unreachable(f"{host} {failure.problem}.", hint=hint or failure.hint)


def describe_login(
    env: Environment, token: Token | None, *, is_google_token: bool
) -> tuple[str | Aside, str]:
    """Return who is signed in: in words, and the account, which is empty when it is not known.

    Args:
        env: the environment.
        token: of its requests.
        is_google_token: the token is for an API of Google, so Google may be asked whose it is.
    """
    if token is None:
        return "none: an emulator needs no sign-in", ""
    account = token.account or env.get("impersonate_service_account") or _account_in_jwt(token)
    is_google_login = env.get("auth", "google") in ("google", "token-file")
    if not account and is_google_token and is_google_login:
        endpoint = env.get("api_endpoint")
        # A stand-in on this machine answers for all services of Google.
        if endpoint and is_loopback(endpoint):
            account = _ask_google(endpoint, token)
        else:
            account = _ask_google(_TOKEN_INFO, token)
    if not account:
        return "signed in; the token does not name the account", ""
    return f"signed in as {account}", account


def _account_in_jwt(token: Token) -> str:
    """Return the account that a JSON Web Token names, "" when the token is not one.

    It is an e-mail address, or an account of Kubernetes. The signature is not verified.
    """
    segments = token.value.split(".")
    if len(segments) != 3:
        return ""
    payload = segments[1]
    # A JWT leaves out the padding of base64 (RFC 7515, section 2).
    padding = "=" * (-len(payload) % 4)
    try:
        claims = parse_json(urlsafe_b64decode(payload + padding).decode())
    except ValueError:
        return ""
    if not isinstance(claims, dict):
        return ""
    name = claims.get("email") or claims.get("sub")
    if not isinstance(name, str):
        return ""
    return redacted_line(name, limit=200)


def _ask_google(address: str, token: Token) -> str:
    """Return the account of a token of Google, "" when Google does not say it."""
    # The token is in the body, because proxies and servers log addresses.
    form = urlencode({"access_token": token.value}).encode()
    try:
        answer = Transport().exchange(
            "POST",
            f"{address}/tokeninfo",
            data=form,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            timeout=TIMEOUT,
            seconds=SECONDS,
        )
        facts = parse_json(answer.body.decode())
    except (TransportError, ValueError):
        return ""
    if answer.status == 200 and isinstance(facts, dict):
        email = facts.get("email")
        if isinstance(email, str):
            return email
    return ""


def iam_member(account: str) -> str:
    """Return an account in the form of gcloud's `--member`.

    Example:
        >>> iam_member("ada@acme.example")
        'user:ada@acme.example'
        >>> iam_member("ci@acme.iam.gserviceaccount.com")
        'serviceAccount:ci@acme.iam.gserviceaccount.com'
    """
    kind = "serviceAccount" if account.endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{account or 'YOUR_ACCOUNT'}"


def with_grant_command(refused: Refused, command: str) -> Refused:
    """Return a refusal with the command that gives access, when access is what is missing."""
    if refused.status == 403 and refused.remedy is Remedy.GRANT_ACCESS:
        return refused.amended(hint=f"{refused.hint}\n{command}")
    return refused
