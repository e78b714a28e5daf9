"""Each command and each call reads the configuration once and opens at most one store."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp import config
from kfgcp.cli.main import _exit_code
from kfgcp.store.reader import Reader
from kfgcp.testing import VertexStandIn
from patience import PROCESS


@pytest.fixture
def open_counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the reads of the configuration and the stores that are opened."""
    counts: Counter[str] = Counter()
    load, open_store = config.load, Reader.__init__

    def counted_load(*arguments: Any, **options: Any) -> config.Project:
        counts["configurations"] += 1
        return load(*arguments, **options)

    def counted_store(self: Reader, home: Path) -> None:
        counts["stores"] += 1
        open_store(self, home)

    monkeypatch.setattr(config, "load", counted_load)
    monkeypatch.setattr(Reader, "__init__", counted_store)
    return counts


def test_each_command_reads_one_configuration_and_opens_one_store(
    home: Path, pipeline: Callable[[str], Path], open_counts: Counter[str]
) -> None:
    file = str(pipeline("echo"))
    commands = [
        ("run", file),
        ("run", file, "--detach"),
        ("watch",),
        ("rerun",),
        ("list",),
        ("show",),
        ("logs",),
        ("events",),
        ("tag", "latest", "good"),
        ("note", "latest", "text"),
        ("compare",),
        ("export",),
        ("diff", "latest", file),
        ("cancel",),
        ("delete", "latest", "--yes"),
    ]
    for command in commands:
        open_counts.clear()

        assert _exit_code(list(command)) == 0, command

        assert open_counts == {"configurations": 1, "stores": 1}, command


def test_each_function_reads_one_configuration_and_opens_no_further_store(
    home: Path, pipeline: Callable[[str], Path], open_counts: Counter[str]
) -> None:
    file = str(pipeline("echo"))
    run = kfgcp.run(file, timeout=PROCESS)
    assert open_counts == {"configurations": 1, "stores": 1}
    calls: list[Callable[[], object]] = [
        lambda: kfgcp.submit(file).wait(PROCESS),
        lambda: kfgcp.rerun(run, timeout=PROCESS),
        kfgcp.list,
        kfgcp.show,
        lambda: list(kfgcp.logs()),
        kfgcp.events,
        lambda: list(kfgcp.watch(run)),
        lambda: kfgcp.tag(run, "good"),
        lambda: kfgcp.note(run, "text"),
        kfgcp.compare,
        kfgcp.export,
        kfgcp.cancel,
        lambda: kfgcp.diff(run, file),
        lambda: kfgcp.delete("latest"),
    ]
    for call in calls:
        open_counts.clear()

        call()

        assert open_counts == {"configurations": 1}


def test_a_run_in_the_cloud_has_one_of_each_too(
    service: VertexStandIn,
    pipeline: Callable[[str], Path],
    open_counts: Counter[str],
) -> None:
    for command in (
        ("run", str(pipeline("echo")), "--env", "dev"),
        ("list",),
        ("show",),
        ("logs",),
    ):
        open_counts.clear()

        assert _exit_code(list(command)) == 0, command

        assert open_counts == {"configurations": 1, "stores": 1}, command
