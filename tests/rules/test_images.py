"""Rules about images that no registry is known to have: for each a pipeline that triggers it, and
the smallest edit that silences it."""

import pytest

from general_rule_pipelines import BASE, CONTAINER, IMAGE, edited
from kfgcp.rules import images
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.rule import Runner, Target, judge, rules_of
from kfgcp.spec.load import from_documents

REGISTRY = "europe-west4-docker.pkg.dev/acme/images"
TAG = "c-0123456789ab"


# The images of a project with [image.shop], [image.components-shop] and this registry.
NAMES = ["components-base", "components-gcp", "components-tabular", "shop", "components-shop"]
REPOSITORIES = frozenset(NAMES) | {f"{REGISTRY}/{name}" for name in NAMES}


def find(image: str, runner: Runner) -> list[RuleFinding]:
    document = edited(BASE, [(f"{CONTAINER}.image", image)])
    pipeline = PipelineContext(from_documents([document], "hello.yaml"))
    target = Target("dev", "vertex", runner=runner, image_repositories=REPOSITORIES)
    return judge(rules_of(images), pipeline, target)


CASES = [
    (
        f"{REGISTRY}/shop:{TAG}",
        f"the image {REGISTRY}/shop:{TAG} of component say is not in images.lock, so it may not"
        " exist",
        "Push the image, and commit images.lock: kfgcp images push shop",
    ),
    (
        f"{REGISTRY}/components-tabular:{TAG}",
        f"the image {REGISTRY}/components-tabular:{TAG} of component say is not in images.lock, so"
        " it may not exist",
        "Push the image, and commit images.lock: kfgcp images push tabular",
    ),
    (
        f"components-shop:{TAG}",
        f"the image components-shop:{TAG} of component say is in no registry",
        "Add image_registry to [project] of kfgcp.toml, then: kfgcp images push components-shop",
    ),
    (
        "tabular",
        "the image tabular of component say is a name that only kfgcp can replace",
        "Compile the pipeline with kfgcp compile.",
    ),
]


@pytest.mark.parametrize(("image", "message", "hint"), CASES)
def test_an_unpinned_image_is_an_error_for_a_service(image: str, message: str, hint: str) -> None:
    (finding,) = find(image, Runner.SERVICE)
    assert (finding.rule, finding.severity) == ("P130", Severity.ERROR)
    assert (finding.message, finding.hint) == (message, hint)
    assert find(IMAGE, Runner.SERVICE) == []


@pytest.mark.parametrize(("image", "message", "hint"), CASES)
def test_an_unpinned_image_is_a_note_for_a_stand_in(image: str, message: str, hint: str) -> None:
    (finding,) = find(image, Runner.STAND_IN)
    assert (finding.rule, finding.severity) == ("P131", Severity.NOTE)
    # A tunnel to a real service has an address of this machine too.
    assert finding.message == (
        f"{message}: dev has an address of this machine, where a stand-in runs it, but a service"
        " behind this address would refuse it"
    )
    assert finding.hint == hint
    assert find(IMAGE, Runner.STAND_IN) == []


@pytest.mark.parametrize("runner", [Runner.THIS_MACHINE, Runner.UNKNOWN])
def test_an_unpinned_image_is_fine_on_this_machine(runner: Runner) -> None:
    assert find(f"shop:{TAG}", runner) == []


@pytest.mark.parametrize(
    "image",
    [
        # Another registry, another name in the registry of the project, and an image of Docker Hub.
        f"europe-west4-docker.pkg.dev/other/images/shop:{TAG}",
        f"europe-west4-docker.pkg.dev/other/images/components-tabular:{TAG}",
        f"{REGISTRY}/other:{TAG}",
        f"{REGISTRY}/nested/shop:{TAG}",
        f"other:{TAG}",
    ],
)
def test_a_foreign_image_may_have_a_tag_of_the_same_form(image: str) -> None:
    assert find(image, Runner.SERVICE) == []
    assert find(image, Runner.STAND_IN) == []
