"""Id tokens for Identity-Aware Proxy: of a key, of a machine, of a person, and by acting as a
service account."""

import base64
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.config import Environment
from kfgcp.errors import AuthError, BackendError, ConfigError, Unreachable
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.auth.tokens import TokenSource
from kfgcp.services.client import ServiceClient
from kfgcp.settings import Setting
from patience import WaitFor
from service_fixtures import ReceivedRequest, Reply, Server

pytestmark = pytest.mark.usefixtures("nobody")

Client = Callable[..., ServiceClient]
PROXY = "123-iap.apps.googleusercontent.com"
ACCOUNT = "runner@acme.iam.gserviceaccount.com"
REFRESH = "1//0e-a-refresh-token-that-is-long"
USER = {
    "type": "authorized_user",
    "client_id": "desktop",
    "client_secret": "GOCSPX-secret",
    "refresh_token": REFRESH,
}


@pytest.fixture(autouse=True)
def addresses(server: Server, another_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`server` is the token endpoint, `another_server` IAM Credentials."""
    monkeypatch.setattr("kfgcp.services.auth.iap.TOKEN_ADDRESS", f"{server.url}/token")
    monkeypatch.setattr(
        "kfgcp.services.auth.iap.ACCOUNTS_ADDRESS", f"{another_server.url}/accounts/"
    )


def _source(**settings: str) -> TokenSource:
    all_settings = {"auth": "iap", "host": "https://kfp.example", "iap_client_id": PROXY} | settings
    return token_source(
        Environment(
            "gke", "kubeflow", {key: Setting(value, "test") for key, value in all_settings.items()}
        )
    )


def _value(source: TokenSource) -> str:
    token = source.get()
    assert token is not None
    return token.value


def _error(source: TokenSource) -> BackendError:
    with pytest.raises(BackendError) as caught:
        source.get()
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.hint
    for secret in (REFRESH, "GOCSPX", "ya29.source"):
        assert secret not in shown
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_the_client_of_the_proxy_has_to_be_named() -> None:
    with pytest.raises(ConfigError) as caught:
        _source(iap_client_id="")

    assert (
        caught.value.message
        == "Environment 'gke' has no iap_client_id, which auth = \"iap\" needs."
    )


# -- a person with a desktop client


def test_a_person(
    server: Server, sign_in: Callable[[object], Path], id_token: Callable[..., str]
) -> None:
    sign_in(USER)
    expected = id_token(PROXY)
    server.answers({"id_token": expected, "access_token": "ya29.other", "expires_in": 3599})

    token = _source().get()

    assert token is not None
    assert (token.value, token.account, token.quota_project) == (expected, "ada@acme.example", None)
    (asked,) = server.asked
    assert asked.form == {
        "grant_type": "refresh_token",
        "client_id": "desktop",
        "client_secret": "GOCSPX-secret",
        "refresh_token": REFRESH,
        "audience": PROXY,
    }


def test_a_token_is_renewed_for_as_long_as_it_is_asked_for(
    server: Server,
    another_server: Server,
    sign_in: Callable[[object], Path],
    client: Client,
    id_token: Callable[..., str],
    reply: type[Reply],
    eventually: WaitFor,
) -> None:
    """Tokens that live two seconds, over the wire, to the third of them."""
    sign_in(USER)
    server.always(lambda asked: reply({"id_token": id_token(PROXY, 2, n=len(server.asked))}))
    another_server.always(lambda asked: reply())
    http = client(another_server.url, _source())

    def third() -> bool:
        http.get("apis/v2beta1/runs")
        return len(server.asked) == 3

    eventually(third)
    sent = {asked.headers["authorization"] for asked in another_server.asked}
    assert len(sent) == 3


@pytest.mark.parametrize("kind", ["key", "machine", "acting"])
def test_tokens_of_service_accounts_are_renewed_too(
    server: Server,
    another_server: Server,
    sign_in: Callable[[object], Path],
    request: pytest.FixtureRequest,
    id_token: Callable[..., str],
    reply: type[Reply],
    eventually: WaitFor,
    kind: str,
) -> None:
    """Tokens that live two seconds, to the third of them."""
    google = {"Metadata-Flavor": "Google"}

    def answer(asked: ReceivedRequest) -> Reply:
        if asked.path.endswith("/identity"):
            fresh = id_token(PROXY, 2, n=len(server.asked))
            return reply(fresh.encode(), headers=google | {"Content-Type": "text/plain"})
        if asked.path.endswith("/service-accounts/default/"):
            return reply(
                {"email": ACCOUNT, "scopes": ["x"], "aliases": ["default"]}, headers=google
            )
        if asked.path == "/token":
            return reply(
                {
                    "id_token": id_token(PROXY, 2, n=len(server.asked)),
                    "access_token": "a",
                    "expires_in": 3600,
                }
            )
        return reply(b"acme", headers=google | {"Content-Type": "text/plain"})

    server.always(answer)
    another_server.always(
        lambda asked: reply({"token": id_token(PROXY, 2, n=len(another_server.asked))})
    )
    if kind == "acting":
        sign_in(USER)
        source = _source(impersonate_service_account=ACCOUNT)
    else:
        request.getfixturevalue("key_file" if kind == "key" else "metadata")
        source = _source()
    seen = set()

    def third() -> bool:
        seen.add(_value(source))
        return len(seen) == 3

    eventually(third)


def test_a_refused_token_is_renewed_once(
    server: Server,
    another_server: Server,
    sign_in: Callable[[object], Path],
    client: Client,
    id_token: Callable[..., str],
    reply: type[Reply],
) -> None:
    sign_in(USER)
    server.answers({"id_token": id_token(PROXY, n=1)}, {"id_token": id_token(PROXY, n=2)})
    another_server.answers(reply({"error": "expired"}, 401), {"ok": 1})

    assert client(another_server.url, _source()).get("x") == {"ok": 1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (
                {
                    "error": "invalid_audience",
                    "error_description": "The audience client must be in the same project.",
                },
                400,
            ),
            (
                f"Google gives your login no token for the IAP client {PROXY}: invalid_audience:"
                " The audience client must be in the same project."
            ),
        ),
        (
            ({"access_token": "ya29.source"}, 200),
            (
                f"Google gives your login no token for the IAP client {PROXY}: the login does not"
                " have the scope openid."
            ),
        ),
        (
            ({"error": "invalid_client"}, 401),
            f"Google gives your login no token for the IAP client {PROXY}: invalid_client.",
        ),
        ((b"no", 400), f"Google gives your login no token for the IAP client {PROXY}: 400."),
    ],
)
def test_a_login_of_another_client(
    server: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
    answer: tuple[object, int],
    message: str,
) -> None:
    sign_in(USER)
    server.answers(reply(*answer))

    error = _error(_source())

    assert isinstance(error, AuthError)
    assert error.message == message
    assert error.hint.startswith(
        "In the project of the IAP client, create an OAuth client of the type Desktop app, "
    )
    assert "--client-id-file=FILE --scopes=openid," in error.hint


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            {"error": "invalid_grant", "error_description": f"Token has been revoked. {REFRESH}"},
            (
                "The Google login has expired or was revoked: invalid_grant: Token has been"
                " revoked. [hidden]."
            ),
        ),
        (
            {"error": "invalid_grant", "error_subtype": "invalid_rapt"},
            "Google asks you to sign in again (your organisation limits sessions).",
        ),
    ],
)
def test_a_login_that_has_ended(
    server: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
    answer: object,
    message: str,
) -> None:
    sign_in(USER)
    server.answers(reply(answer, 400))

    error = _error(_source())

    assert (error.message, error.hint) == (
        message,
        "Sign in again: gcloud auth application-default login",
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (({}, 503), "Google's sign-in service failed (503)."),
        (
            (b"<html>blocked</html>", 200),
            "Google's sign-in service answered with a web page.",
        ),
        ((b"", 302), "Google's sign-in service answered with a web page."),
    ],
)
def test_a_service_that_does_not_answer(
    server: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
    answer: tuple[object, int],
    message: str,
) -> None:
    sign_in(USER)
    server.answers(reply(*answer))

    error = _error(_source())

    assert isinstance(error, Unreachable)
    assert error.message == message


def test_a_service_that_hangs_up(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(USER)
    server.answers(reply(hang_up=True))

    assert (
        _error(_source()).message
        == "Google's sign-in service closed the connection without an answer."
    )


def _unsigned(payload: str) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload.encode()).decode().rstrip('=')}.x"


@pytest.mark.parametrize(
    "token",
    [
        "not.a-token",
        _unsigned('{"exp": "soon"}'),
        _unsigned('{"exp": 1' + "0" * 400 + "}"),
        _unsigned('{"exp": NaN}'),
        _unsigned('{"exp": -1}'),
        _unsigned("[" * 100_000),
    ],
)
def test_values_that_are_not_id_tokens(
    server: Server, sign_in: Callable[[object], Path], token: str
) -> None:
    sign_in(USER)
    server.answers({"id_token": token})

    assert _error(_source()).message == "Google's answer is not an id token."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON."),
        ("[]", "is wrong."),
        (
            {"type": "authorized_user"},
            "the login lacks one of these keys: client_id, client_secret, refresh_token.",
        ),
    ],
)
def test_a_file_that_is_wrong(
    sign_in: Callable[[object], Path], content: object, message: str
) -> None:
    sign_in(content)

    assert _error(_source()).message.endswith(message)


def test_nobody_is_signed_in() -> None:
    error = _error(_source())

    assert (
        error.message
        == "You are not signed in to Google: there are no Application Default Credentials on this"
        " machine."
    )


# -- a service account


def test_the_key_of_a_service_account(
    server: Server, key_file: Path, id_token: Callable[..., str]
) -> None:
    import google.auth.jwt

    expected = id_token(PROXY)
    server.answers({"id_token": expected})

    assert _value(_source()) == expected
    claims = google.auth.jwt.decode(server.asked[0].form["assertion"], verify=False)
    assert (claims["iss"], claims["target_audience"]) == (ACCOUNT, PROXY)


def test_a_key_that_was_deleted(server: Server, key_file: Path, reply: type[Reply]) -> None:
    server.answers(
        reply({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
    )

    assert _error(_source()).hint.startswith(
        "Check the clock of this machine, and whether the key was deleted."
    )


def test_a_machine_at_google(
    metadata: Server, reply: type[Reply], id_token: Callable[..., str]
) -> None:
    expected = id_token(PROXY)

    def answer(asked: ReceivedRequest) -> Reply:
        text = {"Metadata-Flavor": "Google", "Content-Type": "text/plain"}
        if asked.path.endswith("/identity"):
            assert asked.query == {"audience": PROXY, "format": "full"}
            return reply(expected.encode(), headers=text)
        if asked.path.endswith("/service-accounts/default/"):
            return reply(
                {"email": ACCOUNT, "scopes": ["x"], "aliases": ["default"]},
                headers={"Metadata-Flavor": "Google"},
            )
        return reply(b"acme", headers=text)

    metadata.always(answer)

    assert _value(_source()) == expected


def test_a_machine_without_a_service_account(metadata: Server, reply: type[Reply]) -> None:
    def answer(asked: ReceivedRequest) -> Reply:
        exists = "/service-accounts/" not in asked.path
        return reply(
            b"acme",
            200 if exists else 404,
            {"Metadata-Flavor": "Google", "Content-Type": "text/plain"},
        )

    metadata.always(answer)

    assert _error(_source()).message == "This machine in Google Cloud has no service account."


# -- acting as a service account


def test_acting_as_a_service_account(
    server: Server,
    another_server: Server,
    sign_in: Callable[[object], Path],
    id_token: Callable[..., str],
) -> None:
    """Any login of gcloud will do for that."""
    sign_in(USER | {"quota_project_id": "payer"})
    server.answers({"access_token": "ya29.source", "expires_in": 3600})
    expected = id_token(PROXY, email=ACCOUNT)
    another_server.answers({"token": expected})

    token = _source(impersonate_service_account=ACCOUNT).get()

    assert token is not None
    assert (token.value, token.account) == (expected, ACCOUNT)
    (asked,) = another_server.asked
    assert asked.path == f"/accounts/{ACCOUNT}:generateIdToken"
    assert asked.json == {"audience": PROXY, "includeEmail": True, "delegates": []}
    assert (asked.headers["authorization"], asked.headers["x-goog-user-project"]) == (
        "Bearer ya29.source",
        "payer",
    )


def test_credentials_that_act_by_themselves(
    server: Server,
    another_server: Server,
    sign_in: Callable[[object], Path],
    id_token: Callable[..., str],
) -> None:
    """As `gcloud auth application-default login --impersonate-service-account` writes them: by the
    login inside."""
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    content = {
        "type": "impersonated_service_account",
        "source_credentials": USER,
        "delegates": ["between@acme.example"],
    }
    sign_in(content | {"service_account_impersonation_url": url})
    server.answers({"access_token": "ya29.source", "expires_in": 3600})
    another_server.answers({"token": id_token(PROXY, n=1)}, {"token": id_token(PROXY, n=2)})
    source = _source()

    first, second = source.get(), source.get(source.get())

    assert first != second
    assert [asked.path for asked in another_server.asked] == [
        f"/accounts/{ACCOUNT}:generateIdToken"
    ] * 2
    assert another_server.asked[0].json["delegates"] == ["between@acme.example"]
    assert len(server.asked) == 1  # the login inside is kept


def test_one_may_not_act_as_it(
    server: Server, another_server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(USER)
    server.answers({"access_token": "ya29.source", "expires_in": 3600})
    answer = {
        "error": {
            "code": 403,
            "message": "Permission 'iam.serviceAccounts.getOpenIdToken' denied. ya29.source",
        }
    }
    another_server.answers(reply(answer, 403))

    error = _error(_source(impersonate_service_account=ACCOUNT))

    assert isinstance(error, AuthError)
    assert (
        error.message == f"You are not allowed to act as {ACCOUNT}: Permission"
        " 'iam.serviceAccounts.getOpenIdToken' denied."
        " [hidden]."
    )
    assert (
        error.hint
        == f"Ask for roles/iam.serviceAccountTokenCreator on {ACCOUNT}, and check its name."
    )


def test_a_federated_login_has_to_act_as_somebody(sign_in: Callable[[object], Path]) -> None:
    sign_in({"type": "external_account", "audience": "x"})

    error = _error(_source())

    assert (
        error.message
        == "Google does not issue id tokens for IAP to a federated login, as yours is."
    )
    assert error.hint.startswith("Set impersonate_service_account")
