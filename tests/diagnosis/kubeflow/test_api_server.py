"""Checks of the API server of a self-hosted Kubeflow Pipelines: its kind, version and users."""

from typing import Any

import pytest

from doctor_checks import HEALTH, HEALTH_V1, TOKEN, Broken, Diagnose, ScriptedServer
from kfgcp import testing

CHECKS = [
    "config",
    "host",
    "tls",
    "clock",
    "credentials",
    "sign-in",
    "server",
    "version",
    "namespace",
    "rbac",
    "pipeline_root",
    "images",
    "metadata",
]


def test_all_is_well_and_nothing_is_written(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose
) -> None:
    findings = diagnose(**settings)

    assert list(findings) == CHECKS
    assert {name: finding.detail for name, finding in findings.items() if not finding.ok} == {
        "tls": "not used: the host is this machine",
        "pipeline_root": "not set: the server uses its default",
        "images": "not checked: no pipeline was given",
    }
    assert findings["version"].detail == "2.14.3"
    assert (
        findings["metadata"].detail
        == "ML Metadata answers: it keeps tasks and metrics (Kubeflow Pipelines 2.x)"
    )
    assert (findings["namespace"].detail, findings["rbac"].detail) == (
        "growth",
        "runs can be listed in growth",
    )
    (other_request,) = [request for request in server.requests if request.method != "GET"]
    assert other_request.method == "POST"
    assert other_request.path == "/ml_metadata.MetadataStoreService/GetContextByTypeAndName"
    (runs_request,) = server.requests.select("GET", "*/runs")
    assert dict(runs_request.query) == {"namespace": "growth", "page_size": "1"}
    assert TOKEN not in str(findings)


def test_the_stand_in_is_a_kubeflow_that_works(diagnose: Diagnose, broken: Broken) -> None:
    with testing.kubeflow(multi_user=True) as stand_in:
        findings = diagnose(**stand_in.settings())
        stand_in.access.namespaces = []
        refused_namespace = broken(diagnose(**stand_in.settings() | {"namespace": "team-a"}))

    assert [name for name, finding in findings.items() if not finding.ok] == ["tls", "images"]
    assert findings["server"].detail == "Kubeflow Pipelines in multi-user mode"
    assert (
        findings["pipeline_root"].detail
        == "gs://stand-in-project-pipelines can be written and read"
    )
    assert (refused_namespace.check, refused_namespace.exit_code) == ("rbac", 5)


@pytest.mark.parametrize(
    ("status", "body", "headers", "detail"),
    [
        (404, None, {}, "is not Kubeflow Pipelines: it has no apis/v2beta1/healthz."),
        (
            200,
            b"<html><title>Grafana</title></html>",
            {"Content_Type": "text/html"},
            "is not Kubeflow Pipelines: it answers with a web page ('Grafana').",
        ),
        (
            200,
            {"status": "ok"},
            {},
            "is not Kubeflow Pipelines: its apis/v2beta1/healthz has unexpected fields.",
        ),
    ],
)
def test_a_server_of_something_else(
    settings: dict[str, str],
    server: ScriptedServer,
    diagnose: Diagnose,
    broken: Broken,
    status: int,
    body: object,
    headers: Any,
    detail: str,
) -> None:
    server.answer(HEALTH, body, status, **headers)
    server.answer(HEALTH_V1, status=404)

    finding = broken(diagnose(**settings))

    assert finding.check == "server"
    assert finding.detail == f"{server.api_endpoint.removeprefix('http://')} {detail}"
    assert "https://HOST/pipeline" in finding.hint


def test_a_server_that_is_too_old(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose, broken: Broken
) -> None:
    server.answer(HEALTH, {"message": "Not Found", "code": 5}, 404)
    server.answer(HEALTH_V1, {"tag_name": "1.8.5", "multi_user": False})

    finding = broken(diagnose(**settings))

    assert finding.check == "server"
    assert finding.detail.startswith(
        "The server is Kubeflow Pipelines 1.8.5, which has only the API v1beta1, but"
    )
    assert finding.hint.startswith("Upgrade the server: https://")


def test_a_server_that_fails(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose, broken: Broken
) -> None:
    server.answer(HEALTH, b"no healthy upstream", 503)

    finding = broken(diagnose(**settings))

    assert finding.check == "server"
    assert "no healthy upstream" in finding.detail


def test_the_health_that_the_ui_answers(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose
) -> None:
    server.answer(
        HEALTH, {"apiServerTagName": "2.15.0", "apiServerReady": True, "frontendTagName": "2.15.0"}
    )
    server.answer(HEALTH_V1, status=404)

    assert diagnose(**settings)["version"].detail == "2.15.0"


def test_a_server_without_a_version(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose
) -> None:
    server.answer(HEALTH_V1, status=404)

    findings = diagnose(**settings)

    assert (findings["version"].ok, findings["metadata"].ok) == (None, True)


def test_a_server_for_several_users_without_a_namespace(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose, broken: Broken
) -> None:
    server.answer(HEALTH, {"multi_user": True})
    settings_without_namespace = {
        key: value for key, value in settings.items() if key != "namespace"
    }

    finding = broken(diagnose(**settings_without_namespace))

    assert (finding.check, finding.exit_code) == ("namespace", 2)
    assert (
        finding.hint == "Set namespace in [env.dev] of kfgcp.toml to the namespace of your profile."
    )
    assert diagnose(**settings)["server"].detail == "Kubeflow Pipelines in multi-user mode"
