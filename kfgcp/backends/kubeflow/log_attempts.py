"""List the attempts of a run's tasks whose logs can be read, with their pods."""

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

# The URI of a log that the launcher copied. Since 2.16 it contains the number of the attempt.
_NUMBERED_COPY: Final = re.compile(r".*/executor-logs-(?P<number>\d{1,6})")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of a task.

    Attributes:
        task: the path of the task.
        number: the number of the attempt, from 1.
        pod: the pod of the attempt. It is the pod of the driver when the driver failed, because
            then no program ran.
        is_last: whether this is the last attempt of the task.
    """

    task: str
    number: int
    pod: Pod
    is_last: bool


def read_attempts(
    run: RunAnswer, executions: Sequence[Execution], workflow_pods: WorkflowPods | None
) -> Iterator[Attempt]:
    """Yield the attempts of all tasks, in the order in which the tasks started.

    Args:
        run: the answer of the server, with its spec.
        executions: the executions of the tasks.
        workflow_pods: computes the names of pods, None when the pipeline cannot be read.
    """
    pods = read_pods(run, executions)
    run_has_ended = run_state(run).final
    for task in place_tasks(run, executions):
        execution = task.execution
        if task.driver_pod:
            yield Attempt(task.path, 1, Pod(task.driver_pod, has_ended=True), is_last=True)
            continue
        # A cached execution has the outputs of an earlier run, including the logs. In this run, the
        # task wrote nothing.
        if execution is not None and execution.cached:
            continue
        state = _read_state(task)
        pod_names = pods.get(task.path, [])
        # The execution of an importer does not name the pod. The log of an importer that succeeded
        # is not interesting.
        is_unnamed = execution is not None and task.kind is TaskKind.IMPORTER and not state.ok
        if not pod_names and workflow_pods is not None and (is_unnamed or not executions):
            pod_names = workflow_pods.executors(task.path)
        copies = execution.logs if execution is not None else ()
        has_ended = run_has_ended or state.final
        yield from _list_attempts(task, pod_names, copies, has_ended=has_ended)


def _read_state(task: PlacedTask) -> TaskState:
    """Return the state of a task, from its execution or its node."""
    if task.execution is not None:
        return execution_state(task.execution.state)
    return node_state(task.node or NodeAnswer())


def _list_attempts(
    task: PlacedTask, known_pods: Sequence[str], copies: Sequence[str], *, has_ended: bool
) -> Iterator[Attempt]:
    """Yield the attempts of a task.

    Args:
        task: the task.
        known_pods: the names of its known pods, from the first attempt to the last.
        copies: the URIs of the launcher's copies of its logs, from the first attempt to the last.
        has_ended: whether the last attempt has ended.
    """
    count = max(len(known_pods), len(copies))
    # After a retry of the run, the nodes of earlier pods are gone, but the copies of their logs
    # stay. So the pods without a name come first.
    pod_names = [""] * (count - len(known_pods)) + list(known_pods)
    copy_by_number = _copies_by_number(copies, count)
    for number, pod_name in enumerate(pod_names, 1):
        is_last = number == count
        pod = Pod(pod_name, has_ended or not is_last, copy_by_number.get(number, ""))
        yield Attempt(task.path, number, pod, is_last)


def _copies_by_number(copies: Sequence[str], count: int) -> dict[int, str]:
    """Return the URIs of the launcher's copies of a task's logs, by the number of the attempt.

    Args:
        copies: the URIs, from the first attempt to the last.
        count: the number of attempts.
    """
    by_number = dict(enumerate(copies, 1))
    if len(copies) < count:
        # An attempt without a copy was killed. A URI without a number belongs to the last attempt:
        # before 2.16, each attempt overwrote the log of the previous attempt.
        by_number = {}
        for uri in copies:
            match = _NUMBERED_COPY.fullmatch(uri)
            # The server counts attempts from 0.
            number = int(match["number"]) + 1 if match is not None else count
            by_number[number] = uri
    # Attempts after a retry of the run overwrite the logs from before the retry. So when several
    # attempts have the same URI, the log belongs to the last of them.
    last_number_by_uri = {uri: number for number, uri in by_number.items()}
    return {number: uri for uri, number in last_number_by_uri.items()}


def tasks_without_pod(
    run: RunAnswer, executions: Sequence[Execution]
) -> Iterator[tuple[str, bool]]:
    """Yield the paths of started tasks whose pods a server of 3.0 does not name.

    With each path, yield whether the task has ended.

    The launcher tells the server the name of the pod when the program has ended. So the pod of a
    program that is running or was killed has no name (recorded:
    api-3.0-branch/run-get-running-full.json, run-get-terminated-ended.json).
    """
    run_has_ended = run_state(run).final
    for task in place_tasks(run, executions):
        execution = task.execution
        if execution is None or task.kind is not TaskKind.CONTAINER:
            continue
        if execution.pod or execution.logs:
            continue
        state = execution_state(execution.state)
        if state in (TaskState.RUNNING, TaskState.FAILED, TaskState.CANCELLED):
            yield task.path, run_has_ended or state.final
