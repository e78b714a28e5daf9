"""Errors that a service answers: which error of kfgcp, in which words."""

from collections.abc import Callable

import pytest

from kfgcp.errors import NotFound
from kfgcp.services.client import ServiceClient
from kfgcp.services.responses import CODES, read_error
from service_errors import JOBS, error_info, error_of_answer, error_of_europe, google_error
from service_fixtures import Reply, Server

Client = Callable[..., ServiceClient]


# -- errors in JSON


def test_an_error_of_google(client: Client) -> None:
    error = error_of_europe(client, 400, google_error(400, "Bad\n  field.", "INVALID_ARGUMENT"))

    assert (error.status, error.reason, error.exit_code) == (400, "INVALID_ARGUMENT", 5)
    assert error.message == f"Vertex AI refused GET {JOBS}: Bad field. (400 INVALID_ARGUMENT)."


def test_an_error_of_kubeflow(server: Server, client: Client, reply: type[Reply]) -> None:
    body = {
        "error": "Run r not found.",
        "code": 5,
        "message": "Failed to get run: Run r not found.",
        "details": [],
    }

    error = error_of_answer(server, client, reply(body, 404))

    assert isinstance(error, NotFound)
    assert (error.status, error.reason) == (404, "NOT_FOUND")
    assert (
        error.message
        == "Vertex AI refused GET x: Failed to get run: Run r not found. (404 NOT_FOUND)."
    )


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (
            '{"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED"}}',
            "m",
            "PERMISSION_DENIED",
        ),
        (
            '[{"error": {"code": 403, "message": "m", "status": "PERMISSION_DENIED"}}]',
            "m",
            "PERMISSION_DENIED",
        ),
        ('{"error": "e", "code": 3, "message": "m"}', "m", "INVALID_ARGUMENT"),
        ('{"error": "e", "code": 16, "message": ""}', "e", "UNAUTHENTICATED"),
        ('{"error": "invalid_grant", "error_description": "Bad."}', "Bad.", ""),
        ('{"error": {"message": 5, "status": 6, "details": "x", "code": true}}', "", "CANCELLED"),
        (
            (
                '{"error": {"details": [1, {"reason": 2}, {"reason": "R", "metadata": []}]},'
                ' "code": 99}'
            ),
            "",
            "",
        ),
        ("{}", "", ""),
        ("[]", "", ""),
        ("[1]", "", ""),
        ("null", "", ""),
        ("no", "", ""),
        ("[" * 100_000, "", ""),
    ],
)
def test_errors_of_any_form(body: str, message: str, code: str) -> None:
    error = read_error(body)

    assert (error.message, error.code) == (message, code)


def test_codes_have_the_numbers_of_google_rpc() -> None:
    """google/rpc/code.proto."""
    assert [
        CODES.index(name)
        for name in ("CANCELLED", "NOT_FOUND", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
    ] == [
        *(1, 5, 7, 8),
    ]
    assert [CODES.index(name) for name in ("UNIMPLEMENTED", "UNAVAILABLE", "UNAUTHENTICATED")] == [
        12,
        14,
        16,
    ]


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (
            403,
            google_error(
                403,
                "Vertex AI API has not been used in project 123 before or it is disabled.",
                "PERMISSION_DENIED",
                {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
                error_info(
                    "SERVICE_DISABLED", service="aiplatform.googleapis.com", consumer="projects/123"
                ),
            ),
            (
                "Enable the API, then wait a minute: gcloud services enable"
                " aiplatform.googleapis.com --project acme"
            ),
        ),
        (
            403,
            google_error(
                403, "Cloud Logging API has not been used in project 5 before or it is disabled."
            ),
            (
                "Enable the API, then wait a minute: gcloud services enable"
                " aiplatform.googleapis.com --project acme"
            ),
        ),
        (
            403,
            google_error(
                403,
                "Permission denied on resource project acme.",
                "PERMISSION_DENIED",
                error_info("CONSUMER_INVALID"),
            ),
            "Check that acme is the id of the project, and that you have access: gcloud projects"
            " describe acme",
        ),
        (
            403,
            google_error(403, "Permission denied on resource project acme.", "PERMISSION_DENIED"),
            "Check that acme is the id of the project, and that you have access: gcloud projects"
            " describe acme",
        ),
        (
            403,
            google_error(
                403, "Billing is off.", "PERMISSION_DENIED", error_info("BILLING_DISABLED")
            ),
            "Give the project acme a billing account.",
        ),
        (
            403,
            google_error(
                403,
                "No.",
                "PERMISSION_DENIED",
                error_info("USER_PROJECT_DENIED", consumer="projects/payer"),
            ),
            (
                "Your requests use the quota of the project payer. Ask for"
                " roles/serviceusage.serviceUsageConsumer on this project, or choose another"
                " project: gcloud auth application-default set-quota-project PROJECT"
            ),
        ),
        (
            403,
            google_error(
                403,
                "Permission 'aiplatform.pipelineJobs.create' denied on resource"
                " '//aiplatform.googleapis.com/projects/acme/locations/europe-west4' (or it may not"
                " exist).",
                "PERMISSION_DENIED",
                error_info("IAM_PERMISSION_DENIED", permission="aiplatform.pipelineJobs.create"),
            ),
            (
                "Ask for a role with aiplatform.pipelineJobs.create on project acme, such as"
                " roles/aiplatform.user."
            ),
        ),
        (
            403,
            google_error(
                403, "Permission 'logging.logEntries.list' denied on resource.", "PERMISSION_DENIED"
            ),
            "Ask for a role with logging.logEntries.list on project acme.",
        ),
        (
            403,
            google_error(403, "The caller does not have permission", "PERMISSION_DENIED"),
            "Ask for access to acme, or check that project is right in kfgcp.toml.",
        ),
        (
            403,
            google_error(
                403,
                "You do not have permission to act as service account:"
                " run@acme.iam.gserviceaccount.com. (or it may not exist).",
                "PERMISSION_DENIED",
            ),
            (
                "Ask for roles/iam.serviceAccountUser on run@acme.iam.gserviceaccount.com"
                " (iam.serviceAccounts.actAs)."
            ),
        ),
        (
            400,
            google_error(400, "Needs iam.serviceAccounts.actAs permission.", "INVALID_ARGUMENT"),
            (
                "Ask for roles/iam.serviceAccountUser on the service account"
                " (iam.serviceAccounts.actAs)."
            ),
        ),
        (
            403,
            google_error(
                403, "Scopes.", "PERMISSION_DENIED", error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")
            ),
            (
                "The sign-in lacks the scope cloud-platform. Sign in again: gcloud auth"
                " application-default login"
            ),
        ),
        (
            403,
            google_error(
                403,
                "Prohibited by policy. vpcServiceControlsUniqueIdentifier: abc",
                "PERMISSION_DENIED",
            ),
            (
                "VPC Service Controls protect acme: ask its administrator to allow your network"
                " or account."
            ),
        ),
        (
            429,
            google_error(429, "Quota exceeded.", "RESOURCE_EXHAUSTED"),
            (
                "Wait a minute and start fewer runs at the same time, or ask for more quota: "
                "https://console.cloud.google.com/iam-admin/quotas?project=acme"
            ),
        ),
        (
            404,
            google_error(404, "Not found.", "NOT_FOUND"),
            (
                "Check the id, and the project (acme) and location (europe-west4) of the"
                " environment."
            ),
        ),
        (
            400,
            google_error(400, "Unsupported region for Vertex AI.", "FAILED_PRECONDITION"),
            (
                "Check the id, and the project (acme) and location (europe-west4) of the"
                " environment."
            ),
        ),
        (409, google_error(409, "Exists.", "ALREADY_EXISTS"), ""),
    ],
)
def test_what_to_do(client: Client, status: int, body: object, hint: str) -> None:
    error = error_of_europe(client, status, body)

    assert (error.hint, error.status) == (hint, status)


def test_the_missing_role_for_logs_is_named(client: Client) -> None:
    body = google_error(403, "Permission denied for all log views", "PERMISSION_DENIED")

    error = error_of_europe(client, 403, body, "v2/entries:list")

    assert error.hint == "Ask for roles/logging.viewer on the project of the runs."
