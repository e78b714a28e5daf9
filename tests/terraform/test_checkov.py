"""checkov finds nothing but what terraform/checkov.yaml leaves out, each with its reason."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from json_types import JsonDict

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
CHECKOV = ROOT / ".venv-terraform" / "bin" / "checkov"
CONFIG = TERRAFORM / "checkov.yaml"
SKIPPED: list[str] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["skip-check"]
MOST_SKIPPED = 12


def test_what_is_found_is_what_was_reviewed(
    tmp_path: Path, kustomize: Callable[[Path], list[JsonDict]]
) -> None:
    """Over the modules and what the overlay adds; a line that leaves out nothing is one too
    many."""
    if not CHECKOV.exists():
        pytest.skip("needs checkov: make .venv-terraform/stamp")
    own = kustomize(TERRAFORM / "modules" / "gke-kubeflow" / "overlay" / "own")
    copy = tmp_path / "terraform"  # one folder, for checkov takes seconds to start
    shutil.copytree(
        TERRAFORM,
        copy,
        ignore=shutil.ignore_patterns("overlay", "examples", ".terraform", "__pycache__"),
    )
    (copy / "own.yaml").write_text(yaml.safe_dump_all(own), encoding="utf-8")
    command = [
        CHECKOV,
        "-d",
        copy,
        "--framework",
        "terraform",
        "kubernetes",
        "--skip-download",
        "-o",
        "json",
    ]

    scan = subprocess.run(command, capture_output=True, encoding="utf-8")

    output = json.loads(scan.stdout)
    reports = {
        report["check_type"]: report
        for report in (output if isinstance(output, list) else [output])
    }
    for kind in ("terraform", "kubernetes"):
        assert reports[kind]["summary"]["passed"] > 50, scan.stdout[:300]
        assert not reports[kind]["summary"]["parsing_errors"]
    failed_checks = {
        check["check_id"]
        for report in reports.values()
        for check in report["results"]["failed_checks"]
    }
    assert failed_checks == set(SKIPPED)


def test_the_list_is_short_and_every_line_says_why() -> None:
    lines = [
        line
        for line in CONFIG.read_text(encoding="utf-8").splitlines()
        if line.startswith("  - CKV")
    ]

    assert len(lines) == len(SKIPPED) <= MOST_SKIPPED
    for line in lines:
        assert re.fullmatch(r"  - CKV\w+\s+# .{20,}", line), line
