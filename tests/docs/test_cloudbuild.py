"""cloudbuild.yaml: what Cloud Build would run is there and works; its compile step is run here as
it is."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from patience import PROCESS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
BUILD: dict[str, Any] = yaml.safe_load(TEXT)
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in BUILD["steps"]}


def test_it_checks_tests_and_compiles_in_this_order() -> None:
    assert list(STEPS) == ["lint", "test", "compile"]
    assert {step["name"] for step in STEPS.values()} == {"python:3.11"}


def test_every_make_target_that_it_names_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [
        name for step in STEPS.values() if step.get("entrypoint") == "make" for name in step["args"]
    ]

    assert targets == ["lint", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_a_step_with_a_script_has_no_entrypoint_and_no_substitutions() -> None:
    """Cloud Build refuses the one, and leaves the other as it is."""
    script = STEPS["compile"]["script"]

    assert not {"entrypoint", "args"} & set(STEPS["compile"])
    assert not re.search(r"\$\{?(_[A-Z]|PROJECT_ID|BUILD_ID)", script)


def test_its_variables_are_declared_and_none_is_a_secret() -> None:
    used = set(re.findall(r"\$\{(_[A-Z_]+)\}", TEXT))

    assert used == set(BUILD["substitutions"]) == {"_ARTIFACT_BUCKET"}
    assert BUILD["options"]["dynamicSubstitutions"] is True  # a default that holds ${PROJECT_ID}
    assert "availableSecrets" not in BUILD
    assert not any("secretEnv" in step for step in STEPS.values())


def test_logs_go_to_cloud_logging_and_the_build_has_a_size_and_a_limit() -> None:
    assert BUILD["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert BUILD["options"]["machineType"]
    assert re.fullmatch(r"\d+s", BUILD["timeout"])


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of what the compile step finds: the repository after `make test`."""
    examples = sorted((ROOT / "examples").glob("*.py"))
    assert examples
    (tmp_path / "examples").mkdir()
    for file in examples:
        (tmp_path / "examples" / file.name).write_bytes(file.read_bytes())
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def _compile(workspace: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = workspace / "script"
    script.write_text(STEPS["compile"]["script"], encoding="utf-8")
    script.chmod(0o755)
    return subprocess.run(
        [script],
        cwd=workspace,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=PROCESS,
    )


def test_the_compile_step_compiles_every_example_to_what_is_kept(
    workspace: Path, environment: Callable[..., dict[str, str]]
) -> None:
    result = _compile(workspace, environment())

    assert result.returncode == 0, result.stderr
    (pattern,) = BUILD["artifacts"]["objects"]["paths"]
    uploaded = {
        file.stem: yaml.safe_load(file.read_text(encoding="utf-8"))
        for file in workspace.glob(pattern)
    }
    assert set(uploaded) == {file.stem for file in (ROOT / "examples").glob("*.py")}
    assert all(spec["schemaVersion"] for spec in uploaded.values())


def test_an_example_that_does_not_compile_fails_the_step(
    workspace: Path, environment: Callable[..., dict[str, str]]
) -> None:
    (workspace / "examples" / "a_broken.py").write_text("import no_such_module\n", encoding="utf-8")

    assert _compile(workspace, environment()).returncode == 3
