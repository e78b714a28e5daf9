"""checkov finds nothing but what terraform/checkov.yaml leaves out, each with its reason."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
CHECKOV = ROOT / ".venv-terraform" / "bin" / "checkov"
CONFIG = TERRAFORM / "checkov.yaml"
SKIPPED: list[str] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["skip-check"]
MOST_SKIPPED = 12
SECONDS = 140


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory, kustomize: Callable[[Path], list[Any]]) -> set[str]:
    """The checks that fail when nothing is left out, over the modules and over what the overlay adds."""
    if not CHECKOV.exists():
        pytest.skip("needs checkov: make .venv-terraform/stamp")
    manifests = tmp_path_factory.mktemp("checkov") / "own.yaml"
    own = kustomize(TERRAFORM / "modules" / "gke-kubeflow" / "overlay" / "own")
    manifests.write_text(yaml.safe_dump_all(own), encoding="utf-8")
    return _failed("-d", str(TERRAFORM), "--skip-path", "overlay|examples") | _failed("-f", str(manifests))


def _failed(*arguments: str) -> set[str]:
    command = [CHECKOV, *arguments, "--framework", "terraform", "kubernetes", "--skip-download", "-o", "json"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=SECONDS)
    reports = json.loads(done.stdout)
    reports = reports if isinstance(reports, list) else [reports]
    assert sum(report["summary"]["passed"] for report in reports) > 50, done.stdout[:300]
    assert not any(report["summary"]["parsing_errors"] for report in reports)
    return {check["check_id"] for report in reports for check in report["results"]["failed_checks"]}


def test_nothing_is_found_that_was_not_reviewed(failed: set[str]) -> None:
    assert failed - set(SKIPPED) == set()


def test_nothing_is_left_out_that_is_not_found(failed: set[str]) -> None:
    assert set(SKIPPED) - failed == set()


def test_the_list_is_short_and_every_line_says_why() -> None:
    lines = [line for line in CONFIG.read_text(encoding="utf-8").splitlines() if line.startswith("  - CKV")]

    assert len(lines) == len(SKIPPED) <= MOST_SKIPPED
    for line in lines:
        assert re.fullmatch(r"  - CKV\w+\s+# .{20,}", line), line
