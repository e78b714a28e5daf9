"""What keeps runs from starting on a Kubeflow of one's own, against a server that answers as real
ones do."""

import base64
import json
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kfgcp import testing
from kfgcp.backends.kubeflow import doctor as kubeflow
from kfgcp.config import Environment
from kfgcp.diagnosis.checks import run_checks
from kfgcp.services.auth import iap as iap_login
from kfgcp.services.auth import port_forward
from kfgcp.services.auth.tokens import RenewedTokens, Token
from kfgcp.settings import Setting
from kfgcp.testing.server import Response
from patience import REQUEST

CHECKS = [
    *(
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
    ),
    *("pipeline_root", "images", "metadata"),
]
TOKEN = "ya29.a-token-that-must-not-show"  # noqa: S105
HEALTH, RUNS, METADATA = (
    "GET /apis/v2beta1/healthz",
    "GET /apis/v2beta1/runs",
    "POST /ml_metadata.*",
)
TRAILERS = b"grpc-status:5\r\ngrpc-message:no such context\r\n"
GRPC_WEB = b"\x80" + struct.pack(">I", len(TRAILERS)) + TRAILERS


@pytest.fixture
def server(scripted: Any) -> Any:
    """A Kubeflow Pipelines that works."""
    scripted.says(HEALTH, {"multi_user": False, "pipeline_store": "database"})
    scripted.says(
        "GET /apis/v1beta1/healthz",
        {"commit_sha": "0a1b", "tag_name": "2.14.3", "multi_user": False},
    )
    scripted.says(RUNS, {"runs": [], "total_size": 0})
    scripted.says(METADATA, GRPC_WEB, Content_Type="application/grpc-web+proto")
    return scripted


@pytest.fixture
def settings(server: Any, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text(TOKEN)
    signed = {"auth": "token-file", "token_file": str(tmp_path / "token"), "namespace": "growth"}
    return {"backend": "kubeflow", "host": server.api_endpoint} | signed


def test_all_is_well_and_nothing_is_written(
    settings: dict[str, str], server: Any, diagnose: Any
) -> None:
    found = diagnose(**settings)

    assert list(found) == CHECKS
    assert {name: each.detail for name, each in found.items() if not each.ok} == {
        "tls": "not used: the host is this machine",
        "pipeline_root": "not set: the server uses its default",
        "images": "not checked: no pipeline was named",
    }
    assert found["version"].detail == "2.14.3"
    assert (
        found["metadata"].detail
        == "ML Metadata answers: it keeps tasks and metrics (Kubeflow Pipelines 2.x)"
    )
    assert (found["namespace"].detail, found["rbac"].detail) == (
        "growth",
        "runs can be listed in growth",
    )
    assert [
        f"{entry.method} {entry.path}" for entry in server.requests if entry.method != "GET"
    ] == ["POST /ml_metadata.MetadataStoreService/GetContextByTypeAndName"]
    (listed,) = server.requests.select("GET", "*/runs")
    assert dict(listed.query) == {"namespace": "growth", "page_size": "1"}
    assert TOKEN not in str(found)


def test_the_stand_in_is_a_kubeflow_that_works(diagnose: Any, broken: Any) -> None:
    with testing.kubeflow(multi_user=True) as opened:
        found = diagnose(**opened.settings())
        opened.access.namespaces = []
        other = broken(diagnose(**opened.settings() | {"namespace": "team-a"}))

    assert [name for name, each in found.items() if not each.ok] == ["tls", "images"]
    assert found["server"].detail == "Kubeflow Pipelines for several users"
    assert (
        found["pipeline_root"].detail == "gs://stand-in-project-pipelines can be written and read"
    )
    assert (other.check, other.exit_code) == ("rbac", 5)


def test_the_question_to_ml_metadata_is_grpc_web(
    settings: dict[str, str], server: Any, diagnose: Any
) -> None:
    """A frame: no flags, the length, the message; its two texts have the field numbers 1 and 2
    (protobuf encoding)."""
    diagnose(**settings)

    (asked,) = server.requests.select("POST", "/ml_metadata*")
    assert asked.headers["content-type"] == "application/grpc-web+proto"
    assert (
        asked.body
        == b"\x00\x00\x00\x00\x22" + b"\x0a\x12system.PipelineRun" + b"\x12\x0ckfgcp-doctor"
    )


def test_a_name_that_is_unknown(settings: dict[str, str], diagnose: Any, broken: Any) -> None:
    finding = broken(diagnose(**settings | {"host": "https://kfp.invalid"}))

    assert (finding.check, finding.detail) == (
        "host",
        "kfp.invalid cannot be found: its name is unknown.",
    )
    assert finding.hint.startswith("Is host in [env.dev] of kfgcp.toml right?")


def test_a_host_that_refuses(settings: dict[str, str], diagnose: Any, broken: Any) -> None:
    finding = broken(diagnose(**settings | {"host": "http://127.0.0.1:9"}))

    assert (finding.check, finding.detail) == ("host", "127.0.0.1:9 refuses the connection.")


def test_a_host_without_tls(
    settings: dict[str, str], server: Any, diagnose: Any, broken: Any
) -> None:
    settings["host"] = server.api_endpoint.replace("http:", "https:")

    found = diagnose(**settings)

    assert found["host"].ok
    assert broken(found).check == "tls"
    assert broken(found).detail.endswith("could not agree on TLS.")


@pytest.mark.parametrize("named", [True, False])
def test_a_certificate_of_a_private_authority(
    settings: dict[str, str],
    server: Any,
    diagnose: Any,
    broken: Any,
    certificates: Any,
    tls: Any,
    named: bool,
) -> None:
    settings["host"] = tls(server)

    found = diagnose(**settings | ({"ca_file": str(certificates.authority)} if named else {}))

    if named:
        assert found["tls"].detail == "the certificate is trusted"
        assert found["metadata"].ok
    else:
        assert broken(found).check == "tls"
        assert "has a certificate that is not trusted" in broken(found).detail
        assert "ca_file" in broken(found).hint


def test_a_file_with_certificates_that_is_not_there(
    settings: dict[str, str], diagnose: Any, broken: Any
) -> None:
    finding = broken(diagnose(**settings | {"ca_file": "/no/such/ca.pem"}))

    assert (finding.check, finding.exit_code) == ("config", 2)


def test_a_proxy_that_does_not_accept_the_sign_in(
    settings: dict[str, str], server: Any, diagnose: Any, broken: Any
) -> None:
    server.says(HEALTH, b"Invalid IAP credentials", 401, X_Goog_IAP_Generated_Response="true")

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
    server: Any,
    diagnose: Any,
    broken: Any,
    status: int,
    body: Any,
    headers: Any,
) -> None:
    server.says(HEALTH, body, status, **headers)

    finding = broken(diagnose(**settings))

    assert finding.check == "sign-in"
    assert f"Write a new token to {settings['token_file']}." in finding.hint
    assert TOKEN not in str(finding)


def test_a_token_that_is_missing(settings: dict[str, str], diagnose: Any, broken: Any) -> None:
    Path(settings["token_file"]).unlink()

    assert broken(diagnose(**settings)).check == "credentials"


@pytest.mark.parametrize(
    ("status", "body", "headers", "detail"),
    [
        (404, None, {}, "is not Kubeflow Pipelines: it has no apis/v2beta1/healthz."),
        (
            200,
            b"<html><title>Grafana</title></html>",
            {"Content_Type": "text/html"},
            "is not Kubeflow Pipelines: it answers with the web page 'Grafana'.",
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
    server: Any,
    diagnose: Any,
    broken: Any,
    status: int,
    body: Any,
    headers: Any,
    detail: str,
) -> None:
    server.says(HEALTH, body, status, **headers)
    server.says("GET /apis/v1beta1/healthz", status=404)

    finding = broken(diagnose(**settings))

    assert finding.check == "server"
    assert finding.detail == f"{server.api_endpoint.removeprefix('http://')} {detail}"
    assert "https://HOST/pipeline" in finding.hint


def test_a_server_that_is_too_old(
    settings: dict[str, str], server: Any, diagnose: Any, broken: Any
) -> None:
    server.says(HEALTH, {"message": "Not Found", "code": 5}, 404)
    server.says("GET /apis/v1beta1/healthz", {"tag_name": "1.8.5", "multi_user": False})

    finding = broken(diagnose(**settings))

    assert finding.check == "server"
    assert finding.detail.startswith(
        "The server is Kubeflow Pipelines 1.8.5, which has only the API v1beta1; kfgcp needs 2.0"
    )
    assert finding.hint.startswith("Upgrade the server: https://")


def test_a_server_that_fails(
    settings: dict[str, str], server: Any, diagnose: Any, broken: Any
) -> None:
    server.says(HEALTH, b"no healthy upstream", 503)

    finding = broken(diagnose(**settings))

    assert finding.check == "server"
    assert "no healthy upstream" in finding.detail


def test_the_health_that_the_ui_answers(
    settings: dict[str, str], server: Any, diagnose: Any
) -> None:
    server.says(
        HEALTH, {"apiServerTagName": "2.15.0", "apiServerReady": True, "frontendTagName": "2.15.0"}
    )
    server.says("GET /apis/v1beta1/healthz", status=404)

    assert diagnose(**settings)["version"].detail == "2.15.0"


def test_a_server_that_does_not_tell_its_version(
    settings: dict[str, str], server: Any, diagnose: Any
) -> None:
    server.says("GET /apis/v1beta1/healthz", status=404)

    found = diagnose(**settings)

    assert (found["version"].ok, found["metadata"].ok) == (None, True)


def test_a_server_for_several_users_without_a_namespace(
    settings: dict[str, str], server: Any, diagnose: Any, broken: Any
) -> None:
    server.says(HEALTH, {"multi_user": True})
    without = {key: value for key, value in settings.items() if key != "namespace"}

    finding = broken(diagnose(**without))

    assert (finding.check, finding.exit_code) == ("namespace", 2)
    assert finding.hint == "Set namespace in [env.dev] of kfgcp.toml to that of your profile."
    assert diagnose(**settings)["server"].detail == "Kubeflow Pipelines for several users"


def _jwt(**claims: str) -> str:
    """A token that says whose it is; nobody here checks its signature."""
    parts = [json.dumps(each).encode() for each in ({"alg": "RS256"}, claims)]
    return ".".join(
        [*(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts), "signature"]
    )


@pytest.mark.parametrize(
    ("token", "whose", "subject"),
    [
        (TOKEN, "signed in; the token does not name the account", "--user=YOUR_ACCOUNT"),
        (
            _jwt(email="ada@acme.example", sub="1"),
            "signed in as ada@acme.example",
            "--user=ada@acme.example",
        ),
        (
            _jwt(sub="system:serviceaccount:jobs:nightly"),
            "signed in as system:serviceaccount:jobs:nightly",
            "--serviceaccount=jobs:nightly",
        ),
    ],
)
def test_a_namespace_that_is_not_ones_own(
    settings: dict[str, str],
    server: Any,
    diagnose: Any,
    broken: Any,
    token: str,
    whose: str,
    subject: str,
) -> None:
    Path(settings["token_file"]).write_text(token)
    text = (
        "User 'ada@acme.example' is not authorized with reason: this service account cannot list"
        " runs"
    )
    server.says(RUNS, {"error": text, "code": 7, "message": text}, 403)

    found = diagnose(**settings)

    assert found["credentials"].detail == whose
    assert broken(found).check == "rbac"
    assert text in broken(found).detail
    assert (
        broken(found).hint
        == f"kubectl create rolebinding kfgcp-user --clusterrole=kubeflow-edit {subject}"
        " --namespace=growth"
    )
    assert token not in str(found)


@pytest.fixture
def behind_iap(
    server: Any, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """An environment that signs in at Identity-Aware Proxy, which sends those who do not to
    Google's sign-in."""
    answer, token = server.handle, _jwt(email="ada@acme.example")
    place = "https://accounts.google.com/o/oauth2/v2/auth?client_id=right.apps.googleusercontent.com&response_type=code"

    def proxied(request: Any) -> Any:
        return answer(request) if request.token else Response(302, b"", {"Location": place})

    def tokens(audience: str, account: str | None = None) -> Any:
        return RenewedTokens(
            lambda: (Token(token, account="ada@acme.example"), None), sign_in_hint="Sign in."
        )

    monkeypatch.setattr(server, "handle", proxied)
    monkeypatch.setattr(iap_login, "iap_tokens", tokens)
    del settings["token_file"]
    return settings | {"auth": "iap", "iap_client_id": "right.apps.googleusercontent.com"}


def test_identity_aware_proxy_takes_the_token(behind_iap: dict[str, str], diagnose: Any) -> None:
    found = diagnose(**behind_iap)

    assert list(found).index("iap") == list(found).index("credentials") + 1
    assert found["iap"].detail == "the token is accepted"
    assert found["metadata"].ok


def test_a_token_for_another_client_of_the_proxy(
    behind_iap: dict[str, str], server: Any, diagnose: Any, broken: Any
) -> None:
    server.says(
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
    behind_iap: dict[str, str], server: Any, diagnose: Any, broken: Any
) -> None:
    server.says(HEALTH, b"You don't have access", 403, X_Goog_IAP_Generated_Response="true")

    finding = broken(diagnose(**behind_iap))

    assert finding.check == "iap"
    assert (
        finding.hint == "gcloud iap web add-iam-policy-binding --resource-type=backend-services"
        " --service=BACKEND_SERVICE --member=user:ada@acme.example"
        " --role=roles/iap.httpsResourceAccessor"
    )


def test_the_bucket_of_runs(
    settings: dict[str, str],
    server: Any,
    diagnose: Any,
    broken: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the account of the pods that writes to it, so what you may do there is no reason to
    stop."""
    settings |= {
        "api_endpoint": server.api_endpoint,
        "pipeline_root": "gs://acme-kfp/runs",
        "project": "acme",
    }
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.api_endpoint)
    asked = "GET /storage/v1/b/acme-kfp/iam/testPermissions"

    missing = broken(diagnose(**settings))
    server.says(asked, {"permissions": ["storage.objects.get"]})
    read_only = diagnose(**settings)
    server.says(
        asked,
        {"permissions": ["storage.objects.create", "storage.objects.get", "storage.objects.list"]},
    )
    good = diagnose(**settings)

    assert (missing.check, missing.detail) == ("pipeline_root", "There is no bucket 'acme-kfp'.")
    assert (
        missing.hint
        == "gcloud storage buckets create gs://acme-kfp --project=acme --location=LOCATION"
    )
    assert (read_only["pipeline_root"].ok, read_only["metadata"].ok) == (None, True)
    assert (
        "You do not have storage.objects.create, storage.objects.list on gs://acme-kfp"
        in read_only["pipeline_root"].detail
    )
    assert good["pipeline_root"].detail == "gs://acme-kfp can be written and read"


def test_an_image_that_is_not_there(
    settings: dict[str, str], server: Any, diagnose: Any, broken: Any, with_images: Any
) -> None:
    settings |= {"artifact_registry_endpoint": server.api_endpoint}
    image = "eu-docker.pkg.dev/acme/ml/train:v1"

    finding = broken(diagnose(with_images(image), **settings))

    assert (finding.check, finding.detail) == ("images", f"There is no image {image}.")
    server.says(
        "GET /v1/projects/acme/locations/eu/repositories/ml/packages/train/tags/v1", {"name": "v1"}
    )
    assert diagnose(with_images(image), **settings)["images"].detail == "1 in Artifact Registry"


def test_a_service_account_that_only_kubectl_knows(settings: dict[str, str], diagnose: Any) -> None:
    found = diagnose(**settings, service_account="runner")["service_account"]

    assert (found.ok, found.hint) == (None, "kubectl get serviceaccount runner -n growth")


@pytest.mark.parametrize(
    ("answer", "ok", "detail"),
    [
        ("echo serviceaccount/runner", True, "runner exists"),
        ("true", False, "The namespace growth has no service account runner."),
        (
            "echo 'error: You must be logged in to the server' >&2; exit 1",
            None,
            "not checked: error: You must be logged in to the server",
        ),
    ],
)
def test_a_service_account_that_kubectl_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, ok: bool | None, detail: str
) -> None:
    """With --ignore-not-found kubectl ends with status 0 and prints nothing when there is no such
    object.

    Source: kubectl's help of `get`, option `--ignore-not-found`.
    """
    script = tmp_path / "kubectl"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{answer}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    given = {
        "auth": "port-forward",
        "kube_context": "prod",
        "namespace": "growth",
        "service_account": "runner",
    }
    env = Environment(
        "dev", "kubeflow", {key: Setting(value, "test") for key, value in given.items()}
    )

    (found,) = run_checks([("service_account", kubeflow.Cluster(env).service_account)])

    assert (found.ok, found.detail) == (ok, detail)
    assert (tmp_path / "asked").read_text() == (
        "--context prod get serviceaccount runner -n growth --ignore-not-found -o name\n"
    )
    assert found.hint == (
        "kubectl create serviceaccount runner --namespace=growth" if ok is False else ""
    )


def test_inside_of_a_cluster(
    server: Any, diagnose: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The names of services lead to the server of the test."""
    (tmp_path / "token").write_text(_jwt(sub="system:serviceaccount:growth:default"))
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    port, look_up = urlsplit(server.api_endpoint).port, socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: look_up("127.0.0.1", *rest, **more)
    )
    inside = {"backend": "kubeflow", "auth": "in-cluster", "namespace": "growth"}

    ui = diagnose(**inside, host=f"http://ml-pipeline-ui.kubeflow.svc:{port}")
    server.says(METADATA, status=404)
    api = diagnose(**inside, host=f"http://ml-pipeline.kubeflow.svc:{port}")

    assert ui["tls"].detail == "not used: inside a cluster it is plain http"
    assert ui["credentials"].detail == "signed in as system:serviceaccount:growth:default"
    assert ui["metadata"].ok
    assert api["metadata"].ok is None
    assert api["metadata"].hint.startswith(
        "Use the service ml-pipeline-ui instead of ml-pipeline: it also has metadata"
    )


@pytest.mark.parametrize("how", ["missing", "silent", "no grpc", "refused"])
def test_without_ml_metadata_runs_have_no_metrics(
    settings: dict[str, str], server: Any, diagnose: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "missing":
        server.says(METADATA, status=404)
    elif how == "no grpc":
        server.says(METADATA, b"<html>the UI</html>", Content_Type="text/html")
    elif how == "refused":
        server.says(METADATA, b"RBAC: access denied", 403)
    else:
        monkeypatch.setattr(kubeflow, "METADATA_SECONDS", 0.3)
        release, answer = threading.Event(), server.handle

        def late(request: Any) -> Any:
            if request.path.startswith("/ml_metadata"):
                release.wait(REQUEST)
            return answer(request)

        monkeypatch.setattr(server, "handle", late)

    found = diagnose(**settings)
    if how == "silent":
        release.set()

    assert (found["metadata"].ok, found["metadata"].exit_code) == (None, 0)
    assert found["metadata"].detail.startswith("Runs are shown without metrics. ")
    assert (
        "kubectl get deploy metadata-grpc-deployment metadata-envoy-deployment"
        in found["metadata"].hint
    )
    assert how != "silent" or "did not answer within 0.3 s" in found["metadata"].detail


def test_a_server_that_keeps_tasks_itself(
    settings: dict[str, str], server: Any, diagnose: Any
) -> None:
    """Kubeflow Pipelines 3.0 (api-3.0-branch/artifacts-list-empty.json); ML Metadata may still be
    there."""
    server.says("GET /apis/v2beta1/artifacts", {})

    found = diagnose(**settings)["metadata"]

    assert found.ok
    assert (
        found.detail
        == "not needed: the API server keeps tasks and metrics itself (Kubeflow Pipelines 3.0)"
    )
    (asked,) = server.requests.select("GET", "*/artifacts")
    assert dict(asked.query) == {"namespace": "growth", "page_size": "1"}


def test_status_in_the_headers_is_enough(
    settings: dict[str, str], server: Any, diagnose: Any
) -> None:
    """A gRPC answer without a message may have all in its headers."""
    server.says(METADATA, b"", Grpc_Status="5", Content_Type="application/grpc-web+proto")

    assert diagnose(**settings)["metadata"].ok


def test_a_way_through_kubectl_that_is_not_there(
    diagnose: Any, broken: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_forward, "_open", {})
    monkeypatch.setenv("PATH", str(tmp_path))

    finding = broken(diagnose(backend="kubeflow", auth="port-forward"))

    assert (finding.check, finding.detail) == (
        "kubectl",
        'auth = "port-forward" needs kubectl, which is not on the PATH.',
    )
