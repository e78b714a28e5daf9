"""Convert the states of runs, nodes and executions in Kubeflow Pipelines to states of kfgcp.

A newer server may have states that are unknown here. An unknown state counts as pending, so that
kfgcp reads the run again.
"""

from __future__ import annotations

from typing import Final

from kfgcp.backends.kubeflow.execution import NOT_TRIGGERED
from kfgcp.backends.kubeflow.messages import NodeAnswer, RunAnswer
from kfgcp.model import RunState, TaskState

# The states of runs: `V2beta1RuntimeState` of the v2beta1 API.
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
# The states of nodes in the workflow of a run. They are also `V2beta1RuntimeState`.
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
# The states of executions: `Execution.State` of ML Metadata, see `mlmd.STATES`.
EXECUTION_STATES: Final = {
    "UNKNOWN": TaskState.PENDING,
    "NEW": TaskState.PENDING,
    "RUNNING": TaskState.RUNNING,
    "COMPLETE": TaskState.SUCCEEDED,
    "FAILED": TaskState.FAILED,
    "CACHED": TaskState.CACHED,
    # The driver of KFP sets this state when the condition of a task is false. The task was not
    # cancelled.
    NOT_TRIGGERED: TaskState.SKIPPED,
}


def run_state(run: RunAnswer) -> RunState:
    """Return the state of a run on the server.

    It may be FAILED for a cancelled run. `progress.read_progress` returns CANCELLED for such a run.
    """
    return RUN_STATES.get(run.get("state", ""), RunState.PENDING)


def node_state(node: NodeAnswer) -> TaskState:
    """Return the state of a node of a workflow."""
    return NODE_STATES.get(node.get("state", ""), TaskState.PENDING)


def execution_state(state: str) -> TaskState:
    """Return the state of a task for a state of its execution."""
    return EXECUTION_STATES.get(state, TaskState.PENDING)
