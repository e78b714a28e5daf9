"""Runs are cached from each other and deleted in any order, by processes that are killed: a file is
there exactly as long as a run uses it."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from kfgcp import api
from kfgcp.errors import UsageError
from kfgcp.model import Run
from kfgcp.spec.load import Spec, load
from kfgcp.store.store import Store
from patience import PROCESS, REQUEST
from trials import Trial

Words = dict[str, str]
"""Task path -> the word that the execution wrote which made the task's files."""

TASKS = ("train", "for-loop-2[0]/part", "for-loop-2[1]/part")
FILES = {"train": 2, "for-loop-2[0]/part": 1, "for-loop-2[1]/part": 1}
KILLED_DELETION = """
import os, signal, sys
from kfgcp import api

handle, left = api.show(sys.argv[1]), int(sys.argv[2])

def count(event, arguments):
    global left
    if event.startswith(("open", "os.", "fcntl.", "shutil.")):
        left -= 1
        if left == -1:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
handle.delete()
"""


@pytest.fixture(scope="session")
def spec() -> Spec:
    return load(f"{Path(__file__).with_name('keeps_files.py')}:keeps_files")


@pytest.fixture
def project(home: Path, spec: Spec) -> Project:
    return Project(home / ".kfgcp", spec)


@dataclass
class Project:
    """A project, and what must be true of its files, told from the outside: by the words in
    them."""

    home: Path
    spec: Spec
    runs: dict[str, Words] = field(default_factory=dict)
    makers: dict[str, str] = field(default_factory=dict)  # word -> the run that wrote it
    cache: dict[tuple[str, int], list[str]] = field(
        default_factory=dict
    )  # (task, x) -> the words that were cached
    params: dict[str, int] = field(default_factory=dict)  # run -> its x
    uncached: set[str] = field(default_factory=set)  # runs without caching

    def run(self, x: int, cache: bool | None) -> None:
        """Run the pipeline. Tasks are cached from words that a run still has."""
        expected = {}
        for task in TASKS if cache is None else ():
            words = [word for word in self.cache.get((task, x), ()) if word in self._living()]
            if words:
                expected[task] = words[-1]  # the newest success whose files are there
        run = (
            api.submit(self.spec, params={"x": x}, cache=cache, in_process=True)
            .wait(PROCESS, check=False)
            .snapshot
        )
        self._add(run, x, expected, is_cached=cache is None)

    def rerun(self, run_id: str, from_task: str | None) -> None:
        """Repeat a run. All is taken from it, except for the task that must run again.

        The repeated run has the settings of the run, so without caching the new outputs are not
        cached either.
        """
        expected = {task: word for task, word in self.runs[run_id].items() if task != from_task}
        run = api.rerun(
            run_id, from_task=from_task, cache=None, in_process=True, check=False
        ).snapshot
        self._add(run, self.params[run_id], expected, is_cached=run_id not in self.uncached)

    def delete(self, run_id: str) -> None:
        deleted = api.delete(run_id)
        words = self._forget(run_id)
        kept = {
            task: word
            for task, word in words.items()
            if self.makers[word] == run_id and word in self._living()
        }
        users = {
            run for run, others in self.runs.items() if set(others.values()) & set(kept.values())
        }
        assert deleted.kept_files == sum(FILES[task] for task in kept)
        assert deleted.kept_logs == len(kept)
        assert len(deleted.used_by) == len(users)

    def delete_killed(self, run_id: str, after: int) -> bool:
        """Delete a run in a process that is killed at one of its calls of the system. Return
        whether it was killed."""
        process = subprocess.run(
            [sys.executable, "-c", KILLED_DELETION, run_id, str(after)],
            capture_output=True,
            text=True,
            timeout=PROCESS,
        )
        assert process.returncode in (0, -signal.SIGKILL), process.stderr
        with Store(self.home) as store:
            is_there = store.is_recorded(run_id)
        if not is_there:
            self._forget(run_id)
        self.check_living()
        api.list()  # any look at the runs finishes the deletion
        return process.returncode != 0

    def check(self) -> None:
        """Fail unless exactly the files are there that the runs use."""
        self.check_living()
        living = self._living()
        assert self._words_of_files("artifacts") == living
        assert self._words_of_files("logs") == living
        folders = {
            path.name
            for parent in ("artifacts/keeps-files", "logs")
            for path in (self.home / parent).glob("*")
        }
        assert folders == {self.makers[word] for word in living}

    def check_living(self) -> None:
        """Fail unless all runs have their files and logs."""
        for run_id, words in self.runs.items():
            assert words_of(api.show(run_id).snapshot) == words
            for task, word in words.items():
                assert [line.text for line in api.logs(run_id, task)] == [f"word {word}"]

    def _add(self, run: Run, x: int, expected: Words, *, is_cached: bool) -> None:
        assert run.state == "SUCCEEDED"
        words = words_of(run)
        states = {task.path: task.state.value for task in run.tasks if task.path in TASKS}
        assert states == {task: "CACHED" if task in expected else "SUCCEEDED" for task in TASKS}
        assert {task: words[task] for task in expected} == expected
        new = {word for task, word in words.items() if task not in expected}
        assert not new & set(self.makers)
        self.makers |= dict.fromkeys(new, run.run_id)
        self.runs[run.run_id] = words
        self.params[run.run_id] = x
        if not is_cached:
            self.uncached.add(run.run_id)
            return
        for task, word in words.items():
            if task not in expected:
                self.cache.setdefault((task, x), []).append(word)

    def _forget(self, run_id: str) -> Words:
        return self.runs.pop(run_id)

    def _living(self) -> set[str]:
        return {word for words in self.runs.values() for word in words.values()}

    def _words_of_files(self, folder: str) -> set[str]:
        words: set[str] = set()
        for path in (self.home / folder).rglob("*"):
            if path.suffix == ".times":
                assert path.with_suffix(".log").exists(), "the times of a log exist without the log"
            elif path.is_file():
                words.update(re.findall(r"\b[0-9a-f]{32}\b", path.read_text()))
        return words


def words_of(run: Run) -> Words:
    """The words in the files of a run; of the two of a model they are the same."""
    words = {}
    for artifact in run.artifacts:
        path = Path(unquote(urlsplit(artifact.uri).path))
        if artifact.task == "train":
            words[artifact.task] = path.read_text()
            assert Path(f"{path}.vocab").read_text() == words[artifact.task]
        else:
            words[artifact.task] = (path / "deep" / "rows").read_text()
    return words


@pytest.mark.trial(
    "runs cached, repeated and deleted in random order, with deletions that are killed"
)
@pytest.mark.parametrize("part", range(2))
def test_a_file_is_there_as_long_as_a_run_uses_it(
    part: int, project: Project, trial: Trial
) -> None:
    chance = trial.random(part)
    for _ in range(trial.size(sample=30, proof=1500) // 2):
        trial.count(_step(project, chance))
        project.check()


def _step(project: Project, chance: random.Random) -> str:
    """Do one thing at random. Return what it was."""
    runs = [*project.runs]
    kind = chance.choices(["runs", "reruns", "deletions", "killed deletions"], [4, 2, 3, 2])[0]
    if len(runs) > 8:
        kind = "deletions"
    if not runs or kind == "runs":
        project.run(chance.randrange(3), chance.choice([None, None, None, False]))
        return "runs"
    run_id = chance.choice(runs)
    if kind == "reruns":
        project.rerun(run_id, chance.choice([None, None, "train"]))
    elif kind == "deletions":
        project.delete(run_id)
    elif not project.delete_killed(run_id, chance.randrange(60)):
        return "deletions"
    return kind


@pytest.mark.trial("a run deleted while another run is cached from it")
def test_a_run_that_is_cached_while_its_source_is_deleted(
    project: Project, spec: Spec, trial: Trial
) -> None:
    chance = trial.random()
    rounds = trial.size(sample=6, proof=200)
    for number in range(rounds):
        handle = api.submit(spec, params={"x": number}, in_process=True).wait(check=False)
        cached: list[Run] = []
        together = threading.Barrier(2, timeout=REQUEST)

        def run_again(
            x: int = number, runs: list[Run] = cached, start: threading.Barrier = together
        ) -> None:
            start.wait()
            again = api.submit(spec, params={"x": x}, in_process=True)
            runs.append(again.wait(PROCESS, check=False).snapshot)

        thread = threading.Thread(target=run_again)
        thread.start()
        together.wait()
        for _ in range(chance.randrange(20)):  # begin at another moment in each round
            api.show(handle.run_id)
        api.delete(handle.run_id)
        thread.join(REQUEST)

        assert [run.state.value for run in cached] == ["SUCCEEDED"]
        assert set(words_of(cached[0])) == set(TASKS)
        with Store(project.home) as store:
            assert set(store.origins(cached[0].run_id)) == set(TASKS)
        for task in TASKS:
            assert len([*api.logs(cached[0].run_id, task)]) == 1
        api.delete(cached[0].run_id)
        trial.count("rounds")
    project.check()


@pytest.mark.trial("a deletion killed at each of its calls of the system")
def test_a_deletion_that_was_killed_is_finished_by_the_next_look(
    project: Project, trial: Trial
) -> None:
    step = trial.size(sample=9, proof=1)  # of its calls, the process is killed at every ninth
    after, killed, outcomes = 0, True, set()
    while killed:
        if not project.runs:
            project.run(1, None)
        [run_id] = project.runs
        killed = project.delete_killed(run_id, after)
        project.check()
        outcomes.add((killed, run_id in project.runs))
        after += step
        trial.count("kills", killed)

    assert outcomes == {(True, True), (True, False), (False, False)}
    with Store(project.home) as store:
        assert store.removals() == {}


def test_what_an_earlier_version_left_behind_goes_with_the_next_deletion(project: Project) -> None:
    """It forgot the run, and was killed before it removed the files."""
    for x in range(4):
        project.run(x, None)
    lost, deleted, alive, kept = project.runs
    with Store(project.home) as store:
        for run_id in (lost, alive):
            store.forget(run_id)
        # As in a database that was an earlier version's until now.
        store._db.execute(
            "UPDATE state_folder SET until = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 minute')"
        )
    for run_id in (lost, alive):
        project._forget(run_id)
    other = project.home / "artifacts" / "keeps-files" / "my-notes"
    other.mkdir()
    from kfgcp.engine import lock

    held = lock.take(project.home, alive)
    assert held is not None
    try:
        api.delete(deleted)
    finally:
        held.release()

    folders = {path.name for path in (project.home / "artifacts" / "keeps-files").iterdir()}
    assert folders == {alive, kept, "my-notes"}
    assert {path.name for path in (project.home / "logs").iterdir()} == {alive, kept}


@pytest.mark.parametrize("same_inode", [False, True])
def test_the_files_of_runs_that_a_database_does_not_know_stay(
    project: Project, home: Path, same_inode: bool
) -> None:
    """A damaged database was moved aside, or an old copy took its place: what was made without it
    is not touched."""
    project.run(0, None)
    [old] = project.runs
    database = project.home / "kfgcp.db"
    backup = home / "backup.db"
    with Store(project.home) as store:
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup.write_bytes(database.read_bytes())
    project.run(1, False)
    since = [run_id for run_id in project.runs if run_id != old]
    for name in ("kfgcp.db", "kfgcp.db-wal", "kfgcp.db-shm"):
        (project.home / name).unlink(missing_ok=True)
    os.replace(backup, database)
    if same_inode:  # as after a copy into the file that was there
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE state_folder SET inode = ?", (str(database.stat().st_ino),))
        connection.close()

    for x in (5, 6):
        handle = api.submit(project.spec, params={"x": x}, in_process=True).wait(check=False)
        api.delete(handle.run_id)

    folders = {path.name for path in (project.home / "artifacts" / "keeps-files").iterdir()}
    assert folders == {old, *since}
    database.unlink()
    with pytest.raises(UsageError):
        api.delete(old)
    handle = api.submit(project.spec, params={"x": 7}, in_process=True).wait(check=False)
    api.delete(handle.run_id)
    assert {path.name for path in (project.home / "artifacts" / "keeps-files").iterdir()} == {
        old,
        *since,
    }


def test_a_folder_that_cannot_be_removed_is_named_and_tried_again(project: Project) -> None:
    project.run(0, None)
    [run_id] = project.runs
    folder = project.home / "logs" / run_id
    block(folder)
    try:
        with pytest.warns(UserWarning, match=f"{folder} cannot be removed"):
            api.delete(run_id)
    finally:
        unblock(folder)
    assert folder.exists()
    api.list()
    assert not folder.exists()


def block(folder: Path) -> None:
    """Nobody can remove a folder that something is mounted in."""
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True
    )
    if mounting.returncode:
        pytest.skip(f"needs to mount a file system, and mount failed: {mounting.stderr.strip()}")


def unblock(folder: Path) -> None:
    subprocess.run(["umount", "-l", folder], check=True)
