"""Checks of what runs on Kubeflow need: a bucket, images and a service account."""

import os
from pathlib import Path

import pytest

from doctor_checks import Broken, Diagnose, ScriptedServer, WithImages
from kfgcp.backends.kubeflow import doctor as kubeflow
from kfgcp.config import Environment
from kfgcp.diagnosis.checks import run_checks
from kfgcp.settings import Setting


def test_the_bucket_of_runs(
    settings: dict[str, str],
    server: ScriptedServer,
    diagnose: Diagnose,
    broken: Broken,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pods write to the bucket with their own account. So your missing permissions are not an
    error."""
    settings |= {
        "api_endpoint": server.api_endpoint,
        "pipeline_root": "gs://acme-kfp/runs",
        "project": "acme",
    }
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.api_endpoint)
    permission_request = "GET /storage/v1/b/acme-kfp/iam/testPermissions"

    missing_bucket = broken(diagnose(**settings))
    server.answer(permission_request, {"permissions": ["storage.objects.get"]})
    read_only = diagnose(**settings)
    server.answer(
        permission_request,
        {"permissions": ["storage.objects.create", "storage.objects.get", "storage.objects.list"]},
    )
    usable = diagnose(**settings)

    assert (missing_bucket.check, missing_bucket.detail) == (
        "pipeline_root",
        "There is no bucket 'acme-kfp'.",
    )
    assert (
        missing_bucket.hint
        == "gcloud storage buckets create gs://acme-kfp --project=acme --location=LOCATION"
    )
    assert (read_only["pipeline_root"].ok, read_only["metadata"].ok) == (None, True)
    assert (
        "You do not have storage.objects.create, storage.objects.list on gs://acme-kfp"
        in read_only["pipeline_root"].detail
    )
    assert usable["pipeline_root"].detail == "gs://acme-kfp can be written and read"


def test_an_image_that_is_not_there(
    settings: dict[str, str],
    server: ScriptedServer,
    diagnose: Diagnose,
    broken: Broken,
    with_images: WithImages,
) -> None:
    settings |= {"artifact_registry_endpoint": server.api_endpoint}
    image = "eu-docker.pkg.dev/acme/ml/train:v1"

    finding = broken(diagnose(with_images(image), **settings))

    assert (finding.check, finding.detail) == ("images", f"There is no image {image}.")
    server.answer(
        "GET /v1/projects/acme/locations/eu/repositories/ml/packages/train/tags/v1", {"name": "v1"}
    )
    assert diagnose(with_images(image), **settings)["images"].detail == "1 in Artifact Registry"


def test_a_service_account_that_only_kubectl_knows(
    settings: dict[str, str], diagnose: Diagnose
) -> None:
    finding = diagnose(**settings, service_account="runner")["service_account"]

    assert (finding.ok, finding.hint) == (None, "kubectl get serviceaccount runner -n growth")


@pytest.mark.parametrize(
    ("answer", "ok", "detail"),
    [
        ("echo serviceaccount/runner", True, "runner is there"),
        ("true", False, "There is no service account runner in the namespace growth."),
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
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n{answer}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = {
        "auth": "port-forward",
        "kube_context": "prod",
        "namespace": "growth",
        "service_account": "runner",
    }
    env = Environment(
        "dev", "kubeflow", {key: Setting(value, "test") for key, value in settings.items()}
    )

    (finding,) = run_checks([("service_account", kubeflow.Cluster(env).service_account)])

    assert (finding.ok, finding.detail) == (ok, detail)
    assert (tmp_path / "arguments").read_text() == (
        "--context prod get serviceaccount runner -n growth --ignore-not-found -o name\n"
    )
    assert finding.hint == (
        "kubectl create serviceaccount runner --namespace=growth" if ok is False else ""
    )
