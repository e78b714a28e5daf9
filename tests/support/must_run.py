"""The tests that must run in CI: `--must-run FILE` fails the session when one of them skips or is
missing.

Each line of the file holds the beginning of test ids: a folder, a file, or a test (`tests/spec/`,
`tests/spec/test_load.py`, `tests/spec/test_load.py::test_name`). A line `except BEGINNING` allows
those tests to skip. `#` begins a comment; each exception needs one that gives the reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest

EXCEPT = "except "


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--must-run`."""
    group = parser.getgroup("kfgcp", "tests that must run")
    group.addoption(
        "--must-run",
        default=None,
        metavar="FILE",
        help="fail when a test of FILE skips or is missing",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch the reports, in the main process only."""
    if config.option.must_run and not hasattr(config, "workerinput"):
        config.pluginmanager.register(
            MustRun(*read_list(Path(config.option.must_run))), "kfgcp-must-run"
        )


def read_list(file: Path) -> tuple[list[str], list[str]]:
    """Return the beginnings of the ids of tests that must run, and of those that may skip."""
    prefixes, exceptions = [], []
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = line.partition("#")[0].strip()
        if entry.startswith(EXCEPT):
            exceptions.append(entry.removeprefix(EXCEPT).strip())
        elif entry:
            prefixes.append(entry)
    return prefixes, exceptions


class MustRun:
    """A plugin that collects the listed tests that skipped, and the lines without any test."""

    def __init__(self, prefixes: list[str], exceptions: list[str]) -> None:
        self.prefixes = prefixes
        self.exceptions = tuple(exceptions)
        self.unused = set(prefixes)
        self.skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note whether a test of the list ran or skipped."""
        matching = [prefix for prefix in self.prefixes if report.nodeid.startswith(prefix)]
        if not matching:
            return
        if report.skipped and not report.nodeid.startswith(self.exceptions):
            self.skipped[report.nodeid] = _reason(report)
        elif report.when == "call" and not report.skipped:
            self.unused.difference_update(matching)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note whether a whole file of the list skipped."""
        if report.skipped and any(_overlap(report.nodeid, prefix) for prefix in self.prefixes):
            self.skipped[report.nodeid] = _reason(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that passed otherwise."""
        if (self.skipped or self.unused) and session.exitstatus in (
            0,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print what is missing, and why."""
        if not self.skipped and not self.unused:
            return
        terminalreporter.section("tests that must run", red=True)
        for nodeid, reason in sorted(self.skipped.items()):
            terminalreporter.line(f"skipped: {nodeid}: {reason}")
        for prefix in sorted(self.unused):
            terminalreporter.line(f"no test ran: {prefix}")


def _overlap(file: str, prefix: str) -> bool:
    return file.startswith(prefix) or prefix.startswith(file)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)
