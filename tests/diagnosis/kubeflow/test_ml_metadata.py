"""Checks of the service that keeps tasks and metrics on Kubeflow."""

import threading

import pytest

from doctor_checks import METADATA, Diagnose, ScriptedServer
from kfgcp.backends.kubeflow import doctor as kubeflow
from kfgcp.testing.server import Request, Response
from patience import REQUEST


def test_the_question_to_ml_metadata_is_grpc_web(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose
) -> None:
    """A frame has its flags (0), the length and the message. The two texts in the message have the
    field numbers 1 and 2 (protobuf encoding)."""
    diagnose(**settings)

    (request,) = server.requests.select("POST", "/ml_metadata*")
    assert request.headers["content-type"] == "application/grpc-web+proto"
    assert (
        request.body
        == b"\x00\x00\x00\x00\x22" + b"\x0a\x12system.PipelineRun" + b"\x12\x0ckfgcp-doctor"
    )


@pytest.mark.parametrize("fault", ["missing", "silent", "no grpc", "refused"])
def test_without_ml_metadata_runs_have_no_metrics(
    settings: dict[str, str],
    server: ScriptedServer,
    diagnose: Diagnose,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    if fault == "missing":
        server.answer(METADATA, status=404)
    elif fault == "no grpc":
        server.answer(METADATA, b"<html>the UI</html>", Content_Type="text/html")
    elif fault == "refused":
        server.answer(METADATA, b"RBAC: access denied", 403)
    else:
        monkeypatch.setattr(kubeflow, "METADATA_SECONDS", 0.3)
        release = threading.Event()
        handle = server.handle

        def handle_late(request: Request) -> Response:
            if request.path.startswith("/ml_metadata"):
                release.wait(REQUEST)
            return handle(request)

        monkeypatch.setattr(server, "handle", handle_late)

    findings = diagnose(**settings)
    if fault == "silent":
        release.set()

    assert (findings["metadata"].ok, findings["metadata"].exit_code) == (None, 0)
    assert findings["metadata"].detail.startswith("kfgcp shows runs without metrics. ")
    assert (
        "kubectl get deploy metadata-grpc-deployment metadata-envoy-deployment"
        in findings["metadata"].hint
    )
    assert fault != "silent" or "did not answer within 0.3 s" in findings["metadata"].detail


def test_a_server_that_keeps_tasks_itself(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose
) -> None:
    """This is Kubeflow Pipelines 3.0 (api-3.0-branch/artifacts-list-empty.json). ML Metadata may
    still run beside it."""
    server.answer("GET /apis/v2beta1/artifacts", {})

    finding = diagnose(**settings)["metadata"]

    assert finding.ok
    assert (
        finding.detail
        == "not needed: the API server keeps tasks and metrics itself (Kubeflow Pipelines 3.0)"
    )
    (request,) = server.requests.select("GET", "*/artifacts")
    assert dict(request.query) == {"namespace": "growth", "page_size": "1"}


def test_status_in_the_headers_is_enough(
    settings: dict[str, str], server: ScriptedServer, diagnose: Diagnose
) -> None:
    """A gRPC answer without a message may have its status in the headers."""
    server.answer(METADATA, b"", Grpc_Status="5", Content_Type="application/grpc-web+proto")

    assert diagnose(**settings)["metadata"].ok
