"""The tags of images that schedules use, in the registry server of Docker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kfgcp.deploy.images.lock import Locked, write_lock
from kfgcp.deploy.plan.image_tag_reader import ImageTagReader, open_image_tags
from kfgcp.deploy.plan.image_tags import ImageTagMove, move_of, pinned_images
from kfgcp.deploy.plan.use_tags import use_tag
from kfgcp.errors import BackendError, Refused, Unreachable
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.image_registry import ImageRegistry
from kfgcp.tracking.deployment import make_destroy_plan
from kfgcp.workspace import Workspace
from patience import REQUEST
from registry_images import OCI, digest_of, push_image, push_index, tag_image, tags_of
from s3_servers import free_port
from service_fixtures import Reply, running
from simulated_project import PIPELINE, TOML, SimulatedWorkspace
from simulated_schedules import WITH_UPDATE

TABLES = """
[pipeline.churn]
source = "churn.yaml"

[image.shop]
context = "shop"

[image.web]
context = "web"
"""
DAILY = """
[schedule.daily]
pipeline = "churn"
env = "dev"
cron = "0 6 * * *"
"""
TAG = use_tag("daily", "shop", "acme-dev")
MISSING = "sha256:" + "0" * 64


class ImageProject:
    """A project with two images, and a schedule whose pipeline uses one of them.

    Args:
        folder: its folder.
        registry: its image_registry.
    """

    def __init__(self, folder: Path, registry: str) -> None:
        self.folder = folder
        self.registry = registry
        self._workspace: SimulatedWorkspace | None = None
        for name in ("shop", "web"):
            (folder / name).mkdir()
            (folder / name / "Dockerfile").write_text("FROM scratch\n")
        self.declare(DAILY)
        self.use_image("shop")

    def declare(self, tables: str) -> None:
        """Write kfgcp.toml. tables: its schedules."""
        line = f'name = "shop"\nimage_registry = {json.dumps(self.registry)}'
        toml = TOML.replace('name = "shop"', line)
        (self.folder / "kfgcp.toml").write_text(toml + TABLES + tables)

    def use_image(self, image: str) -> None:
        """Write the pipeline with another image."""
        text = PIPELINE.format(name="churn", text="hello").replace("python:3.12", image)
        (self.folder / "churn.yaml").write_text(text)

    def lock(self, digests: Mapping[str, str]) -> None:
        """Write images.lock. digests: image -> its digest in the registry."""
        with Workspace(self.folder) as workspace:
            infos = {info.name: info for info in workspace.images.list(*digests)}
        entries = {}
        for name, digest in digests.items():
            entries[name] = Locked(infos[name].content, digest, registry=self.registry)
        write_lock(self.folder, entries)

    def open(self) -> SimulatedWorkspace:
        """Open the project again, with the same services."""
        services = None if self._workspace is None else self._workspace.services
        self._workspace = SimulatedWorkspace(self.folder, WITH_UPDATE, services)
        return self._workspace

    def planned_lines(self) -> list[str]:
        """Return the lines about the schedule in a plan."""
        changes = self.open().plan_now().changes
        return [line for change in changes if change.name == "daily" for line in change.lines]


@pytest.fixture
def project(home: Path, start_registry: Callable[..., str]) -> ImageProject:
    return ImageProject(home, start_registry())


def short(image: str, digest: str) -> str:
    return f"{image}@{digest[:19]}"


@pytest.mark.parametrize("push", [push_image, push_index])
def test_apply_tags_the_images_of_a_schedule_before_it_is_written(
    project: ImageProject, push: Callable[[str, str], str]
) -> None:
    image = f"{project.registry}/shop"
    digest = push(image, "first")
    other = push_image(f"{project.registry}/web", "first")
    project.lock({"shop": digest, "web": other})
    line = f"image tag {TAG}: {short('shop', digest)}"
    workspace = project.open()

    plan = workspace.plan_now()
    assert plan.notes == ()
    assert line in plan.changes[1].lines
    assert tags_of(image) == {}
    steps = [step.text for step in plan.apply().steps]

    assert steps.index(line) < steps.index("created")
    assert tags_of(image) == {TAG: digest}
    assert tags_of(f"{project.registry}/web") == {}
    assert project.open().plan_now().changes == ()


def test_a_tag_that_somebody_moved_is_the_only_line_of_an_update(project: ImageProject) -> None:
    image = f"{project.registry}/shop"
    digest, other = push_image(image, "first"), push_image(image, "second")
    project.lock({"shop": digest})
    project.open().apply_now()
    tag_image(image, other, TAG)

    changes = project.open().plan_now().changes
    project.open().apply_now()

    line = f"image tag {TAG}: {short('shop', other)} -> {short('shop', digest)}"
    assert [change.lines for change in changes] == [(line,)]
    assert changes[0].title.startswith("~ schedule daily")
    assert tags_of(image) == {TAG: digest}
    assert project.open().plan_now().changes == ()


def test_a_new_image_takes_the_tag_over(project: ImageProject) -> None:
    image = f"{project.registry}/shop"
    first, second = push_image(image, "first"), push_image(image, "second")
    project.lock({"shop": first})
    project.open().apply_now()
    project.lock({"shop": second})

    lines = project.planned_lines()
    project.open().apply_now()

    assert f"image tag {TAG}: {short('shop', first)} -> {short('shop', second)}" in lines
    assert tags_of(image) == {TAG: second}


def test_a_tag_that_cannot_be_deleted_is_named_and_is_no_change_alone(
    project: ImageProject,
) -> None:
    shop, web = f"{project.registry}/shop", f"{project.registry}/web"
    digests = {"shop": push_image(shop, "first"), "web": push_image(web, "first")}
    project.lock(digests)
    project.open().apply_now()
    project.use_image("web")

    lines = project.planned_lines()
    steps = [step.text for step in project.open().apply_now().steps]

    assert f"image tag {TAG}: removed from {short('shop', digests['shop'])}" in lines
    assert f"image tag {TAG}: {short('web', digests['web'])}" in lines
    assert f"image tag {TAG} stays at {shop}: the registry cannot delete tags" in steps
    assert tags_of(web) == {TAG: digests["web"]}
    assert tags_of(shop) == {TAG: digests["shop"]}
    assert project.open().plan_now().changes == ()


def test_destroy_removes_the_tag_before_the_schedule(project: ImageProject) -> None:
    image = f"{project.registry}/shop"
    digest = push_image(image, "first")
    project.lock({"shop": digest})
    project.open().apply_now()

    plan = make_destroy_plan(project.open(), (), "dev")
    steps = [step.text for step in plan.apply().steps]

    line = f"image tag {TAG}: removed from {short('shop', digest)}"
    assert [line for change in plan.changes for line in change.lines][-1] == line
    note = f"image tag {TAG} stays at {image}: the registry cannot delete tags"
    assert steps.index(note) < steps.index("deleted")


def test_a_refused_removal_does_not_keep_a_schedule_alive(home: Path) -> None:
    replies = {
        "HEAD": Reply(headers={"Docker-Content-Digest": MISSING}),
        "DELETE": Reply({"errors": [{"message": "the tag is immutable"}]}, status=412),
    }
    with running() as server:
        server.always(lambda request: replies[request.method])
        project = ImageProject(home, server.url.removeprefix("http://") + "/acme")
        project.lock({"shop": MISSING})
        project.open().apply_now()
        workspace = project.open()

        with pytest.raises(Refused, match="the tag is immutable") as caught:
            make_destroy_plan(workspace, (), "dev").apply()

    assert f"image tag {TAG} stays at {project.registry}/shop" in caught.value.message
    assert workspace.dev.state() == {}


def test_a_registry_that_is_down_keeps_the_schedule_for_the_next_destroy(home: Path) -> None:
    with running() as server:
        server.always(lambda _: Reply(headers={"Docker-Content-Digest": MISSING}))
        project = ImageProject(home, server.url.removeprefix("http://") + "/acme")
        project.lock({"shop": MISSING})
        project.open().apply_now()
        workspace = project.open()
        down = Reply(b"<html>", 307, {"Location": "http://127.0.0.1:1/"})
        digest = Reply(headers={"Docker-Content-Digest": MISSING})
        server.always(lambda request: digest if request.method == "HEAD" else down)

        with pytest.raises(Unreachable):
            make_destroy_plan(workspace, (), "dev").apply()

    assert set(workspace.dev.state()) == {"daily"}


def test_an_image_that_the_registry_lost_keeps_the_schedule_as_it_is(
    project: ImageProject,
) -> None:
    push_image(f"{project.registry}/shop", "first")
    project.lock({"shop": MISSING})
    workspace = project.open()

    with pytest.raises(BackendError, match=r"schedule daily: .*manifest unknown"):
        workspace.apply_now()

    assert workspace.dev.state() == {}


@pytest.mark.parametrize("sign_in", [True, False])
def test_a_registry_that_cannot_be_read_is_one_note(
    home: Path, start_registry: Callable[..., str], sign_in: bool
) -> None:
    users = "ann:$2b$04$MVA7QQHsHCzCuTK6pcP2zepdjH3ugyOxNT2DVKxII5J9.W93cozHK\n"
    address = start_registry(users=users) if sign_in else f"127.0.0.1:{free_port()}/acme"
    project = ImageProject(home, address)
    project.lock({"shop": MISSING, "web": MISSING})
    project.declare(DAILY + DAILY.replace("daily", "weekly"))
    workspace = project.open()

    plan = workspace.plan_now()
    plan.apply()

    [note] = plan.notes
    assert note.startswith("Images of schedules get no tag use-…: ")
    assert address.partition("/")[0].partition(":")[0] in note
    assert set(workspace.dev.state()) == {"daily", "weekly"}
    assert project.open().plan_now().changes == ()


def test_a_project_without_own_images_asks_no_registry(home: Path) -> None:
    project = ImageProject(home, f"127.0.0.1:{free_port()}/acme")
    project.use_image(f"other.example/acme/shop@{MISSING}")

    plan = project.open().plan_now()

    assert plan.notes == ()
    assert not [line for line in project.planned_lines() if line.startswith("image tag")]


def test_each_schedule_costs_one_read_for_each_own_image(home: Path) -> None:
    with running() as server:
        server.always(lambda _: Reply(headers={"Docker-Content-Digest": MISSING}))
        project = ImageProject(home, server.url.removeprefix("http://") + "/acme")
        project.lock({"shop": MISSING, "web": MISSING})
        project.declare(DAILY + DAILY.replace("daily", "weekly"))
        project.open().plan_now()
        requests = {(request.method, request.path) for request in server.asked}
        count = len(server.asked)

    tags = [use_tag(name, "shop", "acme-dev") for name in ("daily", "weekly")]
    paths = [f"/v2/acme/{name}/manifests/{tag}" for name in ("shop", "web") for tag in tags]
    assert requests == {("HEAD", path) for path in paths}
    assert count == len(paths)


def test_a_registry_that_is_open_only_for_reads_keeps_no_schedule_back(home: Path) -> None:
    manifest = b"{}"
    digest = digest_of(manifest)
    replies = {
        "HEAD": Reply(status=404),
        "GET": Reply(manifest, headers={"Content-Type": f"{OCI}.manifest.v1+json"}),
        "PUT": Reply(status=401),
    }
    with running() as server:
        server.always(lambda request: replies[request.method])
        project = ImageProject(home, server.url.removeprefix("http://") + "/acme")
        project.lock({"shop": digest})
        workspace = project.open()
        steps = [step.text for step in workspace.apply_now().steps]

    image = f"{project.registry}/shop"
    assert f"image tag {TAG} is not set at {image}: kfgcp cannot sign in" in steps
    assert "daily" in workspace.dev.state()


def test_a_refused_tag_is_an_error_after_the_schedule_was_written(home: Path) -> None:
    manifest = b"{}"
    replies = {
        "HEAD": Reply(status=404),
        "GET": Reply(manifest, headers={"Content-Type": f"{OCI}.manifest.v1+json"}),
        "PUT": Reply(status=409),
    }
    with running() as server:
        server.always(lambda request: replies[request.method])
        project = ImageProject(home, server.url.removeprefix("http://") + "/acme")
        project.lock({"shop": digest_of(manifest)})
        workspace = project.open()

        with pytest.raises(BackendError, match="image tag of schedule daily: "):
            workspace.apply_now()

    assert "daily" in workspace.dev.state()


def test_an_image_that_the_lock_does_not_have_gets_the_tag_too(project: ImageProject) -> None:
    image = f"{project.registry}/team/old"
    digest = push_image(image, "first")
    project.use_image(f"{image}@{digest}")

    project.open().apply_now()

    assert tags_of(image) == {TAG: digest}
    assert project.open().plan_now().changes == ()


def test_a_lock_that_is_not_valid_is_a_note_when_no_pipeline_needs_it(
    project: ImageProject,
) -> None:
    project.use_image("python:3.12")
    (project.folder / "images.lock").write_text("[[[")

    [note] = project.open().plan_now().notes

    assert note.startswith("Images of schedules get no tag use-…: ")
    assert "images.lock is not valid TOML" in note


def test_a_stand_in_leaves_a_registry_elsewhere_alone(home: Path) -> None:
    project = ImageProject(home, "europe-west4-docker.pkg.dev/acme-ml/images")
    toml = (home / "kfgcp.toml").read_text()
    endpoint = 'api_endpoint = "http://127.0.0.1:1"\nauth = "anonymous"'
    toml = toml.replace('project = "acme-dev"', f'project = "acme-dev"\n{endpoint}')
    (home / "kfgcp.toml").write_text(toml)
    project.lock({"shop": MISSING})
    config = project.open().project

    assert open_image_tags(config, config.env("dev")).registry is None
    service = open_image_tags(config, config.env("prod")).registry
    assert service is not None
    assert service.deletes_tags


@pytest.mark.parametrize(
    ("address", "is_needed"),
    [("europe-west4-docker.pkg.dev/acme-ml/images", True), ("registry.example/acme", False)],
)
def test_a_removal_alone_is_a_change_where_tags_can_be_deleted(
    address: str, is_needed: bool
) -> None:
    registry = ImageRegistry(address, Anonymous(), seconds=REQUEST)
    removal = move_of(TAG, f"{address}/shop", address, MISSING, None)
    setting = move_of(TAG, f"{address}/web", address, None, MISSING)
    assert removal is not None
    assert setting is not None
    moves: tuple[ImageTagMove, ...] = (removal, setting)

    needed = ImageTagReader(registry).needed(moves)

    assert needed == (moves if is_needed else (setting,))


@pytest.mark.parametrize(
    "image",
    [
        "python:3.12",
        f"other.example/acme/shop@{MISSING}",
        f"registry.example/acme-2/shop@{MISSING}",
        "registry.example/acme/shop:c-0123456789ab",
        f"registry.example/acme/../shop@{MISSING}",
        f"registry.example/acme/shop?x=@{MISSING}",
        "registry.example/acme/shop@sha256:12",
    ],
)
def test_only_pinned_images_of_the_own_registry_are_tagged(image: str) -> None:
    own = f"registry.example/acme/shop:v1@{MISSING}"

    assert pinned_images([image, own], "registry.example/acme") == {
        "registry.example/acme/shop": MISSING
    }
