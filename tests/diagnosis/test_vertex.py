"""The checks of `kfgcp doctor` for Vertex AI find problems, and their hints solve them."""

import os
import time
from collections.abc import Iterator
from email.utils import formatdate
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from doctor_checks import TOKEN, Broken, Diagnose, ScriptedServer, WithImages
from kfgcp.config import Environment
from kfgcp.diagnosis.google_cloud import Cloud
from kfgcp.errors import BadAnswer
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.settings import Setting
from kfgcp.testing.google import GoogleError
from kfgcp.testing.server import Request, Response
from kfgcp.testing.vertex_ai import VertexStandIn

CHECKS = [
    "config",
    "service",
    "clock",
    "credentials",
    "api",
    "region",
    "bucket",
    "runner",
    "service_account",
    "images",
    "quota",
    "logs",
]
RUNNER = "runner@acme.iam.gserviceaccount.com"


class Vertex(VertexStandIn):
    """The stand-in, with errors of Google for the requests that a test chooses."""

    def __init__(self) -> None:
        self.refusals: dict[str, GoogleError] = {}
        super().__init__(mode="instant")

    def refuse(
        self, pattern: str, code: int, message: str, reason: str = "", **metadata: str
    ) -> None:
        """Refuse the requests `METHOD PATH` that fit a glob.

        Args:
            pattern: the glob.
            code: the HTTP status.
            message: the text of the error.
            reason: the reason in google.rpc.ErrorInfo, empty for an error without this detail.
            metadata: the metadata in google.rpc.ErrorInfo.
        """
        error_info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "metadata": metadata,
        }
        details = [error_info] if reason else []
        self.refusals[pattern] = GoogleError(code, message, details=details)

    def handle(self, request: Request) -> Response:
        request_line = f"{request.method} {request.path}"
        for pattern, error in self.refusals.items():
            if fnmatchcase(request_line, pattern):
                return error.response
        return super().handle(request)


@pytest.fixture
def vertex() -> Iterator[Vertex]:
    with Vertex() as stand_in:
        yield stand_in


@pytest.fixture
def settings(vertex: Vertex, tmp_path: Path) -> dict[str, str]:
    """An environment that signs in with a token."""
    (tmp_path / "token").write_text(TOKEN)
    return vertex.settings() | {
        "auth": "token-file",
        "token_file": str(tmp_path / "token"),
        "service_account": RUNNER,
    }


def test_all_is_well_and_nothing_is_written(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, home: Path
) -> None:
    findings = diagnose(**settings)

    assert list(findings) == CHECKS
    assert [name for name, finding in findings.items() if not finding.ok] == ["images"], (
        "no pipeline is named"
    )
    assert findings["images"].hint == "kfgcp doctor PIPELINE --env dev"
    assert findings["credentials"].detail == "signed in as somebody@stand-in.example"
    assert findings["clock"].detail == "right"
    assert findings["bucket"].detail == f"gs://{vertex.bucket} can be written and read"
    assert {entry.method for entry in vertex.requests} <= {"GET", "POST"}
    posted_paths = [entry.path for entry in vertex.requests if entry.method == "POST"]
    assert posted_paths == [
        "/tokeninfo",
        "/v1/iam:troubleshoot",
        f"/v1/projects/-/serviceAccounts/{RUNNER}:testIamPermissions",
        "/v2/entries:list",
    ]
    assert [file.name for file in home.iterdir()] == ["kfgcp.toml"]
    assert TOKEN not in str(findings)


def test_an_emulator_without_a_sign_in_or_an_account(vertex: Vertex, diagnose: Diagnose) -> None:
    findings = diagnose(**vertex.settings())

    assert findings["credentials"].detail == "none: an emulator needs no sign-in"
    assert (findings["runner"].ok, findings["service_account"].ok, findings["logs"].ok) == (
        None,
        None,
        True,
    )


def test_a_location_that_is_none(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`.invalid` never resolves (RFC 6761)."""
    monkeypatch.setattr(
        "kfgcp.backends.vertex.doctor.address",
        lambda location: f"https://{location}-aiplatform.invalid",
    )
    del settings["api_endpoint"]

    finding = broken(diagnose(**settings | {"location": "europe-west99"}))

    assert (finding.check, finding.exit_code) == ("service", 5)
    assert (
        finding.detail == "europe-west99-aiplatform.invalid cannot be found: its name is unknown."
    )
    assert finding.hint.startswith("Check that 'europe-west99' is a location of Vertex AI")
    assert "correct location in [env.dev] of kfgcp.toml" in finding.hint


def test_a_service_that_does_not_answer(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    finding = broken(diagnose(**settings | {"api_endpoint": "http://127.0.0.1:9"}))

    assert (finding.check, finding.detail) == ("service", "127.0.0.1:9 refuses the connection.")


def test_a_clock_that_is_wrong(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def earlier_date(*_: object) -> str:
        return formatdate(time.time() - 1000, usegmt=True)

    monkeypatch.setattr("http.server.BaseHTTPRequestHandler.date_time_string", earlier_date)

    finding = broken(diagnose(**settings))

    assert finding.check == "clock"
    assert "s ahead of the clock of the server, so sign-ins fail." in finding.detail


def test_nobody_is_signed_in(settings: dict[str, str], diagnose: Diagnose, broken: Broken) -> None:
    token = Path(settings["token_file"])
    token.unlink()

    finding = broken(diagnose(**settings))

    assert (finding.check, finding.detail) == (
        "credentials",
        f"The token file {token} cannot be read: No such file or directory.",
    )
    token.write_text(TOKEN)
    assert diagnose(**settings)["logs"].ok


def test_a_token_that_is_not_accepted(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.accept_tokens("another")

    findings = diagnose(**settings)

    finding = broken(findings)
    assert (
        findings["credentials"].detail
        == "signed in; the token does not contain the name of the account"
    )
    assert finding.check == "api"
    assert finding.detail.startswith("Vertex AI did not accept the sign-in: ")
    assert finding.hint == f"Write a new token to {settings['token_file']}."
    Path(settings["token_file"]).write_text("another")
    assert diagnose(**settings)["api"].ok


def test_an_api_that_is_not_enabled(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    text = (
        "Vertex AI API has not been used in project stand-in-project before or it is disabled."
        f" {TOKEN}"
    )
    vertex.refuse(
        "GET */pipelineJobs", 403, text, "SERVICE_DISABLED", service="aiplatform.googleapis.com"
    )

    finding = broken(diagnose(**settings))

    assert finding.check == "api"
    assert finding.hint == (
        "Enable the API, then wait a minute: "
        "gcloud services enable aiplatform.googleapis.com --project stand-in-project"
    )
    assert TOKEN not in str(finding)


def test_runs_that_may_not_be_listed(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    text = "Permission 'aiplatform.pipelineJobs.list' denied on resource (or it may not exist)."
    vertex.refuse(
        "GET */pipelineJobs",
        403,
        text,
        "IAM_PERMISSION_DENIED",
        permission="aiplatform.pipelineJobs.list",
    )

    finding = broken(diagnose(**settings))

    assert finding.check == "api"
    assert finding.hint.splitlines() == [
        (
            "Ask for a role with aiplatform.pipelineJobs.list on project stand-in-project, such as"
            " roles/aiplatform.user."
        ),
        (
            "gcloud projects add-iam-policy-binding stand-in-project"
            " --member=user:somebody@stand-in.example --role=roles/aiplatform.user"
        ),
    ]


def test_another_project(settings: dict[str, str], diagnose: Diagnose, broken: Broken) -> None:
    finding = broken(diagnose(**settings | {"project": "another"}))

    assert finding.check == "api"
    assert "another" in finding.hint


def test_a_location_without_pipelines(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    findings = diagnose(**settings | {"location": "europe-west9"})

    assert findings["api"].ok
    assert broken(findings).check == "region"
    assert broken(findings).hint.startswith("Check that 'europe-west9' is a location of Vertex AI")
    assert diagnose(**settings)["region"].detail == "europe-west4 offers Vertex AI Pipelines"


def test_a_bad_request_that_is_not_about_the_location(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    """The path of the request contains the word location, but the error does not."""
    vertex.refuse("GET /v1/projects/*/pipelineJobs", 400, "Request contains an invalid argument.")

    finding = broken(diagnose(**settings))

    assert finding.check == "api"
    assert "Request contains an invalid argument." in finding.detail


def test_a_bucket_that_is_not_there(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    settings["pipeline_root"] = "gs://acme-runs/x"

    finding = broken(diagnose(**settings))

    assert (finding.check, finding.detail) == ("bucket", "There is no bucket 'acme-runs'.")
    assert (
        finding.hint == "gcloud storage buckets create gs://acme-runs --project=stand-in-project"
        f" --location={vertex.location}"
    )
    vertex.make_bucket("acme-runs")
    assert diagnose(**settings)["bucket"].ok


def test_a_bucket_that_may_not_be_written(
    settings: dict[str, str],
    scripted: ScriptedServer,
    diagnose: Diagnose,
    broken: Broken,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", scripted.api_endpoint)
    scripted.answer(
        "GET */iam/testPermissions",
        {"permissions": ["storage.objects.get", "storage.objects.list"]},
    )

    finding = broken(diagnose(**settings))

    assert (finding.check, finding.detail) == (
        "bucket",
        "You do not have storage.objects.create on gs://stand-in-project-pipelines.",
    )
    assert finding.hint == (
        "gcloud storage buckets add-iam-policy-binding gs://stand-in-project-pipelines "
        "--member=user:somebody@stand-in.example --role=roles/storage.objectUser"
    )
    assert [entry.method for entry in scripted.requests] == ["GET"]


def test_a_bucket_that_nobody_can_tell_of(
    settings: dict[str, str], diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an emulator of Vertex AI, no request goes to the real Cloud Storage."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")

    findings = diagnose(**settings)

    assert (findings["bucket"].ok, findings["logs"].ok) == (None, True)
    assert "STORAGE_EMULATOR_HOST" in findings["bucket"].detail


def test_a_pipeline_root_that_is_in_no_bucket(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    finding = broken(diagnose(**settings | {"pipeline_root": "runs"}))

    assert (finding.check, finding.exit_code, finding.hint) == (
        "config",
        2,
        "Write gs://BUCKET/FOLDER.",
    )


def test_a_service_account_that_one_may_not_act_as(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.service_accounts = set()

    finding = broken(diagnose(**settings))

    assert finding.check == "service_account"
    assert (
        finding.detail
        == f"You are not allowed to start runs as {RUNNER} (iam.serviceAccounts.actAs)."
    )
    assert (
        finding.hint == f"gcloud iam service-accounts add-iam-policy-binding {RUNNER}"
        " --member=user:somebody@stand-in.example --role=roles/iam.serviceAccountUser"
    )
    vertex.service_accounts = {RUNNER}
    assert diagnose(**settings)["service_account"].ok


def test_a_service_account_that_is_not_there(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.refuse("POST */serviceAccounts/*", 404, "Unknown service account")

    finding = broken(diagnose(**settings))

    assert finding.detail == f"There is no service account {RUNNER}."
    assert finding.hint == "gcloud iam service-accounts create runner --project=stand-in-project"


def test_a_project_without_the_api_of_iam(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose
) -> None:
    """A submission does not need this API."""
    vertex.refuse(
        "POST */serviceAccounts/*",
        403,
        "disabled",
        "SERVICE_DISABLED",
        service="iam.googleapis.com",
    )

    findings = diagnose(**settings)

    assert (findings["service_account"].ok, findings["logs"].ok) == (None, True)
    assert "gcloud services enable iam.googleapis.com" in findings["service_account"].hint


def test_a_runner_that_may_not_write(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.permissions.denied = {(RUNNER, "storage.objects.create")}

    finding = broken(diagnose(**settings))

    assert finding.check == "runner"
    assert (
        finding.detail
        == f"{RUNNER} is not allowed to write to gs://{vertex.bucket} (storage.objects.create)."
    )
    assert (
        finding.hint == f"gcloud storage buckets add-iam-policy-binding gs://{vertex.bucket}"
        f" --member=serviceAccount:{RUNNER} --role=roles/storage.objectUser"
    )
    (request,) = vertex.requests.select("POST", "/v1/iam:troubleshoot")
    assert request.body["accessTuple"] == {
        "principal": RUNNER,
        "fullResourceName": f"//storage.googleapis.com/projects/_/buckets/{vertex.bucket}",
        "permission": "storage.objects.create",
    }
    vertex.permissions.denied.clear()
    assert diagnose(**settings)["runner"].detail == f"{RUNNER} can write to gs://{vertex.bucket}"


def test_a_runner_that_nobody_can_tell_of(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, scripted: ScriptedServer
) -> None:
    """A submission needs neither the API of Policy Troubleshooter nor the right to see
    policies."""
    service = "policytroubleshooter.googleapis.com"
    vertex.refuse("POST /v1/iam:troubleshoot", 403, "disabled", "SERVICE_DISABLED", service=service)
    disabled = diagnose(**settings)
    vertex.refuse("POST /v1/iam:troubleshoot", 403, "Permission denied")
    denied = diagnose(**settings)

    assert (disabled["runner"].ok, disabled["logs"].ok) == (None, True)
    assert f"gcloud services enable {service}" in disabled["runner"].hint
    assert (denied["runner"].ok, denied["logs"].ok) == (None, True)
    assert "--role=roles/iam.securityReviewer" in denied["runner"].hint


def test_an_image_that_is_not_there(
    vertex: Vertex,
    settings: dict[str, str],
    diagnose: Diagnose,
    broken: Broken,
    with_images: WithImages,
) -> None:
    place = "europe-west4-docker.pkg.dev/stand-in-project/ml"
    pipeline = with_images(f"{place}/train:v2", "python:3.11")

    finding = broken(diagnose(pipeline, **settings))

    assert (finding.check, finding.detail) == ("images", f"There is no image {place}/train:v2.")
    assert finding.hint == f"gcloud artifacts docker images list {place} --include-tags"
    address = vertex.publish("train", "an image", "v2", repository="ml")
    detail = diagnose(pipeline, **settings)["images"].detail
    other_images = "not checked, because not in Artifact Registry: python:3.11"
    assert detail == f"1 in Artifact Registry; {other_images}"
    by_digest = with_images(f"{place}/train@{address.rpartition('/')[2]}")
    assert diagnose(by_digest, **settings)["images"].detail == "1 in Artifact Registry"


def test_an_image_that_may_not_be_pulled(
    vertex: Vertex,
    settings: dict[str, str],
    diagnose: Diagnose,
    broken: Broken,
    with_images: WithImages,
) -> None:
    text = "Permission 'artifactregistry.tags.get' denied on resource"
    vertex.refuse(
        "GET */packages/*",
        403,
        text,
        "IAM_PERMISSION_DENIED",
        permission="artifactregistry.tags.get",
    )

    finding = broken(diagnose(with_images("eu-docker.pkg.dev/acme/ml/train"), **settings))

    assert finding.check == "images"
    assert finding.hint.splitlines()[-1] == (
        "gcloud artifacts repositories add-iam-policy-binding ml --project=acme --location=eu "
        "--member=user:somebody@stand-in.example --role=roles/artifactregistry.reader"
    )


def test_images_of_other_registries_are_not_asked_for(
    settings: dict[str, str], diagnose: Diagnose, with_images: WithImages
) -> None:
    finding = diagnose(with_images("python:3.11", "ghcr.io/acme/train"), **settings)["images"]

    assert finding.ok is None
    assert (
        finding.detail
        == "not checked, because not in Artifact Registry: ghcr.io/acme/train, python:3.11"
    )


@pytest.mark.parametrize(
    ("cpus", "number"), [(42, "42 CPUs for tasks"), (-1, "any number of CPUs for tasks")]
)
def test_a_quota(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, cpus: int, number: str
) -> None:
    vertex.permissions.training_cpus = cpus

    assert diagnose(**settings)["quota"].detail == f"{number} in europe-west4"


def test_a_region_has_a_quota_of_its_own(vertex: Vertex) -> None:
    env = Environment(
        "dev", "vertex", {key: Setting(value, "test") for key, value in vertex.settings().items()}
    )

    assert Cloud(env, Anonymous()).check_quota("asia-east1") == "7 CPUs for tasks in asia-east1"


def test_a_quota_of_nothing(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.permissions.training_cpus = 0

    finding = broken(diagnose(**settings))

    assert finding.check == "quota"
    assert finding.detail.startswith("The quota custom_model_training_cpus is 0 in europe-west4: ")
    assert finding.hint.endswith(
        "https://console.cloud.google.com/iam-admin/quotas?project=stand-in-project"
    )


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({"consumerQuotaLimits": "x"}, "consumerQuotaLimits is 'x', not a list"),
        (
            {"consumerQuotaLimits": [{"quotaBuckets": ["x"]}]},
            "consumerQuotaLimits[0].quotaBuckets[0] is 'x'",
        ),
        (
            {"consumerQuotaLimits": [{"quotaBuckets": [{"effectiveLimit": "all"}]}]},
            "effectiveLimit is 'all'",
        ),
        (
            {"consumerQuotaLimits": [{"quotaBuckets": [{"dimensions": 1}]}]},
            "dimensions is 1, not an object",
        ),
    ],
)
def test_a_quota_in_another_form_is_named(
    scripted: ScriptedServer, answer: Any, field: str
) -> None:
    scripted.answer("GET /v1beta1/*", answer)
    settings = {"project": "acme", "api_endpoint": scripted.api_endpoint}
    env = Environment(
        "dev", "vertex", {key: Setting(value, "test") for key, value in settings.items()}
    )

    with pytest.raises(BadAnswer) as caught:
        Cloud(env, Anonymous()).check_quota("europe-west4")

    assert caught.value.message.startswith("Service Usage answered with a quota whose ")
    assert field in caught.value.message


@pytest.mark.parametrize("permissions", [3, {"a": 1}, [None], [[]]])
def test_permissions_in_another_form_are_named(scripted: ScriptedServer, permissions: Any) -> None:
    scripted.answer("POST /v1/*", {"permissions": permissions})
    settings = {"project": "acme", "api_endpoint": scripted.api_endpoint, "service_account": RUNNER}
    env = Environment(
        "dev", "vertex", {key: Setting(value, "test") for key, value in settings.items()}
    )

    with pytest.raises(
        BadAnswer, match="IAM answered with a list of permissions whose permissions"
    ):
        Cloud(env, Anonymous()).check_act_as()


def test_a_quota_that_may_not_be_seen(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose
) -> None:
    vertex.refuse("GET */consumerQuotaMetrics/*", 403, "Permission denied to get service")

    findings = diagnose(**settings)

    assert (findings["quota"].ok, findings["logs"].ok) == (None, True)
    assert "--role=roles/serviceusage.serviceUsageViewer" in findings["quota"].hint


def test_logs_that_may_not_be_read(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.permissions.account = RUNNER
    vertex.refuse("POST /v2/entries:list", 403, "Permission denied for all log views")

    finding = broken(diagnose(**settings))

    assert finding.check == "logs"
    assert finding.hint.splitlines()[-1] == (
        f"gcloud projects add-iam-policy-binding stand-in-project --member=serviceAccount:{RUNNER} "
        "--role=roles/logging.viewer"
    )


def test_the_command(kfgcp: Any, vertex: Vertex, home: Path) -> None:
    environ = vertex.environ_of("dev")
    (home / "kfgcp.toml").write_text('[env.dev]\nbackend = "vertex"\n')

    good = kfgcp("doctor", "--env", "dev", env=environ)
    vertex.refuse("POST /v2/entries:list", 403, "Permission denied for all log views")
    bad = kfgcp("doctor", "--env", "dev", env=environ)
    listed = kfgcp("doctor", "--env", "dev", "--json", env=environ)

    assert good.code == 0, good.out
    assert [line.split()[1] for line in good.out.splitlines()] == CHECKS
    assert {line[0] for line in good.out.splitlines()} == {"✓", "–"}  # noqa: RUF001
    assert (bad.code, bad.out.splitlines()[-1][:6]) == (5, "✗ logs")
    assert "next: gcloud projects add-iam-policy-binding stand-in-project " in bad.err
    assert listed.code == 5
    assert [set(finding) for finding in listed.json] == [{"check", "ok", "detail", "hint"}] * len(
        CHECKS
    )
    ok_by_check = {finding["check"]: finding["ok"] for finding in listed.json}
    assert [name for name, ok in ok_by_check.items() if ok is None] == [
        "runner",
        "service_account",
        "images",
    ]
    assert [name for name, ok in ok_by_check.items() if ok is False] == ["logs"]
    assert listed.err == ""
    assert os.environ["STORAGE_EMULATOR_HOST"] == vertex.storage_endpoint
