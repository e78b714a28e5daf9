"""What the server knows about a task: one record for all releases.

Servers up to 2.x keep the tasks of a run in ML Metadata (`executions_from_mlmd`). Servers of 3.0
keep them in the API server (`executions_from_server`). Both modules return `Execution`s, so that
the code that makes tasks of them is the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# The name of the artifact that a launcher with PUBLISH_LOGS makes of a task's log (servers since
# 2.5).
EXECUTOR_LOGS: Final = "executor-logs"

# The state of an execution whose condition was false. The driver made no executions inside it.
NOT_TRIGGERED: Final = "CANCELED"

# The states of executions that do not change any more.
ENDED_STATES: Final = ("COMPLETE", "FAILED", "CACHED", NOT_TRIGGERED)

# Metadata of artifacts that the launcher adds for its own use.
_LAUNCHER_METADATA: Final = ("display_name", "store_session_info", "parameter_producer_task")


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact.

    Attributes:
        type: its schema title.
        uri: its address, empty when it has no file.
        metadata: what the task wrote about it.
    """

    type: str
    uri: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """A task, a DAG, a loop or an iteration of a run.

    Attributes:
        id: the number of the execution.
        type: `mlmd.CONTAINER`, `mlmd.IMPORTER` or `mlmd.DAG`.
        task: the name of the task, empty for the run itself.
        parent: the id of the execution that this one is in, 0 when there is none.
        iteration: the number of an iteration in its loop, None for other executions.
        state: one of `mlmd.STATES`.
        params: the input parameters by name.
        output_params: the output parameters by name.
        started_at: when it started, in seconds since 1970; 0 when it did not start.
        ended_at: when it last changed, in seconds since 1970.
        inputs: the input artifacts by name.
        outputs: the output artifacts by name.
        pod: the pod of the last attempt, empty when it is not known.
        cached: whether its outputs are those of an earlier run.
        logs: the URIs of the launcher's copies of the logs of all attempts, first to last. A run
            that was retried keeps those from before.
        iterations: the number of iterations of a loop, None for other executions.
        pods: the pods of all attempts, first to last, where the server has them. ML Metadata has
            the last one only.
        error: why it failed, empty where the server does not say it, as in ML Metadata.
        is_reused: whether a retry of the run uses it again with the start that it had.
    """

    id: int
    type: str
    task: str
    parent: int
    iteration: int | None
    state: str
    params: Mapping[str, Any]
    output_params: Mapping[str, Any]
    started_at: float
    ended_at: float
    inputs: Mapping[str, Sequence[StoredArtifact]] = field(default_factory=dict)
    outputs: Mapping[str, Sequence[StoredArtifact]] = field(default_factory=dict)
    pod: str = ""
    cached: bool = False
    logs: tuple[str, ...] = ()
    iterations: int | None = None
    pods: tuple[str, ...] = ()
    error: str = ""
    is_reused: bool = True


def without_launcher_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of an artifact without what the launcher adds for its own use."""
    return {name: value for name, value in metadata.items() if name not in _LAUNCHER_METADATA}
