"""A RunFilter as predicates of the list filter of v2beta1, which are all to be true (wire format of
its `filter`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from kfgcp.backends.kubeflow.request import part_of_description
from kfgcp.backends.kubeflow.runs import RUN_STATES
from kfgcp.model import RunState
from kfgcp.query import PREFIX_LABELS, RunFilter
from kfgcp.services.paging import PageKeys

PAGE_KEYS: Final = PageKeys(
    "page_size", "page_token", frozenset({"namespace", "experiment_id", "view"})
)
"""How a page of a list is requested. The token of Kubeflow Pipelines contains the filter and the
order. The server refuses them on a later page when the filter has a time, a number or IN: they come
out of the token with other types (recorded: runs-list-since-page-2*.json; `validatedListOptions` in
its list_request_util.go). `view` is not in the token, and only the 3.0 branch reads it."""


def predicate(key: str, operation: str, value: str, kind: str = "string_value") -> dict[str, Any]:
    return {"key": key, "operation": operation, kind: value}


def text(predicates: list[dict[str, Any]]) -> str:
    """The filter as the query has it. The service URL-decodes what it reads from the query once
    more (parseAPIFilter in its list_request_util.go), so what means something there is encoded
    here."""
    return json.dumps({"predicates": predicates}).replace("%", "%25").replace("+", "%2B")


def predicates(wanted: RunFilter) -> list[dict[str, Any]]:
    """What must all be true of a run so that it can match, none for every run.

    The server chooses by state and by time of creation, and by the experiment when it is told its
    id. Our labels are in the description, which it can search (runAPIToModelFieldMap in its
    model/run.go); it may find more, as it takes capitals for small letters, and `_` for any letter.
    It knows no names of pipelines, and those that we give to runs begin with that of the pipeline
    only when nobody gave another: so these are compared here, page by page, see `chosen_here`.
    """
    found = []
    if wanted.since is not None:
        found.append(
            predicate("created_at", "GREATER_THAN_EQUALS", wanted.since, "timestamp_value")
        )
    if wanted.states:
        # Most runs that were cancelled are FAILED there, and are told apart when they are read.
        among = (
            {*wanted.states, RunState.FAILED}
            if RunState.CANCELLED in wanted.states
            else {*wanted.states}
        )
        states = [name for name, state in RUN_STATES.items() if state in among]
        found.append(
            predicate("state", "EQUALS", states[0]) if len(states) == 1 else one_of("state", states)
        )
    return found + [
        predicate("description", "IS_SUBSTRING", part) for part in _parts(wanted) if part
    ]


def unfinished() -> list[dict[str, Any]]:
    """Runs that go on, in states of newer servers too."""
    ended = [name for name, state in RUN_STATES.items() if state.final]
    return [predicate("state", "NOT_EQUALS", name) for name in ended]


def chosen_here(wanted: RunFilter) -> bool:
    """Whether the server cannot choose all by itself."""
    return (
        wanted.pipeline is not None or RunState.CANCELLED in wanted.states or None in _parts(wanted)
    )


def one_of(key: str, values: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "operation": "IN", "string_values": {"values": [*values]}}


def _parts(wanted: RunFilter) -> list[str | None]:
    """What the descriptions of runs with the labels have in them, None for a label that cannot be
    asked for so."""
    return [
        part_of_description(name, value, beginning=name in PREFIX_LABELS)
        for name, value in wanted.labels.items()
    ]
