"""How far a run is, from its state and the history of its states.

A run that was terminated ends FAILED; its history may tell that it was CANCELING before. After
`:retry` a run of 2.17 continues its history: PENDING, RUNNING, FAILED, RUNNING, FAILED. Both were
recorded: see `sleepy-cancelled` and `fail-sub` in tests/recorded/cluster-2.17.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.backends.run_values import parse_time
from kfgcp.model import RunState, TaskState

SERVICE: Final = "Kubeflow Pipelines"
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
_TASKS_AT_THE_END: Final = {
    RunState.SUCCEEDED: TaskState.SUCCEEDED,
    RunState.FAILED: TaskState.FAILED,
    RunState.CANCELLED: TaskState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        state: a run that was terminated is CANCELLED.
        ended_at: when it ended, as RFC 3339 text; None when it did not, or when the service does
            not say it.
        retried_at: when it last continued after an end; None when it never did, or when the service
            does not say it.
        cancelled_at: when it was terminated; None when it was not, or when the service does not say
            it.
    """

    state: RunState
    ended_at: str | None = None
    retried_at: str | None = None
    cancelled_at: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state.final

    def task_state(self, state: TaskState) -> TaskState:
        """Return the state of a task. When the run has ended, an unfinished task gets the state of
        the run's end.

        A pod that was killed leaves its task RUNNING.
        """
        return state if state.final else _TASKS_AT_THE_END.get(self.state, state)


def progress_of(run: Mapping[str, Any], *, cancelled: bool = False) -> Progress:
    """Return how far a run is.

    Args:
        run: as `messages.read_run` returns it.
        cancelled: whether it was cancelled from here. Servers that lost the history do not tell it.
    """
    # A newer server may have states that are unknown here. They count as unfinished.
    state = RUN_STATES.get(str(run.get("state")), RunState.PENDING)
    steps, retried_at = _since_the_last_retry(run)
    terminations = [step for step in steps if step.get("state") == "CANCELING"]
    if state is RunState.FAILED and (cancelled or terminations):
        state = RunState.CANCELLED
    cancelled_at = past(terminations[0].get("update_time")) if terminations else None
    return Progress(
        state, past(run.get("finished_at")) if state.final else None, retried_at, cancelled_at
    )


def past(text: Any) -> str | None:
    """Return a time of the service as ours; the year 1, or 1970, stands for what has not begun or
    not ended.

    Raises:
        BackendError: it is not a time.
    """
    if isinstance(text, str) and text.startswith(("0001-", "1970-01-01")):
        return None
    return parse_time(text, SERVICE)


def _since_the_last_retry(run: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], str | None]:
    """Return the steps of the history since a run last continued after an end, and when that
    was."""
    steps: list[Mapping[str, Any]] = []
    retried_at = None
    has_ended = False
    for step in run.get("state_history") or ():
        is_end = RUN_STATES.get(str(step.get("state")), RunState.PENDING).final
        if has_ended and not is_end:
            steps = []
            retried_at = past(step.get("update_time"))
        has_ended = is_end
        steps.append(step)
    return steps, retried_at
