"""tools/terraform_offline: the real Terraform finds what is wrong with a module although no
provider can be had."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from terraform_offline.cache import Cache
from terraform_offline.real import registry_answers
from terraform_offline.run import default_cache

OFFLINE = Path(__file__).parents[2] / "tools" / "terraform_offline"
VERSIONS = """\
terraform {
  required_providers {
    google = { source = "hashicorp/google", version = "~> 6.50" }
  }
}
"""
GOOD = 'resource "google_storage_bucket" "b" {\n  name     = "b"\n  location = "EU"\n}\n'


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], Path]:
    """A folder with a module of that text."""

    def make(text: str) -> Path:
        folder = tmp_path / "module"
        folder.mkdir()
        (folder / "main.tf").write_text(VERSIONS + text)
        return folder

    return make


@pytest.fixture
def validate(
    terraform: Callable[..., subprocess.CompletedProcess[str]], module: Callable[[str], Path]
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    return lambda text: terraform(module(text), "validate", "-no-color", env=os.environ | STAND_IN)


STAND_IN = {"TERRAFORM_PROVIDERS": "stand-in"}


def test_a_module_that_fits_the_schema_is_valid_and_nothing_is_left_in_its_folder(
    validate: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    result = validate(GOOD)

    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "module").iterdir()] == ["main.tf"]


@pytest.mark.parametrize(
    ("valid", "wrong", "message"),
    [
        ("location", "locaton", "Did you mean"),
        ('  location = "EU"\n', "", 'The argument "location" is required'),
        ('"EU"', '"EU"\n  versioning = true', 'define a block of type "versioning"'),
        ('"EU"', '"EU"\n  force_destroy = "often"', "a bool is required"),
        ('"EU"', '"EU"\n  self_link = "x"', "self_link"),
        ("google_storage_bucket", "google_storage_buckett", "Did you mean"),
        ("~> 6.50", "~> 7.0", "no available releases match"),
    ],
    ids=["name", "required", "nesting", "type", "read-only", "resource", "version"],
)
def test_what_does_not_fit_the_schema_is_found(
    terraform: Callable[..., subprocess.CompletedProcess[str]],
    module: Callable[[str], Path],
    valid: str,
    wrong: str,
    message: str,
) -> None:
    folder = module(GOOD)
    text = (folder / "main.tf").read_text()
    (folder / "main.tf").write_text(text.replace(valid, wrong, 1))

    result = terraform(folder, "validate", "-no-color", env=os.environ | STAND_IN)

    assert result.returncode == 1
    assert message in " ".join((result.stdout + result.stderr).split())


def test_a_test_without_a_mock_fails_because_there_is_no_cloud(
    terraform: Callable[..., subprocess.CompletedProcess[str]], module: Callable[[str], Path]
) -> None:
    folder = module(GOOD)
    (folder / "real.tftest.hcl").write_text('run "real" {\n  command = plan\n}\n')

    result = terraform(folder, "test", "-no-color", env=os.environ | STAND_IN)

    assert result.returncode == 1
    assert "has no cloud behind it" in result.stdout + result.stderr


def test_without_terraform_it_says_what_is_missing(
    module: Callable[[str], Path], tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, OFFLINE, module(GOOD), "validate"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stdout) == (2, "")
    assert "there is no terraform on the PATH; install 1.7 or newer" in result.stderr


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], Path]:
    """A program that plays Terraform and writes down how it was called."""

    def make(script: str) -> Path:
        file = tmp_path / "bin" / "terraform"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n{script}\n')
        file.chmod(0o755)
        return file

    return make


@pytest.mark.parametrize(("script", "answer"), [("exit 0", True), ("exit 1", False)])
def test_whether_a_registry_answers_is_asked_once(
    fake: Callable[[str], Path], tmp_path: Path, script: str, answer: bool
) -> None:
    program = str(fake(script))

    assert [registry_answers(program, dict(os.environ), tmp_path / "cache") for _ in range(3)] == [
        answer
    ] * 3

    assert (tmp_path / "calls").read_text().splitlines() == ["init -backend=false -input=false"]


def test_real_providers_are_taken_where_they_can_be_had(
    fake: Callable[[str], Path], module: Callable[[str], Path], tmp_path: Path
) -> None:
    fake('[ "$1" = init ] || env > "$(dirname "$0")/../environment"')
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])

    result = subprocess.run(
        [sys.executable, OFFLINE, "--cache", tmp_path / "cache", module(GOOD), "validate"],
        env=os.environ | {"PATH": path, "TERRAFORM_PROVIDERS": "auto"},
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == [
        "init",
        "init",
        "validate",
    ]  # the question, and the two steps
    environment = (tmp_path / "environment").read_text()
    assert f"TF_PLUGIN_CACHE_DIR={tmp_path}/cache/plugins" in environment
    assert "TF_REATTACH_PROVIDERS" not in environment


def test_stand_ins_are_taken_where_a_registry_answered_once_and_gives_nothing_now(
    terraform: Callable[..., subprocess.CompletedProcess[str]],
    fake: Callable[[str], Path],
    module: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """A registry that comes and goes must not make tests fail that need none."""
    real = shutil.which("terraform")
    filled = Cache(default_cache())
    filled.fill({"google", "google-beta"})
    (tmp_path / "cache").mkdir()
    for file in (filled.venv, filled.schema_path("google"), filled.schema_path("google-beta")):
        (tmp_path / "cache" / file.name).symlink_to(file)
    (tmp_path / "cache" / "registry-answers").write_text("yes")
    fake(f'[ -z "$TF_PLUGIN_CACHE_DIR" ] || {{ echo no route to it; exit 1; }}\nexec "{real}" "$@"')
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])

    result = subprocess.run(
        [
            sys.executable,
            OFFLINE,
            "--cache",
            tmp_path / "cache",
            module(GOOD),
            "validate",
            "-no-color",
        ],
        env=os.environ | {"PATH": path, "TERRAFORM_PROVIDERS": "auto"},
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stdout.strip()) == (0, "Success! The configuration is valid.")
    assert "no route to it" in result.stderr
    assert "using stand-ins instead" in result.stderr


FILL = """\
import sys
from pathlib import Path

from terraform_offline import cache

class Noted(cache.Cache):
    def _make_schema(self, provider):
        note(provider)
        self.schema_path(provider).write_text("{}")

    def _install_stub_requirements(self):
        note("needs")
        (self.venv / "complete").touch()

def note(what):
    with (folder / "made").open("a") as file:
        file.write(what + "\\n")

def make(command, hint):
    note("venv")
    python = Path(command[-1]) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()

folder = Path(sys.argv[1])
cache._run_or_fail = make
print("ready", flush=True)
sys.stdin.readline()
Noted(folder / "cache").fill({"google", "null"})
assert (folder / "cache").exists()
"""


def test_of_processes_that_miss_the_cache_at_once_one_fills_it(tmp_path: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(OFFLINE.parent)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, tmp_path],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, errors
    assert sorted((tmp_path / "made").read_text().split()) == ["google", "needs", "null", "venv"]
    assert sum("filling" in text for text in errors) == 1


def test_a_cache_whose_filling_was_interrupted_is_filled_again(tmp_path: Path) -> None:
    """An environment without its mark, and a folder that a download was in."""
    folder = tmp_path / "cache"
    (folder / "unfinished-x").mkdir(parents=True)
    Cache(folder).python.parent.mkdir(parents=True)
    Cache(folder).python.write_text("half of it")

    result = subprocess.run(
        [
            sys.executable,
            "-c",
            FILL.replace("parents=True)", "parents=True, exist_ok=True)"),
            tmp_path,
        ],
        env=os.environ | {"PYTHONPATH": str(OFFLINE.parent)},
        input="go\n",
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr
    assert sorted((tmp_path / "made").read_text().split()) == ["google", "needs", "null", "venv"]
    assert not (folder / "unfinished-x").exists()


def test_a_variable_of_the_shell_does_not_reach_the_module(
    terraform: Callable[..., subprocess.CompletedProcess[str]], module: Callable[[str], Path]
) -> None:
    folder = module('variable "x" {\n  type    = string\n  default = "module"\n}\n')
    check = 'condition = var.x == "module"\n    error_message = "shell"'
    (folder / "x.tftest.hcl").write_text(
        f'run "x" {{\n  command = plan\n  assert {{\n    {check}\n  }}\n}}\n'
    )

    result = terraform(
        folder, "test", "-no-color", env=os.environ | STAND_IN | {"TF_VAR_x": "shell"}
    )

    assert result.returncode == 0, result.stdout


def test_the_schema_says_what_the_documentation_of_the_provider_says() -> None:
    """A few facts of google 6.50 that modules rely on, read in the provider's documentation."""
    if shutil.which("terraform") is None:
        pytest.skip("needs terraform, whose use fills the cache")
    cache = Cache(default_cache())
    cache.fill({"google", "google-beta"})
    google, beta = (_resources(cache.schema_path(name)) for name in ("google", "google-beta"))

    bucket = google["google_storage_bucket"]["block"]
    assert bucket["attributes"]["location"] == {"type": "string", "required": True}
    assert (
        bucket["block_types"]["lifecycle_rule"]["block"]["block_types"]["condition"]["min_items"]
        == 1
    )
    assert "iap_enabled" in beta["google_cloud_run_v2_service"]["block"]["attributes"]
    assert "iap_enabled" not in google["google_cloud_run_v2_service"]["block"]["attributes"]
    assert "google_vertex_ai_schedule" not in google.keys() | beta.keys()


def _resources(file: Path) -> JsonDict:
    (schema,) = json.loads(file.read_text())["provider_schemas"].values()
    resource_schemas: dict[str, Any] = schema["resource_schemas"]
    return resource_schemas
