"""The service, the sign-in, the API and the region of an environment on Vertex AI."""

import os
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from doctor_checks import TOKEN, Broken, Diagnose
from kfgcp_command import Command
from refusing_vertex import RUNNER, Vertex

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
    "registry",
    "quota",
    "logs",
]


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


def test_the_command(kfgcp: Command, vertex: Vertex, home: Path) -> None:
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
