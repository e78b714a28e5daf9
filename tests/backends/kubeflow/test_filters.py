"""Filters of lists as the service reads them: JSON that it URL-decodes once more than the query
itself."""

import json
from urllib.parse import unquote_plus

import kfp_server_api
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfgcp.backends.kubeflow import filters
from kfgcp.backends.kubeflow import request as run_request
from kfgcp.backends.kubeflow.states import RUN_STATES
from kfgcp.model import RunState
from kfgcp.query import RunFilter

GOING_ON = (RunState.PENDING, RunState.RUNNING)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30)
    | st.sampled_from(["a+b", "100%", "%41", "%zz", "a%2Bb", "\u00fc \U0001f600", "\\", '"', "&="])
)
def test_a_value_is_what_the_service_reads(value: str) -> None:
    """QueryUnescape of Go, which the service calls, turns `+` into a blank and `%XX` into a
    character."""
    text = filters.format_filter([filters.predicate("display_name", "EQUALS", value)])

    assert json.loads(unquote_plus(text, errors="strict")) == {
        "predicates": [{"key": "display_name", "operation": "EQUALS", "string_value": value}]
    }


def test_predicates_have_the_fields_of_the_api() -> None:
    asked = filters.predicates(RunFilter(states=GOING_ON, since="2026-01-02T03:04:05.000Z"))

    assert asked is not None
    field_names = set(kfp_server_api.V2beta1Predicate.attribute_map.values())
    operations = set(kfp_server_api.V2beta1PredicateOperation.allowable_values)
    assert all(
        set(predicate) <= field_names and predicate["operation"] in operations
        for predicate in asked
    )
    since, states = asked
    assert since == {
        "key": "created_at",
        "operation": "GREATER_THAN_EQUALS",
        "timestamp_value": "2026-01-02T03:04:05.000Z",
    }
    assert (states["key"], states["operation"]) == ("state", "IN")
    assert sorted(states["string_values"]["values"]) == [
        "PENDING",
        "RUNNING",
        "RUNTIME_STATE_UNSPECIFIED",
    ]


@pytest.mark.parametrize("state", [*RunState])
def test_a_state_is_asked_for_by_all_names_that_the_service_has_for_it(state: RunState) -> None:
    """A run that was terminated is FAILED there (recorded: sleepy-cancelled)."""
    (asked,) = filters.predicates(RunFilter(states=[state])) or ()

    names = (
        [asked["string_value"]]
        if asked["operation"] == "EQUALS"
        else asked["string_values"]["values"]
    )
    assert names
    states = {state, RunState.FAILED} if state is RunState.CANCELLED else {state}
    assert {RUN_STATES[name] for name in names} == states
    assert all(RUN_STATES[name] not in states for name in RUN_STATES if name not in names)


def test_a_filter_for_every_run_has_no_predicate() -> None:
    assert filters.predicates(RunFilter(env="gke")) == []
    assert json.loads(filters.format_filter([])) == {"predicates": []}


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        ({"team": "growth"}, '"team":"growth"'),
        ({"git": "ab12"}, '"git":"ab12'),
        ({"owner": "Jos\u00e9"}, '"owner":"Jos\u00e9"'),
    ],
)
def test_a_label_is_looked_for_in_the_description_that_it_is_kept_in(
    labels: dict[str, str], part: str
) -> None:
    run_filter = RunFilter(labels=labels)

    assert filters.predicates(run_filter) == [
        {"key": "description", "operation": "IS_SUBSTRING", "string_value": part}
    ]
    assert part in run_request.format_description({"user": "ann", **labels, "z": "last"})
    assert filters.is_exact(run_filter)


@pytest.mark.parametrize(
    "run_filter",
    [
        RunFilter(pipeline="train"),
        RunFilter(labels={"pipeline": "train"}),
        RunFilter(labels={"version": "2a0e"}),
        RunFilter(labels={"note": 'a "b"'}),
        RunFilter(labels={"note": "a\\b"}),
    ],
)
def test_what_the_service_cannot_find_is_not_asked_for(run_filter: RunFilter) -> None:
    """Descriptions that would be too long are without pipeline and version; LIKE takes a backslash
    for itself."""
    assert filters.predicates(run_filter) == []
    assert not filters.is_exact(run_filter)
