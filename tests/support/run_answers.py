"""Runs as the server answers them, written by hand, and what kfgcp reads in them."""

import copy
from collections.abc import Sequence

from json_types import JsonDict
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.read_run import Where, read_run
from kfgcp.model import Run

WHERE = Where("https://kfp.acme.example", "gke")
RUN = "0a1b2c3d-0000-4000-8000-000000000001"
NEVER = "0001-01-01T00:00:00Z"
"""The end of a run or task that has not ended: Argo's zero time."""


def run_answer(**fields: object) -> JsonDict:
    """Return the answer for a run that succeeded. A field with the value None is left out."""
    defaults = {
        "run_id": RUN,
        "display_name": "My run",
        "state": "SUCCEEDED",
        "created_at": "2026-01-02T03:00:00Z",
        "finished_at": "2026-01-02T04:00:01+01:00",
    }
    return {key: value for key, value in (defaults | fields).items() if value is not None}


def read_run_with(
    executions: Sequence[Execution] = (), experiment: str = "", **fields: object
) -> Run:
    """Return the run that kfgcp reads in an answer. Check that the answer stays as it was."""
    answer = run_answer(**fields)
    before = copy.deepcopy(answer)
    run, _ = read_run(answer, WHERE, experiment=experiment, executions=executions)
    assert answer == before
    return run


def history(*states: str) -> list[dict[str, str]]:
    """Return a state_history with one state a minute, from 03:00 on."""
    return [
        {"state": state, "update_time": f"2026-01-02T03:{at:02}:00Z"}
        for at, state in enumerate(states)
    ]
