"""The bucket of an environment, and the service account that its tasks use."""

from typing import Any

import pytest

from doctor_checks import Broken, Diagnose, ScriptedServer
from kfgcp.config import Environment
from kfgcp.diagnosis.google_cloud import Cloud
from kfgcp.errors import BadAnswer
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.settings import Setting
from refusing_vertex import RUNNER, Vertex


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
