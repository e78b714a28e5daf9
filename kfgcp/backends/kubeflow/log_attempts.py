"""The attempts of a run's tasks whose logs can be read, and the pods that have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer
from kfgcp.backends.kubeflow.pod_attempts import read_pods
from kfgcp.backends.kubeflow.pod_logs import Pod
from kfgcp.backends.kubeflow.pod_names import WorkflowPods
from kfgcp.backends.kubeflow.states import execution_state, node_state, run_state
from kfgcp.backends.kubeflow.tree import PlacedTask, place_tasks
from kfgcp.model import TaskKind, TaskState

# The URI of the launcher's copy of a log, with the number of the attempt (since 2.16).
_NUMBERED_COPY: Final = re.compile(r".*/executor-logs-(?P<number>\d{1,6})")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a task.

    Attributes:
        task: its path.
        number: from 1.
        pod: its pod. When the driver failed, there is only that of the driver.
        is_last: whether no other attempt comes after it.
    """

    task: str
    number: int
    pod: Pod
    is_last: bool


def read_attempts(
    run: RunAnswer, executions: Sequence[Execution], workflow_pods: WorkflowPods | None
) -> Iterator[Attempt]:
    """Yield the attempts by task, in the order the tasks started.

    Args:
        run: the answer of the server, with its spec.
        executions: of its tasks.
        workflow_pods: computes the names of pods, None when the pipeline cannot be read.
    """
    pods = read_pods(run, executions)
    is_over = run_state(run).final
    for task in place_tasks(run, executions):
        execution = task.execution
        if task.driver_pod:
            yield Attempt(task.path, 1, Pod(task.driver_pod, has_ended=True), is_last=True)
            continue
        # The outputs of a cached execution include the logs of the run that it took them from. In
        # this run nothing was written.
        if execution is not None and execution.cached:
            continue
        state = _state_of(task)
        names = pods.get(task.path, [])
        # An execution of an importer has no pod. The log of one that succeeded says nothing.
        is_unnamed = execution is not None and task.kind is TaskKind.IMPORTER and not state.ok
        if not names and workflow_pods is not None and (is_unnamed or not executions):
            names = workflow_pods.executors(task.path)
        copies = execution.logs if execution is not None else ()
        yield from _attempts_of_task(task, names, copies, has_ended=is_over or state.final)


def _state_of(task: PlacedTask) -> TaskState:
    if task.execution is not None:
        return execution_state(task.execution.state)
    return node_state(task.node or NodeAnswer())


def _attempts_of_task(
    task: PlacedTask, names: Sequence[str], copies: Sequence[str], *, has_ended: bool
) -> Iterator[Attempt]:
    """Yield the attempts of a task.

    Args:
        task: the task.
        names: its known pods, first to last.
        copies: the URIs of the launcher's copies of its logs, first to last.
        has_ended: whether its last attempt has ended.
    """
    count = max(len(names), len(copies))
    # The pods that ran before a retry of the run are not among its nodes, but their logs were kept.
    pod_names = [""] * (count - len(names)) + list(names)
    copy_by_number = _copies_by_number(copies, count)
    for number, name in enumerate(pod_names, 1):
        is_last = number == count
        pod = Pod(name, has_ended or not is_last, copy_by_number.get(number, ""))
        yield Attempt(task.path, number, pod, is_last)


def _copies_by_number(copies: Sequence[str], count: int) -> dict[int, str]:
    """Return the launcher's copies of the logs of a task by the number of the attempt.

    Args:
        copies: their URIs, oldest first.
        count: of the attempts.
    """
    by_number = dict(enumerate(copies, 1))
    if len(copies) < count:
        # An attempt without a copy was killed. A URI without a number is of the last attempt:
        # before 2.16, each attempt wrote over the log of the one before it.
        by_number = {}
        for uri in copies:
            match = _NUMBERED_COPY.fullmatch(uri)
            # The server counts from 0.
            number = int(match["number"]) + 1 if match is not None else count
            by_number[number] = uri
    # A retry of the run writes over the logs that it kept, so a URI belongs to its last attempt.
    last_number = {uri: number for number, uri in by_number.items()}
    return {number: uri for uri, number in last_number.items()}


def tasks_without_pod(
    run: RunAnswer, executions: Sequence[Execution]
) -> Iterator[tuple[str, bool]]:
    """Yield the tasks of a 3.0 server that run or ran in a pod that it does not name.

    With each path, yield whether the task has ended.

    The launcher names the pod when the program has ended, so a program that is running or was
    killed has none (recorded: api-3.0-branch/run-get-running-full.json,
    run-get-terminated-ended.json).
    """
    is_over = run_state(run).final
    for task in place_tasks(run, executions):
        execution = task.execution
        if execution is None or task.kind is not TaskKind.CONTAINER:
            continue
        if execution.pod or execution.logs:
            continue
        state = execution_state(execution.state)
        if state in (TaskState.RUNNING, TaskState.FAILED, TaskState.CANCELLED):
            yield task.path, is_over or state.final
