"""A server whose answers a test sets, and the findings of `kfgcp doctor` for an environment."""

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from certificates import Certificates
from doctor_checks import Broken, Diagnose, ScriptedServer, WithImages, WithTls
from kfgcp import doctor
from kfgcp.diagnosis.checks import Finding
from kfgcp.spec.load import Spec, from_documents


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that answers 404 until a test sets answers."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def tls(certificates: Certificates) -> WithTls:
    """Makes a server use TLS with the certificate of a private authority. Returns its address."""

    def use_tls(server: ScriptedServer) -> str:
        http = server._server._http
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.leaf, certificates.key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
        return server.api_endpoint.replace("http:", "https:")

    return use_tls


@pytest.fixture
def diagnose(home: Path) -> Diagnose:
    """Runs the checks for a pipeline and an environment with these settings.

    Returns the findings by the names of the checks, in the order of the checks.
    """

    def run_doctor(pipeline: Any = None, **settings: Any) -> dict[str, Finding]:
        lines = [f'{key} = "{value}"' for key, value in settings.items()]
        (home / "kfgcp.toml").write_text("\n".join(["[env.dev]", *lines]), encoding="utf-8")
        findings = doctor("dev", pipeline)
        findings_by_check = {finding.check: finding for finding in findings}
        assert len(findings_by_check) == len(findings)
        # The first check that fails is the last one.
        assert all(finding.ok is not False for finding in findings[:-1])
        return findings_by_check

    return run_doctor


@pytest.fixture(scope="session")
def with_images() -> WithImages:
    """Builds a pipeline with a task for each image."""

    def build_pipeline(*images: str) -> Spec:
        executors = {}
        components = {}
        tasks = {}
        for number, image in enumerate(images):
            executors[f"exec-{number}"] = {"container": {"image": image}}
            components[f"comp-{number}"] = {"executorLabel": f"exec-{number}"}
            tasks[f"task-{number}"] = {
                "taskInfo": {"name": f"task-{number}"},
                "componentRef": {"name": f"comp-{number}"},
            }
        document = {
            "schemaVersion": "2.1.0",
            "pipelineInfo": {"name": "images"},
            "deploymentSpec": {"executors": executors},
            "components": components,
            "root": {"dag": {"tasks": tasks}},
        }
        return from_documents([document], "images")

    return build_pipeline


@pytest.fixture(scope="session")
def broken() -> Broken:
    """Returns the last finding, after a check that it has failed and has a hint."""

    def last_finding(findings: Mapping[str, Finding]) -> Finding:
        finding = list(findings.values())[-1]
        assert finding.ok is False, finding
        assert finding.hint
        assert "\n" not in finding.detail
        return finding

    return last_finding
