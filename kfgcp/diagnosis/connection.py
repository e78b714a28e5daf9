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
    """Limits for calls, with the names of the arguments of `ServiceClient`.

    All limits are in seconds, except `retries`.
    """

    budget: float
    retries: int
    read_timeout: float
    seconds: float


# The longest time for one request and its answer. It is short, because a person waits for it.
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
    """A request without a token to a host. It is sent once, and several checks use the answer.

    The answer shows whether the host can be reached, whether its certificate is trusted, and which
    time its clock has.

    Args:
        address: the address of the service.
        path: the path of the request below the address.
        ca_file: a file with the certificates of the only authorities to trust. None means the
            authorities that this machine trusts.

    Attributes:
        host: the host with its port.
        name: the host without its port.
    """

    def __init__(self, address: str, path: str, ca_file: str | None = None) -> None:
        url = urlsplit(address)
        self.host = url.netloc
        self.name = url.hostname or ""
        self._url = f"{address.rstrip('/')}/{path}"
        self._transport = Transport(ca_file)
        self._result: Response | TransportError | None = None

    def response(self) -> Response:
        """Return the answer, which may have any status. Only the first call sends the request.

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
        host: the host of the service.
        failure: why there is no answer.
        hint: replaces the hint of `failure`, if it is not empty.
    """
    return Unreachable(f"{host} {failure.problem}.", hint=hint or failure.hint)


def describe_login(
    env: Environment, token: Token | None, *, is_google_token: bool
) -> tuple[str | Aside, str]:
    """Return a text about the sign-in, and the account that is signed in.

    The account is empty when it is not known.

    Args:
        env: the environment.
        token: the token that requests carry, None for requests without a token.
        is_google_token: True if the token is for an API of Google. Then kfgcp may ask Google for
            the account.
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
        return "signed in; the token does not contain the name of the account", ""
    return f"signed in as {account}", account


def _account_in_jwt(token: Token) -> str:
    """Return the account that a JSON Web Token names.

    The account is an e-mail address or an account of Kubernetes. It is "" when the token is not a
    JSON Web Token, or names no account. The signature is not verified.
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
    """Ask Google for the account of a token. Return "" when the answer does not name one."""
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
        token_info = parse_json(answer.body.decode())
    except (TransportError, ValueError):
        return ""
    if answer.status == 200 and isinstance(token_info, dict):
        email = token_info.get("email")
        if isinstance(email, str):
            return email
    return ""


def iam_member(account: str) -> str:
    """Return an account in the form of gcloud's `--member`.

    An empty account becomes the placeholder `user:YOUR_ACCOUNT`.

    Example:
        >>> iam_member("ada@acme.example")
        'user:ada@acme.example'
        >>> iam_member("ci@acme.iam.gserviceaccount.com")
        'serviceAccount:ci@acme.iam.gserviceaccount.com'
    """
    kind = "serviceAccount" if account.endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{account or 'YOUR_ACCOUNT'}"


def with_grant_command(refused: Refused, command: str) -> Refused:
    """Add the command that gives access to the hint of a refusal.

    Return the refusal unchanged when it has another reason than missing access.
    """
    if refused.status == 403 and refused.remedy is Remedy.GRANT_ACCESS:
        return refused.amended(hint=f"{refused.hint}\n{command}")
    return refused
