"""What the tests themselves rest on: the list of tests that must run in CI, and the long trials."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
SUPPORT = Path(__file__).parents[1] / "support"
TESTS = """
import pytest

def test_runs():
    pass

@pytest.mark.skip(reason="no chromium here")
def test_skips():
    pass
"""
TRIAL = """
import pytest
from hypothesis import given, strategies
from trials import examples

@pytest.mark.trial("adding")
@pytest.mark.parametrize("number", [1, 2])
def test_adds(trial, number):
    trial.count("sums", trial.size(sample=2, proof=50))
    print("drawn", number, trial.random().random())
    assert number + number == 2 * number

@pytest.mark.trial("failing")
def test_fails(trial):
    trial.count("tries")
    assert not trial.is_proof

def test_other():
    print("examples", examples(sample=3, proof=7))
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder whose pytest has the two plug-ins."""
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nmarkers = trial(name): a trial\n")
    pytester.makeconftest('pytest_plugins = ["trials", "must_run"]')
    return pytester


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_test_that_must_run_and_skips_fails_the_session(
    run: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    run.makepyfile(test_browser=TESTS)
    run.makefile("", listed="# browsers\ntest_browser.py::test_skips  # the main way\n")

    result = run.runpytest_subprocess("--must-run", "listed", *workers)

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["skipped: test_browser.py::test_skips: no chromium here"])


def test_tests_that_are_not_listed_may_skip(run: pytest.Pytester) -> None:
    run.makepyfile(test_browser=TESTS)
    run.makefile("", listed="test_browser.py::test_runs\n")

    assert run.runpytest_subprocess("--must-run", "listed").ret == 0


def test_an_exception_of_the_list_may_skip(run: pytest.Pytester) -> None:
    run.makepyfile(test_browser=TESTS)
    run.makefile(
        "",
        listed=(
            "test_browser.py\nexcept test_browser.py::test_skips  # no browser for this machine\n"
        ),
    )

    assert run.runpytest_subprocess("--must-run", "listed").ret == 0


def test_a_line_for_which_no_test_runs_fails_the_session(run: pytest.Pytester) -> None:
    run.makepyfile(test_browser=TESTS)
    run.makefile("", listed="test_browser.py::test_runs\ntest_lost.py\n")

    result = run.runpytest_subprocess("--must-run", "listed")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["no test ran: test_lost.py"])


def test_a_file_that_skips_as_a_whole_fails_the_session(run: pytest.Pytester) -> None:
    run.makepyfile(
        test_browser="import pytest\npytest.skip('no kubectl', allow_module_level=True)\n" + TESTS
    )
    run.makefile("", listed="test_browser.py::test_runs\n")

    result = run.runpytest_subprocess("--must-run", "listed")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["skipped: test_browser.py: no kubectl"])


def _drawn(result: pytest.RunResult) -> list[str]:
    return re.findall(r"drawn .*", result.stdout.str())


def test_a_sample_is_the_same_every_time(run: pytest.Pytester) -> None:
    run.makepyfile(test_trial=TRIAL)

    first, second = (run.runpytest_subprocess("-s") for _ in range(2))
    other = run.runpytest_subprocess("-s", "--seed", "1")

    assert first.ret == second.ret == other.ret == 0
    assert _drawn(first) == _drawn(second)
    assert _drawn(first) != _drawn(other)
    assert len(set(_drawn(first))) == 2
    first.stdout.fnmatch_lines(["*examples 3"])


def test_a_proof_runs_all_of_each_trial_prints_its_seed_and_writes_its_figures(
    run: pytest.Pytester,
) -> None:
    run.makepyfile(test_trial=TRIAL)

    result = run.runpytest_subprocess("--proof", "--proof-report", "proofs.md", "-n", "2")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2, failed=1)
    report = (run.path / "proofs.md").read_text()
    seed = re.search(r"make proof SEED=(\d+)", report)
    assert seed is not None
    result.stdout.fnmatch_lines([f"seed of the trials: {seed[1]} *"])
    assert re.search(r"^\| adding \| 100 sums \| 0 \|", report, re.MULTILINE)
    assert re.search(r"^\| failing \| 1 tries \| 1 \|", report, re.MULTILINE)
    assert re.search(r"^- kfp: \d+\.\d+", report, re.MULTILINE)
