"""The images of kfgcp's components: what is in them, and pipelines that run in them."""

import os
import shutil
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kfgcp
from component_images import build_images
from kfgcp.config import COMPONENT_IMAGES
from kfgcp.deploy.images.component_files import build_wheel, read_component_context
from kfgcp.model import Run
from kfgcp_command import Command

if TYPE_CHECKING:
    from docker import DockerClient

ROOT = Path(__file__).parents[2]

# What each image may have, in MB, and the size of python:3.11-slim.
LARGEST = {"base": 250, "gcp": 650, "tabular": 700}
SLIM = 125

STRICT = """
from kfp import dsl

@dsl.component(base_image="base", install_kfp_package=False)
def look() -> str:
    import os
    from pathlib import Path

    import kfgcp_components

    Path("/tmp/file").write_text("")
    uid_and_errors = [os.getuid()]
    for path in ("/file", "/opt/kfgcp/file"):
        try:
            Path(path).write_text("")
        except OSError as error:
            uid_and_errors.append(error.strerror)
    return str(uid_and_errors)

@dsl.pipeline(name="look")
def pipeline() -> str:
    return look().output
"""


@pytest.fixture
def build(home: Path, python_base: str) -> Callable[[str], str]:
    """Builds an image as a user does. Its name in, the image out."""
    return lambda image: build_images(home, python_base, image)[0]


def test_the_wheel_depends_on_the_package_only(tmp_path: Path) -> None:
    package = tmp_path / "kfgcp_components"
    shutil.copytree(ROOT / "components" / "kfgcp_components", package)
    first = build_wheel(package, "1.0")
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "a.pyc").touch()
    (package / "notes.txt").touch()
    os.utime(package / "__init__.py", (1, 1))
    assert build_wheel(package, "1.0") == first
    (package / "new.py").touch()
    assert build_wheel(package, "1.0") != first


def test_the_wheel_can_be_imported(tmp_path: Path) -> None:
    wheel = build_wheel(ROOT / "components" / "kfgcp_components", "1.0")
    with zipfile.ZipFile(BytesIO(wheel)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        record = archive.read("kfgcp_components-1.0.dist-info/RECORD").decode()
    assert sorted(names) == names
    assert "kfgcp_components/train/classifier/logic.py" in names
    assert {line.partition(",")[0] for line in record.splitlines()} == set(names)


@pytest.mark.parametrize("image", COMPONENT_IMAGES)
def test_requirements_are_pinned_by_hash(image: str) -> None:
    folder = ROOT / "components" / "images" / image
    lines = (folder / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and line[0] not in " #-"]
    assert [line for line in pins if "==" not in line] == []
    assert any(line.startswith("kfp==") for line in pins)
    # Every requirement is followed by at least one hash.
    follows = [lines[number + 1] for number, line in enumerate(lines) if line in pins]
    assert all(line.strip().startswith("--hash=sha256:") for line in follows)


@pytest.mark.parametrize("image", COMPONENT_IMAGES)
def test_a_dockerfile_works_with_the_legacy_builder(image: str) -> None:
    text = read_component_context(image).dockerfile_text()
    assert "--mount" not in text
    assert "# syntax" not in text
    assert text.count("FROM ${BASE}") == 2
    assert text.rstrip().endswith("USER 10001")


def test_a_task_runs_as_nobody_in_particular_with_a_read_only_root(
    home: Path,
    kfgcp: Command,
    python_base: str,
    docker: "DockerClient",
    build: Callable[[str], str],
) -> None:
    image = build("base")
    (home / "pipe.py").write_text(STRICT)
    result = kfgcp("run", "pipe.py", "--executor", "docker", "--json")
    assert result.code == 0, result.err
    assert result.json["outputs"] == {
        "Output": "[10001, 'Read-only file system', 'Read-only file system']"
    }
    check_size(docker, image, python_base, LARGEST["base"])


def test_the_demo_runs_in_its_image_without_a_network(
    home: Path,
    build: Callable[[str], str],
    python_base: str,
    docker: "DockerClient",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(ROOT / "examples", home / "examples")
    image = build("tabular")
    monkeypatch.setenv("KFGCP_ENV_LOCAL_CONTAINER_NETWORK", "none")
    run = run_demo(executor="docker")
    assert run.state is run.state.SUCCEEDED, run.error
    here = run_demo(executor="auto", cache=False)
    assert {(metric.name, metric.value) for metric in run.metrics} == {
        (metric.name, metric.value) for metric in here.metrics
    }
    check_size(docker, image, python_base, LARGEST["tabular"])


def run_demo(**options: Any) -> Run:
    workspace = kfgcp.Workspace.default()
    handle = workspace.submit("examples/train_classifier.py", in_process=True, **options)
    return handle.wait(check=False).snapshot


def check_size(docker: "DockerClient", image: str, base: str, largest: int) -> None:
    """Check the size that an image would have on top of python:3.11-slim, in MB."""
    added_size = docker.images.get(image).attrs["Size"] - docker.images.get(base).attrs["Size"]
    assert added_size / 1e6 + SLIM <= largest
