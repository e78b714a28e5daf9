"""Names of images become references when a pipeline is compiled, the same for each environment."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import kfgcp
from kfgcp.config import Environment
from kfgcp.deploy.images.catalogue import Catalogue, Image
from kfgcp.deploy.images.lock import Locked, write_lock
from kfgcp.deploy.images.pins import is_stand_in
from kfgcp.settings import Setting
from kfgcp.spec.image_names import container_images
from kfgcp.spec.unpinned_images import unpinned_images
from kfgcp_command import Command

DIGEST = "sha256:" + "d" * 64
REGISTRY = "europe-west4-docker.pkg.dev/acme/images"
TOML = """
[project]
{project}
[env.dev]
backend = "vertex"
project = "acme"
location = "europe-west4"
pipeline_root = "gs://acme/runs"
{env}
[image.shop]
context = "shop"
"""
PIPELINE = """
from kfp import dsl

@dsl.component(base_image="shop", install_kfp_package=False)
def own() -> int:
    return 1

@dsl.component(base_image="python:3.12", target_image="tabular")
def ours() -> int:
    return 1

@dsl.component(base_image="python", install_kfp_package=False)
def other() -> int:
    return 1

@dsl.pipeline(name="pinned")
def pinned():
    own()
    ours()
    other()
"""


@pytest.fixture
def project(home: Path) -> Callable[[str, str], None]:
    """Writes a project: lines of [project] and of [env.dev] in, nothing out."""
    (home / "shop").mkdir()
    (home / "shop" / "Dockerfile").write_text("ARG BASE=tabular\nFROM ${BASE}\nCOPY . /app\n")
    (home / "pipe.py").write_text(PIPELINE)

    def write(project: str = "", env: str = "") -> None:
        (home / "kfgcp.toml").write_text(TOML.format(project=project, env=env))

    return write


def compiled_images(pipeline: str = "pipe.py") -> set[str]:
    return container_images(kfgcp.compile(pipeline).pipeline_spec)


def entry_of(image: Image) -> Locked:
    return Locked(image.content, DIGEST, registry=REGISTRY, arguments=image.arguments)


def lock_all() -> None:
    """Write an images.lock as if all images had been pushed."""
    catalogue = Catalogue(kfgcp.Workspace.default().project)
    images = [catalogue.image(name) for name in catalogue.names]
    project = kfgcp.Workspace.default().project
    write_lock(project.root, {image.name: entry_of(image) for image in images})


def test_names_without_a_registry_get_the_tag_of_their_content(
    project: Callable[..., None],
) -> None:
    project()
    images = kfgcp.Workspace.default().images.list("shop", "tabular")
    tags = [f"c-{image.content.removeprefix('sha256:')[:12]}" for image in images]
    assert compiled_images() == {f"shop:{tags[0]}", f"components-tabular:{tags[1]}", "python"}


def test_names_get_the_digests_of_the_lock(project: Callable[..., None], home: Path) -> None:
    project(f'image_registry = "{REGISTRY}"')
    unlocked = compiled_images()
    assert {image.partition(":")[0] for image in unlocked} == {
        f"{REGISTRY}/shop",
        f"{REGISTRY}/components-tabular",
        "python",
    }
    lock_all()
    assert compiled_images() == {
        f"{REGISTRY}/shop@{DIGEST}",
        f"{REGISTRY}/components-tabular@{DIGEST}",
        "python",
    }
    (home / "shop" / "Dockerfile").write_text("ARG BASE=tabular\nFROM ${BASE}\n")
    changed = compiled_images()
    assert f"{REGISTRY}/components-tabular@{DIGEST}" in changed
    assert f"{REGISTRY}/shop@{DIGEST}" not in changed


def test_a_compiled_file_is_pinned_too(project: Callable[..., None], home: Path) -> None:
    project(f'image_registry = "{REGISTRY}"')
    version = kfgcp.compile("pipe.py", "pinned.yaml").version
    text = (home / "pinned.yaml").read_text()
    bare_text = re.sub(rf"{REGISTRY}/(?:components-)?(\w+):c-\w+", r"\1", text)
    assert "image: tabular\n" in bare_text
    (home / "bare.yaml").write_text(bare_text)
    assert kfgcp.compile("bare.yaml").version == version
    lock_all()
    assert kfgcp.compile("pinned.yaml").version == version


def test_the_version_is_the_same_for_each_environment(project: Callable[..., None]) -> None:
    project(f'image_registry = "{REGISTRY}"')
    lock_all()
    versions = {
        kfgcp.Workspace.default().preview("pipe.py", env=env).request.spec.version
        for env in ("local", "dev")
    }
    assert versions == {kfgcp.compile("pipe.py").version}


def test_an_image_without_a_registry_is_refused_for_a_service(
    project: Callable[..., None], kfgcp: Command
) -> None:
    project()
    result = kfgcp("run", "pipe.py", "--env", "dev")
    assert result.code == 2
    assert "The image components-tabular:c-" in result.err
    assert "of component ours is in no registry (P130)." in result.err
    assert (
        "Add image_registry to [project] of kfgcp.toml, then: kfgcp images push tabular"
        in result.err
    )


def test_an_image_that_was_not_pushed_is_refused_for_a_service(
    project: Callable[..., None], kfgcp: Command
) -> None:
    project(f'image_registry = "{REGISTRY}"')
    result = kfgcp("run", "pipe.py", "--env", "dev")
    assert result.code == 2
    assert "is not in images.lock, so it may not exist (P130), and" not in result.err
    assert "is not in images.lock, so it may not exist (P130)." in result.err
    assert "kfgcp images push tabular" in result.err
    dry_run = kfgcp("run", "pipe.py", "--env", "dev", "--dry-run")
    assert (dry_run.code, dry_run.err, dry_run.out) == (2, result.err, "")


def test_check_names_all_images_that_were_not_pushed(
    project: Callable[..., None], kfgcp: Command
) -> None:
    project(f'image_registry = "{REGISTRY}"')
    result = kfgcp("check", "pipe.py", "--env", "dev", "--env", "local", "--json")
    assert result.code == 4
    rows = [row for row in result.json["findings"] if row["rule"] == "P130"]
    assert sorted(row["component"] for row in rows) == ["comp-ours", "comp-own"]
    lock_all()
    assert kfgcp("check", "pipe.py", "--env", "dev").code == 0


def test_a_suppressed_rule_lets_a_run_begin(project: Callable[..., None]) -> None:
    project(f'image_registry = "{REGISTRY}"')
    with Path("kfgcp.toml").open("a") as file:
        file.write('[check]\nignore = { P130 = "the build pushes it" }\n')
    workspace = kfgcp.Workspace.open()
    assert workspace.preview("pipe.py", env="dev").notes is not None


def test_an_image_in_another_registry_must_be_pushed_again(
    project: Callable[..., None], kfgcp: Command
) -> None:
    project(f'image_registry = "{REGISTRY}"')
    lock_all()
    project('image_registry = "docker.acme.example/new"')
    images = kfgcp("images", "list", "--json").json
    assert {image["state"] for image in images} == {"other registry"}
    result = kfgcp("run", "pipe.py", "--env", "dev")
    assert result.code == 2
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith("error: The image docker.acme.example/new/components-tabular:c-")
    assert "kfgcp images push tabular" in result.err
    project(f'image_registry = "{REGISTRY}"')
    assert compiled_images() >= {f"{REGISTRY}/shop@{DIGEST}"}


def test_a_dockerfile_with_another_base_does_not_use_the_base_of_the_lock(
    project: Callable[..., None], home: Path
) -> None:
    project()
    dockerfile = home / "shop" / "Dockerfile"
    dockerfile.write_text("ARG BASE=python:3.11\nFROM ${BASE}\n")
    write_lock(
        home, {"shop": Locked(DIGEST, base="mirror:1", base_digest=DIGEST, replaces="python:3.11")}
    )
    assert shop_base() == ("mirror:1", DIGEST)
    dockerfile.write_text("ARG BASE=python:3.12\nFROM ${BASE}\n")
    assert shop_base() == ("python:3.12", "")


def shop_base() -> tuple[str, str]:
    (shop,) = kfgcp.Workspace.open().images.list("shop")
    return shop.base, shop.base_digest


def test_values_of_arguments_are_part_of_the_content(
    project: Callable[..., None], home: Path
) -> None:
    project()
    (home / "shop" / "Dockerfile").write_text(
        "ARG BASE=tabular\nFROM ${BASE}\nARG VERSION=1 PIP_INDEX_URL\n"
    )

    def content(**arguments: str) -> str:
        catalogue = Catalogue(kfgcp.Workspace.open().project, arguments=arguments)
        return catalogue.image("shop").content

    plain = content()
    assert content(VERSION="2") not in (plain, content(VERSION="3"))
    # An argument that the Dockerfile does not have changes nothing, nor does a package index.
    assert content(OTHER="2", PIP_INDEX_URL="https://index.acme.example/simple") == plain
    write_lock(home, {"shop": Locked(plain, arguments={"VERSION": "2"})})
    assert content() == content(VERSION="2")


def test_the_platform_is_part_of_the_content_and_is_remembered(
    project: Callable[..., None], home: Path
) -> None:
    project()

    def read(platform: str | None = None) -> Image:
        return Catalogue(kfgcp.Workspace.open().project, platform=platform).image("tabular")

    plain = read()
    other = read("linux/arm64")
    assert (plain.platform, other.platform) == ("linux/amd64", "linux/arm64")
    assert read("linux/amd64").content == plain.content != other.content
    write_lock(home, {"tabular": Locked(other.content, platform="linux/arm64")})
    assert read().content == other.content
    # The image shop begins with the image tabular.
    shop = Catalogue(kfgcp.Workspace.open().project).image("shop")
    assert shop.platform == "linux/arm64"


def test_from_another_image_of_the_project_is_refused(
    project: Callable[..., None], home: Path
) -> None:
    project()
    dockerfile = home / "shop" / "Dockerfile"
    dockerfile.write_text("FROM python:3.12 AS base\nFROM base\n")
    kfgcp.Workspace.open().images.list("shop")
    dockerfile.write_text("FROM tabular\n")
    with pytest.raises(kfgcp.ConfigError) as caught:
        kfgcp.Workspace.open().images.list("shop")
    assert caught.value.message.startswith(
        "kfgcp.toml [image.shop]: the Dockerfile has FROM tabular, which"
    )


@pytest.mark.parametrize(
    "line",
    [
        "COPY --from=tabular",
        "COPY --chown=1 --from=tabular",
        "RUN --mount=type=bind,from=tabular,target=/a",
    ],
)
def test_files_from_another_image_of_the_project_are_refused(
    project: Callable[..., None], home: Path, line: str
) -> None:
    project()
    dockerfile = home / "shop" / "Dockerfile"
    dockerfile.write_text(f"FROM python:3.12 AS tabular\nFROM scratch\n{line} /a /b\n")
    kfgcp.Workspace.open().images.list("shop")
    dockerfile.write_text(f"FROM scratch\n{line} /a /b\nFROM scratch AS tabular\n")
    with pytest.raises(kfgcp.ConfigError) as caught:
        kfgcp.Workspace.open().images.list("shop")
    assert "=tabular" in caught.value.message
    assert caught.value.message.endswith(", which Docker would look for in its own registry.")
    assert caught.value.hint == (
        "Begin it with: ARG BASE=tabular, then FROM ${BASE} AS source, and name that stage:"
        " from=source"
    )


def test_a_stand_in_gets_it_with_a_note(project: Callable[..., None]) -> None:
    project(env='api_endpoint = "http://127.0.0.1:9"\nauth = "anonymous"')
    notes = kfgcp.Workspace.default().preview("pipe.py", env="dev").notes
    assert [note for note in notes if "is in no registry. A service would refuse" in note]
    local_notes = kfgcp.Workspace.default().preview("pipe.py", env="local").notes
    assert not [note for note in local_notes if "registry" in note]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"api_endpoint": "http://127.0.0.1:8080"}, True),
        ({"host": "http://localhost:8080"}, True),
        ({"host": "https://kfp.acme.example"}, False),
        ({"auth": "port-forward"}, False),
    ],
)
def test_a_service_at_an_address_of_this_machine_is_a_stand_in(
    settings: dict[str, str], expected: bool
) -> None:
    values = {key: Setting(value, "kfgcp.toml") for key, value in settings.items()}
    assert is_stand_in(Environment("dev", "vertex", values)) is expected


def test_images_that_begin_with_each_other_are_named(
    project: Callable[..., None], home: Path
) -> None:
    project()
    (home / "shop" / "Dockerfile").write_text("ARG BASE=shop\nFROM ${BASE}\n")
    with pytest.raises(kfgcp.ConfigError, match=r"begin with each other: shop -> shop\."):
        kfgcp.compile("pipe.py")


def test_a_pipeline_without_names_of_images_needs_no_configuration(home: Path) -> None:
    (home / "pipe.py").write_text(PIPELINE.replace('"tabular"', '"a:1"').replace('"shop"', '"b:1"'))
    text = (home / "pipe.py").read_text().replace('"python"', '"c:1"')
    (home / "pipe.py").write_text(text)
    (home / "kfgcp.toml").write_text("not TOML")
    assert compiled_images() == {"a:1", "b:1", "c:1"}


def test_rules_do_not_call_a_pinned_image_movable(project: Callable[..., None]) -> None:
    project()
    rows = kfgcp.check("pipe.py").rows
    texts = [row.finding.message for row in rows if row.finding.rule in ("R101", "R102")]
    assert len(texts) == 1
    assert "the newest version of the image python," in texts[0]


def test_doctor_names_all_images_that_cannot_exist(
    project: Callable[..., None], kfgcp: Command
) -> None:
    project()
    result = kfgcp("doctor", "pipe.py", "--env", "dev", "--json")
    assert result.code == 2
    finding = result.json[-1]
    assert finding["check"] == "pins"
    assert "components-tabular:c-" in finding["detail"]
    assert "The image shop:c-" in finding["detail"]
    assert finding["hint"].splitlines()[1].endswith("then: kfgcp images push shop")
    local = kfgcp("doctor", "pipe.py", "--json")
    assert [entry["ok"] for entry in local.json if entry["check"] == "pins"] == [None]


def test_a_foreign_image_with_a_tag_of_the_same_form_is_no_finding(
    project: Callable[..., None], kfgcp: Command, home: Path
) -> None:
    project(f'image_registry = "{REGISTRY}"')
    lock_all()
    foreign_image = "registry.other.example/shop:c-0123456789ab"
    (home / "pipe.py").write_text(PIPELINE.replace('"python"', f'"{foreign_image}"'))
    assert compiled_images() >= {foreign_image, f"{REGISTRY}/shop@{DIGEST}"}
    assert kfgcp("check", "pipe.py", "--env", "dev").code == 0
    doctor = kfgcp("doctor", "pipe.py", "--env", "dev", "--json")
    assert "pins" not in [row["check"] for row in doctor.json]
    dry_run = kfgcp("run", "pipe.py", "--env", "dev", "--dry-run")
    assert dry_run.code == 0, dry_run.err


def test_an_image_of_an_earlier_content_was_not_pushed_either(
    project: Callable[..., None], kfgcp: Command, home: Path
) -> None:
    project(f'image_registry = "{REGISTRY}"')
    (home / "pipe.py").write_text(PIPELINE.replace('"shop"', f'"{REGISTRY}/shop:c-0123456789ab"'))
    lock_all()
    result = kfgcp("run", "pipe.py", "--env", "dev", "--dry-run")
    assert result.code == 2
    assert f"The image {REGISTRY}/shop:c-0123456789ab of component own is not in" in result.err


def test_doctor_has_nothing_to_say_of_pinned_images(project: Callable[..., None]) -> None:
    project(f'image_registry = "{REGISTRY}"')
    lock_all()
    assert "pins" not in [finding.check for finding in kfgcp.doctor("local", "pipe.py")]


def test_a_name_in_a_foreign_template_is_named() -> None:
    (unpinned,) = unpinned_images(["tabular", "python:3.12"], frozenset())
    assert unpinned.problem == "The image tabular is a name that only kfgcp can replace."
