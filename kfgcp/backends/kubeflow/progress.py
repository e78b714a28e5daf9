"""Derive the state and the times of a run from its state and the history of its states.

A run that was terminated has the state FAILED. Its history may show that it was CANCELING before
(recorded: tests/recorded/cluster-2.17.0/sleepy-cancelled). After `:retry`, the history of a run
continues: PENDING, RUNNING, FAILED, RUNNING, FAILED (recorded:
tests/recorded/cluster-2.17.0/fail-sub).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.kubeflow.messages import RunAnswer, StateAnswer
from kfgcp.backends.kubeflow.states import RUN_STATES, run_state
from kfgcp.backends.kubeflow.times import read_event_time
from kfgcp.model import RunState, TaskState

# The states of unfinished tasks after the end of their run, by the state of the run.
_STATES_OF_UNFINISHED_TASKS: Final = {
    RunState.SUCCEEDED: TaskState.SUCCEEDED,
    RunState.FAILED: TaskState.FAILED,
    RunState.CANCELLED: TaskState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run, and the times of its changes as RFC 3339 text.

    A time is None when the change has not happened, or when the service does not have the time.

    Attributes:
        state: the state of the run. CANCELLED when it was terminated.
        ended_at: when the run ended.
        retried_at: when the run was last retried.
        cancelled_at: when the run was terminated.
    """

    state: RunState
    ended_at: str | None = None
    retried_at: str | None = None
    cancelled_at: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state.final

    def task_state(self, state: TaskState) -> TaskState:
        """Return the state of a task.

        A pod that was killed leaves its task RUNNING on the server. So when the run has ended, an
        unfinished task gets the state of the run.

        Args:
            state: the state of the task on the server.
        """
        if state.final:
            return state
        return _STATES_OF_UNFINISHED_TASKS.get(self.state, state)


def read_progress(run: RunAnswer, *, cancelled: bool = False) -> Progress:
    """Return the state and the times of a run.

    Args:
        run: the answer of the server.
        cancelled: whether kfgcp recorded that it cancelled the run. The history of a run on the
            server may be incomplete, and then the answer does not show the cancellation.
    """
    state = run_state(run)
    history, retried_at = _history_after_retry(run.get("state_history") or ())
    terminations = [entry for entry in history if entry.get("state") == "CANCELING"]
    if state is RunState.FAILED and (cancelled or terminations):
        state = RunState.CANCELLED
    cancelled_at = None
    if terminations:
        cancelled_at = read_event_time(terminations[0].get("update_time"))
    ended_at = None
    if state.final:
        ended_at = read_event_time(run.get("finished_at"))
    return Progress(state, ended_at, retried_at, cancelled_at)


def _history_after_retry(history: Sequence[StateAnswer]) -> tuple[list[StateAnswer], str | None]:
    """Return the history since the last retry of a run, and the time of that retry."""
    latest: list[StateAnswer] = []
    retried_at = None
    has_ended = False
    for entry in history:
        is_end = RUN_STATES.get(entry.get("state", ""), RunState.PENDING).final
        if has_ended and not is_end:
            latest = []
            retried_at = read_event_time(entry.get("update_time"))
        has_ended = is_end
        latest.append(entry)
    return latest, retried_at
