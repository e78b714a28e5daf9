"""kill -9 at any moment loses no finished task, leaves no process behind, and the run can go on to
the same end."""

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
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from kfgcp.model import Run, RunState, TaskKind, TaskState
from kfgcp.spec.load import load
from kfgcp.spec.write import write
from kfgcp.store.store import Store
from kfgcp.workspace import Workspace
from patience import PROCESS, wait_for
from trials import Trial

KFGCP = Path(sys.executable).with_name("kfgcp")
PARTS = 4
"""The trials are cut into parts, so that two processes share them."""
KILLS_A_PROJECT = 25
EXPECTED = (
    f"{sum(n**4 for n in range(1, 10))}"
    f" {''.join(f'number {n**4}' + chr(10) for n in range(1, 10))!r}"
)

CHAINS = [
    *(
        [
            *(f"exit-handler-1/for-loop-3[{n}]/{task}" for task in ("number", "number-2", "write")),
            "exit-handler-1/total",
        ]
        for n in range(9)
    ),
    ["exit-handler-1/total", "exit-handler-1/number-3", "leave"],
    ["exit-handler-1/fails-twice", "leave"],
]
"""Tasks of the pipeline, each of which starts only when the one before has ended."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="finds the processes of a run in /proc"
)


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("spec") / "thirty_tasks.yaml"
    write(load(f"{Path(__file__).with_name('thirty_tasks.py')}:thirty_tasks"), file)
    return file


@pytest.fixture(scope="session")
def undisturbed(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds of a run that nobody kills: kills come at random moments of that time, on any
    machine."""
    project = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    subprocess.run(
        _command(spec, project), cwd=project, capture_output=True, timeout=PROCESS, check=True
    )
    return time.monotonic() - start


def _command(spec: Path, project: Path) -> list[str]:
    return [
        str(KFGCP),
        "run",
        str(spec),
        "-p",
        f"journal={project}/journal",
        "-p",
        f"counter={project}/counter",
    ]


@pytest.mark.trial("kill -9 of a run: its engine, the server of its tasks, or all its processes")
@pytest.mark.parametrize("part", range(PARTS))
def test_a_run_that_is_killed_often_ends_as_if_it_never_was(
    part: int, spec: Path, undisturbed: float, tmp_path: Path, trial: Trial
) -> None:
    size = trial.size(sample=12, proof=400) // PARTS
    chance = trial.random(part)
    kills, runs = 0, 0
    while kills < size:
        runs += 1
        project = tmp_path / str(runs)
        project.mkdir()
        most = min(KILLS_A_PROJECT, size - kills)
        kills_here = _run_killed_often(spec, project, chance, most=most, undisturbed=undisturbed)
        trial.count("kills", kills_here)
        kills += kills_here


def _run_killed_often(
    spec: Path, project: Path, chance: random.Random, *, most: int, undisturbed: float
) -> int:
    """Run the pipeline in a new project and kill it on its way. Return how often it was killed."""
    arguments = _command(spec, project)
    done_before: dict[str, int] = {}
    witness = Witness()
    kills = 0
    while kills < most:
        killed = _killed(arguments, project, chance.uniform(0.05, 0.9) * undisturbed, chance)
        run = _only_run(project)
        if run is not None:
            witness.look(run, project)
        _check_nothing_done_twice(project, done_before)
        if not killed:
            break
        kills += 1
        if run is not None:
            done_before = _journal_of_finished(project, run)
            arguments = [str(KFGCP), "run", "--resume", run.run_id]
    else:
        subprocess.run(arguments, cwd=project, capture_output=True, timeout=PROCESS, check=False)
    _check_end(project)
    _check_events(project, witness)
    return kills


def _killed(arguments: list[str], project: Path, after: float, chance: random.Random) -> bool:
    """Whether it had to be killed: the engine, or the server of its tasks, or all of its processes
    at once."""
    with (project / "stderr").open("ab") as stderr:
        process = subprocess.Popen(
            arguments, cwd=project, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        )
    try:
        process.wait(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        victims = chance.choice(["engine", "everything", "server"])
        family = _family(process.pid)
        for pid in (
            family
            if victims == "everything"
            else family[1:2]
            if victims == "server"
            else family[:1]
        ):
            _kill(pid)
        if victims == "server":
            return process.wait(timeout=PROCESS) != 0
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
    pids = [pid]
    for parent in pids:
        pids += children.get(parent, [])
    return pids


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait_until_gone(family: list[int]) -> None:
    wait_for(lambda: not any(_alive(pid) for pid in family))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _only_run(project: Path) -> Run | None:
    if not (project / ".kfgcp" / "kfgcp.db").exists():
        return None
    with Store(project / ".kfgcp") as store:
        runs = store.select()
        assert len(runs) <= 1
        return store.get(runs[0].run_id) if runs else None


def _journal(project: Path) -> Counter[str]:
    file = project / "journal"
    return Counter(file.read_text().splitlines()) if file.exists() else Counter()


def _journal_of_finished(project: Path, run: Run) -> dict[str, int]:
    """How often each task that the store calls done has written to the journal."""
    journal = _journal(project)
    return {
        task.path: journal[task.path] for task in run.tasks if task.state is TaskState.SUCCEEDED
    }


def _check_nothing_done_twice(project: Path, done_before: dict[str, int]) -> None:
    journal = _journal(project)
    assert {path: journal[path] for path in done_before} == done_before


def _check_end(project: Path) -> None:
    run = _only_run(project)
    assert run is not None
    assert run.state is RunState.SUCCEEDED, (run.error, (project / "stderr").read_text()[-2000:])
    states = {task.path: task.state for task in run.tasks}
    assert {task.path: task.outputs for task in run.tasks}["exit-handler-1/total"] == {
        "Output": EXPECTED
    }
    assert set(states.values()) == {TaskState.SUCCEEDED}
    assert sum(task.kind == "container" for task in run.tasks) == 31
    assert "exit SUCCEEDED" in _journal(project)
    assert len([a for a in run.artifacts if a.name == "text"]) == 9
    with sqlite3.connect(project / ".kfgcp" / "kfgcp.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@dataclass
class Witness:
    """What the final record of a run does not tell any more.

    Attributes:
        first_starts: when the first attempt of each task started, by its path. A task that was
            interrupted starts again, and its record then has the later start.
        failures: when the run was recorded as FAILED, because its engine was gone.
    """

    first_starts: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def look(self, run: Run, project: Path) -> None:
        """Look at the record that a killed process left, and let kfgcp find out that nobody runs
        the run."""
        for task in run.tasks:
            if task.kind is TaskKind.CONTAINER and task.started_at is not None:
                self.first_starts.setdefault(task.path, task.started_at)
        with Workspace.open(project) as workspace:
            run = workspace.show(run.run_id).snapshot
        if run.state is RunState.FAILED and run.ended_at not in self.failures:
            assert run.ended_at is not None
            self.failures.append(run.ended_at)


def _check_events(project: Path, witness: Witness) -> None:
    """Check that the events are those of the final record and of the witness: none is missing, none
    is there twice."""
    run = _only_run(project)
    assert run is not None
    with sqlite3.connect(project / ".kfgcp" / "kfgcp.db") as database:
        rows = database.execute(
            "SELECT kind, task, attempt, metric, at FROM events ORDER BY seq"
        ).fetchall()
    database.close()
    retries = [row for row in rows if row[0] == "task.retried"]
    others = [row for row in rows if row[0] != "task.retried"]
    assert Counter(others) == Counter(_implied_events(run, witness))
    expected_retries = [
        (task.path, number) for task in run.tasks for number in range(2, task.attempts + 1)
    ]
    assert Counter((path, number) for _, path, number, *_ in retries) == Counter(expected_retries)

    places = {
        (kind, task, attempt): position for position, (kind, task, attempt, *_) in enumerate(rows)
    }
    times = {(kind, task, attempt): at for kind, task, attempt, _, at in rows}
    for task in run.tasks:
        own = [("task.started", task.path, None)]
        own += [("task.retried", task.path, number) for number in range(2, task.attempts + 1)]
        own.append(("task.succeeded", task.path, None))
        for before, after in pairwise(own):
            assert places[before] < places[after]
            assert times[before] <= times[after]
    for chain in CHAINS:
        for upstream, downstream in pairwise(chain):
            assert (
                places["task.succeeded", upstream, None] < places["task.started", downstream, None]
            )


def _implied_events(
    run: Run, witness: Witness
) -> list[tuple[str, str | None, None, str | None, str | None]]:
    """Return all events that a run must have, but those of further attempts: kind, task, attempt,
    metric, time."""
    events: list[tuple[str, str | None, None, str | None, str | None]] = [
        ("run.created", None, None, None, run.created_at),
        ("run.started", None, None, None, run.started_at),
        *(("run.failed", None, None, None, at) for at in witness.failures),
        ("run.succeeded", None, None, None, run.ended_at),
    ]
    for task in run.tasks:
        started_at = witness.first_starts.get(task.path, task.started_at)
        events.append(("task.started", task.path, None, None, started_at))
        events.append(("task.succeeded", task.path, None, None, task.ended_at))
    ends = {task.path: task.ended_at for task in run.tasks}
    for n in range(9):
        path = f"exit-handler-1/for-loop-3[{n}]/write"
        events.append(("metric.recorded", path, None, "number", ends[path]))
    return events


@pytest.mark.trial("kill -9 of the processes of tasks")
def test_killed_workers_cost_a_repetition_at_most(
    spec: Path, undisturbed: float, tmp_path: Path, trial: Trial
) -> None:
    """A task whose process was killed has failed, as on a cluster. A rerun repeats only what is
    still missing."""
    size = trial.size(sample=5, proof=100)
    chance = trial.random()
    kills, runs = 0, 0
    while kills < size:
        runs += 1
        project = tmp_path / str(runs)
        project.mkdir()
        arguments = _command(spec, project)
        killed, code = _with_killed_workers(arguments, project, chance, undisturbed=undisturbed)
        kills += killed
        for _ in range(10):
            if code == 0:
                break
            rerun = [str(KFGCP), "rerun"]
            killed, code = _with_killed_workers(
                rerun, project, chance, undisturbed=undisturbed, most=1
            )
            kills += killed
        if code != 0:
            last_rerun = subprocess.run(
                [KFGCP, "rerun"], cwd=project, capture_output=True, timeout=PROCESS, check=False
            )
            assert last_rerun.returncode == 0, last_rerun.stderr
        with Store(project / ".kfgcp") as store:
            run = store.get(store.select(limit=1)[0].run_id)
            outputs = {task.path: task.outputs for task in run.tasks}
            assert outputs["exit-handler-1/total"] == {"Output": EXPECTED}
            assert {task.state.ok for task in run.tasks} == {True}
    trial.count("kills", kills)


def _with_killed_workers(
    arguments: list[str], project: Path, chance: random.Random, *, undisturbed: float, most: int = 4
) -> tuple[int, int]:
    """Return how many processes of tasks were killed while the command ran, and its exit code."""
    kills = 0
    with subprocess.Popen(
        arguments,
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while process.poll() is None:
            time.sleep(chance.uniform(0.03, 0.15) * undisturbed)
            workers = _family(process.pid)[2:]
            if workers and kills < most:
                _kill(chance.choice(workers))
                kills += 1
    return kills, process.returncode
