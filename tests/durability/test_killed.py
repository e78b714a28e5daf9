"""kill -9 at any moment loses no finished task, leaves no process behind, and the run can go on to the same end."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from kfgcp.model import Run, RunState, TaskState
from kfgcp.spec.load import load
from kfgcp.spec.write import write
from kfgcp.store.store import Store

KFGCP = Path(sys.executable).with_name("kfgcp")
KILLS = 50
EXPECTED = f"{sum(n**4 for n in range(1, 10))} {''.join(f'number {n**4}' + chr(10) for n in range(1, 10))!r}"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of a run in /proc")


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("spec") / "thirty_tasks.yaml"
    write(load(f"{Path(__file__).with_name('thirty_tasks.py')}:thirty_tasks"), file)
    return file


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
def test_a_run_killed_fifty_times_ends_as_if_it_never_was(seed: int, spec: Path, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311
    kills, runs = 0, 0
    while kills < KILLS:
        runs += 1
        project = tmp_path / str(runs)
        project.mkdir()
        kills += _run_killed_often(spec, project, chance)
    assert kills >= KILLS


def _run_killed_often(spec: Path, project: Path, chance: random.Random) -> int:
    """Runs the pipeline in a new project, killing it up to 25 times on its way. How often it was killed."""
    arguments = ["run", str(spec), "-p", f"journal={project}/journal", "-p", f"counter={project}/counter"]
    done_before: dict[str, int] = {}
    kills = 0
    while kills < 25:
        killed = _killed(arguments, project, chance.uniform(0.1, 0.6), chance)
        run = _only_run(project)
        _check_nothing_done_twice(project, done_before)
        if not killed:
            break
        kills += 1
        if run is not None:
            done_before = _journal_of_finished(project, run)
            arguments = ["run", "--resume", run.run_id]
    else:
        subprocess.run([KFGCP, *arguments], cwd=project, capture_output=True, timeout=60, check=False)
    _check_end(project)
    return kills


def _killed(arguments: list[str], project: Path, after: float, chance: random.Random) -> bool:
    """Whether it had to be killed: the engine, or the server of its tasks, or all of its processes at once."""
    with (project / "stderr").open("ab") as said:
        process = subprocess.Popen(
            [KFGCP, *arguments], cwd=project, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
    try:
        process.wait(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        victims = chance.choice(["engine", "everything", "server"])
        family = _family(process.pid)
        for pid in family if victims == "everything" else family[1:2] if victims == "server" else family[:1]:
            _kill(pid)
        if victims == "server":
            return process.wait(timeout=60) != 0
        process.wait()
        _wait_until_gone(family)
        return True


def _family(pid: int) -> list[int]:
    """A process and its descendants, parents first."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(file.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait_until_gone(family: list[int]) -> None:
    deadline = time.monotonic() + 10
    left = family
    while left := [pid for pid in left if _alive(pid)]:
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.005)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _only_run(project: Path) -> Run | None:
    if not (project / ".kfgcp" / "kfgcp.db").exists():
        return None
    with Store(project / ".kfgcp") as store:
        found = store.select()
        assert len(found) <= 1
        return store.get(found[0].run_id) if found else None


def _journal(project: Path) -> Counter[str]:
    file = project / "journal"
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def _journal_of_finished(project: Path, run: Run) -> dict[str, int]:
    """How often each task that the store calls done has written to the journal."""
    journal = _journal(project)
    return {task.path: journal[task.path] for task in run.tasks if task.state is TaskState.SUCCEEDED}


def _check_nothing_done_twice(project: Path, done_before: dict[str, int]) -> None:
    journal = _journal(project)
    assert {path: journal[path] for path in done_before} == done_before


def _check_end(project: Path) -> None:
    run = _only_run(project)
    assert run is not None
    assert run.state is RunState.SUCCEEDED, (run.error, (project / "stderr").read_text()[-2000:])
    states = {task.path: task.state for task in run.tasks}
    assert {task.path: task.outputs for task in run.tasks}["exit-handler-1/total"] == {"Output": EXPECTED}
    assert set(states.values()) == {TaskState.SUCCEEDED}
    assert sum(task.kind == "container" for task in run.tasks) == 31
    assert "exit SUCCEEDED" in _journal(project)
    assert len([a for a in run.artifacts if a.name == "text"]) == 9
    with sqlite3.connect(project / ".kfgcp" / "kfgcp.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.timeout(300)
def test_killed_workers_cost_a_repetition_at_most(spec: Path, tmp_path: Path) -> None:
    """A task whose process was killed has failed, as on a cluster; what it needs no more is not done again."""
    chance = random.Random(7)  # noqa: S311
    kills = 0
    for number in range(6):
        project = tmp_path / str(number)
        project.mkdir()
        arguments = ["run", str(spec), "-p", f"journal={project}/journal", "-p", f"counter={project}/counter"]
        killed, code = _with_killed_workers(arguments, project, chance)
        kills += killed
        for _ in range(10):
            if code == 0:
                break
            killed, code = _with_killed_workers(["rerun"], project, chance, most=1)
            kills += killed
        if code != 0:
            done = subprocess.run([KFGCP, "rerun"], cwd=project, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
        with Store(project / ".kfgcp") as store:
            run = store.get(store.select(limit=1)[0].run_id)
            outputs = {task.path: task.outputs for task in run.tasks}
            assert outputs["exit-handler-1/total"] == {"Output": EXPECTED}
            assert {task.state.ok for task in run.tasks} == {True}
    assert kills >= 10


def _with_killed_workers(arguments: list[str], project: Path, chance: random.Random, most: int = 4) -> tuple[int, int]:
    """How many processes of tasks were killed while the command ran, and how it ended."""
    kills = 0
    with subprocess.Popen(
        [KFGCP, *arguments], cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        while process.poll() is None:
            time.sleep(chance.uniform(0.05, 0.25))
            workers = _family(process.pid)[2:]
            if workers and kills < most:
                _kill(chance.choice(workers))
                kills += 1
    return kills, process.returncode
