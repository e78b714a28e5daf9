"""Get tokens for Google's services with Application Default Credentials.

The credentials ("the login") are the first of these that exist: the file in the variable
GOOGLE_APPLICATION_CREDENTIALS, the file that `gcloud auth application-default login` writes, or the
service account of a machine at Google. With the login, kfgcp may impersonate a service account: it
then gets tokens of this account. Messages call this "act as".
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
# Seconds to connect to a service that gives tokens, and seconds to wait for its answer.
TIMEOUT: Final = (5.0, 30.0)
SIGN_IN_AGAIN: Final = f"Sign in again: {LOG_IN}"
PROXY_HINT: Final = (
    "Check HTTPS_PROXY, NO_PROXY and the network: a proxy may answer instead of Google."
)

# A universe is one cloud with Google's software. The public cloud has this universe domain.
PUBLIC_UNIVERSE: Final = "googleapis.com"
# The path of the universe domain at the metadata server, as in google.auth.
_UNIVERSE_PATH: Final = "universe/universe-domain"


def google_tokens(
    account: str | None = None, login: Mapping[str, Any] | None = None
) -> RenewedTokens:
    """Return a source of access tokens for Google's services.

    Args:
        account: the service account to impersonate; None for the login itself.
        login: the content of a file with credentials; None for the login of this machine.
    """
    return RenewedTokens(_Login(account, login).fetch_token, sign_in_hint=SIGN_IN_AGAIN)


class _Login:
    """The credentials of Google that give tokens.

    They are read at the first use, and again after each failure, because the user may have signed
    in since then.
    """

    def __init__(self, account: str | None, login: Mapping[str, Any] | None) -> None:
        self._account = account
        self._login = login
        self._credentials: Any = None

    def fetch_token(self) -> tuple[Token, float | None]:
        """Return a new token, and the time when it expires in seconds since 1970.

        None in place of the time means never. Only one thread at a time may call this method.

        Raises:
            AuthError: there are no credentials, or Google refuses them.
            Unreachable: the service that gives tokens does not answer.
        """
        request = auth_request()
        try:
            with warnings.catch_warnings():
                # google.auth warns about quota projects and old versions of Python.
                warnings.simplefilter("ignore")
                if self._credentials is None:
                    credentials = _load_credentials(request, self._account, self._login)
                    _check_universe(credentials)
                    self._credentials = credentials
                self._credentials.refresh(request)
        except AuthError:
            raise
        except Exception as error:
            failed_credentials = self._credentials
            self._credentials = None
            raise explain_failure(error, failed_credentials, self._account) from None
        credentials = self._credentials
        account = account_of(credentials)
        token = Token(credentials.token, credentials.quota_project_id, account)
        if not credentials.expiry:
            return token, None
        # google.auth has the time in UTC, but without a time zone.
        return token, credentials.expiry.replace(tzinfo=UTC).timestamp()


def _load_credentials(request: Any, account: str | None, login: Mapping[str, Any] | None) -> Any:
    """Load credentials of google.auth, and return them before their first refresh.

    Args:
        request: a transport of google.auth.
        account: the service account to impersonate; None for the login itself.
        login: the content of a file with credentials; None for the login of this machine.
    """
    # A file is not loaded with `google.auth.default`. That function would also start `gcloud` to
    # find the project, which takes about a second, and kfgcp does not use this project.
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
            # Without a universe domain, google.auth requests it when it impersonates an account.
            # No deadline would end that request.
            credentials = credentials.with_universe_domain(_fetch_universe(request))
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


def _fetch_universe(request: Any) -> str:
    """Return the universe domain of this machine, with one request to the metadata server."""
    from google.auth.compute_engine import _metadata
    from google.auth.exceptions import GoogleAuthError

    try:
        domain = _metadata.get(
            request, _UNIVERSE_PATH, retry_count=1, return_none_for_not_found_error=True
        )
    except GoogleAuthError:
        domain = None
    # Older metadata servers, which are all in the public cloud, do not have this path.
    if not isinstance(domain, str):
        return PUBLIC_UNIVERSE
    return domain.strip() or PUBLIC_UNIVERSE


def _check_universe(credentials: Any) -> None:
    """Check that credentials are for Google's public cloud. Other clouds have other addresses.

    Raises:
        AuthError: the credentials are for another universe.
    """
    domain = getattr(credentials, "universe_domain", None) or PUBLIC_UNIVERSE
    if domain != PUBLIC_UNIVERSE:
        raise AuthError(
            "The Google credentials are for the universe domain"
            f" {redacted_line(str(domain), limit=100)}; kfgcp reaches {PUBLIC_UNIVERSE} only.",
            hint=(
                f"Use credentials of {PUBLIC_UNIVERSE}: {LOG_IN}, or another file in"
                " GOOGLE_APPLICATION_CREDENTIALS."
            ),
        )


def account_of(credentials: Any) -> str:
    """Return the e-mail address of the account of credentials, "" when it is not known.

    The credentials of a person usually do not have it.
    """
    service_account = getattr(credentials, "service_account_email", None)
    account = str(service_account or getattr(credentials, "account", None) or "")
    # Before the first refresh, the credentials of a machine have "default" in place of the address.
    return account if "@" in account else ""


def login_file() -> str | None:
    """Return the path of the file with the login, None when this machine has no such file.

    google.auth chooses the file in the same way.
    """
    variable = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if variable:
        return variable
    file = _gcloud_folder().expanduser() / "application_default_credentials.json"
    return str(file) if file.is_file() else None


def _gcloud_folder() -> Path:
    config = os.environ.get("CLOUDSDK_CONFIG")
    if config:
        return Path(config)
    if os.name == "nt":
        return Path(os.environ.get("APPDATA", "~"), "gcloud")
    return Path("~/.config/gcloud")


def auth_request() -> Any:
    """Return a transport for google.auth that sends each request with `Transport`.

    google.auth calls this object a request, although it can send many requests.
    """
    from google.auth import transport
    from google.auth.exceptions import TransportError as GoogleTransportError
    from requests.structures import CaseInsensitiveDict

    class GoogleResponse(transport.Response):
        """A response of `Transport` with the attributes that google.auth reads."""

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
        """`Transport` as the function that google.auth calls."""

        def __init__(self) -> None:
            self._transport = Transport()

        def __call__(
            self,
            url: str,
            method: str = "GET",
            body: Any = None,
            headers: Any = None,
            timeout: Any = None,
            **options: Any,
        ) -> Any:
            data = body.encode() if isinstance(body, str) else body
            try:
                answer = self._transport.exchange(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    timeout=(timeout, timeout) if timeout else TIMEOUT,
                    certificate=options.get("cert"),
                )
            except TransportError as failure:
                raise GoogleTransportError(failure) from failure
            return GoogleResponse(answer)

    return GoogleRequest()


def explain_failure(error: Exception, credentials: Any, account: str | None) -> BackendError:
    """Convert an error of google.auth to one of our errors. Its message has no secrets.

    Args:
        error: an error of google.auth, or any error while the credentials were read.
        credentials: the credentials that failed, None when they could not be read.
        account: the service account to impersonate, None for the login itself.
    """
    from google.auth import exceptions

    transport_error = _find_transport_error(error)
    if transport_error is not None:
        return _connection_problem(transport_error)
    error_text = _describe(error, credentials)
    # Errors of google.auth have the body of the answer as their second argument.
    answer = error.args[1] if len(error.args) > 1 else None
    if credentials is None and not isinstance(error, exceptions.GoogleAuthError):
        return no_credentials(f"their format is wrong ({type(error).__name__})")
    if isinstance(error, exceptions.DefaultCredentialsError):
        return no_credentials(error_text)
    if error_text.startswith("Unable to acquire impersonated credentials"):
        target = account or getattr(credentials, "service_account_email", None)
        return not_impersonated(answer, target)
    if error_text.startswith("<"):
        return Unreachable("Google's sign-in service answered with a web page.", hint=PROXY_HINT)
    if isinstance(error, exceptions.GoogleAuthError) and error.retryable:
        return Unreachable(
            f"Google's sign-in service failed: {error_text}.", hint="Try again later."
        )
    is_reauthentication = isinstance(error, exceptions.ReauthFailError)
    if is_reauthentication or error_text.startswith("Reauthentication is needed"):
        return AuthError(
            "Google asks you to sign in again (your organisation limits sessions).",
            hint=SIGN_IN_AGAIN,
        )
    return refused_sign_in(error_text)


def _find_transport_error(error: BaseException) -> BaseException | None:
    """Return the TransportError of google.auth that caused an error, None without one."""
    from google.auth.exceptions import TransportError as GoogleTransportError

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, GoogleTransportError):
        cause = cause.__cause__
    return cause


def _describe(error: Exception, credentials: Any) -> str:
    """Return the message of an error on one line, without the secrets of the credentials."""
    secret_attributes = ("token", "refresh_token", "client_secret")
    secrets = [str(getattr(credentials, name, None) or "") for name in secret_attributes]
    # Only the first argument is the message. The others contain the whole answer.
    text = str(error.args[0]) if error.args else type(error).__name__
    return redacted_line(text, *secrets)


def _connection_problem(error: BaseException) -> BackendError:
    """Convert a TransportError of google.auth to one of our errors."""
    text = str(error.args[0]) if error.args else ""
    if "metadata" in text:
        if "404" in text:
            return AuthError(
                "This machine in Google Cloud has no service account.",
                hint=f"Attach a service account to this machine, or sign in: {LOG_IN}",
            )
        return Unreachable(
            "The metadata server, which gives tokens to this machine, does not answer.",
            hint=f"Try again. If this machine is not in Google Cloud, sign in: {LOG_IN}",
        )
    failure = error.__cause__
    if not isinstance(failure, TransportError):
        failure = TransportError("does not answer")
    return Unreachable(f"Google's sign-in service {failure.problem}.", hint=failure.hint)


def no_credentials(problem: str) -> AuthError:
    """Return the error for credentials that are missing or cannot be used.

    Args:
        problem: the message of google.auth, or the reason as a clause, such as "FILE is not JSON".
    """
    if "default credentials were not found" in problem:
        return AuthError(
            "You are not signed in to Google: there are no Application Default Credentials on this"
            " machine.",
            hint=f"{LOG_IN} (or set GOOGLE_APPLICATION_CREDENTIALS to a key file)",
        )
    return AuthError(
        f"The Google credentials cannot be used: {problem.rstrip('.')}.",
        hint=(
            "Correct the file in GOOGLE_APPLICATION_CREDENTIALS, or unset this variable and sign"
            f" in: {LOG_IN}"
        ),
    )


def not_impersonated(answer: object, account: str | None) -> AuthError:
    """Return the error for a login that may not impersonate a service account.

    Args:
        answer: the body of the answer of IAM Credentials; anything but text when there is no body.
        account: the service account; None when it is not known.
    """
    target = account or "the service account"
    body = answer if isinstance(answer, (str, bytes)) else ""
    error = read_error(body)
    text = redacted_line(error.message) or "no reason was given"
    hint = f"Ask for roles/iam.serviceAccountTokenCreator on {target}, and check its name."
    if is_disabled_api(text, error.reason):
        hint = (
            "Enable the API in the project of your credentials: gcloud services enable"
            " iamcredentials.googleapis.com"
        )
    return AuthError(f"You are not allowed to act as {target}: {text.rstrip('.')}.", hint=hint)


def refused_sign_in(answer: str) -> AuthError:
    """Return the error for a refusal of Google's sign-in service.

    Args:
        answer: the error code of RFC 6749, section 5.2, and a description.
    """
    reason = answer.rstrip(".")
    if answer.startswith("invalid_grant") and "JWT" in answer:
        return AuthError(
            f"Google does not accept the service account's key: {reason}.",
            hint=(
                "Check the clock of this machine, and whether the key was deleted. If it was,"
                " create a new key, or sign in: gcloud auth application-default login"
            ),
        )
    if answer.startswith("invalid_grant"):
        return AuthError(
            f"The Google login has expired or was revoked: {reason}.", hint=SIGN_IN_AGAIN
        )
    return AuthError(f"Google refused the sign-in: {reason}.", hint=SIGN_IN_AGAIN)
