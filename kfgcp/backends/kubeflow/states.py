"""The states of runs, nodes and executions in Kubeflow Pipelines, and our state for each of them.

A newer server may have states that are unknown here. They count as pending, so that whoever follows
the run asks again.
"""

from __future__ import annotations

from typing import Final

from kfgcp.backends.kubeflow.execution import NOT_TRIGGERED
from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer
from kfgcp.model import RunState, TaskState

# `V2beta1RuntimeState` of the v2beta1 API. Runs and the nodes of their workflows share it.
RUN_STATES: Final = {
    "RUNTIME_STATE_UNSPECIFIED": RunState.PENDING,
    "PENDING": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "SKIPPED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CANCELING": RunState.CANCELLING,
    "CANCELED": RunState.CANCELLED,
    "PAUSED": RunState.PAUSED,
}
NODE_STATES: Final = {
    "RUNTIME_STATE_UNSPECIFIED": TaskState.PENDING,
    "PENDING": TaskState.PENDING,
    "RUNNING": TaskState.RUNNING,
    "SUCCEEDED": TaskState.SUCCEEDED,
    "SKIPPED": TaskState.SKIPPED,
    "FAILED": TaskState.FAILED,
    "CANCELING": TaskState.RUNNING,
    "CANCELED": TaskState.CANCELLED,
    "PAUSED": TaskState.PENDING,
}
# `Execution.State` of ML Metadata, see `mlmd.STATES`.
EXECUTION_STATES: Final = {
    "UNKNOWN": TaskState.PENDING,
    "NEW": TaskState.PENDING,
    "RUNNING": TaskState.RUNNING,
    "COMPLETE": TaskState.SUCCEEDED,
    "FAILED": TaskState.FAILED,
    "CACHED": TaskState.CACHED,
    # The driver of KFP sets it when the condition of a task is false. Nobody cancelled the task.
    NOT_TRIGGERED: TaskState.SKIPPED,
}


def run_state(run: RunAnswer) -> RunState:
    """Return the state that the server gives a run.

    A terminated run may be FAILED here, see `progress.read_progress`.
    """
    return RUN_STATES.get(run.get("state", ""), RunState.PENDING)


def node_state(node: NodeAnswer) -> TaskState:
    """Return the state of a node of a workflow."""
    return NODE_STATES.get(node.get("state", ""), TaskState.PENDING)


def execution_state(state: str) -> TaskState:
    """Return our state for the state of an execution."""
    return EXECUTION_STATES.get(state, TaskState.PENDING)
