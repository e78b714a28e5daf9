"""Checks of the sign-in to a self-hosted Kubeflow Pipelines: tokens, proxies and access."""

from pathlib import Path
from typing import Any

import pytest

from doctor_checks import HEALTH, RUNS, TOKEN, Broken, Diagnose, ScriptedServer, make_jwt
from kfgcp.services.auth import iap as iap_login
from kfgcp.services.auth.tokens import RenewedTokens, Token
from kfgcp.testing.server import Request, Response


def test_a_proxy_that_does_not_accept_the_sign_in(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose, broken: Broken
) -> None:
    server.answer(HEALTH, b"Invalid IAP credentials", 401, X_Goog_IAP_Generated_Response="true")

    finding = broken(diagnose(**settings))

    assert finding.check == "sign-in"
    assert (
        "Identity-Aware Proxy, in front of 127.0.0.1, did not accept the sign-in" in finding.detail
    )
    assert 'auth = "iap" and iap_client_id' in finding.hint


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (401, {"error": f"Unauthenticated {TOKEN}", "code": 16}, {}),
        (302, b"", {"Location": "https://dex.example/dex/auth?client_id=kubeflow"}),
        (200, b"<html><title>Log in to Dex</title></html>", {"Content_Type": "text/html"}),
    ],
)
def test_a_token_that_is_not_accepted(
    settings: dict[str, str],
    server: ScriptedServer,
    diagnose: Diagnose,
    broken: Broken,
    status: int,
    body: object,
    headers: Any,
) -> None:
    server.answer(HEALTH, body, status, **headers)

    finding = broken(diagnose(**settings))

    assert finding.check == "sign-in"
    assert f"Write a new token to {settings['token_file']}." in finding.hint
    assert TOKEN not in str(finding)


def test_a_token_that_is_missing(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    Path(settings["token_file"]).unlink()

    assert broken(diagnose(**settings)).check == "credentials"


@pytest.mark.parametrize(
    ("token", "login", "subject"),
    [
        (
            TOKEN,
            "signed in; the token does not contain the name of the account",
            "--user=YOUR_ACCOUNT",
        ),
        (
            make_jwt(email="ada@acme.example", sub="1"),
            "signed in as ada@acme.example",
            "--user=ada@acme.example",
        ),
        (
            make_jwt(sub="system:serviceaccount:jobs:nightly"),
            "signed in as system:serviceaccount:jobs:nightly",
            "--serviceaccount=jobs:nightly",
        ),
    ],
)
def test_a_namespace_that_is_not_ones_own(
    settings: dict[str, str],
    server: ScriptedServer,
    diagnose: Diagnose,
    broken: Broken,
    token: str,
    login: str,
    subject: str,
) -> None:
    Path(settings["token_file"]).write_text(token)
    message = (
        "User 'ada@acme.example' is not authorized with reason: this service account cannot list"
        " runs"
    )
    server.answer(RUNS, {"error": message, "code": 7, "message": message}, 403)

    findings = diagnose(**settings)

    assert findings["credentials"].detail == login
    assert broken(findings).check == "rbac"
    assert message in broken(findings).detail
    assert (
        broken(findings).hint
        == f"kubectl create rolebinding kfgcp-user --clusterrole=kubeflow-edit {subject}"
        " --namespace=growth"
    )
    assert token not in str(findings)


@pytest.fixture
def behind_iap(
    server: ScriptedServer, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The settings of an environment whose server is behind Identity-Aware Proxy.

    The proxy redirects requests without a token to Google's sign-in.
    """
    handle = server.handle
    token = make_jwt(email="ada@acme.example")
    sign_in_page = "https://accounts.google.com/o/oauth2/v2/auth?client_id=right.apps.googleusercontent.com&response_type=code"

    def handle_behind_proxy(request: Request) -> Response:
        if request.token:
            return handle(request)
        return Response(302, b"", {"Location": sign_in_page})

    def iap_tokens(audience: str, account: str | None = None) -> RenewedTokens:
        return RenewedTokens(
            lambda: (Token(token, account="ada@acme.example"), None), sign_in_hint="Sign in."
        )

    monkeypatch.setattr(server, "handle", handle_behind_proxy)
    monkeypatch.setattr(iap_login, "iap_tokens", iap_tokens)
    del settings["token_file"]
    return settings | {"auth": "iap", "iap_client_id": "right.apps.googleusercontent.com"}


def test_identity_aware_proxy_takes_the_token(
    behind_iap: dict[str, str], diagnose: Diagnose
) -> None:
    findings = diagnose(**behind_iap)

    assert list(findings).index("iap") == list(findings).index("credentials") + 1
    assert findings["iap"].detail == "the token is accepted"
    assert findings["metadata"].ok


def test_a_token_for_another_client_of_the_proxy(
    behind_iap: dict[str, str], server: ScriptedServer, diagnose: Diagnose, broken: Broken
) -> None:
    server.answer(
        HEALTH, b"Invalid IAP credentials: JWT audience", 401, X_Goog_IAP_Generated_Response="true"
    )

    finding = broken(diagnose(**behind_iap | {"iap_client_id": "wrong.apps.googleusercontent.com"}))

    assert finding.check == "iap"
    assert (
        "the proxy uses the client right.apps.googleusercontent.com, but iap_client_id is wrong."
        in finding.detail
    )
    assert (
        finding.hint
        == 'Set iap_client_id = "right.apps.googleusercontent.com" in [env.dev] of kfgcp.toml.'
    )


def test_somebody_whom_the_proxy_does_not_let_through(
    behind_iap: dict[str, str], server: ScriptedServer, diagnose: Diagnose, broken: Broken
) -> None:
    server.answer(HEALTH, b"You don't have access", 403, X_Goog_IAP_Generated_Response="true")

    finding = broken(diagnose(**behind_iap))

    assert finding.check == "iap"
    assert (
        finding.hint == "gcloud iap web add-iam-policy-binding --resource-type=backend-services"
        " --service=BACKEND_SERVICE --member=user:ada@acme.example"
        " --role=roles/iap.httpsResourceAccessor"
    )
