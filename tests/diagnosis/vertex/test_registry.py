"""The repository for versions of pipelines."""

from doctor_checks import Broken, Diagnose
from refusing_vertex import Vertex

PLACE = "https://europe-west4-kfp.pkg.dev/stand-in-project"


def test_a_repository_for_pipelines(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose
) -> None:
    finding = diagnose(**settings)["registry"]

    assert (finding.ok, finding.detail) == (True, f"{PLACE}/pipelines stores pipelines")


def test_an_environment_without_a_repository_is_not_checked(
    settings: dict[str, str], diagnose: Diagnose
) -> None:
    del settings["pipeline_registry"]

    assert "registry" not in diagnose(**settings)


def test_a_repository_that_does_not_exist(
    settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    finding = broken(diagnose(**settings | {"pipeline_registry": f"{PLACE}/models"}))

    assert (finding.check, finding.detail) == (
        "registry",
        f"Artifact Registry has no repository {PLACE}/models.",
    )
    assert finding.hint == (
        "gcloud artifacts repositories create models --repository-format=kfp"
        " --location=europe-west4 --project=stand-in-project"
    )


def test_a_repository_for_images(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.artifact_registry.make_repository("images", "DOCKER")

    finding = broken(diagnose(**settings | {"pipeline_registry": f"{PLACE}/images"}))

    assert (
        finding.detail == f"{PLACE}/images in Artifact Registry has the format 'DOCKER', not KFP."
    )


def test_a_repository_that_may_not_be_read(
    vertex: Vertex, settings: dict[str, str], diagnose: Diagnose, broken: Broken
) -> None:
    vertex.refuse(
        "GET */repositories/pipelines",
        403,
        "Permission 'artifactregistry.repositories.get' denied on resource",
        "IAM_PERMISSION_DENIED",
        permission="artifactregistry.repositories.get",
    )

    finding = broken(diagnose(**settings))

    assert "artifactregistry.repositories.get" in finding.detail
    assert "--role=roles/artifactregistry.reader" in finding.hint
