"""Rules never fail, whatever a valid pipeline contains, and their findings are one line each."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.backends.registry import BUILT_IN
from kfgcp.errors import KfgcpError
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.rule import Target, judge
from kfgcp.spec.load import Spec, from_documents, load
from kfgcp.tracking.check import rules_for
from trials import Trial

SPECS = Path(__file__).parents[1] / "engine" / "specs"

# Values that are unusual at most places of a pipeline.
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    7,
    2.5,
    1e300,
    2**64,
    "",
    "a",
    "{",
    "{}",
    "{x}",
    "%s",
    "line\nbreak",
    "ünï",
    "{{$}}",
    "{{$.inputs.parameters['x']}}",
    "{{$.inputs.artifacts['x'].uri}}",
    "[1, 2]",
    '{"a": 1}',
    "[[",
    "nvidia.com/gpu",
    "secret:A",
    "localhost:5000/image:latest",
    "https://me:password@index.acme.example",
    "inputs.parameter_values['x'] == 'True'",
    [],
    [1, "b"],
    {},
    {"a": {"b": []}},
)

Place = tuple[str | int, ...]


def places_below(value: object, place: Place = ()) -> list[Place]:
    """Return the places of all values inside a value."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    places = [place] if place else []
    for key, item in items:
        places += places_below(item, (*place, key))
    return places


def edit(document: JsonDict, numbers: random.Random) -> None:
    """Remove or replace one value of a document, or put another part of it in its place."""
    place = numbers.choice(places_below(document))
    parent: Any = document
    for key in place[:-1]:
        parent = parent[key]
    action = numbers.choice(("remove", "replace", "swap"))
    if action == "remove":
        del parent[place[-1]]
    elif action == "replace":
        parent[place[-1]] = copy.deepcopy(numbers.choice(VALUES))
    else:
        other: Any = document
        for key in numbers.choice(places_below(document)):
            other = other[key]
        parent[place[-1]] = copy.deepcopy(other)


def load_edited(original: Spec, numbers: random.Random) -> Spec | None:
    """Return a pipeline after one to three edits, None when it is not valid any more."""
    documents = [copy.deepcopy(original.pipeline_spec)]
    if original.platform_spec is not None:
        documents.append(copy.deepcopy(original.platform_spec))
    for _ in range(numbers.randint(1, 3)):
        edit(numbers.choice(documents), numbers)
    try:
        return from_documents(documents, "edited.yaml")
    except KfgcpError:
        return None


@pytest.mark.trial("rules of kfgcp check on specs with random edits")
def test_rules_survive_random_edits(trial: Trial) -> None:
    numbers = trial.random()
    originals = [load(file) for file in sorted(SPECS.glob("*.yaml"))]
    valid = 0
    edits = trial.size(sample=300, proof=20_000)

    for _ in range(edits):
        spec = load_edited(numbers.choice(originals), numbers)
        if spec is None:
            continue
        valid += 1
        pipeline = PipelineContext(spec)
        for backend in BUILT_IN:
            for finding in judge(rules_for(backend), pipeline, Target(backend, backend)):
                assert finding.message
                assert "\n" not in finding.message + finding.hint, finding

    assert valid > edits / 20, "too few edits leave a valid pipeline to say something about rules"
    trial.count("edits", edits)
    trial.count("valid pipelines", valid)
