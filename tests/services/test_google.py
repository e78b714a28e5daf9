"""Google's Application Default Credentials against a stand-in of the services that give tokens: the
login of a person, and files that are wrong."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from google_credentials import ACCOUNT, REFRESH, error_of, granted, source_of, user_file
from kfgcp.errors import AuthError, Unreachable
from kfgcp.services.client import ServiceClient
from patience import WaitFor
from service_fixtures import Reply, Server

pytestmark = pytest.mark.usefixtures("nobody")
SIGN_IN = "Sign in again: gcloud auth application-default login"
Client = Callable[..., ServiceClient]


# -- a person


def test_a_login_of_gcloud(
    server: Server, another_server: Server, client: Client, sign_in: Callable[[object], Path]
) -> None:
    sign_in(user_file(quota_project_id="payer"))
    server.answers(granted())
    another_server.answers({"n": 1}, {"n": 2})
    http = client(another_server.url, source_of())

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
    sign_in(user_file())
    server.answers(granted())

    assert source_of().get().value == "ya29.granted"  # type: ignore[union-attr]
    assert not (tmp_path / "started").exists()


def test_a_token_that_ends_soon_is_renewed_ahead(
    server: Server, sign_in: Callable[[object], Path], eventually: WaitFor
) -> None:
    """At half of its life, when that is short."""
    sign_in(user_file())
    server.answers(granted("ya29.one", 1), granted("ya29.two"))
    source = source_of()
    assert source.get().value == "ya29.one"  # type: ignore[union-attr]

    eventually(lambda: source.get().value == "ya29.two")  # type: ignore[union-attr]


def test_eight_threads_sign_in_once(server: Server, sign_in: Callable[[object], Path]) -> None:
    sign_in(user_file())
    server.answers(granted())
    source = source_of()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: source.get().value, range(8))) == {"ya29.granted"}  # type: ignore[union-attr]


def test_a_login_that_was_revoked(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(user_file())
    answer = {
        "error": "invalid_grant",
        "error_description": f"Token has been expired or revoked. {REFRESH}",
    }
    server.answers(reply(answer, 400))

    error = error_of(source_of())

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
    sign_in(user_file())
    server.answers(reply({"error": "invalid_grant"}, 400), granted())
    source = source_of()
    error_of(source)

    sign_in(user_file(refresh_token="another"))  # noqa: S106

    assert source.get().value == "ya29.granted"  # type: ignore[union-attr]
    assert server.asked[1].form["refresh_token"] == "another"  # noqa: S105


@pytest.mark.parametrize("subtype", ["invalid_rapt", "rapt_required"])
def test_an_organisation_that_limits_sessions(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply], subtype: str
) -> None:
    sign_in(user_file())
    server.answers(reply({"error": "invalid_grant", "error_subtype": subtype}, 400))

    error = error_of(source_of())

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
    sign_in(user_file())
    server.answers(reply(*answer))

    error = error_of(source_of())

    assert isinstance(error, AuthError)
    assert error.message == message


def test_a_page_instead_of_a_token(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(user_file())
    server.answers(reply(b"<html>blocked</html>", 403))

    error = error_of(source_of())

    assert isinstance(error, Unreachable)
    assert error.message == "Google's sign-in service answered with a web page."


def test_a_redirect_of_the_sign_in_service_is_not_followed(
    server: Server, another_server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(user_file())
    server.answers(reply(b"moved", 307, {"Location": f"{another_server.url}/token"}))

    assert isinstance(error_of(source_of()), AuthError)
    assert another_server.asked == []


def test_a_sign_in_service_that_hangs_up(
    server: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(user_file())
    server.answers(reply(hang_up=True))

    error = error_of(source_of())

    assert isinstance(error, Unreachable)
    assert error.message == "Google's sign-in service closed the connection without an answer."


def test_a_sign_in_service_that_says_nothing(
    server: Server,
    sign_in: Callable[[object], Path],
    reply: type[Reply],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kfgcp.services.auth.google.TIMEOUT", (5, 0.2))
    sign_in(user_file())
    server.answers(reply(silent=True))

    error = error_of(source_of())

    assert error.message == "Google's sign-in service did not answer within 0.2 s."


def test_a_sign_in_service_that_is_not_there(
    sign_in: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(user_file())
    monkeypatch.setattr(
        "google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", "http://127.0.0.1:9/token"
    )

    error = error_of(source_of())

    assert isinstance(error, Unreachable)
    assert error.message == "Google's sign-in service refuses the connection."


# -- nobody, and files that are wrong


def test_nobody_is_signed_in() -> None:
    error = error_of(source_of())

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "You are not signed in to Google: there are no Application Default Credentials on this"
        " machine."
    )
    assert error.hint.startswith("gcloud auth application-default login ")


def test_a_credentials_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/key.json")

    error = error_of(source_of())

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

    error = error_of(source_of())

    assert isinstance(error, AuthError)
    assert message in error.message


def test_credentials_of_another_universe_are_refused_by_its_name(
    sign_in: Callable[[object], Path],
) -> None:
    """Nothing is sent: their services have other addresses."""
    sign_in(user_file(universe_domain="cloud.acme.example"))

    error = error_of(source_of())

    assert isinstance(error, AuthError)
    assert (
        error.message
        == "The Google credentials are for the universe domain cloud.acme.example; kfgcp reaches"
        " googleapis.com only."
    )


def test_a_key_of_another_universe_is_refused_by_its_name(key_file: Path) -> None:
    key = json.loads(key_file.read_text())
    key_file.write_text(json.dumps(key | {"universe_domain": "apis-acme.example"}))

    assert "universe domain apis-acme.example" in error_of(source_of()).message
    impersonating = source_of(impersonate_service_account=ACCOUNT)
    assert "universe domain apis-acme.example" in error_of(impersonating).message
