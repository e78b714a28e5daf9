"""Get the id tokens that Identity-Aware Proxy (IAP) accepts.

Such a token is an OpenID Connect token of Google. Its audience is the OAuth client of the proxy.
kfgcp uses the login that google.py finds. The kind of login decides how to get an id token:

- The key of a service account, and a machine at Google, give id tokens directly.
- To impersonate a service account, kfgcp calls `generateIdToken` of IAM Credentials.
- The login of a person gives id tokens only when the login was made with a desktop OAuth client in
  the project of the proxy's client. The token endpoint then accepts the proxy's client as
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
    PROXY_HINT,
    SIGN_IN_AGAIN,
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
    "In the project of the IAP client, create an OAuth client of the type Desktop app, download its"
    f" JSON file, and sign in with it: {LOG_IN} --client-id-file=FILE --scopes={_SCOPES}"
    " (or set impersonate_service_account in [env.NAME] of kfgcp.toml)"
)

# The beginning of the year 10000 in seconds since 1970. Python has no later dates.
_YEAR_10000: Final = 253_402_300_800


def iap_tokens(audience: str, account: str | None = None) -> RenewedTokens:
    """Return a source of id tokens for an IAP client.

    Args:
        audience: the OAuth client of the proxy.
        account: the service account to impersonate; None for the login itself.
    """
    return RenewedTokens(
        _IdTokens(audience, account).fetch_token,
        sign_in_hint=f"Is iap_client_id the OAuth client of the proxy? {SIGN_IN_AGAIN}",
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
    """The login of this machine, which gives id tokens for one audience.

    Args:
        audience: the OAuth client of the proxy.
        account: the service account to impersonate, None for the login itself.
    """

    def __init__(self, audience: str, account: str | None) -> None:
        self._audience = audience
        self._account = account
        # The access tokens with which kfgcp calls IAM Credentials, by their login as JSON.
        self._access_tokens: dict[str, TokenSource] = {}
        self._transport = Transport()

    def fetch_token(self) -> tuple[Token, float]:
        """Return a new id token, and the time when it expires in seconds since 1970.

        Only one thread at a time may call this method.

        Raises:
            AuthError: there is no login, or it gives no id token.
            Unreachable: Google's sign-in service does not answer.
        """
        id_token = self._fetch_for_login(_read_login())
        claims = claims_of(id_token)
        expires_at = claims.get("exp")
        if not isinstance(expires_at, (int, float)) or not 0 <= expires_at < _YEAR_10000:
            raise AuthError("Google's answer is not an id token.", hint=PROXY_HINT)
        return Token(id_token, account=str(claims.get("email") or "")), float(expires_at)

    def _fetch_for_login(self, login: Mapping[str, Any]) -> str:
        """Return a new id token. login: the content of its file, {} without a file."""
        if self._account is not None:
            return self._fetch_by_impersonation(self._account, None)
        login_type = login.get("type", "")
        if login_type == "impersonated_service_account":
            # The URL ends with ACCOUNT:generateAccessToken.
            url = str(login.get("service_account_impersonation_url"))
            account = url.rpartition("/")[2].partition(":")[0]
            return self._fetch_by_impersonation(account, login)
        if login_type == "authorized_user":
            return self._fetch_for_person(login)
        if str(login_type).startswith("external_account"):
            raise AuthError(
                "Google does not issue id tokens for IAP to a federated login, as yours is.",
                hint=(
                    "Set impersonate_service_account to a service account that your login may"
                    " impersonate."
                ),
            )
        return self._fetch_for_service_account()

    def _fetch_by_impersonation(self, account: str, login: Mapping[str, Any] | None) -> str:
        """Return an id token of a service account that another login may impersonate.

        Args:
            account: the service account.
            login: a file of type impersonated_service_account, which contains the other login; None
                when the other login is the login of this machine.
        """
        source_login: Mapping[str, Any] | None = None
        delegates: list[str] = []
        if login is not None:
            source_login = login.get("source_credentials")
            delegates = login.get("delegates") or []
        login_key = json.dumps(source_login, sort_keys=True)
        if login_key not in self._access_tokens:
            self._access_tokens[login_key] = google_tokens(login=source_login)
        access_token = self._access_tokens[login_key].get()
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
        """Return an id token of a person, for the refresh token in the login."""
        keys = ("client_id", "client_secret", "refresh_token")
        form: dict[str, str] = {}
        for key in keys:
            value = login.get(key)
            if not isinstance(value, str):
                raise no_credentials("the login lacks one of these keys: " + ", ".join(keys))
            form[key] = value
        form.update(grant_type="refresh_token", audience=self._audience)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._post(TOKEN_ADDRESS, urlencode(form), headers)
        data = _to_object(answer.body)
        id_token = data.get("id_token")
        if answer.status == 200 and isinstance(id_token, str):
            return id_token
        error_code = str(data.get("error") or answer.status)
        description = str(data.get("error_description") or "")
        reason = f"{error_code}: {description}" if description else error_code
        reason = redacted_line(reason, form["client_secret"], form["refresh_token"])
        # RAPT is Google's token for a repeated sign-in.
        if data.get("error_subtype") in ("invalid_rapt", "rapt_required"):
            raise AuthError(
                "Google asks you to sign in again (your organisation limits sessions).",
                hint=SIGN_IN_AGAIN,
            )
        if error_code == "invalid_grant":
            raise refused_sign_in(reason)
        if answer.status == 200:
            reason = "the login does not have the scope openid"
        raise AuthError(
            f"Google gives your login no token for the IAP client {self._audience}:"
            f" {reason.rstrip('.')}.",
            hint=_DESKTOP_HINT,
        )

    def _fetch_for_service_account(self) -> str:
        """Return an id token for a service account's key, or else for a machine at Google."""
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

                # On a machine without credentials, this call raises the error that says so.
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
        """Send a POST to Google's sign-in service, and return the answer.

        Raises:
            Unreachable: the service failed or did not answer, or a proxy answered in its place.
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
            raise Unreachable("Google's sign-in service answered with a web page.", hint=PROXY_HINT)
        if answer.status == 429 or answer.status >= 500:
            raise Unreachable(
                f"Google's sign-in service failed ({answer.status}).", hint="Try again later."
            )
        return answer


def _read_login() -> Mapping[str, Any]:
    """Return the content of the file with the login, {} without a file.

    Raises:
        AuthError: the file cannot be read, or it does not contain a JSON object.
    """
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
        raise no_credentials(f"the format of {file} is wrong")
    return content


def _to_object(body: bytes) -> dict[str, JsonValue]:
    """Return the JSON object in a body, {} when the body is something else."""
    try:
        value = parse_json(body.decode())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_token(body: bytes, secret: str) -> str:
    """Return the token in an answer of IAM Credentials.

    Args:
        body: the body of the answer.
        secret: a text that an error message must not contain.

    Raises:
        AuthError: the answer has no token.
    """
    data = _to_object(body)
    token = data.get("token")
    if not isinstance(token, str):
        raise AuthError(
            f"Google sent no token: {redacted_line(json.dumps(data), secret)}.", hint=PROXY_HINT
        )
    return token
