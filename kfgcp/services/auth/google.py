"""Tokens of Google: Application Default Credentials, which may act as a service account.

What signs in, first to last: the file that GOOGLE_APPLICATION_CREDENTIALS names, the one that
`gcloud auth application-default login` writes, the metadata server of a machine at Google.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from kfgcp.errors import AuthError, BackendError, Unreachable
from kfgcp.services.auth.tokens import RenewedTokens, Token
from kfgcp.services.google_errors import LOG_IN, is_disabled_api
from kfgcp.services.redact import redacted_line
from kfgcp.services.responses import read_error
from kfgcp.services.transport import Response, Transport, TransportError

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect to a service that gives tokens, and to wait for its answer."""
AGAIN: Final = f"Sign in again: {LOG_IN}"
UNIVERSE: Final = "googleapis.com"
"""The universe domain of Google's public cloud."""
_UNIVERSE_PATH: Final = "universe/universe-domain"
"""Where the metadata server of a machine has it, as google.auth reads it."""
PROXY: Final = "Check HTTPS_PROXY, NO_PROXY and the network: something in between answers."


def google_tokens(
    account: str | None = None, login: Mapping[str, Any] | None = None
) -> RenewedTokens:
    """Tokens of whoever is signed in on this machine, or of the service account that they may act
    as.

    login: what a file with credentials says, instead of that of this machine.
    """
    return RenewedTokens(_Login(account, login).fetch, sign_in_hint=AGAIN)


class _Login:
    """Google's credentials, read at the first use and again after a failure: the user may have
    signed in meanwhile."""

    def __init__(self, account: str | None, login: Mapping[str, Any] | None) -> None:
        self._account = account
        self._login = login
        self._credentials: Any = None

    def fetch(self) -> tuple[Token, float | None]:
        """A new token and when it ends. `RenewedTokens` calls it from one thread at a time."""
        request = exchange()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about quotas, and about interpreters
                if self._credentials is None:
                    credentials = _load(request, self._account, self._login)
                    _check_universe(credentials)
                    self._credentials = credentials
                self._credentials.refresh(request)
        except AuthError:
            raise
        except Exception as error:
            whose = self._credentials
            self._credentials = None
            raise explain_failure(error, whose, self._account) from None
        credentials = self._credentials
        expiry = credentials.expiry.replace(tzinfo=UTC).timestamp() if credentials.expiry else None
        return Token(
            credentials.token, credentials.quota_project_id, account_of(credentials)
        ), expiry


def _load(request: Any, account: str | None, login: Mapping[str, Any] | None) -> Any:
    """Credentials that can be refreshed.

    `google.auth.default` alone would start `gcloud` to learn of a project, which takes about a
    second and is not used.
    """
    import google.auth
    from google.auth import compute_engine
    from google.auth.credentials import with_scopes_if_required

    file = login_file()
    if login is not None:
        credentials, _ = google.auth.load_credentials_from_dict(dict(login))
    elif file:
        credentials, _ = google.auth.load_credentials_from_file(file)
    else:
        credentials, _ = google.auth.default(request=request)
        if isinstance(credentials, compute_engine.Credentials):
            # Otherwise google.auth asks for it when it impersonates, in a way that no deadline
            # ends.
            credentials = credentials.with_universe_domain(_universe_of_machine(request))
    credentials = with_scopes_if_required(credentials, SCOPES)
    if account is None:
        return credentials
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials(
        credentials,
        target_principal=account,
        target_scopes=list(SCOPES),
        quota_project_id=credentials.quota_project_id,
    )


def _universe_of_machine(request: Any) -> str:
    """Return the universe domain that the metadata server names, with one short request.

    A metadata server that does not answer it, as in older versions, is taken to be in the public
    cloud.
    """
    from google.auth.compute_engine import _metadata
    from google.auth.exceptions import GoogleAuthError

    try:
        domain = _metadata.get(
            request, _UNIVERSE_PATH, retry_count=1, return_none_for_not_found_error=True
        )
    except GoogleAuthError:
        return UNIVERSE
    return domain.strip() or UNIVERSE if isinstance(domain, str) else UNIVERSE


def _check_universe(credentials: Any) -> None:
    """Refuse credentials of another universe than Google's public cloud, whose services have other
    addresses.

    A file names its universe in `universe_domain`. Of a machine it is known already.

    Raises:
        AuthError: they are of another one.
    """
    domain = getattr(credentials, "universe_domain", None) or UNIVERSE
    if domain != UNIVERSE:
        raise AuthError(
            "The Google credentials are for the universe domain"
            f" {redacted_line(str(domain), limit=100)}; kfgcp reaches {UNIVERSE} only.",
            hint=(
                f"Use credentials of {UNIVERSE}: {LOG_IN}, or another file in"
                " GOOGLE_APPLICATION_CREDENTIALS."
            ),
        )


def account_of(credentials: Any) -> str:
    """Whose credentials they are, as far as they know: "" for most logins of people."""
    account = getattr(credentials, "service_account_email", None) or getattr(
        credentials, "account", None
    )
    return str(account) if account and "@" in str(account) else ""


def login_file() -> str | None:
    """The file with credentials, as google.auth looks for it."""
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if named:
        return named
    config = os.environ.get("CLOUDSDK_CONFIG")
    folder = (
        Path(config)
        if config
        else Path(os.environ.get("APPDATA", "~") if os.name == "nt" else "~/.config", "gcloud")
    )
    file = folder.expanduser() / "application_default_credentials.json"
    return str(file) if file.is_file() else None


def exchange() -> Any:
    """Return a transport with which google.auth sends its requests as the rest of kfgcp does: with
    `Transport`."""
    from google.auth import transport
    from google.auth.exceptions import TransportError as GoogleTransportError
    from requests.structures import CaseInsensitiveDict

    class GoogleResponse(transport.Response):
        """The answer in the form that google.auth reads."""

        def __init__(self, answer: Response) -> None:
            self._answer = answer

        @property
        def status(self) -> int:
            return self._answer.status

        @property
        def headers(self) -> Any:
            return CaseInsensitiveDict(self._answer.headers)

        @property
        def data(self) -> bytes:
            return self._answer.body

    class GoogleRequest(transport.Request):
        def __init__(self) -> None:
            self._wire = Transport()

        def __call__(
            self,
            url: str,
            method: str = "GET",
            body: Any = None,
            headers: Any = None,
            timeout: Any = None,
            **options: Any,
        ) -> Any:
            try:
                answer = self._wire.exchange(
                    method,
                    url,
                    data=body.encode() if isinstance(body, str) else body,
                    headers=headers,
                    timeout=(timeout, timeout) if timeout else TIMEOUT,
                    certificate=options.get("cert"),
                )
            except TransportError as failure:
                raise GoogleTransportError(failure) from failure
            return GoogleResponse(answer)

    return GoogleRequest()


def explain_failure(error: Exception, credentials: Any, account: str | None) -> BackendError:
    """What an error of google.auth says, without what it quotes of requests and answers."""
    from google.auth import exceptions

    transport_error = _transport(error)
    if transport_error is not None:
        return _no_connection(transport_error)
    secrets = [
        str(getattr(credentials, name, None) or "")
        for name in ("token", "refresh_token", "client_secret")
    ]
    error_text = redacted_line(str(error.args[0]) if error.args else type(error).__name__, *secrets)
    answer = error.args[1] if len(error.args) > 1 else None
    if credentials is None and not isinstance(error, exceptions.GoogleAuthError):
        return no_credentials(f"they are not of the right form ({type(error).__name__})")
    if isinstance(error, exceptions.DefaultCredentialsError):
        return no_credentials(error_text)
    if error_text.startswith("Unable to acquire impersonated credentials"):
        return not_impersonated(
            answer, account or getattr(credentials, "service_account_email", None)
        )
    if error_text.startswith("<"):
        return Unreachable(
            "A web page came instead of an answer of Google's sign-in service.", hint=PROXY
        )
    if isinstance(error, exceptions.GoogleAuthError) and error.retryable:
        return Unreachable(
            f"Google's sign-in service failed: {error_text}.", hint="Try again later."
        )
    if isinstance(error, exceptions.ReauthFailError) or error_text.startswith(
        "Reauthentication is needed"
    ):
        return AuthError(
            "Google asks you to sign in again (your organisation limits sessions).", hint=AGAIN
        )
    return refused_sign_in(error_text)


def _transport(error: BaseException | None) -> BaseException | None:
    """The failure of the connection that is behind an error, if one is."""
    from google.auth.exceptions import TransportError as GoogleTransportError

    while error is not None and not isinstance(error, GoogleTransportError):
        error = error.__cause__
    return error


def _no_connection(error: BaseException) -> BackendError:
    text = str(error.args[0]) if error.args else ""
    if "metadata" in text:
        if "404" in text:
            return AuthError(
                "This machine at Google has no service account.",
                hint="Attach one to it, or sign in.",
            )
        return Unreachable(
            "The metadata server of this machine, which gives its tokens, does not answer.",
            hint=f"Try again. Not on a machine at Google? {LOG_IN}",
        )
    failure = (
        error.__cause__
        if isinstance(error.__cause__, TransportError)
        else TransportError("does not answer")
    )
    return Unreachable(f"Google's sign-in service {failure.problem}.", hint=failure.hint)


def no_credentials(said: str) -> AuthError:
    if "default credentials were not found" in said:
        return AuthError(
            "You are not signed in to Google: there are no Application Default Credentials on this"
            " machine.",
            hint=f"{LOG_IN} (or let GOOGLE_APPLICATION_CREDENTIALS name a key file)",
        )
    return AuthError(
        f"The Google credentials cannot be used: {said.rstrip('.')}.",
        hint=f"Mend what GOOGLE_APPLICATION_CREDENTIALS names, or unset it and: {LOG_IN}",
    )


def not_impersonated(answer: Any, account: str | None) -> AuthError:
    """The answer of IAM Credentials says no."""
    whom = account or "the service account"
    said = read_error(answer) if isinstance(answer, (str, bytes)) else read_error("")
    text = redacted_line(said.message) or "no reason was given"
    hint = f"Ask for roles/iam.serviceAccountTokenCreator on {whom}, and check its name."
    if is_disabled_api(text, said.reason):
        hint = (
            "Enable the API in the project of your credentials: gcloud services enable"
            " iamcredentials.googleapis.com"
        )
    return AuthError(f"You may not act as {whom}: {text.rstrip('.')}.", hint=hint)


def refused_sign_in(said: str) -> AuthError:
    """Google's sign-in service said no (RFC 6749, 5.2)."""
    if said.startswith("invalid_grant") and "JWT" in said:
        return AuthError(
            f"Google does not accept the service account's key: {said.rstrip('.')}.",
            hint=(
                "Is the key deleted, or the clock of this machine wrong? Make a new key, or sign in"
                " another way."
            ),
        )
    if said.startswith("invalid_grant"):
        return AuthError(
            f"The Google login has expired or was revoked: {said.rstrip('.')}.", hint=AGAIN
        )
    return AuthError(f"Google refused the sign-in: {said.rstrip('.')}.", hint=AGAIN)
