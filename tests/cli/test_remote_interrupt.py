"""Ctrl-C on a run of a remote backend, also when that does not answer."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kfgcp.testing

COMMAND = Path(sys.executable).with_name("kfgcp")


@pytest.fixture
def cloud(home: Path) -> Iterator[Any]:
    with kfgcp.testing.vertex() as env:
        (home / "kfgcp.toml").write_text(env.toml("cloud"))
        yield env


@pytest.fixture
def started(
    cloud: Any, pipeline: Callable[[str], Path], environment: Callable[[], dict[str, str]]
) -> Iterator[subprocess.Popen[str]]:
    """`kfgcp run` of a minute's sleep, after its task has started."""
    with subprocess.Popen(
        [COMMAND, "run", pipeline("sleeps"), "-p", "seconds=60", "--env", "cloud"],
        env=environment() | cloud.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "RUNNING" not in (line := process.stderr.readline()):
            assert line, "it ended"
        yield process
        if process.poll() is None:
            process.kill()


def ended(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=30)[1]


def test_one_cancels_and_waits(started: subprocess.Popen[str], cloud: Any) -> None:
    started.send_signal(signal.SIGINT)

    said = ended(started)

    assert started.returncode == 6, said
    assert "CANCELLED" in said
    assert cloud.requests.count("POST", "*:cancel") == 1


def test_two_leave_at_once_a_service_that_hangs(started: subprocess.Popen[str], cloud: Any) -> None:
    cloud.latency = 120.0
    time.sleep(2.5)  # by now it waits for an answer
    started.send_signal(signal.SIGINT)
    time.sleep(0.5)
    begun = time.monotonic()
    started.send_signal(signal.SIGINT)

    said = ended(started)

    assert time.monotonic() - begun < 10
    assert started.returncode == 6, said
    assert "not waited for any longer" in said
    assert "kfgcp cancel sleeps-" in said
