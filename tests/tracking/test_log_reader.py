"""A log that grows is read line by line: every line once and whole, in bounded memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.engine.layout import log_file
from kfgcp.engine.logs import LogReader
from kfgcp.model import Run

MakeRun = Callable[..., Run]
RUN = "aaaa00000001"


class Log:
    """The log of one attempt, written piece by piece."""

    def __init__(self, home: Path, task: str = "t", attempt: int = 1) -> None:
        self.file = log_file(home, RUN, task, attempt)
        self.tail = LogReader(log_file(home, RUN, task, attempt))

    def write(self, data: bytes) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as log:
            log.write(data)

    def read(self, *, to_the_end: bool = False) -> list[str]:
        return list(self.tail.read(to_the_end=to_the_end))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_a_line_is_given_out_when_it_is_whole(log: Log) -> None:
    log.write(b"one\ntw")
    assert log.read() == ["one"]
    log.write(b"o\nthree")
    assert log.read() == ["two"]
    assert log.read() == []
    log.write(b"\n")
    assert log.read() == ["three"]


def test_a_last_line_without_a_newline_is_given_out_at_the_end_once(log: Log) -> None:
    log.write(b"one\nlast")

    assert log.read(to_the_end=True) == ["one", "last"]
    assert log.read(to_the_end=True) == []


def test_a_character_that_is_written_in_two_halves_is_one(log: Log) -> None:
    whole = "世界\n".encode()
    log.write(whole[:2])
    assert log.read() == []
    log.write(whole[2:4])
    assert log.read() == []
    log.write(whole[4:])
    assert log.read() == ["世界"]


def test_bytes_that_are_not_text_are_replaced(log: Log) -> None:
    log.write(b"caf\xe9 \xff\nfine\n")

    assert log.read() == ["caf� �", "fine"]


def test_empty_lines_and_carriage_returns(log: Log) -> None:
    log.write(b"\n\na\r\n 10%\r 20%\n\n")

    assert log.read() == ["", "", "a", " 10%\r 20%", ""]


def test_a_file_may_appear_late(log: Log) -> None:
    assert log.read() == []
    assert log.read(to_the_end=True) == []
    log.write(b"now\n")
    assert log.read() == ["now"]


def test_a_log_of_200_mb_is_read_in_little_memory(log: Log) -> None:
    block = b"".join(b"%099d\n" % number for number in range(20_000))
    for _ in range(100):
        log.write(block)

    tracemalloc.start()
    try:
        count = sum(1 for _ in log.tail.read(to_the_end=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert log.file.stat().st_size == 200_000_000
    assert count == 2_000_000
    assert peak < 20_000_000


def test_a_line_without_end_is_given_out_in_pieces_and_little_memory(log: Log) -> None:
    for _ in range(50):
        log.write(b"x" * 1_000_000)

    tracemalloc.start()
    try:
        length = sum(len(line) for line in log.tail.read(to_the_end=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert length == 50_000_000
    assert peak < 20_000_000
