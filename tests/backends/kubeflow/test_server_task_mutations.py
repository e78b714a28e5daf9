"""Recorded runs of Kubeflow Pipelines 3.0 with changed fields.

The backend reads each changed run, or refuses it in one line.
"""

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from answer_mutations import encode_json, mutate_json
from kfgcp.errors import BackendError
from kfgcp.services.responses import parse_json
from kfgcp.spec.json_values import NotJsonError
from server_runs import FULL, recorded, run_from
from trials import Trial


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every field and item."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield (*place, key)
        yield from places(item, (*place, key))


HUGE = (
    "x" * 100_000,
    2**80,
    -(2**63),
    list(range(1000)),
    {str(number): number for number in range(1000)},
)
OTHERS = (None, "text", -1, 1.5, True, [], {"a": None}, *HUGE)
REMOVED = object()


@pytest.mark.trial("recorded runs of KFP 3.0, changed field by field")
@pytest.mark.parametrize("name", FULL)
def test_any_change_of_a_field_is_read_or_refused_in_one_line(trial: Trial, name: str) -> None:
    answer = recorded(name)
    fields = [place for place in places(answer) if "pipeline_spec" not in place]
    changes = [(place, value) for place in fields for value in (REMOVED, *OTHERS)]
    random = trial.random()
    size = trial.size(sample=60, proof=len(changes))
    for place, value in random.sample(changes, min(size, len(changes))):
        changed = copy.deepcopy(answer)
        parent = changed
        for step in place[:-1]:
            parent = parent[step]
        if value is REMOVED:
            del parent[place[-1]]
        else:
            parent[place[-1]] = value
        read_or_refused(changed, f"{place}: {str(value)[:60]}")
        trial.count("changes")


@pytest.mark.trial("recorded runs of KFP 3.0, changed at random")
@pytest.mark.parametrize("name", FULL)
def test_random_changes_are_read_or_refused_in_one_line(trial: Trial, name: str) -> None:
    random = trial.random()
    for _ in range(trial.size(sample=40, proof=2000)):
        changed, change = mutate_json(recorded(name), random)
        try:
            answer = parse_json(encode_json(changed))
        except (ValueError, NotJsonError):
            continue
        read_or_refused(answer, change)
        trial.count("changes")


def read_or_refused(answer: Any, change: str) -> None:
    """Read an answer. The only error may be one line about the service."""
    try:
        run, message = run_from(answer)
        json.dumps(run.to_dict(), default=str)
    except BackendError as error:
        message = error.message
        is_named = "Kubeflow Pipelines" in message
    except Exception as other_error:
        raise AssertionError(change) from other_error
    else:
        is_named = True
    assert is_named, change
    assert "\n" not in message, change
    assert len(message) < 700, change
