"""`kfgcp logs` by time and severity, of runs on this machine."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from kfgcp import api
from kfgcp.engine.log_times import CLOCK_TICK_NS
from kfgcp.errors import UsageError
from kfgcp.model import timestamp
from kfgcp_command import Command
from patience import PROCESS, wait_for

PIPELINE = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def speak(gate: str):
    import json, os, time
    print("early")
    print(json.dumps({"severity": "WARNING", "message": "early warning"}))
    while not os.path.exists(gate):
        time.sleep(0.01)
    print("late")
    print(json.dumps({"severity": "error", "message": "late error"}))
    print(json.dumps({"severity": "INFO", "message": "late info"}))
    print('{"severity": 7}')
    print('{"severity": not JSON')

@dsl.pipeline(name="speaks")
def pipeline(gate: str):
    speak(gate=gate)
"""
LATE = [
    "late",
    '{"severity": "error", "message": "late error"}',
    '{"severity": "INFO", "message": "late info"}',
    '{"severity": 7}',
    '{"severity": not JSON',
]


@pytest.fixture
def run(home: Path) -> tuple[str, str]:
    """The id of a run that has ended, and a time between its early and its late lines."""
    (home / "p.py").write_text(PIPELINE)
    gate = home / "gate"
    handle = api.submit(home / "p.py", params={"gate": str(gate)})
    folder = home / ".kfgcp" / "logs" / handle.run_id / "speak"
    log, times = folder / "1.log", folder / "1.times"
    # Times are noted once a second; both early lines are in the log by then or the next look covers
    # them.
    wait_for(
        lambda: times.exists() and log.read_text().count("\n") == 2 and _is_covered(log, times)
    )
    between = log.stat().st_mtime + 2 * CLOCK_TICK_NS / 1e9
    wait_for(lambda: time.time() > between + 2 * CLOCK_TICK_NS / 1e9)
    gate.touch()
    assert handle.wait(PROCESS).state == "SUCCEEDED"
    return handle.run_id, timestamp(between)


def _is_covered(log: Path, times: Path) -> bool:
    """Whether the last pair is of the whole log."""
    return int.from_bytes(times.read_bytes()[-16:-8], "big") == log.stat().st_size


@pytest.mark.parametrize("follow", [[], ["--follow"]], ids=["now", "follow"])
def test_lines_since_a_time_are_shown(
    run: tuple[str, str], kfgcp: Command, follow: list[str]
) -> None:
    run_id, between = run

    late = kfgcp("logs", run_id, "speak", "--since", between, *follow)
    last_hour = kfgcp("logs", run_id, "speak", "--since", "1h", *follow)
    future = kfgcp("logs", run_id, "speak", "--since", "2100-01-01T00:00:00Z", *follow)

    assert (late.code, late.out.splitlines()) == (0, LATE)
    assert (last_hour.code, len(last_hour.out.splitlines())) == (0, 2 + len(LATE))
    assert (future.code, future.out) == (0, "")


@pytest.mark.parametrize("follow", [[], ["--follow"]], ids=["now", "follow"])
def test_lines_of_a_severity_are_shown(
    run: tuple[str, str], kfgcp: Command, follow: list[str]
) -> None:
    result = kfgcp("logs", run[0], "--severity", "warning", "--json", *follow)

    texts = [json.loads(line)["text"] for line in result.out.splitlines()]
    assert result.code == 0
    assert texts == [
        '{"severity": "WARNING", "message": "early warning"}',
        '{"severity": "error", "message": "late error"}',
    ]


def test_time_and_severity_hold_together(run: tuple[str, str]) -> None:
    run_id, between = run

    lines = api.logs(run_id, since=between, severity="error")

    assert [line.text for line in lines] == ['{"severity": "error", "message": "late error"}']


def test_a_filter_that_cannot_be_is_named(run: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="There is no severity 'LOUD'"):
        api.logs(run[0], severity="LOUD")
    with pytest.raises(UsageError, match="'soon' is neither an age"):
        api.logs(run[0], since="soon")


def test_a_log_of_an_earlier_version_has_the_time_of_its_end(
    run: tuple[str, str], home: Path, kfgcp: Command
) -> None:
    run_id, between = run
    (home / ".kfgcp" / "logs" / run_id / "speak" / "1.times").unlink()

    def shown(since: str) -> Sequence[str]:
        lines: Sequence[str] = kfgcp("logs", run_id, "--since", since).out.splitlines()
        return lines

    assert len(shown(between)) == 2 + len(LATE)
    assert shown("2100-01-01T00:00:00Z") == []
