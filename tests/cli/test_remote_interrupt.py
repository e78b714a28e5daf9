"""Ctrl-C on a run of a remote backend, also when that does not answer."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kfgcp.testing
from kfgcp.testing import VertexStandIn
from patience import PROCESS, wait_for

COMMAND = Path(sys.executable).with_name("kfgcp")


@pytest.fixture
def cloud(home: Path) -> Iterator[VertexStandIn]:
    with kfgcp.testing.vertex() as env:
        (home / "kfgcp.toml").write_text(env.toml("cloud"))
        yield env


@pytest.fixture
def started(
    cloud: Any, pipeline: Callable[[str], Path], environment: Callable[[], dict[str, str]]
) -> Iterator[subprocess.Popen[str]]:
    """`kfgcp run` of an hour's sleep, after its task has started."""
    with subprocess.Popen(
        [COMMAND, "run", pipeline("sleeps"), "-p", "seconds=3600", "--env", "cloud"],
        env=environment() | cloud.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "RUNNING" not in (line := process.stderr.readline()):
            assert line, "the command ended"
        yield process
        if process.poll() is None:
            process.kill()


def ended(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=PROCESS)[1]


def test_one_cancels_and_waits(started: subprocess.Popen[str], cloud: Any) -> None:
    started.send_signal(signal.SIGINT)

    stderr = ended(started)

    assert started.returncode == 6, stderr
    assert "CANCELLED" in stderr
    assert cloud.requests.count("POST", "*:cancel") == 1


def test_two_leave_at_once_a_service_that_hangs(started: subprocess.Popen[str], cloud: Any) -> None:
    cloud.latency = 120.0
    requests = len(cloud.requests)
    wait_for(lambda: len(cloud.requests) > requests)  # now it waits for an answer
    started.send_signal(signal.SIGINT)
    # Another signal, as two equal ones that wait to be handled count as one.
    started.send_signal(signal.SIGTERM)

    stderr = ended(started)

    assert started.returncode == 6, stderr
    assert "kfgcp has stopped waiting for it" in stderr
    assert "kfgcp cancel sleeps-" in stderr
