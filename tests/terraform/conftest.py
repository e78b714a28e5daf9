"""Fixtures for the tests of terraform/.

They run the real Terraform without providers, and render the overlay with the names of Kubeflow
Pipelines.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from json_types import JsonDict
from patience import PROCESS

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
OVERLAY = TERRAFORM / "modules" / "gke-kubeflow" / "overlay"
NAMES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "kfp_names.yaml").read_text(encoding="utf-8")
)
API = {"Deployment": "apps/v1", "NetworkPolicy": "networking.k8s.io/v1"}

Result = subprocess.CompletedProcess[str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder an hour: the first of them also fills Terraform's cache."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600), append=False)


@pytest.fixture(scope="session")
def terraform() -> Callable[..., Result]:
    """Return a function that runs a Terraform command on a folder.

    Skip the test if Terraform is missing or too old.
    """
    if shutil.which("terraform") is None:
        pytest.skip("needs terraform 1.9 or newer on the PATH")
    version_command = subprocess.run(
        ["terraform", "version", "-json"], capture_output=True, encoding="utf-8"
    )
    version = json.loads(version_command.stdout)["terraform_version"]
    if tuple(map(int, version.split("-")[0].split(".")[:2])) < (1, 9):
        pytest.skip(f"needs terraform 1.9 or newer on the PATH; here is {version}")

    def run(folder: Path, verb: str, *arguments: str, **options: Any) -> Result:
        command = [sys.executable, ROOT / "tools" / "terraform_offline", folder, verb, *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", **options)

    return run


@pytest.fixture(scope="session")
def outputs(
    terraform: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, JsonDict]:
    """Return the outputs of each test run of envs/dev, in the shape of `terraform output -json`.

    The first worker runs the tests, and the other workers read its file.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    file = shared / "terraform-outputs.json"
    with (shared / "terraform-outputs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            test_run = terraform(TERRAFORM / "envs" / "dev", "test", "-json", "-verbose")
            assert test_run.returncode == 0, test_run.stdout + test_run.stderr
            events = [json.loads(line) for line in test_run.stdout.splitlines()]
            states = {
                event["@testrun"]: event["test_state"]
                for event in events
                if event["type"] == "test_state"
            }
            file.write_text(json.dumps({run: state["outputs"] for run, state in states.items()}))
    outputs_by_run: dict[str, dict[str, Any]] = json.loads(file.read_text())
    return outputs_by_run


@pytest.fixture(scope="session")
def kubectl() -> str:
    """Return the path of a kubectl with kustomize 5, or skip the test.

    The kubectl that requirements/dev.in installs comes before a kubectl on the PATH.
    """
    folders = [sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)]
    program = shutil.which("kubectl", path=os.pathsep.join(folders))
    if program is None:
        pytest.skip("needs kubectl 1.27 or newer, beside the Python of the tests or on the PATH")
    answer = subprocess.run(
        [program, "version", "--client", "-o", "json"], capture_output=True, encoding="utf-8"
    )
    version = (
        json.loads(answer.stdout).get("kustomizeVersion", "v0") if answer.returncode == 0 else "v0"
    )
    if int(version.lstrip("v").partition(".")[0]) < 5:
        pytest.skip(
            f"needs kubectl 1.27 or newer, with kustomize 5; {program} has kustomize {version}"
        )
    return program


@pytest.fixture(scope="session")
def kustomize(kubectl: str) -> Callable[[Path], list[JsonDict]]:
    """Return a function that renders a folder with `kubectl kustomize` and returns the objects."""

    def render(folder: Path) -> list[JsonDict]:
        rendering = subprocess.run(
            [kubectl, "kustomize", folder], capture_output=True, encoding="utf-8", timeout=PROCESS
        )
        assert rendering.returncode == 0, rendering.stderr
        return list(yaml.safe_load_all(rendering.stdout))

    return render


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies the overlay, with the objects of kfp_names.yaml as upstream.

    Its arguments:
        without: objects that upstream lacks, as `Kind/name`.
        optional: True adds the objects that only some versions have.
    """

    def make(*, without: tuple[str, ...] = (), optional: bool = True) -> Path:
        copy = tmp_path / "overlay"
        shutil.copytree(OVERLAY, copy)
        upstream_objects = [
            entry for entry in NAMES["objects"] if f"{entry['kind']}/{entry['name']}" not in without
        ]
        objects = [
            _manifest(entry) for entry in upstream_objects if optional or not entry.get("optional")
        ]
        (copy / "upstream" / "names.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        (copy / "upstream" / "kustomization.yaml").write_text(
            "resources: [names.yaml]\n", encoding="utf-8"
        )
        return copy

    return make


def _manifest(entry: JsonDict) -> JsonDict:
    kind = entry["kind"]
    manifest: dict[str, Any] = {
        "apiVersion": API.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": entry["name"]},
    }
    if kind == "Deployment":
        manifest["spec"] = {"selector": {"matchLabels": entry["pod"]}, "template": _template(entry)}
    elif kind == "Service":
        port = {"port": entry["port"], "targetPort": entry["target"]}
        manifest["spec"] = {"selector": entry["pod"], "ports": [port]}
    elif kind == "NetworkPolicy":
        manifest["spec"] = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}
    elif kind == "Secret":
        manifest["stringData"] = entry["data"]
    elif kind == "ConfigMap":
        manifest["data"] = entry["data"]
    return manifest


def _template(entry: JsonDict) -> JsonDict:
    env: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in entry.get("env", {}).items()
    ]
    for name, key in entry.get("from_config", {}).items():
        env.append(
            {
                "name": name,
                "valueFrom": {"configMapKeyRef": {"name": "pipeline-install-config", "key": key}},
            }
        )
    for name, secret in entry.get("from_secret", {}).items():
        key = "accesskey" if "KEY" in name else "password"
        env.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    container = {
        "name": entry["container"],
        "image": f"example/{entry['name']}:{NAMES['version']}",
        "env": env,
    }
    spec = {"serviceAccountName": entry["account"], "containers": [container]}
    return {"metadata": {"labels": entry["pod"]}, "spec": spec}
