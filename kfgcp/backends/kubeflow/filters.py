"""Convert a `RunFilter` to predicates of the list filter of v2beta1.

A list has the runs for which all predicates are true.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, TypeAlias

from kfgcp.backends.kubeflow.request import format_label_part
from kfgcp.backends.kubeflow.states import RUN_STATES
from kfgcp.labels import DUE, PROJECT, SCHEDULE
from kfgcp.model import RunState
from kfgcp.query import PREFIX_LABELS, RunFilter
from kfgcp.services.paging import PageKeys

# The parameters of a request for a page. The token of the next page contains the filter and the
# order. When a request for a later page repeats a filter with a time, a number or IN, the server
# refuses it, because values from the token have other types (recorded:
# runs-list-since-page-2*.json; `validatedListOptions` in its list_request_util.go). So later pages
# get only the parameters listed here. `view` is not in the token, and only the 3.0 branch reads it.
PAGE_KEYS: Final = PageKeys(
    "page_size", "page_token", frozenset({"namespace", "experiment_id", "view"})
)

_LABELS_OF_SCHEDULES: Final = (PROJECT, SCHEDULE, DUE)

# The JSON of a predicate (`Predicate` of filter.proto). A list of values is an object.
Predicate: TypeAlias = dict[str, str | dict[str, list[str]]]


def format_filter(predicates: Sequence[Predicate]) -> str:
    """Return the value of the parameter `filter` of a request."""
    text = json.dumps({"predicates": predicates})
    # The server URL-decodes the value a second time (parseAPIFilter in its list_request_util.go).
    # So the characters that change in this step are encoded here.
    return text.replace("%", "%25").replace("+", "%2B")


def predicates(run_filter: RunFilter) -> list[Predicate]:
    """Return predicates that are true for every run that matches, empty for all runs.

    The server can compare the state, the time of creation and the id of the experiment. The labels
    of kfgcp are in the description, which the server can search (runAPIToModelFieldMap in its
    model/run.go). The search may find too many runs, because it ignores case and `_` stands for any
    character.

    The server cannot compare the name of the pipeline. So kfgcp compares it after reading, see
    `is_exact`.
    """
    conditions: list[Predicate] = []
    if run_filter.since is not None:
        conditions.append(created_since(run_filter.since))
    if run_filter.states:
        conditions.append(_in_states(run_filter.states))
    parts = [part for part in _description_parts(run_filter) if part]
    conditions += [predicate("description", "IS_SUBSTRING", part) for part in parts]
    return conditions


def is_exact(run_filter: RunFilter) -> bool:
    """Return whether the server can evaluate the whole filter.

    If it cannot, the predicates of the filter are also true for runs that do not match.
    """
    if run_filter.pipeline is not None or RunState.CANCELLED in run_filter.states:
        return False
    return None not in _description_parts(run_filter)


def unfinished() -> list[Predicate]:
    """Return predicates for runs that have not ended.

    The predicates exclude states instead of listing them, so that they also find runs in states
    that only newer servers have.
    """
    ended = [name for name, state in RUN_STATES.items() if state.final]
    return [predicate("state", "NOT_EQUALS", name) for name in ended]


def created_since(time: str) -> Predicate:
    """Return a predicate for runs that were created at this time or later."""
    return _time_predicate("created_at", "GREATER_THAN_EQUALS", time)


def created_before(time: str) -> Predicate:
    """Return a predicate for runs that were created before this time."""
    return _time_predicate("created_at", "LESS_THAN", time)


def ended_since(time: str) -> Predicate:
    """Return a predicate for runs that ended at this time or later."""
    return _time_predicate("finished_at", "GREATER_THAN_EQUALS", time)


def predicate(key: str, operation: str, value: str) -> Predicate:
    """Return a predicate that compares a text field with a value."""
    return {"key": key, "operation": operation, "string_value": value}


def one_of(key: str, values: Sequence[str]) -> Predicate:
    """Return a predicate for runs whose text field has one of several values."""
    return {"key": key, "operation": "IN", "string_values": {"values": list(values)}}


def _time_predicate(key: str, operation: str, time: str) -> Predicate:
    return {"key": key, "operation": operation, "timestamp_value": time}


def _in_states(states: Sequence[RunState]) -> Predicate:
    """Return a predicate for runs that are in one of the states, or may be."""
    accepted = set(states)
    if RunState.CANCELLED in accepted:
        # Most cancelled runs have the state FAILED on the server. kfgcp distinguishes cancelled
        # runs from failed runs after reading them.
        accepted.add(RunState.FAILED)
    names = [name for name, state in RUN_STATES.items() if state in accepted]
    if len(names) == 1:
        return predicate("state", "EQUALS", names[0])
    return one_of("state", names)


def _description_parts(run_filter: RunFilter) -> list[str | None]:
    """Return the texts that the description of a run contains, one for each label of the filter.

    None stands for a label that the server cannot search for.
    """
    parts: list[str | None] = []
    for name, value in run_filter.labels.items():
        if name in _LABELS_OF_SCHEDULES:
            # A run that a recurring run has started has no description.
            parts.append(None)
            continue
        parts.append(format_label_part(name, value, is_prefix=name in PREFIX_LABELS))
    return parts
