"""Which lines of a log were written since a time. The times of the files are set by hand."""

import os
from pathlib import Path

import pytest

from kfgcp.engine.log_times import NOTE_SECONDS, LogTimes, first_line_since, times_file
from kfgcp.engine.logs import LogReader
from kfgcp.engine.removal import remove_files
from kfgcp.store.rows import Origin


class Log:
    """A log that grows at times of our choice."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "1.log"
        self._times = LogTimes()
        self._looks = 0

    def write(self, text: str, at: int, *, noted: bool = True) -> None:
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(text)
        os.utime(self.file, (at, at))
        if noted:
            self._looks += 1
            self._times.write(self._looks * NOTE_SECONDS, {7: self.file})

    def since(self, time: float) -> list[str]:
        return [*LogReader(self.file, time).read(to_the_end=True)]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


@pytest.mark.parametrize(
    ("since", "lines"),
    [
        (500, ["one", "two", "three", "four"]),
        (1000, ["one", "two", "three", "four"]),
        (1500, ["two", "three", "four"]),
        (2000, ["two", "three", "four"]),
        (2500, ["three", "four"]),
        (3000, ["three", "four"]),
        (3500, ["four"]),
        (4500, []),
    ],
)
def test_lines_are_found_by_the_time_they_were_written(
    log: Log, since: int, lines: list[str]
) -> None:
    log.write("one\n", at=1000)
    log.write("two\n", at=2000)
    log.write("three\n", at=3000)
    log.write("four", at=4000, noted=False)

    assert log.since(since) == lines


def test_a_line_is_written_when_its_end_is(log: Log) -> None:
    log.write("one\nbegun ", at=1000)
    log.write("and ended\ntwo\n", at=2000)

    assert log.since(1500) == ["begun and ended", "two"]


def test_a_log_without_times_has_the_time_of_its_last_line(log: Log) -> None:
    log.write("one\n", at=1000, noted=False)
    log.write("two\n", at=2000, noted=False)

    assert log.since(1500) == ["one", "two"]
    assert log.since(2500) == []


def test_a_pair_that_a_kill_left_incomplete_is_passed_over(log: Log) -> None:
    log.write("one\n", at=1000)
    log.write("two\n", at=2000, noted=False)
    with times_file(log.file).open("ab") as times:
        times.write(b"\0" * 7)

    assert log.since(1500) == ["two"]


def test_a_log_that_does_not_grow_costs_nothing(log: Log) -> None:
    log.write("one\n", at=1000)
    log.write("", at=1000)
    log.write("", at=1000)

    assert times_file(log.file).stat().st_size == 16


def test_a_log_that_is_not_there_yet_has_no_lines(log: Log) -> None:
    assert log.since(0) == []
    assert first_line_since(log.file, 0) is None


def test_a_reader_that_began_before_there_was_a_new_line_sees_it_come(log: Log) -> None:
    log.write("old\n", at=1000)
    reader = LogReader(log.file, 1500)

    before = [*reader.read()]
    log.write("new\n", at=2000)

    assert (before, [*reader.read()], [*reader.read()]) == ([], ["new"], [])


def test_logs_are_looked_at_once_a_second() -> None:
    times = LogTimes()

    assert times.is_due(0.0)
    times.write(0.0, {})
    assert not times.is_due(0.9)
    assert times.is_due(1.0)


def test_the_times_of_a_log_that_another_run_uses_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "aaaa00000001" / "train"
    folder.mkdir(parents=True)
    for name in ("1.log", "1.times", "2.log", "2.times", "3.log", "3.times"):
        (folder / name).touch()

    remove_files(tmp_path, "aaaa00000001", [Origin("aaaa00000001", "train", 2)])

    assert sorted(file.name for file in folder.iterdir()) == [
        "1.log",
        "1.times",
        "2.log",
        "2.times",
    ]
