"""A `RunFilter` as predicates of the list filter of v2beta1. All of them must be true of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, TypeAlias

from kfgcp.backends.kubeflow.request import part_of_description
from kfgcp.backends.kubeflow.states import RUN_STATES
from kfgcp.model import RunState
from kfgcp.query import PREFIX_LABELS, RunFilter
from kfgcp.services.paging import PageKeys

# How a page of a list is requested. The token of Kubeflow Pipelines contains the filter and the
# order. The server refuses them on a later page when the filter has a time, a number or IN: they
# come out of the token with other types (recorded: runs-list-since-page-2*.json;
# `validatedListOptions` in its list_request_util.go). `view` is not in the token, and only the 3.0
# branch reads it.
PAGE_KEYS: Final = PageKeys(
    "page_size", "page_token", frozenset({"namespace", "experiment_id", "view"})
)

# A predicate as JSON: `Predicate` of filter.proto. A list of values is an object.
Predicate: TypeAlias = dict[str, str | dict[str, list[str]]]


def format_filter(predicates: Sequence[Predicate]) -> str:
    """Return the value of `filter` in the query of a request."""
    text = json.dumps({"predicates": predicates})
    # The server URL-decodes what it reads from the query once more (parseAPIFilter in its
    # list_request_util.go), so characters that have a meaning there are encoded here.
    return text.replace("%", "%25").replace("+", "%2B")


def predicates(run_filter: RunFilter) -> list[Predicate]:
    """Return what must be true of a run so that it can match, nothing for every run.

    The server can choose by state and by time of creation, and by an experiment whose id it is
    given. Our labels are in the description, which it can search (runAPIToModelFieldMap in its
    model/run.go). It may find more, because it ignores case and `_` stands for any letter.

    It does not know the names of pipelines. The names that kfgcp gives to runs begin with that of
    the pipeline, but users can choose others. So pipelines are compared here, page by page, see
    `server_can_choose`.
    """
    chosen: list[Predicate] = []
    if run_filter.since is not None:
        chosen.append(created_since(run_filter.since))
    if run_filter.states:
        chosen.append(_in_states(run_filter.states))
    parts = [part for part in _description_parts(run_filter) if part]
    chosen += [predicate("description", "IS_SUBSTRING", part) for part in parts]
    return chosen


def server_can_choose(run_filter: RunFilter) -> bool:
    """Return whether the predicates choose exactly the runs that match."""
    if run_filter.pipeline is not None or RunState.CANCELLED in run_filter.states:
        return False
    return None not in _description_parts(run_filter)


def unfinished() -> list[Predicate]:
    """Return what is true of runs that have not ended, also in states of newer servers."""
    ended = [name for name, state in RUN_STATES.items() if state.final]
    return [predicate("state", "NOT_EQUALS", name) for name in ended]


def created_since(time: str) -> Predicate:
    """Return what is true of runs that were created at this time or later."""
    return _time_predicate("created_at", "GREATER_THAN_EQUALS", time)


def created_before(time: str) -> Predicate:
    """Return what is true of runs that were created before this time."""
    return _time_predicate("created_at", "LESS_THAN", time)


def ended_since(time: str) -> Predicate:
    """Return what is true of runs that ended at this time or later."""
    return _time_predicate("finished_at", "GREATER_THAN_EQUALS", time)


def predicate(key: str, operation: str, value: str) -> Predicate:
    """Return a predicate about a text."""
    return {"key": key, "operation": operation, "string_value": value}


def one_of(key: str, values: Sequence[str]) -> Predicate:
    """Return a predicate about a text that must be one of several."""
    return {"key": key, "operation": "IN", "string_values": {"values": list(values)}}


def _time_predicate(key: str, operation: str, time: str) -> Predicate:
    return {"key": key, "operation": operation, "timestamp_value": time}


def _in_states(states: Sequence[RunState]) -> Predicate:
    accepted = set(states)
    if RunState.CANCELLED in accepted:
        # The server says FAILED for most runs that were cancelled. They are told apart when they
        # are read.
        accepted.add(RunState.FAILED)
    names = [name for name, state in RUN_STATES.items() if state in accepted]
    if len(names) == 1:
        return predicate("state", "EQUALS", names[0])
    return one_of("state", names)


def _description_parts(run_filter: RunFilter) -> list[str | None]:
    """Return what the descriptions of runs with the labels contain.

    None stands for a label that the server cannot search for.
    """
    parts: list[str | None] = []
    for name, value in run_filter.labels.items():
        parts.append(part_of_description(name, value, is_prefix=name in PREFIX_LABELS))
    return parts
