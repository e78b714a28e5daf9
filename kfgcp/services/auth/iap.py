"""Id tokens for Identity-Aware Proxy (IAP).

They are OpenID Connect tokens of Google whose audience is the OAuth client of the proxy. The login
is the one that google.py finds:

- A service account's key and a machine at Google give id tokens directly.
- Acting as a service account needs `generateIdToken` of IAM Credentials.
- The login of a person gives id tokens only when it was made with a desktop OAuth client of the
  same project as the client of the proxy. The token endpoint then takes the proxy's client as
  `audience` (Google's guide to programmatic access to IAP).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from kfgcp.errors import AuthError, Unreachable
from kfgcp.model import JsonValue
from kfgcp.services.auth.google import (
    AGAIN,
    PROXY,
    TIMEOUT,
    auth_request,
    explain_failure,
    google_tokens,
    login_file,
    no_credentials,
    not_impersonated,
    refused_sign_in,
)
from kfgcp.services.auth.tokens import RenewedTokens, Token, TokenSource
from kfgcp.services.google_errors import LOG_IN
from kfgcp.services.redact import redacted_line
from kfgcp.services.responses import is_page
from kfgcp.services.transport import Response, Transport, TransportError
from kfgcp.spec.documents import parse_json

TOKEN_ADDRESS: Final = "https://oauth2.googleapis.com/token"  # noqa: S105
ACCOUNTS_ADDRESS: Final = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
_SCOPES: Final = ",".join(
    (
        "openid",
        "https://www.googleapis.com/auth/userinfo.email",
        "https://www.googleapis.com/auth/cloud-platform",
    )
)
_DESKTOP_HINT: Final = (
    "Sign in with a desktop OAuth client of the same project as the IAP client: "
    f"{LOG_IN} --client-id-file=FILE --scopes={_SCOPES} (or set impersonate_service_account)"
)

# Python's dates end here, in seconds since 1970.
_YEAR_10000: Final = 253_402_300_800


def iap_tokens(audience: str, account: str | None = None) -> RenewedTokens:
    """Return the id tokens for an IAP client.

    Args:
        audience: the IAP client.
        account: a service account that the login may act as; None for the login itself.
    """
    return RenewedTokens(
        _IdTokens(audience, account).fetch,
        sign_in_hint=f"Is iap_client_id that of the proxy? {AGAIN}",
    )


def claims_of(token: str) -> dict[str, JsonValue]:
    """Return the claims of a JSON Web Token, {} when the text is not one.

    The signature is not verified.
    """
    segments = token.split(".")
    if len(segments) < 2:
        return {}
    payload = segments[1]
    # A JWT leaves out the padding of base64 (RFC 7515, section 2).
    padding = "=" * (-len(payload) % 4)
    try:
        return _to_object(base64.urlsafe_b64decode(payload + padding))
    except ValueError:
        return {}


class _IdTokens:
    """The id tokens of the login of this machine. They are for one audience.

    Args:
        audience: the IAP client.
        account: the service account to act as, None for the login itself.
    """

    def __init__(self, audience: str, account: str | None) -> None:
        self._audience = audience
        self._account = account
        self._sources: dict[str, TokenSource] = {}
        self._transport = Transport()

    def fetch(self) -> tuple[Token, float]:
        """Return a new token and when it expires. `RenewedTokens` uses one thread at a time."""
        token = self._fetch(_read_login())
        claims = claims_of(token)
        ends = claims.get("exp")
        if not isinstance(ends, (int, float)) or not 0 <= ends < _YEAR_10000:
            raise AuthError("Google's answer is not an id token.", hint=PROXY)
        return Token(token, account=str(claims.get("email") or "")), float(ends)

    def _fetch(self, login: Mapping[str, Any]) -> str:
        kind = login.get("type", "")
        if self._account is not None:
            return self._fetch_as(self._account, None)
        if kind == "impersonated_service_account":
            # The URL ends with ACCOUNT:generateAccessToken.
            url = str(login.get("service_account_impersonation_url"))
            account = url.rpartition("/")[2].partition(":")[0]
            return self._fetch_as(account, login)
        if kind == "authorized_user":
            return self._fetch_for_person(login)
        if str(kind).startswith("external_account"):
            raise AuthError(
                "A federated login cannot get id tokens for IAP by itself.",
                hint="Set impersonate_service_account to a service account that it may act as.",
            )
        return self._fetch_for_service_account()

    def _fetch_as(self, account: str, login: Mapping[str, Any] | None) -> str:
        """Return the token of a service account that another login may act as.

        Args:
            account: the service account.
            login: contains the other login; None for the login of this machine.
        """
        source_login: Mapping[str, Any] | None = None
        delegates: list[str] = []
        if login is not None:
            source_login = login.get("source_credentials")
            delegates = login.get("delegates") or []
        source_key = json.dumps(source_login, sort_keys=True)
        if source_key not in self._sources:
            self._sources[source_key] = google_tokens(login=source_login)
        access_token = self._sources[source_key].get()
        assert access_token is not None
        body = {"audience": self._audience, "includeEmail": True, "delegates": delegates}
        headers = {"Content-Type": "application/json"}
        if access_token.quota_project:
            headers["X-Goog-User-Project"] = access_token.quota_project
        url = f"{ACCOUNTS_ADDRESS}{account}:generateIdToken"
        answer = self._post(url, json.dumps(body), headers, access_token)
        if answer.status != 200:
            raise not_impersonated(answer.body, account)
        return _read_token(answer.body, access_token.value)

    def _fetch_for_person(self, login: Mapping[str, Any]) -> str:
        keys = ("client_id", "client_secret", "refresh_token")
        form: dict[str, str] = {}
        for key in keys:
            value = login.get(key)
            if not isinstance(value, str):
                raise no_credentials("the login of a person lacks " + " or ".join(keys))
            form[key] = value
        form.update(grant_type="refresh_token", audience=self._audience)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._post(TOKEN_ADDRESS, urlencode(form), headers)
        data = _to_object(answer.body)
        id_token = data.get("id_token")
        if answer.status == 200 and isinstance(id_token, str):
            return id_token
        code = str(data.get("error") or answer.status)
        description = str(data.get("error_description") or "")
        text = f"{code}: {description}" if description else code
        text = redacted_line(text, form["client_secret"], form["refresh_token"])
        if data.get("error_subtype") in ("invalid_rapt", "rapt_required"):
            raise AuthError(
                "Google asks you to sign in again (your organisation limits sessions).", hint=AGAIN
            )
        if code == "invalid_grant":
            raise refused_sign_in(text)
        if answer.status == 200:
            text = "the login lacks the scope openid"
        raise AuthError(
            f"Your login gets no token for the IAP client {self._audience}: {text.rstrip('.')}.",
            hint=_DESKTOP_HINT,
        )

    def _fetch_for_service_account(self) -> str:
        """Return the token of a key, or of the metadata server of a machine at Google."""
        request = auth_request()
        file = login_file()
        credentials: Any = None
        try:
            if file:
                from google.oauth2.service_account import IDTokenCredentials as KeyCredentials

                credentials = KeyCredentials.from_service_account_file(
                    file, target_audience=self._audience
                )
            else:
                import google.auth
                from google.auth.compute_engine import IDTokenCredentials as MachineCredentials

                # When nobody is signed in, this raises the error that says so.
                google.auth.default(request=request)
                credentials = MachineCredentials(
                    request, self._audience, use_metadata_identity_endpoint=True
                )
            credentials.refresh(request)
        except Exception as error:
            raise explain_failure(error, credentials, None) from None
        return str(credentials.token)

    def _post(
        self, url: str, body: str, headers: Mapping[str, str], token: Token | None = None
    ) -> Response:
        """Return the answer of Google's sign-in service.

        Raises:
            Unreachable: the service failed, or a proxy or a page answered.
        """
        sign = token.sign if token else None
        try:
            answer = self._transport.exchange(
                "POST", url, data=body.encode(), headers=headers, sign=sign, timeout=TIMEOUT
            )
        except TransportError as failure:
            raise Unreachable(
                f"Google's sign-in service {failure.problem}.", hint=failure.hint
            ) from None
        if is_page(answer) or 300 <= answer.status < 400:
            raise Unreachable(
                "A web page came instead of an answer of Google's sign-in service.", hint=PROXY
            )
        if answer.status == 429 or answer.status >= 500:
            raise Unreachable(
                f"Google's sign-in service failed ({answer.status}).", hint="Try again later."
            )
        return answer


def _read_login() -> Mapping[str, Any]:
    """Return the content of the file with credentials, {} without a file."""
    file = login_file()
    if file is None:
        return {}
    try:
        content = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise no_credentials(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise no_credentials(f"{file} is not JSON") from None
    if not isinstance(content, dict):
        raise no_credentials(f"{file} is not of the right form")
    return content


def _to_object(body: bytes) -> dict[str, JsonValue]:
    """Return the JSON object in a body, {} when there is none."""
    try:
        value = parse_json(body.decode())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_token(body: bytes, secret: str) -> str:
    """Return the token in an answer of IAM Credentials. secret: must not be shown."""
    data = _to_object(body)
    token = data.get("token")
    if not isinstance(token, str):
        raise AuthError(
            f"Google sent no token: {redacted_line(json.dumps(data), secret)}.", hint=PROXY
        )
    return token
