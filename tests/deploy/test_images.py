"""Images are built by a real Docker engine and pushed to a real registry."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from requests import ConnectionError, ReadTimeout

from kfgcp import Workspace
from kfgcp.deploy.images.docker_images import DockerImages
from kfgcp.deploy.images.lock import Locked, read_lock, write_lock
from kfgcp.errors import Unreachable
from kfgcp.services.docker_engine import engine_errors
from kfgcp_command import Command
from s3_servers import free_port

if TYPE_CHECKING:
    from docker import DockerClient

TOML = """
[project]
name = "shop"
{project}
[image.shop]
context = "shop"
[image.web]
context = "web"
"""
# The user ann with the password pw, as `htpasswd -B` writes it.
USERS = "ann:$2b$04$MVA7QQHsHCzCuTK6pcP2zepdjH3ugyOxNT2DVKxII5J9.W93cozHK\n"

PIPELINE = """
from kfp import dsl

@dsl.container_component
def say():
    return dsl.ContainerSpec(image="web", command=["cat", "/shop/greeting"])

@dsl.pipeline(name="say")
def pipeline():
    say()
"""


@pytest.fixture
def project(
    home: Path, shell_base: str, docker: "DockerClient", request: pytest.FixtureRequest
) -> Iterator[Callable[..., None]]:
    """Writes a project with two images, of which the second begins with the first."""
    for name in ("shop", "web"):
        (home / name).mkdir()
    (home / "shop" / "greeting").write_text("hello")
    # The label gives each test a content of its own, so that no image of another test is found.
    (home / "shop" / "Dockerfile").write_text(
        f"ARG BASE={shell_base}\nFROM ${{BASE}}\nLABEL test={home}\nCOPY . /shop\n"
    )
    (home / "web" / "Dockerfile").write_text("ARG BASE=shop\nFROM ${BASE}\nRUN echo made\n")
    (home / "pipe.py").write_text(PIPELINE)

    def write(registry: str | None = None) -> None:
        line = "" if registry is None else f'image_registry = "{registry}"'
        (home / "kfgcp.toml").write_text(TOML.format(project=line))

    yield write
    # By tag: an image that another one begins with cannot be removed by its id before that one.
    for image in docker.images.list(filters={"label": f"test={home}"}):
        for tag in image.tags:
            docker.images.remove(tag, force=True)


def test_an_image_is_built_once_with_what_it_begins_with(
    project: Callable[..., None], kfgcp: Command, docker: "DockerClient", home: Path
) -> None:
    project()
    first = kfgcp("images", "build", "web", "--json")
    assert first.code == 0, first.err
    assert [(image["name"], image["action"]) for image in first.json] == [
        ("shop", "built"),
        ("web", "built"),
    ]
    assert "made" in first.err.splitlines()
    shop, web = first.json
    labels = docker.images.get(web["reference"]).labels
    assert labels["org.opencontainers.image.base.name"] == shop["reference"]
    assert labels["org.opencontainers.image.base.digest"] == shop["content"]
    base = docker.images.get("kfgcp-tests/shell:1")
    assert shop["base_digest"] == base.id
    second = kfgcp("images", "build", "web", "--json")
    assert {image["action"] for image in second.json} == {"found"}
    run = kfgcp("run", "pipe.py", "--json")
    assert run.code == 0, run.err
    listed = kfgcp("images", "list", "shop", "web", "tabular", "--json")
    assert [image["state"] for image in listed.json] == ["not pushed", "not pushed", "not built"]


def test_a_pushed_image_is_pinned_and_neither_built_nor_pushed_again(
    project: Callable[..., None],
    kfgcp: Command,
    docker: "DockerClient",
    start_registry: Callable[..., str],
    home: Path,
) -> None:
    registry = start_registry()
    project(registry)
    pushed = kfgcp("images", "push", "web", "--json")
    assert pushed.code == 0, pushed.err
    shop, web = pushed.json
    assert web["reference"] == f"{registry}/web@{web['digest']}"
    tag = f"{registry}/web:c-{web['content'].removeprefix('sha256:')[:12]}"
    assert docker.images.get_registry_data(tag).id == web["digest"]
    lock = (home / "images.lock").read_text()
    # As on another machine, which has neither the image nor the lock.
    for reference in (web["reference"], tag, shop["reference"]):
        docker.images.remove(reference, force=True)
    (home / "images.lock").unlink()
    again = kfgcp("images", "push", "web", "--json")
    assert [image["action"] for image in again.json] == ["found", "found"], again.err
    assert (home / "images.lock").read_text() == lock
    run = kfgcp("run", "pipe.py", "--json")
    assert run.code == 0, run.err
    compiled = kfgcp("compile", "pipe.py", "-o", "pipe.yaml")
    assert compiled.code == 0
    assert f"image: {web['reference']}\n" in (home / "pipe.yaml").read_text()


def test_a_lock_that_is_lost_is_written_again_from_the_registry(
    project: Callable[..., None],
    kfgcp: Command,
    start_registry: Callable[..., str],
    home: Path,
) -> None:
    project(start_registry())
    assert kfgcp("images", "push", "web").code == 0
    lock = (home / "images.lock").read_text()
    (home / "images.lock").unlink()
    locked = kfgcp("images", "lock", "web")
    assert locked.code == 0, locked.err
    assert (home / "images.lock").read_text() == lock
    assert "kfgcp images push" not in locked.err


def test_a_push_during_a_lock_stays_recorded(
    project: Callable[..., None], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project("docker.acme.example/ml")
    pushed = Locked("sha256:" + "a" * 64, "sha256:" + "b" * 64)

    def push_another(docker: DockerImages, image: str) -> None:
        if "/shop:" in image:
            write_lock(home, {"web": pushed})

    monkeypatch.setattr(DockerImages, "registry_digest", push_another)

    Workspace.open().images.lock("shop")

    assert set(read_lock(home)) == {"shop", "web"}
    assert read_lock(home)["web"] == pushed


def test_a_changed_file_needs_a_new_push(
    project: Callable[..., None],
    kfgcp: Command,
    start_registry: Callable[..., str],
    home: Path,
) -> None:
    project(start_registry())
    assert kfgcp("images", "push", "shop").code == 0
    (home / "shop" / "greeting").write_text("goodbye")
    states = kfgcp("images", "list", "shop", "--json").json
    assert [image["state"] for image in states] == ["changed"]
    locked = kfgcp("images", "lock", "shop")
    assert "next: kfgcp images push" in locked.err
    assert read_lock(home)["shop"].digest == ""


def test_an_image_for_another_platform_is_built_and_remembered(
    project: Callable[..., None], kfgcp: Command, docker: "DockerClient", home: Path
) -> None:
    project()
    # Without RUN lines, no emulation is needed.
    (home / "shop" / "Dockerfile").write_text(f"FROM scratch\nCOPY . /shop\nLABEL test={home}\n")
    (home / "web" / "Dockerfile").write_text("ARG BASE=shop\nFROM ${BASE}\nCOPY . /web\n")

    plain = kfgcp("images", "build", "web", "--json")
    other = kfgcp("images", "build", "web", "--platform", "linux/arm64", "--json")
    again = kfgcp("images", "build", "web", "--json")

    assert [result.code for result in (plain, other, again)] == [0, 0, 0], other.err
    processors = [_processors(docker, result.json) for result in (plain, other)]
    assert processors == [["amd64", "amd64"], ["arm64", "arm64"]]
    assert [image["action"] for image in other.json] == ["built", "built"]
    assert [image["action"] for image in again.json] == ["found", "found"]
    assert again.json[1]["content"] == other.json[1]["content"] != plain.json[1]["content"]
    assert read_lock(home)["shop"].platform == "linux/arm64"


def _processors(docker: "DockerClient", images: list[dict[str, str]]) -> list[str]:
    return [docker.images.get(image["reference"]).attrs["Architecture"] for image in images]


def test_a_base_of_another_platform_is_one_line(
    project: Callable[..., None], kfgcp: Command, docker: "DockerClient", home: Path
) -> None:
    project()
    result = kfgcp("images", "build", "shop", "--platform", "linux/s390x")
    assert result.code == 5
    images = docker.images.list(filters={"label": f"test={home}"})
    assert [image.tags for image in images if image.tags] == []
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: The image shop cannot be built: ")
    assert not (home / "images.lock").exists()


@pytest.mark.parametrize("platform", ["arm64", "linux/", "", "linux/arm64,linux/amd64"])
def test_a_platform_that_is_not_one_is_a_usage_error(
    project: Callable[..., None], kfgcp: Command, platform: str
) -> None:
    project()
    result = kfgcp("images", "build", "shop", "--platform", platform)
    assert result.code == 2
    assert f"The platform {platform!r} is not a system and a processor." in result.err
    assert "hint: Write it as Docker does: --platform linux/arm64" in result.err


def test_a_dockerfile_that_fails_is_one_line(
    project: Callable[..., None], kfgcp: Command, docker: "DockerClient", home: Path
) -> None:
    project()
    (home / "web" / "Dockerfile").write_text(
        "ARG BASE=shop\nFROM ${BASE}\nRUN echo reason >&2; exit 7\n"
    )
    result = kfgcp("images", "build", "web")
    assert result.code == 5
    problem = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(problem) == 1
    assert problem[0].startswith("error: The image web cannot be built: ")
    assert "returned a non-zero code: 7" in problem[0]
    assert "reason" in result.err
    # The image that was built before stays recorded.
    assert set(read_lock(home)) == {"shop"}
    images = docker.images.list(filters={"label": f"test={home}"})
    tags = [tag for image in images for tag in image.tags]
    assert [tag.partition(":")[0] for tag in tags] == ["shop"]


@pytest.mark.parametrize("dockerfile", ["FORM scratch\n", "FROM kfgcp-tests/gone:9\n", ""])
def test_a_dockerfile_that_cannot_be_read_is_one_line(
    project: Callable[..., None], kfgcp: Command, home: Path, dockerfile: str
) -> None:
    project()
    (home / "shop" / "Dockerfile").write_text(dockerfile)
    result = kfgcp("images", "build", "shop")
    assert result.code == 5
    assert "error: The image shop cannot be built: " in result.err
    assert not (home / "images.lock").exists()


def test_an_image_that_was_pushed_is_recorded_when_the_next_one_fails(
    project: Callable[..., None],
    kfgcp: Command,
    start_registry: Callable[..., str],
    home: Path,
) -> None:
    registry = start_registry()
    project(registry)
    (home / "web" / "Dockerfile").write_text("ARG BASE=shop\nFROM ${BASE}\nRUN exit 7\n")
    result = kfgcp("images", "push", "web")
    assert result.code == 5
    lock = read_lock(home)
    assert set(lock) == {"shop"}
    assert lock["shop"].digest.startswith("sha256:")
    assert lock["shop"].registry == registry


def test_the_value_of_an_argument_makes_another_image_and_is_remembered(
    project: Callable[..., None], kfgcp: Command, home: Path
) -> None:
    project()
    with (home / "shop" / "Dockerfile").open("a") as file:
        file.write("ARG GREETING=none\nRUN echo greeting is $GREETING\n")
    plain = kfgcp("images", "build", "shop", "--json")
    assert "greeting is none" in plain.err
    other = kfgcp("images", "build", "shop", "--build-arg", "GREETING=hello", "--json")
    assert "greeting is hello" in other.err
    assert other.json[0]["content"] != plain.json[0]["content"]
    again = kfgcp("images", "build", "shop", "--json")
    assert (again.json[0]["action"], again.json[0]["content"]) == (
        "found",
        other.json[0]["content"],
    )


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("GREETNG=a", "No Dockerfile of these images has a line ARG GREETNG: shop."),
        ("BASE=a", "The argument BASE is the image to begin with, so it has an option of its own."),
        ("GREETING=https://ann:pw@acme.example/", "--build-arg GREETING has a user or a password"),
    ],
)
def test_an_argument_that_cannot_be_recorded_is_a_usage_error(
    project: Callable[..., None], kfgcp: Command, home: Path, argument: str, problem: str
) -> None:
    project()
    with (home / "shop" / "Dockerfile").open("a") as file:
        file.write("ARG GREETING\n")
    result = kfgcp("images", "build", "shop", "--build-arg", argument)
    assert result.code == 2
    assert problem in result.err
    assert not (home / "images.lock").exists()


def test_another_base_is_for_the_named_images_only(
    project: Callable[..., None], kfgcp: Command, shell_base: str, home: Path
) -> None:
    project()
    result = kfgcp("images", "build", "web", "--base", "127.0.0.1:9/other:1")
    assert result.code == 2
    assert (
        "error: The image web begins with the image shop, so --base does not apply to it."
        in result.err
    )
    assert "kfgcp images lock shop --base 127.0.0.1:9/other:1" in result.err
    locked = kfgcp("images", "lock", "shop", "--base", shell_base, "--json")
    assert locked.json[0]["base"] == shell_base
    assert read_lock(home)["shop"].replaces == ""


def test_a_registry_that_needs_a_sign_in_is_one_line(
    project: Callable[..., None], kfgcp: Command, start_registry: Callable[..., str], home: Path
) -> None:
    registry = start_registry(users=USERS)
    project(registry)
    result = kfgcp("images", "push", "shop")
    assert result.code == 5
    assert f"error: The registry of {registry}/shop:c-" in result.err
    assert "sign in: docker login HOST" in result.err
    assert not (home / "images.lock").exists()


def test_an_engine_that_is_not_running_is_one_line(
    project: Callable[..., None], kfgcp: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{free_port()}")
    result = kfgcp("images", "build", "shop")
    assert result.code == 5
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: No Docker engine answers: ")
    assert "hint: Start Docker" in result.err


@pytest.mark.parametrize("error", [ConnectionError("refused"), ReadTimeout("60 s")])
def test_an_engine_that_stops_answering_is_one_line(error: Exception) -> None:
    with pytest.raises(Unreachable) as caught, engine_errors("pushing the image shop"):
        raise error
    assert caught.value.message == (
        f"The Docker engine stopped answering while pushing the image shop: {error}"
    )
    assert caught.value.exit_code == 5


def test_a_registry_that_refuses_is_one_line_and_changes_nothing(
    project: Callable[..., None],
    kfgcp: Command,
    start_registry: Callable[..., str],
    home: Path,
) -> None:
    registry = start_registry(readonly=True)
    project(registry)
    result = kfgcp("images", "push", "shop")
    assert result.code == 5
    assert f"error: The registry did not take the image shop ({registry}/shop): " in result.err
    assert "hint: Sign in" in result.err
    assert not (home / "images.lock").exists()


def test_a_registry_that_does_not_answer_is_named(
    project: Callable[..., None], kfgcp: Command, home: Path
) -> None:
    project("127.0.0.1:9/acme")
    result = kfgcp("images", "push", "shop")
    assert result.code == 5
    assert "error: The registry of 127.0.0.1:9/acme/shop:c-" in result.err
    assert not (home / "images.lock").exists()


def test_without_a_registry_nothing_can_be_pushed(
    project: Callable[..., None], kfgcp: Command
) -> None:
    project()
    result = kfgcp("images", "push", "shop")
    assert result.code == 2
    assert "error: kfgcp.toml has no image_registry, so images cannot be pushed." in result.err


def test_a_base_that_does_not_exist_is_named(
    project: Callable[..., None], kfgcp: Command, home: Path
) -> None:
    project()
    result = kfgcp("images", "lock", "shop", "--base", "127.0.0.1:9/gone:1")
    assert result.code == 5
    assert "error: The base image 127.0.0.1:9/gone:1 cannot be found: " in result.err
    assert not (home / "images.lock").exists()


def test_another_base_needs_a_line_for_it(
    project: Callable[..., None], kfgcp: Command, home: Path, shell_base: str
) -> None:
    project()
    (home / "shop" / "Dockerfile").write_text(f"FROM {shell_base}\n")
    result = kfgcp("images", "build", "shop", "--base", shell_base)
    assert result.code == 2
    assert "The Dockerfile of the image shop has no line ARG BASE=IMAGE." in result.err


def test_an_image_that_was_not_built_is_named_by_the_run(
    project: Callable[..., None], kfgcp: Command, docker: "DockerClient"
) -> None:
    project()
    result = kfgcp("run", "pipe.py", "--json")
    assert result.code == 6
    message = result.json["error"]["message"]
    assert message.endswith("is not on this machine: build it with kfgcp images build web")


def test_an_unknown_image_is_a_usage_error(project: Callable[..., None], kfgcp: Command) -> None:
    project()
    result = kfgcp("images", "list", "shopp")
    assert result.code == 2
    assert "error: There is no image 'shopp'." in result.err
    assert "Did you mean 'shop'? Images: base, gcp, tabular, shop, web." in result.err


def test_a_value_for_the_build_needs_a_name(project: Callable[..., None], kfgcp: Command) -> None:
    project()
    result = kfgcp("images", "build", "shop", "--build-arg", "=1")
    assert result.code == 2
    assert "'=1' is not NAME or NAME=VALUE." in result.err
    unset = kfgcp("images", "build", "shop", "--build-arg", "VERSION")
    assert unset.code == 2
    assert "The environment variable VERSION is not set. Set it, or write VERSION=VALUE." in (
        unset.err
    )
