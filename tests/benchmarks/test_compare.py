"""benchmarks/compare.py, with small checkouts whose command does what a test needs."""

import importlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from json_types import JsonDict
from patience import PROCESS, wait_for

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
IDENTITY = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can adopt orphans")

MAKEFILE = r"""
.venv/demo.stamp:
	mkdir -p .venv/bin
	printf '#!/bin/sh\nPYTHONPATH=%s exec %s -S "$$@"\n' $(CURDIR) INTERPRETER > .venv/bin/python
	printf '#!/bin/sh\nexec %s/.venv/bin/python %s/command.py "$$@"\n' $(CURDIR) $(CURDIR) \
		> .venv/bin/kfgcp
	chmod +x .venv/bin/python .venv/bin/kfgcp
	touch $@
"""
BURN = """
import time
while time.process_time() < {seconds}:
    pass
"""
BURN_AS_ORPHAN = """
import os, time
parent = os.getpid()
if os.fork() == 0:
    os.setsid()
    # Begin when the command itself has ended and somebody else has adopted this process.
    while os.getppid() == parent:
        time.sleep(0.001)
    start = time.process_time()
    while time.process_time() < start + {seconds}:
        pass
"""
WRITE_NAME = """
import os
assert not os.path.exists("left-behind"), "the folder is not fresh"
open("left-behind", "w").close()
with open({journal!r}, "a") as journal:
    journal.write({name!r})
"""
WAIT_FOR_EVER = """
import os, signal
if os.fork() == 0:
    os.setsid()
# A test that fails must not leave this process behind for ever.
signal.alarm(600)
with open({journal!r}, "a") as journal:
    journal.write(str(os.getpid()) + " ")
signal.pause()
"""


@dataclass(frozen=True)
class Ended:
    """How compare.py ended."""

    code: int
    out: str
    err: str


class Compare:
    """Starts compare.py with a folder for temporary files of its own."""

    def __init__(self, tmp_path: Path, environment: Callable[..., dict[str, str]]) -> None:
        self.temporary = tmp_path / "temporary"
        self.temporary.mkdir()
        self._environment = environment({"TMPDIR": str(self.temporary)})

    def start(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, str(BENCHMARKS / "compare.py"), *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=cwd, env=self._environment, stdout=pipe, stderr=pipe, text=True
        )

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> Ended:
        return self.end(self.start(*arguments, cwd=cwd))

    def end(self, process: subprocess.Popen[str]) -> Ended:
        out, err = process.communicate(timeout=PROCESS)
        assert list(self.temporary.iterdir()) == []
        return Ended(process.returncode, out, err)


@pytest.fixture
def compare(tmp_path: Path, environment: Callable[..., dict[str, str]]) -> Compare:
    return Compare(tmp_path, environment)


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[..., Path]:
    """Makes a checkout whose `kfgcp` runs a Python program."""

    def make(name: str, program: str, *, with_environment: bool = True) -> Path:
        folder = tmp_path / name
        files = {
            "Makefile": MAKEFILE.replace("INTERPRETER", sys.executable),
            "command.py": program,
            "kfgcp/__init__.py": "",
            "benchmarks/many_runs.py": "def generate(folder, count): folder.mkdir()",
        }
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        if with_environment:
            subprocess.run(["make", "--silent", ".venv/demo.stamp"], cwd=folder, check=True)
        return folder

    return make


@pytest.fixture
def repository(checkout: Callable[..., Path]) -> Callable[[str], Path]:
    """Makes a git repository with one commit: a checkout without an environment."""

    def make(program: str) -> Path:
        folder = checkout("repository", program, with_environment=False)
        git(folder, "init", "--quiet")
        commit(folder)
        return folder

    return make


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a version")


def only_workload(ended: Ended) -> JsonDict:
    (workload,) = json.loads(ended.out)["workloads"]
    return dict(workload)


def test_three_times_the_cpu_time_is_a_ratio_of_three(
    compare: Compare, checkout: Callable[..., Path]
) -> None:
    a, b = checkout("a", BURN.format(seconds=0.1)), checkout("b", BURN.format(seconds=0.3))
    ended = compare(a, b, "--only", "compare", "--limit", "10", "--json")
    workload = only_workload(ended)
    assert 2 < workload["median"] < 4
    assert len(workload["ratios"]) == 11
    assert 0.1 <= workload["cpu_seconds"]["a"] < workload["cpu_seconds"]["b"]
    assert workload["above_limit"] is True
    assert ended.code == 4


@linux_only
def test_a_process_that_outlives_its_parent_counts(
    compare: Compare, checkout: Callable[..., Path]
) -> None:
    a, b = (
        checkout("a", BURN.format(seconds=0.1)),
        checkout("b", BURN_AS_ORPHAN.format(seconds=0.3)),
    )
    ended = compare(a, b, "--only", "compare", "--json")
    workload = only_workload(ended)
    assert workload["counts_orphans"] is True
    assert 2 < workload["median"] < 5
    assert ended.code == 0


def test_a_checkout_is_not_worse_than_itself(
    compare: Compare, checkout: Callable[..., Path]
) -> None:
    a = checkout("a", BURN.format(seconds=0.1))
    ended = compare(a, a, "--only", "compare", "--limit", "50")
    assert ended.code == 0
    assert "11 rounds" in ended.out
    assert "within the limit" in ended.out


def test_the_order_alternates_in_fresh_folders(
    compare: Compare, checkout: Callable[..., Path], tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    a = checkout("a", WRITE_NAME.format(journal=str(journal), name="A"))
    b = checkout("b", WRITE_NAME.format(journal=str(journal), name="B"))
    assert compare(a, b, "--only", "compare", "--rounds", "12").code == 0
    # A round that does not count, then 12 that do.
    assert journal.read_text() == "AB" + "BAAB" * 6


def test_fewer_than_eleven_rounds_are_refused(compare: Compare, tmp_path: Path) -> None:
    ended = compare(tmp_path, tmp_path, "--rounds", "5")
    assert ended.code == 2
    assert "--rounds must be at least 11" in ended.err


def test_an_unknown_workload_is_refused(compare: Compare, tmp_path: Path) -> None:
    ended = compare(tmp_path, tmp_path, "--only", "nothing")
    assert ended.code == 2
    assert "unknown workload nothing; choose from import, startup" in ended.err


def test_a_missing_environment_is_one_line_that_helps(
    compare: Compare, checkout: Callable[..., Path]
) -> None:
    a = checkout("a", "", with_environment=False)
    ended = compare(a, a)
    assert ended.code == 1
    assert ended.err == f"{a} has no environment. Make one there: make .venv/demo.stamp\n"


def test_a_copied_environment_is_refused(
    compare: Compare, checkout: Callable[..., Path], tmp_path: Path
) -> None:
    a, copied = checkout("a", ""), tmp_path / "copied"
    shutil.copytree(a, copied)
    ended = compare(a, copied)
    assert ended.code == 1
    assert ended.err.startswith(f"The environment of {copied} belongs to another folder.")


def test_different_answers_are_not_compared(
    compare: Compare, checkout: Callable[..., Path]
) -> None:
    a, b = (
        checkout("a", """print('[{"run_id": "1"}]')"""),
        checkout("b", """print('[{"run_id": "2"}]')"""),
    )
    ended = compare(a, b, "--only", "list")
    assert ended.code == 1
    assert "list: A and B gave different answers" in ended.err


def test_a_command_that_fails_is_named_with_its_errors(
    compare: Compare, checkout: Callable[..., Path]
) -> None:
    a = checkout("a", "import sys; sys.exit('the disk is full')")
    ended = compare(a, a, "--only", "startup")
    assert ended.code == 1
    assert f"{a}/.venv/bin/kfgcp --help failed with exit code 1:\nthe disk is full" in ended.err


def test_revisions_get_worktrees_and_environments_that_are_removed(
    compare: Compare, repository: Callable[[str], Path], tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    folder = repository(WRITE_NAME.format(journal=str(journal), name="A"))
    (folder / "command.py").write_text(WRITE_NAME.format(journal=str(journal), name="B"))
    commit(folder)
    ended = compare("HEAD~1", "HEAD", "--only", "compare", cwd=folder)
    assert ended.code == 0, ended.err
    assert journal.read_text() == "ABBA" * 6
    assert len(git(folder, "worktree", "list").splitlines()) == 1


def test_a_name_that_is_nothing_is_one_line(
    compare: Compare, repository: Callable[[str], Path]
) -> None:
    folder = repository("")
    ended = compare("HEAD", "nothing", cwd=folder)
    assert ended.code == 1
    assert f"nothing is neither a folder nor a revision of the repository in {folder}." in ended.err
    assert len(git(folder, "worktree", "list").splitlines()) == 1


@linux_only
@pytest.mark.parametrize("running_step", ["make", "workload"])
def test_ctrl_c_ends_all_processes_and_removes_worktrees(
    compare: Compare,
    repository: Callable[[str], Path],
    alive: Callable[[int], bool],
    tmp_path: Path,
    running_step: str,
) -> None:
    journal = tmp_path / "journal"
    folder = repository(WAIT_FOR_EVER.format(journal=str(journal)))
    if running_step == "make":
        (folder / "Makefile").write_text(f".venv/demo.stamp:\n\t{sys.executable} command.py\n")
        commit(folder)
    process = compare.start("HEAD", "HEAD", "--only", "startup", cwd=folder)
    wait_for(lambda: journal.exists() and len(journal.read_text().split()) == 2)
    process.send_signal(signal.SIGINT)
    ended = compare.end(process)
    assert ended.code == 130
    assert ended.err.endswith("interrupted\n")
    assert [pid for pid in journal.read_text().split() if alive(int(pid))] == []
    assert len(git(folder, "worktree", "list").splitlines()) == 1


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


TOO_WIDE_FOR_LIMIT = "within the limit, but the spread is too wide to tell"


@pytest.mark.parametrize(
    ("ratios", "limit", "median", "quartiles", "in_words"),
    [
        # Of 11 values in order the median is the sixth; a quartile is half way between the third
        # and the fourth.
        ([1.0] * 11, None, 1.0, (1.0, 1.0), "no clear difference"),
        (
            [0.9, 1.1, 1.1, 1.3, 1.3, 1.4, 1.5, 1.5, 1.7, 2, 2],
            None,
            1.4,
            (1.2, 1.6),
            "B needs more",
        ),
        (
            [0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.7, 0.8, 0.8, 0.9, 2],
            None,
            0.7,
            (0.6, 0.8),
            "B needs less",
        ),
        (
            [0.7, 0.8, 0.9, 0.9, 1, 1, 1, 1.2, 1.2, 1.3, 1.4],
            None,
            1.0,
            (0.9, 1.2),
            "the spread is too wide to tell",
        ),
        (
            [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 2, 2],
            None,
            0.9,
            (0.9, 0.9),
            "no clear difference",
        ),
        (
            [1, 1, 1.02, 1.02, 1.02, 1.05, 1.08, 1.08, 1.08, 2, 2],
            10,
            1.05,
            (1.02, 1.08),
            "within the limit",
        ),
        (
            [0.9, 0.9, 0.9, 0.9, 1, 1.05, 1.1, 1.2, 1.2, 1.3, 1.4],
            10,
            1.05,
            (0.9, 1.2),
            TOO_WIDE_FOR_LIMIT,
        ),
        (
            [1.1, 1.1, 1.2, 1.2, 1.2, 1.3, 1.3, 1.4, 1.4, 1.4, 1.4],
            10,
            1.3,
            (1.2, 1.4),
            "above the limit",
        ),
    ],
)
def test_ratios_are_summed_up_and_put_into_words(
    module: Callable[[str], ModuleType],
    ratios: list[float],
    limit: float | None,
    median: float,
    quartiles: tuple[float, float],
    in_words: str,
) -> None:
    usage, compare = module("process_tree").Usage, module("compare")
    pairs = [
        compare.Pair(usage(2.0, 9.0, True, ""), usage(2 * ratio, 1.0, True, "")) for ratio in ratios
    ]
    comparison = compare.Comparison(module("workloads").WORKLOADS[0], pairs[::-1])
    assert comparison.median == pytest.approx(median)
    assert comparison.quartiles == pytest.approx(quartiles)
    assert comparison.in_words(limit) == in_words


NAMES = (
    "import",
    "startup",
    "compile",
    "one-task",
    "chain",
    "thousand",
    "cached",
    "list",
    "where",
    "export",
    "compare",
    "submit",
    "read-remote",
    "recorded",
)
TASKS = {
    "one-task": (1, "SUCCEEDED"),
    "chain": (50, "SUCCEEDED"),
    "thousand": (1_000, "SUCCEEDED"),
    "cached": (100, "CACHED"),
}
ROWS = {"list": 20, "read-remote": 100, "recorded": 1_000, "export": 5_001}


@pytest.mark.parametrize("name", NAMES)
def test_each_workload_does_its_work_in_this_checkout(
    module: Callable[[str], ModuleType], tmp_path: Path, name: str
) -> None:
    workloads = module("workloads")
    (workload,) = (workload for workload in workloads.WORKLOADS if workload.name == name)
    here = module("checkouts").Checkout("here", ROOT, Path(sys.executable).parent)
    with workload.serve() as config:
        (side,) = workloads.prepare_sides(workload, config, [here], tmp_path)
        usage = workloads.run_once(workload, side, tmp_path / "project")
    assert usage.cpu_seconds > 0
    if name in TASKS:
        count, state = TASKS[name]
        assert [task_state for _, task_state in workload.answer(usage.output)] == [state] * count
    if name in ROWS:
        answer = workload.answer(usage.output)
        assert (answer if isinstance(answer, int) else len(answer)) == ROWS[name]
    if name == "where":
        # The smaller the learning rate and the higher the accuracy, the fewer: about one run in a
        # hundred.
        assert 0 < len(workload.answer(usage.output)) <= 20


def test_all_workloads_are_tested(module: Callable[[str], ModuleType]) -> None:
    assert tuple(workload.name for workload in module("workloads").WORKLOADS) == NAMES
