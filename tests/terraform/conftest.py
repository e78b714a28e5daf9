"""What the tests of terraform/ share: the real Terraform, run without providers, the overlay with
upstream's names."""

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

from patience import PROCESS

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
OVERLAY = TERRAFORM / "modules" / "gke-kubeflow" / "overlay"
NAMES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "kfp_names.yaml").read_text(encoding="utf-8")
)
API = {"Deployment": "apps/v1", "NetworkPolicy": "networking.k8s.io/v1"}

Done = subprocess.CompletedProcess[str]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder an hour: the first of them also fills Terraform's cache."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(3600), append=False)


@pytest.fixture(scope="session")
def terraform() -> Callable[..., Done]:
    """Runs a verb of Terraform on a folder; skips where there is no Terraform, or an old one."""
    if shutil.which("terraform") is None:
        pytest.skip("needs terraform 1.9 or newer on the PATH")
    asked = subprocess.run(["terraform", "version", "-json"], capture_output=True, encoding="utf-8")
    version = json.loads(asked.stdout)["terraform_version"]
    if tuple(map(int, version.split("-")[0].split(".")[:2])) < (1, 9):
        pytest.skip(f"needs terraform 1.9 or newer on the PATH; here is {version}")

    def run(folder: Path, verb: str, *arguments: str, **options: Any) -> Done:
        command = [sys.executable, ROOT / "tools" / "terraform_offline", folder, verb, *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", **options)

    return run


@pytest.fixture(scope="session")
def outputs(
    terraform: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Test run of envs/dev -> its outputs, in the shape of `terraform output -json`; made once for
    all workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    file = shared / "terraform-outputs.json"
    with (shared / "terraform-outputs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            done = terraform(TERRAFORM / "envs" / "dev", "test", "-json", "-verbose")
            assert done.returncode == 0, done.stdout + done.stderr
            events = [json.loads(line) for line in done.stdout.splitlines()]
            states = {
                event["@testrun"]: event["test_state"]
                for event in events
                if event["type"] == "test_state"
            }
            file.write_text(json.dumps({run: state["outputs"] for run, state in states.items()}))
    found: dict[str, dict[str, Any]] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The path of a kubectl with kustomize 5; skips where there is none.

    The one that requirements/dev.in brings into the environment of the tests comes before one on
    the PATH.
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
def kustomize(kubectl: str) -> Callable[[Path], list[dict[str, Any]]]:
    """The objects that `kubectl kustomize` renders."""

    def render(folder: Path) -> list[dict[str, Any]]:
        done = subprocess.run(
            [kubectl, "kustomize", folder], capture_output=True, encoding="utf-8", timeout=PROCESS
        )
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return render


@pytest.fixture
def overlay(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the overlay whose upstream is made of the names of kfp_names.yaml.

    without: `Kind/name` that upstream does not have. optional: whether it has what not every
    version has.
    """

    def make(*, without: tuple[str, ...] = (), optional: bool = True) -> Path:
        copy = tmp_path / "overlay"
        shutil.copytree(OVERLAY, copy)
        found = [
            each for each in NAMES["objects"] if f"{each['kind']}/{each['name']}" not in without
        ]
        objects = [_manifest(each) for each in found if optional or not each.get("optional")]
        (copy / "upstream" / "names.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        (copy / "upstream" / "kustomization.yaml").write_text(
            "resources: [names.yaml]\n", encoding="utf-8"
        )
        return copy

    return make


def _manifest(found: dict[str, Any]) -> dict[str, Any]:
    kind = found["kind"]
    made: dict[str, Any] = {
        "apiVersion": API.get(kind, "v1"),
        "kind": kind,
        "metadata": {"name": found["name"]},
    }
    if kind == "Deployment":
        made["spec"] = {"selector": {"matchLabels": found["pod"]}, "template": _template(found)}
    elif kind == "Service":
        port = {"port": found["port"], "targetPort": found["target"]}
        made["spec"] = {"selector": found["pod"], "ports": [port]}
    elif kind == "NetworkPolicy":
        made["spec"] = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}
    elif kind == "Secret":
        made["stringData"] = found["data"]
    elif kind == "ConfigMap":
        made["data"] = found["data"]
    return made


def _template(found: dict[str, Any]) -> dict[str, Any]:
    env: list[dict[str, Any]] = [
        {"name": name, "value": value} for name, value in found.get("env", {}).items()
    ]
    for name, key in found.get("from_config", {}).items():
        env.append(
            {
                "name": name,
                "valueFrom": {"configMapKeyRef": {"name": "pipeline-install-config", "key": key}},
            }
        )
    for name, secret in found.get("from_secret", {}).items():
        key = "accesskey" if "KEY" in name else "password"
        env.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    container = {
        "name": found["container"],
        "image": f"example/{found['name']}:{NAMES['version']}",
        "env": env,
    }
    spec = {"serviceAccountName": found["account"], "containers": [container]}
    return {"metadata": {"labels": found["pod"]}, "spec": spec}
