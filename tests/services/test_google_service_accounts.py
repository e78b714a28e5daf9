"""Google's Application Default Credentials against a stand-in of the services that give tokens:
keys of service accounts, and acting as one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from google_credentials import ACCOUNT, error_of, granted, source_of, user_file
from kfgcp.errors import AuthError
from service_fixtures import Reply, Server

pytestmark = pytest.mark.usefixtures("nobody")


# -- a service account


def test_the_key_of_a_service_account(server: Server, key_file: Path) -> None:
    import google.auth.jwt

    server.answers(granted())

    assert source_of().get().value == "ya29.granted"  # type: ignore[union-attr]
    claims = google.auth.jwt.decode(server.asked[0].form["assertion"], verify=False)
    assert (claims["iss"], claims["scope"]) == (
        ACCOUNT,
        "https://www.googleapis.com/auth/cloud-platform",
    )


def test_a_key_that_was_deleted(server: Server, key_file: Path, reply: type[Reply]) -> None:
    server.answers(
        reply({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
    )

    error = error_of(source_of())

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
    sign_in(user_file(quota_project_id="payer"))
    server.answers(granted("ya29.source"))
    impersonation.answers({"accessToken": "ya29.runner", "expireTime": "2099-01-01T00:00:00Z"})

    token = source_of(impersonate_service_account=ACCOUNT).get()

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
    sign_in(user_file())
    server.answers(granted("ya29.source"))
    details = (
        [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": detail}] if detail else []
    )
    answer = {"error": {"code": status, "message": f"{message} ya29.source", "details": details}}
    impersonation.answers(reply(answer, status))

    error = error_of(source_of(impersonate_service_account=ACCOUNT))

    assert isinstance(error, AuthError)
    assert error.message == f"You are not allowed to act as {ACCOUNT}: {message} [hidden]."
    assert error.hint == hint


def test_a_login_that_was_revoked_before_one_could_act(
    server: Server, impersonation: Server, sign_in: Callable[[object], Path], reply: type[Reply]
) -> None:
    sign_in(user_file())
    server.answers(reply({"error": "invalid_grant", "error_description": "Bad Request"}, 400))

    error = error_of(source_of(impersonate_service_account=ACCOUNT))

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
        "source_credentials": user_file(),
        "delegates": [],
    }
    sign_in(content | {"service_account_impersonation_url": url})
    server.answers(granted("ya29.source"))
    impersonation.answers(reply({"error": {"code": 403, "message": "Permission denied."}}, 403))

    error = error_of(source_of())

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
    server.answers(granted("ya29.federated"))

    assert source_of().get().value == "ya29.federated"  # type: ignore[union-attr]
    assert server.asked[0].form["subject_token"] == "foreign-token"  # noqa: S105
