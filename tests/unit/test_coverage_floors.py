"""`tools/coverage_floors.py` adds up coverage by package, and fails below a floor."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import coverage_floors
from coverage_floors import Coverage, Summary
from patience import PROCESS

FILES: dict[str, Summary] = {
    "kfgcp/errors.py": {"num_statements": 10, "covered_lines": 10},
    "kfgcp/store/reads.py": {"num_statements": 30, "covered_lines": 15},
    "kfgcp/store/writes.py": {"num_statements": 10, "covered_lines": 9},
    "kfgcp/backends/vertex/request.py": {
        "num_statements": 4,
        "covered_lines": 3,
        "num_branches": 2,
        "covered_branches": 1,
    },
}


def test_files_of_a_package_are_added_up() -> None:
    packages = coverage_floors.by_package(FILES)

    assert list(packages) == ["kfgcp", "kfgcp/backends/vertex", "kfgcp/store"]
    assert packages["kfgcp/store"].percentages() == {"lines": 60.0}
    assert packages["kfgcp/backends/vertex"].percentages() == {"lines": 75.0, "branches": 50.0}


def test_a_package_below_its_floor_is_named_with_what_to_do() -> None:
    packages = {"kfgcp/store": Coverage(lines=40, covered_lines=24)}

    assert coverage_floors.below_floor(packages, {"kfgcp/store": {"lines": 60}}) == []
    assert coverage_floors.below_floor(packages, {"kfgcp/store": {"lines": 61}}) == [
        "kfgcp/store: 60.0 % of its lines are covered, the floor is 61 %. Add tests for what you"
        " changed: coverage report --show-missing --include 'kfgcp/store/*'"
    ]


def test_a_floor_for_branches_counts_only_where_branches_were_measured() -> None:
    floors = {"kfgcp/store": {"lines": 60, "branches": 99}}

    without_branches = {"kfgcp/store": Coverage(lines=40, covered_lines=24)}
    with_branches = {"kfgcp/store": Coverage(40, 24, branches=10, covered_branches=9)}

    assert coverage_floors.below_floor(without_branches, floors) == []
    assert len(coverage_floors.below_floor(with_branches, floors)) == 1


def test_every_package_needs_a_floor_and_every_floor_a_package() -> None:
    packages = {"kfgcp/new": Coverage(lines=4, covered_lines=4)}

    problems = coverage_floors.below_floor(packages, {"kfgcp/old": {"lines": 50}})

    assert [problem.partition(" ")[0] for problem in problems] == ["kfgcp/new", "kfgcp/old"]


def test_an_update_raises_floors_and_never_lowers_one() -> None:
    packages = {
        "kfgcp/spec": Coverage(lines=1000, covered_lines=959),
        "kfgcp/store": Coverage(lines=40, covered_lines=24),
    }
    floors = {"kfgcp/spec": {"lines": 80.0, "branches": 70.0}, "kfgcp/store": {"lines": 90.0}}

    raised = coverage_floors.raised_floors(packages, floors)

    # 95.9 % without its decimals and the margin of two points.
    assert raised == {
        "kfgcp/spec": {"lines": 93.0, "branches": 70.0},
        "kfgcp/store": {"lines": 90.0},
    }
    assert tomllib.loads(coverage_floors.format_floors(raised)) == raised


def test_processes_that_a_program_starts_are_measured(tmp_path: Path) -> None:
    """With the settings of this project, as the tests are measured."""
    package = tmp_path / "kfgcp"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "child.py").write_text("for number in range(2):\n    print(number)\n")
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'kfgcp.child'], check=True)\n"
    )
    settings = Path(coverage_floors.ROOT, "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(settings)
    (tmp_path / ".coverage-data").mkdir()

    def run_coverage(*arguments: str) -> str:
        command = [sys.executable, "-m", "coverage", *arguments]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=PROCESS, check=True
        )
        return result.stdout

    run_coverage("run", "parent.py")
    run_coverage("combine")
    report = run_coverage("report", "--include", "kfgcp/child.py")

    assert report.split()[-4:] == ["TOTAL", "2", "0", "100%"]


@pytest.mark.parametrize("file", ["kfgcp/engine/executors/docker.py", "dashboards/a/b/c/d.py"])
def test_a_package_has_at_most_three_parts(file: str) -> None:
    assert coverage_floors.package_of(file).count("/") <= 2
