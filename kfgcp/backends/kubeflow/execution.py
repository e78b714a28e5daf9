"""The record of a task on the server, in one form for all releases.

Servers up to 2.x keep the tasks of a run in ML Metadata (`executions_from_mlmd`). Servers of 3.0
keep tasks in the API server (`executions_from_server`). These two modules return objects of
`Execution`, and the other modules do not depend on the release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# The launcher runs in the pod of a task and starts the program. With PUBLISH_LOGS, it stores the
# log of the program as an artifact with this name (servers since 2.5).
EXECUTOR_LOGS: Final = "executor-logs"

# The state of an execution whose condition was false. The execution contains no other executions.
NOT_TRIGGERED: Final = "CANCELED"

# The states of executions that have ended.
ENDED_STATES: Final = ("COMPLETE", "FAILED", "CACHED", NOT_TRIGGERED)

# The keys that the launcher adds to the metadata of artifacts for its own use.
_LAUNCHER_METADATA: Final = ("display_name", "store_session_info", "parameter_producer_task")


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact as the server stores it.

    Attributes:
        type: the schema title of the artifact.
        uri: the address of the artifact, "" when it has no file.
        metadata: the metadata that the task wrote.
    """

    type: str
    uri: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Execution:
    """A task, a DAG, a loop, an iteration or a whole run, as the server records it.

    Attributes:
        id: the number of the execution.
        type: `mlmd.CONTAINER`, `mlmd.IMPORTER` or `mlmd.DAG`.
        task: the name of the task, "" for the whole run.
        parent: the id of the execution that contains this execution, 0 when there is none.
        iteration: the number of an iteration in its loop, None for other executions.
        state: one of `mlmd.STATES`.
        params: the input parameters by name.
        output_params: the output parameters by name.
        started_at: when the execution started, in seconds since 1970. 0 when it did not start.
        ended_at: when the execution last changed, in seconds since 1970.
        inputs: the input artifacts by name.
        outputs: the output artifacts by name.
        pod: the pod of the last attempt, "" when the pod is not known.
        cached: whether the outputs come from an earlier run.
        logs: the URIs of the launcher's copies of the logs, from the first attempt to the last. A
            run that was retried keeps the copies of the attempts before the retry.
        iterations: the number of iterations of a loop, None for other executions.
        pods: the pods of all attempts, from the first to the last. Empty for executions from ML
            Metadata, which has only the last pod.
        error: why the execution failed, "" when the server gives no reason. ML Metadata has no
            reasons.
        is_reused: whether a retry of the run keeps this execution and its start time.
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
    """Return the metadata of an artifact without the keys that the launcher adds."""
    return {name: value for name, value in metadata.items() if name not in _LAUNCHER_METADATA}
