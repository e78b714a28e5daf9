"""Google's Application Default Credentials against a stand-in of the services that give tokens."""

import json
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from json_types import JsonDict
from kfgcp.config import Environment
from kfgcp.errors import AuthError, BackendError, Unreachable
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.auth.tokens import TokenSource
from kfgcp.services.client import ServiceClient
from kfgcp.settings import Setting
from patience import WaitFor
from service_fixtures import ReceivedRequest, Reply, Server

Client = Callable[..., ServiceClient]
ACCOUNT = "runner@acme.iam.gserviceaccount.com"
REFRESH = "1//0e-a-refresh-token-that-is-long"
pytestmark = pytest.mark.usefixtures("nobody")
SIGN_IN = "Sign in again: gcloud auth application-default login"


def _user(**more: str) -> JsonDict:
    secret = {"client_secret": "GOCSPX-client-secret", "refresh_token": REFRESH}
    return {"type": "authorized_user", "client_id": "c"} | secret | more


def _source(**settings: str) -> TokenSource:
    return token_source(
        Environment(
            "dev", "vertex", {key: Setting(value, "test") for key, value in settings.items()}
        )
    )


def _error(source: TokenSource) -> BackendError:
    with pytest.raises(BackendError) as caught:
        source.get()
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    for secret in (REFRESH, "GOCSPX", "assertion=", "ya29.source"):
        assert secret not in shown
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def _granted(token: str = "ya29.granted", seconds: int = 3600) -> JsonDict:  # noqa: S107
    return {"access_token": token, "expires_in": seconds, "token_type": "Bearer"}


# -- a person


def test_a_login_of_gcloud(
    server: Server, another_server: Server, client: Client, sign_in: Callable[[object], Path]
) -> None:
    sign_in(_user(quota_project_id="payer"))
    server.answers(_granted())
    another_server.answers({"n": 1}, {"n": 2})
    http = client(another_server.url, _source())

    assert [http.get("x"), http.get("x")] == [{"n": 1}, {"n": 2}]
    (asked,) = server.asked
    assert (asked.path, asked.form["grant_type"], asked.form["refresh_token"]) == (
        "/token",
        "refresh_token",
        REFRESH,
    )
    assert another_server.asked[1].headers["authorization"] == "Bearer ya29.granted"
    assert another_server.asked[1].headers["x-goog-user-project"] == "payer"


def test_a_login_needs_no_gcloud(
    server: Server,
    sign_in: Callable[[object], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """google.auth.default() would start it, for a second, to learn a project that we do not use."""
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\necho acme\n")
    gcloud.chmod(0o755)
    monkeypatch.setenv("PATH", str(gcloud.parent), prepend=os.pathsep)
    sign_in(_user())
    server.answers(_granted())

    assert _source().get().value == "ya29.granted"  # type: ignore[union-attr]
    assert not (tmp_path / "started").exists()


def test_a_token_that_ends_soon_is_renewed_ahead(
    server: Server, sign_in: Callable[[object], Path], eventually: WaitFor
) -> None:
    """At half of its life, when that is short."""
    sign_in(_user())
    server.answers(_granted("ya29.one", 1), _granted("ya29.two"))
    source = _source()
    assert source.get().value == "ya29.one"  # type: ignore[union-attr]

    eventually(lambda: source.get().value == "ya29.two")  # type: ignore[union-attr]


def test_eight_threads_sign_in_once(server: Server, sign_in: Callable[[object], Path]) -> None:
    sign_in(_user())
    server.answers(_granted())
    source = _source()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: source.get().value, range(8))) == {"ya29.granted"}  # type: ignore[union-attr]


def test_a_login_that_was_revoked(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(_user())
    answer = {
        "error": "invalid_grant",
        "error_description": f"Token has been expired or revoked. {REFRESH}",
    }
    server.answers(reply(answer, 400))

    error = _error(_source())

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "The Google login has expired or was revoked: invalid_grant: Token has been expired or"
        " revoked. [hidden]."
    )
    assert error.hint == SIGN_IN


def test_a_new_sign_in_works_at_once(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    """A `watch` that runs on finds the new login."""
    sign_in(_user())
    server.answers(reply({"error": "invalid_grant"}, 400), _granted())
    source = _source()
    _error(source)

    sign_in(_user(refresh_token="another"))  # noqa: S106

    assert source.get().value == "ya29.granted"  # type: ignore[union-attr]
    assert server.asked[1].form["refresh_token"] == "another"  # noqa: S105


@pytest.mark.parametrize("subtype", ["invalid_rapt", "rapt_required"])
def test_an_organisation_that_limits_sessions(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply], subtype: str
) -> None:
    sign_in(_user())
    server.answers(reply({"error": "invalid_grant", "error_subtype": subtype}, 400))

    error = _error(_source())

    assert error.message == "Google asks you to sign in again (your organisation limits sessions)."
    assert error.hint == SIGN_IN


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (({"error": "invalid_client"}, 401), "Google refused the sign-in: invalid_client: None."),
        (({"secret": REFRESH}, 400), 'Google refused the sign-in: {"secret": "[hidden]"}.'),
        ((b"no", 400), "Google refused the sign-in: no."),
        (({"expires_in": 3}, 200), "Google refused the sign-in: No access token in response."),
    ],
)
def test_other_refusals(
    server: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
    answer: tuple[object, int],
    message: str,
) -> None:
    sign_in(_user())
    server.answers(reply(*answer))

    error = _error(_source())

    assert isinstance(error, AuthError)
    assert error.message == message


def test_a_page_instead_of_a_token(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(_user())
    server.answers(reply(b"<html>blocked</html>", 403))

    error = _error(_source())

    assert isinstance(error, Unreachable)
    assert error.message == "Google's sign-in service answered with a web page."


def test_a_redirect_of_the_sign_in_service_is_not_followed(
    server: Server, another_server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(_user())
    server.answers(reply(b"moved", 307, {"Location": f"{another_server.url}/token"}))

    assert isinstance(_error(_source()), AuthError)
    assert another_server.asked == []


def test_a_sign_in_service_that_hangs_up(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(_user())
    server.answers(reply(hang_up=True))

    error = _error(_source())

    assert isinstance(error, Unreachable)
    assert error.message == "Google's sign-in service closed the connection without an answer."


def test_a_sign_in_service_that_says_nothing(
    server: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kfgcp.services.auth.google.TIMEOUT", (5, 0.2))
    sign_in(_user())
    server.answers(reply(silent=True))

    error = _error(_source())

    assert error.message == "Google's sign-in service did not answer within 0.2 s."


def test_a_sign_in_service_that_is_not_there(
    sign_in: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(_user())
    monkeypatch.setattr(
        "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", "http://127.0.0.1:9/token"
    )

    error = _error(_source())

    assert isinstance(error, Unreachable)
    assert error.message == "Google's sign-in service refuses the connection."


# -- nobody, and files that are wrong


def test_nobody_is_signed_in() -> None:
    error = _error(_source())

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "You are not signed in to Google: there are no Application Default Credentials on this"
        " machine."
    )
    assert error.hint.startswith("gcloud auth application-default login ")


def test_a_credentials_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/key.json")

    error = _error(_source())

    assert (
        error.message
        == "The Google credentials cannot be used: File /no/such/key.json was not found."
    )
    assert "GOOGLE_APPLICATION_CREDENTIALS" in error.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f'{{"refresh_token": "{REFRESH}"', "is not a valid json file"),
        ({"type": "magic", "refresh_token": REFRESH}, "does not have a valid type. Type is magic"),
        (
            {"type": "authorized_user", "refresh_token": REFRESH},
            "Failed to load authorized user credentials from",
        ),
        (
            {"type": "service_account", "private_key": "x"},
            "Failed to load service account credentials from",
        ),
        ([1], "The Google credentials cannot be used: their format is wrong"),
    ],
)
def test_a_credentials_file_that_is_wrong(
    sign_in: Callable[[object], Path], content: object, message: str
) -> None:
    sign_in(content)

    error = _error(_source())

    assert isinstance(error, AuthError)
    assert message in error.message


def test_credentials_of_another_universe_are_refused_by_its_name(
    sign_in: Callable[[object], Path],
) -> None:
    """Nothing is sent: their services have other addresses."""
    sign_in(_user(universe_domain="cloud.acme.example"))

    error = _error(_source())

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "The Google credentials are for the universe domain cloud.acme.example; kfgcp reaches"
        " googleapis.com only."
    )


def test_a_key_of_another_universe_is_refused_by_its_name(key_file: Path) -> None:
    key = json.loads(key_file.read_text())
    key_file.write_text(json.dumps(key | {"universe_domain": "apis-acme.example"}))

    assert "universe domain apis-acme.example" in _error(_source()).message
    impersonating = _source(impersonate_service_account=ACCOUNT)
    assert "universe domain apis-acme.example" in _error(impersonating).message


# -- a service account


def test_the_key_of_a_service_account(server: Server, key_file: Path) -> None:
    import google.auth.jwt

    server.answers(_granted())

    assert _source().get().value == "ya29.granted"  # type: ignore[union-attr]
    claims = google.auth.jwt.decode(server.asked[0].form["assertion"], verify=False)
    assert (claims["iss"], claims["scope"]) == (
        ACCOUNT,
        "https://www.googleapis.com/auth/cloud-platform",
    )


def test_a_key_that_was_deleted(server: Server, key_file: Path, reply: type[Reply]) -> None:
    server.answers(
        reply({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
    )

    error = _error(_source())

    assert error.message == (
        "Google does not accept the service account's key: invalid_grant: Invalid JWT Signature."
    )
    assert error.hint.startswith(
        "Check the clock of this machine, and whether the key was deleted."
    )


# -- acting as a service account


@pytest.fixture
def impersonation(another_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return the stand-in of iamcredentials.googleapis.com."""
    monkeypatch.setattr(
        "google.auth.iam._IAM_ENDPOINT",
        another_server.url + "/v1/projects/-/serviceAccounts/{}:generateAccessToken",
    )
    return another_server


def test_acting_as_a_service_account(
    server: Server, impersonation: Server, sign_in: Callable[[object], Path]
) -> None:
    sign_in(_user(quota_project_id="payer"))
    server.answers(_granted("ya29.source"))
    impersonation.answers({"accessToken": "ya29.runner", "expireTime": "2099-01-01T00:00:00Z"})

    token = _source(impersonate_service_account=ACCOUNT).get()

    assert token is not None
    assert (token.value, token.quota_project) == ("ya29.runner", "payer")
    (asked,) = impersonation.asked
    assert asked.path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    assert asked.headers["authorization"] == "Bearer ya29.source"
    assert asked.json["scope"] == ["https://www.googleapis.com/auth/cloud-platform"]


@pytest.mark.parametrize(
    ("status", "message", "detail", "hint"),
    [
        (
            403,
            (
                "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not"
                " exist)."
            ),
            "IAM_PERMISSION_DENIED",
            f"Ask for roles/iam.serviceAccountTokenCreator on {ACCOUNT}, and check its name.",
        ),
        (
            404,
            "Not found; Gaia id not found for email",
            "",
            f"Ask for roles/iam.serviceAccountTokenCreator on {ACCOUNT}, and check its name.",
        ),
        (
            403,
            (
                "IAM Service Account Credentials API has not been used in project 1 before or it is"
                " disabled."
            ),
            "SERVICE_DISABLED",
            (
                "Enable the API in the project of your credentials: gcloud services enable"
                " iamcredentials.googleapis.com"
            ),
        ),
    ],
)
def test_one_may_not_act_as_it(
    server: Server,
    impersonation: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
    status: int,
    message: str,
    detail: str,
    hint: str,
) -> None:
    sign_in(_user())
    server.answers(_granted("ya29.source"))
    details = (
        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": detail}] if detail else []
    )
    answer = {"error": {"code": status, "message": f"{message} ya29.source", "details": details}}
    impersonation.answers(reply(answer, status))

    error = _error(_source(impersonate_service_account=ACCOUNT))

    assert isinstance(error, AuthError)
    assert error.message == f"You are not allowed to act as {ACCOUNT}: {message} [hidden]."
    assert error.hint == hint


def test_a_login_that_was_revoked_before_one_could_act(
    server: Server, impersonation: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(_user())
    server.answers(reply({"error": "invalid_grant", "error_description": "Bad Request"}, 400))

    error = _error(_source(impersonate_service_account=ACCOUNT))

    assert (
        error.message == "The Google login has expired or was revoked: invalid_grant: Bad Request."
    )
    assert impersonation.asked == []


def test_credentials_that_act_by_themselves(
    server: Server, impersonation: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    """As `gcloud auth application-default login --impersonate-service-account` writes them."""
    url = f"{impersonation.url}/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    content = {
        "type": "impersonated_service_account",
        "source_credentials": _user(),
        "delegates": [],
    }
    sign_in(content | {"service_account_impersonation_url": url})
    server.answers(_granted("ya29.source"))
    impersonation.answers(reply({"error": {"code": 403, "message": "Permission denied."}}, 403))

    error = _error(_source())

    assert error.message == f"You are not allowed to act as {ACCOUNT}: Permission denied."


def test_a_federated_login(
    server: Server, sign_in: Callable[[object], Path], tmp_path: Path
) -> None:
    """Workload identity federation: a token of somebody else is exchanged for one of Google."""
    (tmp_path / "subject").write_text("foreign-token")
    sign_in(
        {
            "type": "external_account",
            "audience": (
                "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
            ),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{server.url}/v1/token",
            "credential_source": {"file": str(tmp_path / "subject")},
        }
    )
    server.answers(_granted("ya29.federated"))

    assert _source().get().value == "ya29.federated"  # type: ignore[union-attr]
    assert server.asked[0].form["subject_token"] == "foreign-token"  # noqa: S105


# -- a machine at Google

GOOGLE_TEXT = {"Metadata-Flavor": "Google", "Content-Type": "text/plain"}


@pytest.fixture
def machine(metadata: Server, reply: type[Reply]) -> Callable[[Reply], None]:
    """Return a function that turns this machine into one of Google Cloud.

    Its argument `universe` is the answer to a request for the universe domain.
    """

    def make(universe: Reply) -> None:
        def answer(asked: ReceivedRequest) -> Reply:
            google = {"Metadata-Flavor": "Google"}
            if asked.path.endswith("/universe/universe-domain"):
                return universe
            if asked.path.endswith("/token"):
                return reply(_granted("ya29.machine"), headers=google)
            if asked.path.endswith("/service-accounts/default/"):
                return reply(
                    {"email": ACCOUNT, "scopes": ["x"], "aliases": ["default"]}, headers=google
                )
            return reply(b"acme", headers=GOOGLE_TEXT)

        metadata.always(answer)

    return make


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"googleapis.com", 200),
        (b"googleapis.com\n", 200),
        (b"", 200),
        (b"no such path", 404),
        (b"not now", 503),
    ],
    ids=["public", "line", "empty", "older", "fails"],
)
def test_a_machine_at_google(
    metadata: Server, machine: Callable[[Reply], None], reply: type[Reply], body: bytes, status: int
) -> None:
    machine(reply(body, status, GOOGLE_TEXT))

    assert _source().get().value == "ya29.machine"  # type: ignore[union-attr]
    assert all(asked.headers["metadata-flavor"] == "Google" for asked in metadata.asked)
    assert [asked.path for asked in metadata.asked].count(
        "/computeMetadata/v1/universe/universe-domain"
    ) == 1


@pytest.mark.parametrize(
    "settings", [{}, {"impersonate_service_account": ACCOUNT}], ids=["itself", "impersonates"]
)
def test_a_machine_of_another_universe_is_refused_by_its_name(
    metadata: Server, machine: Callable[[Reply], None], reply: type[Reply], settings: dict[str, str]
) -> None:
    machine(reply(b"cloud.acme.example", headers=GOOGLE_TEXT))

    error = _error(_source(**settings))

    assert isinstance(error, AuthError)
    assert "universe domain cloud.acme.example" in error.message
    paths = [asked.path for asked in metadata.asked]
    assert paths.count("/computeMetadata/v1/universe/universe-domain") == 1
    assert not [path for path in paths if path.endswith("/token")]


def test_a_machine_without_a_service_account(metadata: Server, reply: type[Reply]) -> None:
    def answer(asked: ReceivedRequest) -> Reply:
        if asked.path.endswith("/universe/universe-domain"):
            return reply(b"googleapis.com", headers=GOOGLE_TEXT)
        exists = "/service-accounts/" not in asked.path
        return reply(b"acme", 200 if exists else 404, GOOGLE_TEXT)

    metadata.always(answer)

    error = _error(_source())

    assert isinstance(error, AuthError)
    assert error.message == "This machine in Google Cloud has no service account."


def test_a_metadata_server_that_fails(
    metadata: Server, reply: type[Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)

    def answer(asked: ReceivedRequest) -> Reply:
        broken = "/service-accounts/" in asked.path or asked.path.endswith(
            "/universe/universe-domain"
        )
        return reply(
            b"acme",
            503 if broken else 200,
            {"Metadata-Flavor": "Google", "Content-Type": "text/plain"},
        )

    metadata.always(answer)

    error = _error(_source())

    assert isinstance(error, Unreachable)
    assert (
        error.message == "The metadata server, which gives tokens to this machine, does not answer."
    )
