"""Alarms and retries come due in the order of their times."""

import math

from kfgcp.engine.task_run import TaskRun
from kfgcp.engine.timers import Alarm, Alarms, Retries, Step
from kfgcp.model import TaskKind
from kfgcp.spec.graph import Component


def task(path: str) -> TaskRun:
    return TaskRun(path, TaskKind.CONTAINER, Component("comp-a", {}, {}, {}, {}))


def test_the_first_alarm_comes_first_and_none_before_its_time() -> None:
    alarms = Alarms()
    alarms.add(20.0, 1, Step.TERMINATE)
    alarms.add(10.0, 2, Step.KILL)

    assert alarms.next_time() == 10.0
    assert alarms.pop_due(9.0) is None
    assert alarms.pop_due(30.0) == Alarm(10.0, 2, Step.KILL)
    assert alarms.pop_due(30.0) == Alarm(20.0, 1, Step.TERMINATE)
    assert alarms.pop_due(30.0) is None
    assert alarms.next_time() == math.inf


def test_tasks_with_the_same_time_are_retried_in_the_order_in_which_they_came() -> None:
    retries = Retries()
    late, first, second = task("late"), task("first"), task("second")
    retries.add(7.0, late)
    retries.add(5.0, first)
    retries.add(5.0, second)

    assert retries.pop_due(4.0) == []
    assert retries.pop_due(6.0) == [first, second]
    assert retries.next_time() == 7.0
    assert len(retries) == 1


def test_all_tasks_that_wait_can_be_taken_at_once_also_when_there_are_none() -> None:
    retries = Retries()
    assert retries.pop_due(math.inf) == []

    node = task("a")
    retries.add(5.0, node)

    assert retries.pop_due(math.inf) == [node]
    assert not retries
