"""Id tokens for Identity-Aware Proxy: OpenID Connect tokens of Google whose audience is the OAuth
client of the proxy.

Who signs in is found as in google_login.py. A service account's key and a machine at Google give id
tokens by themselves; acting as a service account takes `generateIdToken` of IAM Credentials. The
login of a person gives one only when it was made with a desktop OAuth client of the same project as
the proxy's: the token endpoint then takes the proxy's client as `audience` (Google's guide to
programmatic access to IAP).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from kfgcp.errors import AuthError, Unreachable
from kfgcp.services.auth.google import (
    AGAIN,
    PROXY,
    TIMEOUT,
    exchange,
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
from kfgcp.services.transport import Transport, TransportError
from kfgcp.spec.documents import parse_json

TOKEN_ADDRESS: Final = "https://oauth2.googleapis.com/token"  # noqa: S105
ACCOUNTS_ADDRESS: Final = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
_SCOPES: Final = "openid,https://www.googleapis.com/auth/userinfo.email,https://www.googleapis.com/auth/cloud-platform"
_DESKTOP: Final = (
    "Sign in with a desktop OAuth client of the same project as the IAP client: "
    f"{LOG_IN} --client-id-file=FILE --scopes={_SCOPES} (or set impersonate_service_account)"
)

_YEAR_10000: Final = 253_402_300_800


def iap_tokens(audience: str, account: str | None = None) -> RenewedTokens:
    """Id tokens for an IAP client, of whoever is signed in here or of the service account that they
    may act as."""
    return RenewedTokens(
        _IdTokens(audience, account).fetch,
        sign_in_hint=f"Is iap_client_id that of the proxy? {AGAIN}",
    )


def claims_of(token: str) -> dict[str, Any]:
    """What a JSON Web Token says, not verified; {} when it is none."""
    try:
        payload = token.split(".")[1]
        found = parse_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode())
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


class _IdTokens:
    def __init__(self, audience: str, account: str | None) -> None:
        self._audience = audience
        self._account = account
        self._sources: dict[str, TokenSource] = {}
        self._wire = Transport()

    def fetch(self) -> tuple[Token, float]:
        """A new token and when it ends. `RenewedTokens` calls it from one thread at a time."""
        token = self._fetch(_login())
        claims = claims_of(token)
        ends = claims.get("exp")
        if not isinstance(ends, (int, float)) or not 0 <= ends < _YEAR_10000:
            raise AuthError("What Google sent is no id token.", hint=PROXY)
        return Token(token, account=str(claims.get("email") or "")), float(ends)

    def _fetch(self, login: Mapping[str, Any]) -> str:
        kind = login.get("type", "")
        if self._account is not None:
            return self._acting(self._account, None)
        if kind == "impersonated_service_account":
            url = str(login.get("service_account_impersonation_url"))
            return self._acting(url.rpartition("/")[2].partition(":")[0], login)
        if kind == "authorized_user":
            return self._of_person(login)
        if str(kind).startswith("external_account"):
            raise AuthError(
                "A federated login gives no id tokens for IAP by itself.",
                hint="Set impersonate_service_account to a service account that it may act as.",
            )
        return self._of_service_account()

    def _acting(self, account: str, login: Mapping[str, Any] | None) -> str:
        """The token of a service account, by the right of another login: this machine's, or the one
        inside `login`."""
        inside, delegates = (
            (None, [])
            if login is None
            else (login.get("source_credentials"), login.get("delegates"))
        )
        source = self._sources.setdefault(
            json.dumps(inside, sort_keys=True), google_tokens(login=inside)
        )
        right = source.get()
        assert right is not None
        body = {"audience": self._audience, "includeEmail": True, "delegates": delegates or []}
        headers = {"Content-Type": "application/json"}
        if right.quota_project:
            headers["X-Goog-User-Project"] = right.quota_project
        answer = self._post(
            f"{ACCOUNTS_ADDRESS}{account}:generateIdToken", json.dumps(body), headers, right
        )
        if answer.status != 200:
            raise not_impersonated(answer.body, account)
        return _text(_json(answer.body), "token", right.value)

    def _of_person(self, login: Mapping[str, Any]) -> str:
        keys = ("client_id", "client_secret", "refresh_token")
        if any(not isinstance(login.get(key), str) for key in keys):
            raise no_credentials("the login of a person lacks " + " or ".join(keys))
        form = {key: login[key] for key in keys} | {
            "grant_type": "refresh_token",
            "audience": self._audience,
        }
        answer = self._post(
            TOKEN_ADDRESS, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
        )
        said = _json(answer.body)
        if answer.status == 200 and isinstance(said.get("id_token"), str):
            return str(said["id_token"])
        secrets = [str(login[key]) for key in keys[1:]]
        code, why = (
            str(said.get("error") or answer.status),
            str(said.get("error_description") or ""),
        )
        text = redacted_line(f"{code}: {why}" if why else code, *secrets)
        if said.get("error_subtype") in ("invalid_rapt", "rapt_required"):
            raise AuthError(
                "Google asks you to sign in again (your organisation limits sessions).", hint=AGAIN
            )
        if code == "invalid_grant":
            raise refused_sign_in(text)
        if answer.status == 200:
            text = "the login lacks the scope openid"
        raise AuthError(
            f"Your login gets no token for the IAP client {self._audience}: {text.rstrip('.')}.",
            hint=_DESKTOP,
        )

    def _of_service_account(self) -> str:
        """By its key, or by the metadata server of a machine at Google."""
        request, file, credentials = exchange(), login_file(), None
        try:
            if file:
                from google.oauth2.service_account import IDTokenCredentials as OfKey

                credentials = OfKey.from_service_account_file(file, target_audience=self._audience)
            else:
                import google.auth
                from google.auth.compute_engine import IDTokenCredentials as OfMachine

                google.auth.default(request=request)  # says in its words that nobody is signed in
                credentials = OfMachine(
                    request, self._audience, use_metadata_identity_endpoint=True
                )
            credentials.refresh(request)
        except Exception as error:
            raise explain_failure(error, credentials, None) from None
        return str(credentials.token)

    def _post(
        self, url: str, body: str, headers: Mapping[str, str], right: Token | None = None
    ) -> Any:
        """The answer, which is not that of a failing service or of something in between."""
        sign = right.sign if right else None
        try:
            answer = self._wire.exchange(
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


def _login() -> Mapping[str, Any]:
    """What the file with credentials says; {} without one."""
    file = login_file()
    if file is None:
        return {}
    try:
        found = json.loads(Path(file).read_bytes())
    except OSError as error:
        raise no_credentials(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise no_credentials(f"{file} is no JSON") from None
    if not isinstance(found, dict):
        raise no_credentials(f"{file} is not of the right form")
    return found


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = parse_json(body.decode())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(said: Mapping[str, Any], key: str, *secrets: str) -> str:
    found = said.get(key)
    if not isinstance(found, str):
        raise AuthError(
            f"Google sent no {key}: {redacted_line(json.dumps(said), *secrets)}.", hint=PROXY
        )
    return found
