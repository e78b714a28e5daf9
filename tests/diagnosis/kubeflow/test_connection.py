"""Checks of the way to a self-hosted Kubeflow Pipelines: host, TLS and kubectl."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from certificates import Certificates
from doctor_checks import METADATA, Broken, Diagnose, ScriptedServer, WithTls, make_jwt
from kfgcp.services.auth import port_forward


def test_a_name_that_is_unknown(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    finding = broken(diagnose(**settings | {"host": "https://kfp.invalid"}))

    assert (finding.check, finding.detail) == (
        "host",
        "kfp.invalid cannot be found: its name is unknown.",
    )
    assert finding.hint.startswith("Is host in [env.dev] of kfgcp.toml right?")


def test_a_host_that_refuses(settings: dict[str, str], diagnose: Diagnose, broken: Broken) -> None:
    finding = broken(diagnose(**settings | {"host": "http://127.0.0.1:9"}))

    assert (finding.check, finding.detail) == ("host", "127.0.0.1:9 refuses the connection.")


def test_a_host_without_tls(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose, broken: Broken
) -> None:
    settings["host"] = server.api_endpoint.replace("http:", "https:")

    findings = diagnose(**settings)

    assert findings["host"].ok
    assert broken(findings).check == "tls"
    assert broken(findings).detail.endswith("could not agree on TLS.")


@pytest.mark.parametrize("has_ca_file", [True, False])
def test_a_certificate_of_a_private_authority(
    settings: dict[str, str],
    server: ScriptedServer,
    diagnose: Diagnose,
    broken: Broken,
    certificates: Certificates,
    tls: WithTls,
    has_ca_file: bool,
) -> None:
    settings["host"] = tls(server)
    if has_ca_file:
        settings["ca_file"] = str(certificates.authority)

    findings = diagnose(**settings)

    if has_ca_file:
        assert findings["tls"].detail == "the certificate is trusted"
        assert findings["metadata"].ok
    else:
        assert broken(findings).check == "tls"
        assert "has a certificate that is not trusted" in broken(findings).detail
        assert "ca_file" in broken(findings).hint


def test_a_file_with_certificates_that_is_not_there(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    finding = broken(diagnose(**settings | {"ca_file": "/no/such/ca.pem"}))

    assert (finding.check, finding.exit_code) == ("config", 2)


def test_a_way_through_kubectl_that_is_not_there(
    diagnose: Diagnose, broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_forward, "_port_forwards", {})
    monkeypatch.setenv("PATH", str(tmp_path))

    finding = broken(diagnose(backend="kubeflow", auth="port-forward"))

    assert (finding.check, finding.detail) == (
        "kubectl",
        'auth = "port-forward" needs kubectl, which is not on the PATH.',
    )


def test_inside_of_a_cluster(
    server: ScriptedServer, diagnose: Diagnose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The names of services lead to the server of the test."""
    (tmp_path / "token").write_text(make_jwt(sub="system:serviceaccount:growth:default"))
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    port = urlsplit(server.api_endpoint).port
    look_up_address = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *args, **kwargs: look_up_address("127.0.0.1", *args, **kwargs),
    )
    settings = {"backend": "kubeflow", "auth": "in-cluster", "namespace": "growth"}

    ui_findings = diagnose(**settings, host=f"http://ml-pipeline-ui.kubeflow.svc:{port}")
    server.answer(METADATA, status=404)
    api_findings = diagnose(**settings, host=f"http://ml-pipeline.kubeflow.svc:{port}")

    detail = "not used: inside the cluster, kfgcp connects over plain http"
    assert ui_findings["tls"].detail == detail
    assert ui_findings["credentials"].detail == "signed in as system:serviceaccount:growth:default"
    assert ui_findings["metadata"].ok
    assert api_findings["metadata"].ok is None
    assert api_findings["metadata"].hint.startswith(
        "Use the service ml-pipeline-ui instead of ml-pipeline: it also has metadata"
    )
