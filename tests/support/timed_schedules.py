"""Schedules on a stand-in of Vertex AI in simulated time, with kills between requests.

The requests go through real sockets. The stand-in starts the job of a due time at a random moment
up to some seconds after it, as a service does.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.backends.vertex.schedules import VertexSchedules
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.deploy.schedules.converge import Clock, Done, converge
from kfgcp.labels import DUE
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.services.service_response import ServiceResponse
from kfgcp.testing import VertexStandIn
from vertex_schedules import PARENT, PROJECT

START = datetime(2026, 1, 1, tzinfo=UTC)

# A job starts at most this many seconds after its due time.
MAX_DELAY = 10.0


class KilledError(BaseException):
    """The process that applies was killed."""


class TimedVertex:
    """A stand-in of Vertex AI in simulated time.

    Args:
        stand_in: the stand-in. Its schedules have no other clients.
        seed: for the durations of requests and the delays of jobs.

    Attributes:
        now: the simulated time.
        started: the due times of the jobs that the schedules started.
        most_active: the highest number of active schedules with one name.
        writes: how many requests that write were sent.
        kill_after: the process is killed before the write with this number, None for no kill.
    """

    def __init__(self, stand_in: VertexStandIn, seed: int) -> None:
        self.stand_in = stand_in
        self.random = random.Random(seed)  # noqa: S311
        self.now = START
        self.started: list[datetime] = []
        self.most_active = 0
        self.writes = 0
        self.kill_after: int | None = None
        stand_in.schedule_clock = lambda: self.now.timestamp()

    def advance(self, seconds: float) -> None:
        """Let time pass in steps, in which the schedules start their jobs."""
        end = self.now + timedelta(seconds=seconds)
        # With few and long steps, days would pass fast, but no job would start soon.
        longest = max(seconds / 40, 5.0)
        while self.now < end:
            step = timedelta(seconds=self.random.uniform(0.2, longest))
            self.now = min(end, self.now + step)
            delay = timedelta(seconds=self.random.uniform(0.0, MAX_DELAY))
            self.start_jobs(self.now - delay)

    def start_jobs(self, until: datetime) -> None:
        """Start the jobs of all due times until a time."""
        self.started += [run.due for run in self.stand_in.fire_due(until)]

    def apply(self, desired: DesiredSchedule | None, name: str = "daily") -> Done:
        """Bring the schedule to what is desired, in a process of its own.

        Raises:
            KilledError: the process was killed.
        """
        schedules = self.schedules()
        live = [schedule for schedule in schedules.list_schedules() if schedule.name == name]
        clock = Clock(now=lambda: self.now, sleep=self.advance)
        return converge(schedules, PROJECT, name, desired, live, clock=clock)

    def schedules(self) -> VertexSchedules:
        """Return the schedules as a new process has them."""
        http = _TimedClient(self)
        settings = VertexSettings(
            project=self.stand_in.project,
            location=self.stand_in.location,
            pipeline_root=self.stand_in.pipeline_root,
        )
        return VertexSchedules(
            http,
            settings,
            PROJECT,
            PARENT,
            lambda request: None,
            now=lambda: self.now,
            sleep=self.advance,
        )

    def fired(self) -> list[datetime]:
        """Return the due times of the jobs that `apply` started itself."""
        http = ServiceClient(self.stand_in.api_endpoint, Anonymous(), service="Vertex AI")
        due_times = []
        for job in http.pages(f"v1/{PARENT}/pipelineJobs", None, "pipelineJobs"):
            label = job["labels"].get(DUE)
            if label is not None:
                due_times.append(datetime.strptime(label.upper(), "%Y%m%dT%H%M%S%z"))
        return due_times

    def before_write(self) -> None:
        """Count a request that writes, unless the process is killed before it."""
        if self.kill_after is not None and self.writes >= self.kill_after:
            raise KilledError
        self.writes += 1

    def count_active(self) -> None:
        """Look at the state of all schedules."""
        active = [live for live in self.schedules().list_schedules() if live.enabled]
        self.most_active = max(self.most_active, len(active))


class _TimedClient(ServiceClient):
    """A client whose requests and pauses take simulated time."""

    def __init__(self, vertex: TimedVertex) -> None:
        super().__init__(
            vertex.stand_in.api_endpoint,
            Anonymous(),
            service="Vertex AI",
            sleep=vertex.advance,
            clock=lambda: vertex.now.timestamp(),
            jitter=vertex.random.random,
        )
        self._vertex = vertex

    # The signature does not matter here, and it is long.
    def exchange(self, *args: Any, **options: Any) -> ServiceResponse:
        is_write = args[0] != "GET"
        if is_write:
            self._vertex.before_write()
        self._vertex.advance(self._vertex.random.uniform(0.05, 0.5))
        response = super().exchange(*args, **options)
        self._vertex.advance(self._vertex.random.uniform(0.05, 0.5))
        return response
