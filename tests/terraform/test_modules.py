"""Every module and environment: formatted, valid, tested by `terraform test` over mocked
providers."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from json_types import JsonDict

TERRAFORM = Path(__file__).parents[2] / "terraform"
MODULES = sorted(file.parent for file in (TERRAFORM / "modules").glob("*/main.tf"))
ENVS = sorted(file.parent for file in (TERRAFORM / "envs").glob("*/main.tf"))
DEV = TERRAFORM / "envs" / "dev"
FOLDERS = pytest.mark.parametrize("folder", [*MODULES, *ENVS], ids=lambda folder: folder.name)
Terraform = Callable[..., subprocess.CompletedProcess[str]]


def test_the_parts_of_an_environment_are_there() -> None:
    assert {folder.name for folder in MODULES} == {
        *(
            "services",
            "storage",
            "registry",
            "identities",
            "vertex",
            "gke-kubeflow",
            "ci",
            "monitoring",
        ),
        *("dashboard", "scheduler", "environment"),
    }
    assert [folder.name for folder in ENVS] == ["dev", "prod"]


def test_all_files_are_formatted(terraform: Terraform) -> None:
    result = terraform(TERRAFORM, "fmt", "-check", "-recursive", "-diff")

    assert result.returncode == 0, result.stdout


@FOLDERS
def test_it_is_valid(terraform: Terraform, folder: Path) -> None:
    result = terraform(folder, "validate", "-no-color")

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "Success! The configuration is valid."  # no warnings


@pytest.mark.parametrize(
    "folder",
    [folder for folder in [*MODULES, *ENVS] if folder != DEV],
    ids=lambda folder: folder.name,
)
def test_its_tests_pass(terraform: Terraform, folder: Path) -> None:
    runs = _runs(folder)

    result = terraform(folder, "test", "-no-color")

    assert result.returncode == 0, result.stdout + result.stderr
    assert re.findall(r'run "(\w+)"\.\.\. pass', result.stdout) == runs


def test_the_tests_of_dev_pass(outputs: dict[str, JsonDict]) -> None:
    """Which are run once, for what they put out is needed by other tests: the fixture fails when
    one does."""
    assert list(outputs) == _runs(DEV)


@pytest.mark.parametrize("folder", MODULES, ids=lambda folder: folder.name)
def test_its_example_is_its_first_test(folder: Path) -> None:
    (file,) = folder.glob("tests/*.tftest.hcl")
    first = re.search(
        r'^run "(\w+)" \{\n(.*?)^\}', file.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )

    assert first is not None
    assert first[1] == "the_example_works"
    assert 'source = "./examples/basic"' in first[2]
    assert "assert {" in first[2]


def test_what_terraform_makes_in_a_work_tree_stays_out_of_git() -> None:
    generated_files = [
        "terraform/envs/dev/.terraform/x",
        "terraform/envs/dev/.terraform.lock.hcl",
        "terraform/envs/dev/terraform.tfstate",
        "terraform/envs/dev/terraform.tfvars",
        "terraform/envs/dev/dev.tfplan",
        "terraform/envs/dev/outputs.json",
        "terraform/envs/dev/kubeflow.yaml",
    ]
    listed = subprocess.run(
        ["git", "ls-files", "terraform"], cwd=TERRAFORM.parent, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a checkout of git")

    ignored = subprocess.run(
        ["git", "check-ignore", *generated_files],
        cwd=TERRAFORM.parent,
        capture_output=True,
        text=True,
    )

    assert ignored.stdout.splitlines() == generated_files
    assert not [
        name
        for name in listed.stdout.splitlines()
        if re.search(r"\.terraform|tfstate|\.tfvars$", name)
    ]


def _runs(folder: Path) -> list[str]:
    files = sorted(folder.glob("tests/*.tftest.hcl"))
    run_names = [
        name
        for file in files
        for name in re.findall(r'^run "(\w+)"', file.read_text("utf-8"), re.MULTILINE)
    ]
    assert run_names
    return run_names
