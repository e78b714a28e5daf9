"""Long trials: `make test` runs a small sample of each with a fixed seed, `make proof` runs all of
them.

A trial is a test with the marker `trial("what is tried")`. It asks the fixture `trial` how much to
try and for its random numbers, and counts what it tried:

    @pytest.mark.trial("engine killed with kill -9, then resumed")
    def test_killed_runs_end_as_if_nothing_had_happened(trial: Trial) -> None:
        kills = trial.size(sample=20, proof=400)
        random = trial.random()
        ...
        trial.count("kills", kills)

With `--proof` pytest runs trials only, prints the seed, and writes the figures to docs/proofs.md.
"""

from __future__ import annotations

import os
import platform
import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import hypothesis
import hypothesis.core
import pytest

SAMPLE_SEED = 20261129
PROOF_TIMEOUT = 3 * 60 * 60
REPORT = Path(__file__).parents[2] / "docs" / "proofs.md"
HEADER = """# Proofs

The figures of the last `make proof`. A trial attacks the product many times in random ways: it
kills processes, changes answers of services, or changes compiled pipelines. `make test` runs a
small sample of each trial with a fixed seed.

Run the same trials again with `make proof SEED={seed}`, or with a new seed: `make proof`.

"""

_is_proof = False
"""Whether pytest was called with --proof. Tests are imported later, so it holds for their
decorators too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--proof`, `--seed` and `--proof-report`."""
    group = parser.getgroup("kfgcp", "long trials")
    group.addoption("--proof", action="store_true", help="run the long trials, and nothing else")
    group.addoption(
        "--seed",
        type=int,
        default=None,
        help="the seed of all trials (default: fixed; random with --proof)",
    )
    group.addoption(
        "--proof-report", default=None, metavar="FILE", help="where --proof writes its figures"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose one seed for all workers, and collect figures in the main process."""
    global _is_proof
    _is_proof = config.option.proof
    is_worker = hasattr(config, "workerinput")
    if config.option.seed is None:
        config.option.seed = (
            random.SystemRandom().randrange(1_000_000_000) if _is_proof else SAMPLE_SEED
        )
    _configure_hypothesis(config.option.seed)
    if _is_proof and not is_worker:
        config.pluginmanager.register(ProofReport(config), "kfgcp-proof-report")


def _configure_hypothesis(seed: int) -> None:
    """Let property tests use the seed for their examples, without time limits.

    The option --hypothesis-seed takes precedence.
    """
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile(
        "kfgcp",
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=slow,
    )
    hypothesis.settings.load_profile("kfgcp")
    if hypothesis.core.global_force_seed is None:
        hypothesis.core.global_force_seed = seed


def examples(*, sample: int, proof: int) -> int:
    """Return the `max_examples` of a property test that is a trial."""
    return proof if _is_proof else sample


def pytest_report_header(config: pytest.Config) -> str:
    """Print the seed, and how to run the same trials again."""
    again = (
        f"make proof SEED={config.option.seed}"
        if config.option.proof
        else f"--seed {config.option.seed}"
    )
    return f"seed of the trials: {config.option.seed} (the same again: {again})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--proof`, run only the trials, with a limit of hours."""
    if not config.option.proof:
        return
    trials = [item for item in items if item.get_closest_marker("trial")]
    others = [item for item in items if not item.get_closest_marker("trial")]
    for item in trials:
        item.add_marker(pytest.mark.timeout(PROOF_TIMEOUT), append=False)
    config.hook.pytest_deselected(items=others)
    items[:] = trials


@dataclass
class Trial:
    """What a trial needs to know: how much to try, and with which random numbers."""

    name: str
    seed: int
    is_proof: bool
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def size(self, *, sample: int, proof: int) -> int:
        """Return how often to try: `sample` in `make test`, `proof` in `make proof`."""
        return proof if self.is_proof else sample

    def random(self, *salt: object) -> random.Random:
        """Return random numbers that depend on the seed, on the test, and on the salt."""
        return random.Random(f"{self.seed} {self.name} {salt}")  # noqa: S311

    def count(self, unit: str, number: int = 1) -> None:
        """Add to the count of a unit such as "kills"; the report shows the sum."""
        self.counts[unit] += number


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """Return the size, the random numbers and the counters of a trial."""
    marker = request.node.get_closest_marker("trial")
    assert marker is not None, 'the fixture `trial` needs the marker trial("what is tried")'
    trial = Trial(request.node.name, request.config.option.seed, request.config.option.proof)
    # The reports of all three phases carry the name; the counts are complete at the end, in the
    # report of the teardown.
    request.node.user_properties.append(("trial", marker.args[0]))
    yield trial
    request.node.user_properties.append(("trial counts", dict(trial.counts)))


@dataclass
class Figures:
    """The sums of one row of the report."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failed: int = 0
    seconds: float = 0.0


class ProofReport:
    """Sums up the trials of all workers and writes docs/proofs.md."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.rows: dict[str, Figures] = defaultdict(Figures)
        self.started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add one phase of one test to its row."""
        properties = dict(report.user_properties)
        if "trial" not in properties:
            return
        row = self.rows[properties["trial"]]
        row.seconds += report.duration
        row.failed += report.failed
        for unit, number in properties.get("trial counts", {}).items():
            row.counts[unit] += number

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the report, also when the trials were interrupted."""
        if self.config.option.collectonly:
            return
        path = Path(self.config.option.proof_report or REPORT)
        path.write_text(self._text(exitstatus), encoding="utf-8")

    def _text(self, exitstatus: int) -> str:
        seed = self.config.option.seed
        lines = ["| trial | tried | failed | minutes |", "| --- | --- | --- | --- |"]
        for name, row in sorted(self.rows.items()):
            tried = ", ".join(f"{number:,} {unit}" for unit, number in row.counts.items())
            lines.append(f"| {name} | {tried} | {row.failed} | {row.seconds / 60:.1f} |")
        is_whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        facts = [
            f"- trials: {'all of them' if is_whole else 'interrupted, so only a part of them'}",
            f"- seed: {seed}",
            f"- date: {datetime.now(UTC):%Y-%m-%d}",
            f"- commit: {_commit()}",
            (
                f"- machine: {os.cpu_count()} cores, {platform.system()}, Python"
                f" {platform.python_version()}"
            ),
            f"- kfp: {version('kfp')}",
            f"- duration: {(time.monotonic() - self.started) / 60:.0f} minutes",
        ]
        return HEADER.format(seed=seed) + "\n".join(facts) + "\n\n" + "\n".join(lines) + "\n"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPORT.parent).stdout.strip()
