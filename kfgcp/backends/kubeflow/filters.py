"""A RunFilter as predicates of the list filter of v2beta1, which are all to be true (wire format of its `filter`)."""

from __future__ import annotations

import json
from typing import Any, Final

from kfgcp.backends.kubeflow.runs import RUN_STATES
from kfgcp.store.rows import RunFilter

DEFAULT_EXPERIMENT: Final = "default"


def predicate(key: str, operation: str, value: str, kind: str = "string_value") -> dict[str, Any]:
    return {"key": key, "operation": operation, kind: value}


def text(predicates: list[dict[str, Any]]) -> str:
    return json.dumps({"predicates": predicates})


def predicates(wanted: RunFilter) -> list[dict[str, Any]] | None:
    """What must all be true of a run, none for every run; None when the service cannot be asked so: it knows neither
    labels nor the names of pipelines, and experiments by their ids only."""
    if wanted.labels or wanted.pipeline is not None or wanted.experiment is not None:
        return None
    found = []
    if wanted.since is not None:
        found.append(predicate("created_at", "GREATER_THAN_EQUALS", wanted.since, "timestamp_value"))
    if wanted.states:
        states = [name for name, state in RUN_STATES.items() if state in wanted.states]
        if len(states) == 1:
            found.append(predicate("state", "EQUALS", states[0]))
        else:
            found.append({"key": "state", "operation": "IN", "string_values": {"values": states}})
    return found
