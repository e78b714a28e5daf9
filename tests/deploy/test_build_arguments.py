"""Values of `ARG` lines with passwords: an image, its lock file and the output never show them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kfgcp.deploy.images.dockerfile import lasting_argument_names
from kfgcp_command import Command

if TYPE_CHECKING:
    from docker import DockerClient

PASSWORD = "s3cret-of-ann"  # noqa: S105
INDEX = f"https://ann:{PASSWORD}@index.acme.example/simple"

TWO_STAGES = """
ARG BASE={base}
FROM ${{BASE}} AS build
ARG PIP_INDEX_URL
RUN echo "packages for {home} from $PIP_INDEX_URL" && echo done > /packages
FROM ${{BASE}}
LABEL test={home}
COPY --from=build /packages /packages
"""
ONE_STAGE = """
ARG BASE={base}
FROM ${{BASE}}
LABEL test={home}
ARG PIP_INDEX_URL
RUN echo done > /packages
"""


@pytest.fixture
def shop(home: Path, shell_base: str, docker: "DockerClient") -> Iterator[Path]:
    """The folder of an image in a project. Its images are removed at the end."""
    (home / "kfgcp.toml").write_text('[image.shop]\ncontext = "shop"\n')
    (home / "shop").mkdir()
    yield home / "shop"
    for image in docker.images.list(filters={"label": f"test={home}"}):
        for tag in image.tags:
            docker.images.remove(tag, force=True)


def write_dockerfile(shop: Path, text: str, base: str) -> None:
    (shop / "Dockerfile").write_text(text.format(base=base, home=shop.parent))


def test_the_password_of_an_index_is_neither_in_the_image_nor_in_the_output(
    shop: Path,
    shell_base: str,
    docker: "DockerClient",
    kfgcp: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_dockerfile(shop, TWO_STAGES, shell_base)
    monkeypatch.setenv("PIP_INDEX_URL", INDEX)

    result = kfgcp("images", "build", "shop", "--build-arg", "PIP_INDEX_URL", "--json")

    assert result.code == 0, result.err
    # The path makes each run of the test another one for the cache of Docker.
    packages = f"packages for {shop.parent} from https://***@index.acme.example/simple"
    assert packages in result.err.splitlines()
    (built,) = result.json
    assert PASSWORD not in str(docker.api.history(built["reference"]))
    assert PASSWORD not in str(docker.api.inspect_image(built["reference"]))
    assert PASSWORD not in result.err + result.out
    assert PASSWORD not in (shop.parent / "images.lock").read_text()
    # The index is not part of the content.
    assert kfgcp("images", "build", "shop", "--json").json[0]["action"] == "found"


def test_a_password_that_the_history_of_an_image_would_show_is_refused(
    shop: Path, shell_base: str, docker: "DockerClient", kfgcp: Command
) -> None:
    write_dockerfile(shop, ONE_STAGE, shell_base)

    result = kfgcp("images", "build", "shop", "--build-arg", f"PIP_INDEX_URL={INDEX}")

    assert result.code == 2
    assert (
        "error: The value of --build-arg PIP_INDEX_URL has a user or a password, and the history of"
        " the image shop would show it: the last stage of its Dockerfile has ARG PIP_INDEX_URL."
    ) in result.err
    assert "COPY --from=build" in result.err
    assert PASSWORD not in result.err
    assert not (shop.parent / "images.lock").exists()
    # Docker really shows it, so the refusal is not for nothing.
    answers = docker.api.build(
        path=str(shop), buildargs={"PIP_INDEX_URL": INDEX}, tag="kfgcp-tests/history:1", rm=True
    )
    assert list(answers)
    assert PASSWORD in str(docker.api.history("kfgcp-tests/history:1"))
    docker.images.remove("kfgcp-tests/history:1", force=True)


def test_an_index_without_a_password_may_be_in_the_last_stage(
    shop: Path, shell_base: str, kfgcp: Command
) -> None:
    write_dockerfile(shop, ONE_STAGE, shell_base)
    argument = "PIP_INDEX_URL=https://index.acme.example/simple"

    result = kfgcp("images", "build", "shop", "--build-arg", argument)

    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("ARG A\nFROM base\nARG B C=1\n", {"B", "C"}),
        ("FROM base AS build\nARG A\nFROM base\nARG B\nCOPY --from=build /a /a\n", {"B"}),
        ("FROM base AS One\nARG A\nFROM x AS two\nARG B\nFROM one\nARG C\n", {"A", "C"}),
        ("FROM base AS a\nARG A\nFROM a AS b\nARG B\nFROM --platform=x b\n", {"A", "B"}),
        ("FROM base\nARG \\\n  A=1 \\\n  B\n", {"A", "B"}),
        ("ARG A\n", set()),
    ],
)
def test_an_image_shows_the_arguments_of_the_stages_that_it_consists_of(
    dockerfile: str, expected: set[str]
) -> None:
    assert lasting_argument_names(dockerfile) == expected
