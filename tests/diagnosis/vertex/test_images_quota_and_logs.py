"""The images of a pipeline, the quota of the project, and its logs."""

import pytest

from doctor_checks import Broken, Diagnose, ScriptedServer, WithImages
from kfgcp.config import Environment
from kfgcp.diagnosis.google_cloud import Cloud
from kfgcp.errors import BadAnswer
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.settings import Setting
from refusing_vertex import RUNNER, Vertex


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
    scripted: ScriptedServer, answer: object, field: str
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
