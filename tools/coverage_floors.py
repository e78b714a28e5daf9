"""Run the tests with coverage, and fail when a package has less of it than its floor.

    python tools/coverage_floors.py [ARGUMENTS OF PYTEST]   # run the tests, print a table, check
    python tools/coverage_floors.py --check                 # print and check the last measurement
    python tools/coverage_floors.py --update                # raise floors that are too low

`make coverage` runs it. The floors are in `tools/coverage_floors.toml`, a table for each package.
The processes that tests start are measured too: commands, engines, tasks and the dashboard. A
process that is killed leaves no data, so the floor is a little below what is usually measured.

Branches are measured on Python 3.13 and newer. On older versions only lines are: there, measuring
branches makes the tests too slow for CI.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypedDict

ROOT: Final = Path(__file__).resolve().parents[1]
FLOORS: Final = ROOT / "tools" / "coverage_floors.toml"
DATA: Final = ROOT / ".coverage-data"
BRANCHES_SINCE: Final = (3, 13)

# Points between what `--update` measured and the floor that it writes. Tests that kill processes
# at random moments change the coverage of the engine by up to one point from run to run.
MARGIN: Final = 2

# How many parts of a file's path name its package. Other folders have two.
DEEP_PACKAGES: Final = ("kfgcp/backends", "kfgcp/services", "kfgcp/engine", "kfgcp/testing")

Floors = Mapping[str, Mapping[str, float]]


class Summary(TypedDict, total=False):
    """What `coverage json` writes for a file. Branches are absent when they were not measured."""

    num_statements: int
    covered_lines: int
    num_branches: int
    covered_branches: int


@dataclass
class Coverage:
    """The coverage of a package.

    Attributes:
        lines: how many lines have code.
        covered_lines: how many of these lines were run.
        branches: how many ways the code can go at conditions and loops, 0 when not measured.
        covered_branches: how many of these ways were gone.
    """

    lines: int = 0
    covered_lines: int = 0
    branches: int = 0
    covered_branches: int = 0

    def add(self, summary: Summary) -> None:
        """Add the figures of a file."""
        self.lines += summary["num_statements"]
        self.covered_lines += summary["covered_lines"]
        self.branches += summary.get("num_branches", 0)
        self.covered_branches += summary.get("covered_branches", 0)

    def percentages(self) -> dict[str, float]:
        """Return the covered share of lines and branches in percent, without what it has none of.

        Example:
            >>> Coverage(lines=8, covered_lines=6).percentages()
            {'lines': 75.0}
        """
        shares = {}
        if self.lines:
            shares["lines"] = 100 * self.covered_lines / self.lines
        if self.branches:
            shares["branches"] = 100 * self.covered_branches / self.branches
        return shares


def package_of(file: str) -> str:
    """Return the package that a file counts for.

    Example:
        >>> package_of("kfgcp/store/schema.py"), package_of("kfgcp/backends/vertex/request.py")
        ('kfgcp/store', 'kfgcp/backends/vertex')
        >>> package_of("kfgcp/errors.py")
        'kfgcp'
    """
    folder = PurePosixPath(file).parent
    is_deep = folder.as_posix().startswith(DEEP_PACKAGES)
    parts = folder.parts[: 3 if is_deep else 2]
    return "/".join(parts)


def by_package(files: Mapping[str, Summary]) -> dict[str, Coverage]:
    """Return the coverage of each package, in the order of their names.

    Args:
        files: the summaries by the path of the file, relative to the project.
    """
    packages: dict[str, Coverage] = {}
    for file in sorted(files):
        package = package_of(file.replace("\\", "/"))
        packages.setdefault(package, Coverage()).add(files[file])
    return dict(sorted(packages.items()))


def below_floor(packages: Mapping[str, Coverage], floors: Floors) -> list[str]:
    """Return a line for each package that has less coverage than its floor, or has no floor.

    A floor for branches counts only where branches were measured.
    """
    problems = []
    for package, coverage in packages.items():
        percentages = coverage.percentages()
        for kind, percentage in percentages.items():
            floor = floors.get(package, {}).get(kind)
            if floor is None:
                problems.append(
                    f"{package} has no floor for {kind}: run tools/coverage_floors.py --update"
                )
            elif percentage < floor:
                problems.append(
                    f"{package}: {percentage:.1f} % of its {kind} are covered, the floor is"
                    f" {floor:g} %. Add tests for what you changed: {_show_command(package)}"
                )
    unmeasured = sorted(floors.keys() - packages.keys())
    problems += [f"{package} has a floor, but no file of it was measured" for package in unmeasured]
    return problems


def _show_command(package: str) -> str:
    return f"coverage report --show-missing --include '{package}/*'"


def raised_floors(packages: Mapping[str, Coverage], floors: Floors) -> dict[str, dict[str, float]]:
    """Return the floors after a measurement. A floor is never lowered."""
    raised: dict[str, dict[str, float]] = {}
    for package, coverage in packages.items():
        new_floors = dict(floors.get(package, {}))
        for kind, percentage in coverage.percentages().items():
            measured_floor = float(max(math.floor(percentage) - MARGIN, 0))
            new_floors[kind] = max(new_floors.get(kind, 0.0), measured_floor)
        if new_floors:
            raised[package] = new_floors
    return raised


def format_floors(floors: Floors) -> str:
    """Return the text of the file with the floors."""
    lines = [
        "# The least coverage of each package in percent. `make coverage` fails below it.",
        "# Written by `python tools/coverage_floors.py --update`, which never lowers a floor.",
    ]
    for package, package_floors in floors.items():
        lines += ["", f'["{package}"]']
        for kind, floor in sorted(package_floors.items(), reverse=True):
            lines.append(f"{kind} = {floor:g}")
    return "\n".join(lines) + "\n"


def run_tests(arguments: Iterable[str]) -> int:
    """Run pytest under coverage, combine the data of all processes, and return its exit status."""
    DATA.mkdir(exist_ok=True)
    _run_coverage("erase")
    options = ["--branch"] if sys.version_info >= BRANCHES_SINCE else []
    status = _run_coverage("run", *options, "-m", "pytest", *arguments)
    _run_coverage("combine", "--quiet")
    return status


def read_measurement() -> dict[str, Summary]:
    """Return the figures of each file in the last measurement."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        status = _run_coverage("json", "--quiet", "--ignore-errors", "-o", str(report))
        if status:
            raise SystemExit("There is no measurement. Run make coverage.")
        files = json.loads(report.read_text())["files"]
    return {file: content["summary"] for file, content in files.items()}


def _run_coverage(*arguments: str) -> int:
    command = [sys.executable, "-m", "coverage"]
    return subprocess.run(command + list(arguments), cwd=ROOT, check=False).returncode


def _print_table(packages: Mapping[str, Coverage], floors: Floors) -> None:
    width = max(len(package) for package in packages)
    print(f"{'':{width}}   lines  floor  branches  floor")
    for package, coverage in packages.items():
        percentages = coverage.percentages()
        cells = [package.ljust(width)]
        for kind, cell_width in (("lines", 5), ("branches", 8)):
            percentage = percentages.get(kind)
            floor = floors.get(package, {}).get(kind)
            cells.append("" if percentage is None else f"{percentage:.1f}".rjust(cell_width))
            cells.append("" if floor is None else f"{floor:g}".rjust(5))
        print("  ".join(cells).rstrip())


def main(arguments: list[str] | None = None) -> int:
    """Run the tests or read the last measurement, check or raise the floors, return the status."""
    parser = argparse.ArgumentParser(
        description="Run the tests with coverage, and compare it with the floor of each package."
    )
    parser.add_argument("--check", action="store_true", help="check the last measurement")
    parser.add_argument("--update", action="store_true", help="raise floors that are too low")
    options, pytest_arguments = parser.parse_known_args(arguments)
    status = 0
    if not (options.check or options.update):
        status = run_tests(pytest_arguments)
    packages = by_package(read_measurement())
    floors = tomllib.loads(FLOORS.read_text()) if FLOORS.exists() else {}
    if options.update:
        floors = raised_floors(packages, floors)
        FLOORS.write_text(format_floors(floors))
    _print_table(packages, floors)
    problems = below_floor(packages, floors)
    for problem in problems:
        print(problem, file=sys.stderr)
    # Failed tests count first: they explain missing coverage.
    return status or (1 if problems else 0)


if __name__ == "__main__":
    sys.exit(main())
