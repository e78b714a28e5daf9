"""Queues of the two things that the engine does at a set time: end attempts and retry tasks.

All times are seconds of `time.monotonic`.
"""

from __future__ import annotations

import heapq
import itertools
import math
from enum import IntEnum
from typing import NamedTuple

from kfgcp.engine.task_run import TaskRun


class Step(IntEnum):
    """The steps to end an attempt, in their order."""

    TERMINATE = 1
    KILL = 2
    KILL_RUNNER = 3
    """Kill the process that runs the attempt, because SIGKILL did not reach the attempt."""


class Alarm(NamedTuple):
    """The time of the next step to end an attempt. Alarms are sorted by `time`."""

    time: float
    attempt_id: int
    step: Step


class Alarms:
    """The alarms of running attempts, sorted by time.

    An alarm stays here when its attempt ends. The caller ignores such an alarm.
    """

    def __init__(self) -> None:
        self._heap: list[Alarm] = []

    def add(self, time: float, attempt_id: int, step: Step) -> None:
        """Add an alarm."""
        heapq.heappush(self._heap, Alarm(time, attempt_id, step))

    def next_time(self) -> float:
        """Return the time of the earliest alarm, infinity when there is none."""
        return self._heap[0].time if self._heap else math.inf

    def pop_due(self, now: float) -> Alarm | None:
        """Remove and return the earliest alarm, None when it is not due yet."""
        if not self._heap or self._heap[0].time > now:
            return None
        return heapq.heappop(self._heap)


class Retries:
    """The tasks that wait for their next attempt."""

    def __init__(self) -> None:
        # The number makes entries comparable when times are equal: tasks have no order.
        self._heap: list[tuple[float, int, TaskRun]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, time: float, task: TaskRun) -> None:
        """Add a task with the time of its next attempt."""
        heapq.heappush(self._heap, (time, next(self._numbers), task))

    def next_time(self) -> float:
        """Return the time of the next attempt, infinity when no task waits."""
        return self._heap[0][0] if self._heap else math.inf

    def pop_due(self, now: float) -> list[TaskRun]:
        """Remove and return the tasks whose next attempt is due, the earliest first.

        Args:
            now: the time; infinity returns all tasks that wait.
        """
        tasks: list[TaskRun] = []
        while self._heap and self._heap[0][0] <= now:
            _, _, task = heapq.heappop(self._heap)
            tasks.append(task)
        return tasks
