"""A run is watched gently, and through outages of any length that a night may bring."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

import kfgcp as public
from kfgcp.errors import Unreachable
from kfgcp.model import RunState
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.testing import VertexStandIn
from kfgcp.testing.requests import RecordedRequest
from kfgcp.tracking.handle import RunHandle
from kfgcp.tracking.poll import OUTAGE, Poller
from kfgcp_command import Command
from patience import REQUEST, WaitFor, wait_for

GETS = "*/pipelineJobs/*"
LOGS = "*/entries:list"
TOO_LONG = 61
"""Seconds of a Retry-After that no call waits for: the budget of one is 60."""


class Clock:
    """Time that passes when somebody sleeps; `then` are things that happen, by their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.then: dict[float, Callable[[], Any]] = {}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        for at in [at for at in self.then if at <= self.now]:
            self.then.pop(at)()


class Watch:
    """Looks at a run by a clock that does not wait, over real connections."""

    def __init__(self, env: VertexStandIn, handle: RunHandle, clock: Clock) -> None:
        self.notices: list[str] = []
        self.looks: list[tuple[float, RunState]] = []
        self._clock = clock
        backend: Any = handle.backend
        backend._service._http = ServiceClient(
            env.api_endpoint,
            Anonymous(),
            service="Vertex AI",
            sleep=clock.sleep,
            clock=clock,
            jitter=lambda: 1.0,
        )
        self._poller = Poller(backend, handle.ref, notice=self.notices.append, clock=clock)

    def until(self, at: float = float("inf")) -> None:
        """Goes on until the run has ended, or until a time."""
        while self._clock.now < at:
            run = self._poller.poll()
            if run is not None:
                self.looks.append((self._clock.now, run.state))
                if run.state.final:
                    return
            self._clock.sleep(self._poller.seconds_to_next_request)


@pytest.fixture
def going_on(service: VertexStandIn, pipeline: Callable[[str], Path]) -> RunHandle:
    """A run that does not end by itself."""
    service.instant.seconds = 86400
    return public.submit(str(pipeline("echo")), env="dev")


def _cancel(env: VertexStandIn, run_id: str) -> Callable[[], Any]:
    place = f"projects/{env.project}/locations/{env.location}"
    url = f"{env.api_endpoint}/v1/{place}/pipelineJobs/{run_id}:cancel"
    return lambda: requests.post(url, json={}, timeout=REQUEST).raise_for_status()


def test_a_run_of_a_minute_is_looked_at_thirty_times(
    service: VertexStandIn, going_on: RunHandle
) -> None:
    """Each second for ten seconds, then whenever a tenth more of the time has passed: 11, 12.1, ...
    55.6, 61.2."""
    clock = Clock()
    clock.then[60] = _cancel(service, going_on.run_id)
    watch = Watch(service, going_on, clock)
    mark = len(service.requests)

    watch.until()

    times = [at for at, _ in watch.looks]
    assert times[:13] == [*range(11), 11, pytest.approx(12.1)]
    assert len(times) == 30
    assert watch.looks[-1] == (pytest.approx(10 * 1.1**19), RunState.CANCELLED)
    assert service.requests.count("GET", GETS, since=mark) == 30
    assert watch.notices == []


def test_a_run_of_hours_is_looked_at_twice_a_minute(
    service: VertexStandIn, going_on: RunHandle
) -> None:
    clock = Clock()
    watch = Watch(service, going_on, clock)

    watch.until(3600)
    mark = len(service.requests)
    watch.until(7200)

    assert service.requests.count(since=mark) == 120


def test_ten_minutes_without_a_network_are_two_notices(
    service: VertexStandIn, going_on: RunHandle
) -> None:
    clock = Clock()
    watch = Watch(service, going_on, clock)
    watch.until(30)
    seen = len(watch.looks)
    tries = len(clock.slept)
    service.offline()
    clock.then[630] = service.online
    clock.then[631] = _cancel(service, going_on.run_id)

    watch.until()

    assert [at for at, _ in watch.looks[seen:] if at < 630] == []
    assert watch.looks[-1][1] is RunState.CANCELLED
    assert (
        clock.now < 630 + 30 + 32 + 31
    )  # a pause, a wait before another try, and a pause when it goes on
    lost, back = watch.notices
    assert lost.startswith(
        "dev cannot be reached; the run continues, and kfgcp tries again: Vertex AI: 127.0.0.1"
    )
    assert back == "dev answers again"
    assert len(clock.slept) - tries < 100, "too many waits during the outage"


def test_after_an_hour_without_an_answer_watching_ends_with_the_reason(
    service: VertexStandIn, going_on: RunHandle
) -> None:
    clock = Clock()
    watch = Watch(service, going_on, clock)
    watch.until(5)

    with (
        service.offline(),
        pytest.raises(Unreachable, match="closed the connection without an answer"),
    ):
        watch.until()

    assert OUTAGE < clock.now < OUTAGE + 200
    assert len(watch.notices) == 1


def test_a_watching_process_survives_an_outage(
    service: VertexStandIn, pipeline: Callable[[str], Path], kfgcp: Command
) -> None:
    service.instant.seconds = 86400
    run_id = kfgcp("run", pipeline("echo"), "--env", "dev", "--detach").out.strip()
    process = kfgcp.start("watch", run_id, "--json")
    assert process.stderr.readline() == f"run {run_id}  echo  env dev  experiment default\n"

    with service.offline():
        dropped = service._server.dropped
        wait_for(lambda: service._server.dropped >= dropped + 3)
    service.finish_runs()

    done = kfgcp.end(process)
    assert (done.code, done.json["state"]) == (0, "SUCCEEDED"), done.err
    assert done.err.count("say  SUCCEEDED") == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("verb", "status"), [("watch", "429"), ("run", "503")])
def test_a_process_that_waits_says_once_that_there_is_an_outage_and_once_that_it_is_over(
    verb: str,
    status: str,
    service: VertexStandIn,
    pipeline: Callable[[str], Path],
    kfgcp: Command,
    eventually: WaitFor,
) -> None:
    service.instant.seconds = 86400
    if verb == "run":
        process = kfgcp.start("run", pipeline("echo"), "--env", "dev", "--json")
    else:
        process = kfgcp.start(
            "watch",
            kfgcp("run", pipeline("echo"), "--env", "dev", "--detach").out.strip(),
            "--json",
        )
    assert re.fullmatch(r"run \S+  echo  env dev  experiment default\n", process.stderr.readline())
    eventually(lambda: service.requests.count("GET", GETS))

    service.fail_next(status, times=3, method="GET", path=GETS, retry_after=TOO_LONG)
    service.fail_next(status, path="*/entries:list", retry_after=TOO_LONG)
    wait_for(lambda: service.unused_faults == [])
    service.finish_runs()

    done = kfgcp.end(process)
    assert (done.code, done.json["state"]) == (0, "SUCCEEDED"), done.err
    assert (
        done.err.count("dev cannot be reached; the run continues, and kfgcp tries again: Vertex AI")
        == 1
    )
    assert done.err.count("dev answers again") == 1
    assert "say | say is made up" in done.err.splitlines()


def test_a_watching_process_asks_at_most_each_second_for_the_state_and_every_third_for_logs(
    service: VertexStandIn, pipeline: Callable[[str], Path], kfgcp: Command
) -> None:
    service.instant.seconds = 86400
    run_id = kfgcp("run", pipeline("echo"), "--env", "dev", "--detach").out.strip()
    mark = len(service.requests)
    process = kfgcp.start("watch", run_id, "--json")

    wait_for(lambda: service.requests.count("GET", GETS, since=mark) >= 8)
    wait_for(lambda: service.requests.count("POST", LOGS, since=mark) >= 3)

    looks = service.requests.select("GET", GETS, since=mark)
    logs = service.requests.select("POST", LOGS, since=mark)
    assert len(looks) + len(logs) == len(service.requests) - mark
    # The command reads the run itself before it begins to watch.
    assert min(_pauses(looks[1:])) >= 0.9
    assert min(_pauses(logs)) >= 2.9
    service.finish_runs()
    assert kfgcp.end(process).json["state"] == "SUCCEEDED"


def _pauses(requests: list[RecordedRequest]) -> list[float]:
    """The seconds from the end of each request to the arrival of the next one."""
    return [later.at - earlier.at - (earlier.seconds or 0) for earlier, later in pairwise(requests)]
