"""Recorded runs with one field that is wrong: they are read, or refused in one line, and nothing
else.

Each field of `run.json` and `mlmd.json` is removed, null, of another type, and huge. `make test`
tries a sample.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import json_format

import recorded_runs
from json_types import JsonDict
from kfgcp.backends.kubeflow.execution import Execution
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.backends.kubeflow.messages import check_run
from kfgcp.backends.kubeflow.pod_attempts import read_pods
from kfgcp.backends.kubeflow.progress import read_progress
from kfgcp.backends.kubeflow.read_run import Where, read_run
from kfgcp.errors import BackendError
from kfgcp.model import json_text
from recorded_runs import RecordedMetadata
from trials import Trial

SAMPLE = 10
"""Changes of each recording in `make test`."""
WRONG_JSON = (KeyError, TypeError, ValueError, AttributeError)
WHERE = Where("https://kfp.acme.example", "gke")
Place = tuple[str | int, ...]
CHANGES = ("removed", "null", "of another type", "huge")
HUGE_TEXT = "x" * 100_000
HUGE_NUMBER = str(2**63 - 1)
"""As protobuf writes an int64 in JSON."""
BIG_PARTS = (
    "pipeline_spec",
    "types",
    "contexts_of_executions",
    "parents",
    "artifacts_of_events_not_in_the_context",
)
"""Specs are mutated by other tests; the rest of mlmd.json is not read."""


@dataclass(frozen=True)
class Mutation:
    """One change of one file of a recording."""

    name: str
    file: str
    place: Place
    change: str

    def __str__(self) -> str:
        return f"{self.name}/{self.file}: {'.'.join(map(str, self.place))} is {self.change}"


def mutations(name: str) -> list[Mutation]:
    """Return all changes of a recording, in a fixed order."""
    run = [
        Mutation(name, "run.json", place, change)
        for place in _places(_answer(name))
        for change in CHANGES
    ]
    # In the JSON of a message, null is the same as nothing.
    changes = [change for change in CHANGES if change != "null"]
    return run + [
        Mutation(name, "mlmd.json", place, change)
        for place in _places(_content(name))
        for change in changes
    ]


@cache
def _answer(name: str) -> JsonDict:
    return recorded_runs.run_answer(name)


@cache
def _content(name: str) -> JsonDict:
    return recorded_runs.metadata(name)


@cache
def _executions(name: str) -> list[Execution]:
    return _metadata(_content(name)).read_executions(_answer(name)["run_id"])


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    if place:
        yield place
    if isinstance(value, dict):
        for key in value:
            if key not in BIG_PARTS:
                yield from _places(value[key], (*place, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _places(item, (*place, number))


def mutate(content: Any, place: Place, change: str) -> Any:
    """Return the content of a file with a change; only what is around the change is copied."""
    changed = copy.copy(content)
    parent = changed
    for key in place[:-1]:
        parent[key] = copy.copy(parent[key])
        parent = parent[key]
    last: Any = place[-1]
    before = parent[last]
    if change == "removed":
        del parent[last]
    elif change == "null":
        parent[last] = None
    elif change == "huge":
        parent[last] = _huge(before)
    elif str(last).endswith("_value"):
        # A value of ML Metadata says its type in its key.
        del parent[last]
        parent.update({"int_value": "7"} if last == "string_value" else {"string_value": "seven"})
    else:
        parent[last] = _of_another_type(before)
    return changed


def _huge(value: Any) -> Any:
    if isinstance(value, dict):
        return value | {f"{HUGE_TEXT}{number}": number for number in range(3)}
    if isinstance(value, list):
        return [copy.deepcopy(item) for item in value * 300]
    if isinstance(value, str):
        return HUGE_NUMBER if value.isdigit() else HUGE_TEXT
    return 1.7976931348623157e308 if isinstance(value, float) else 2**63 - 1


def _of_another_type(value: Any) -> Any:
    if isinstance(value, str):
        return 7
    if isinstance(value, bool | int | float):
        return "seven"
    return "text" if isinstance(value, dict) else {"0": value}


def read(mutation: Mutation) -> bool:
    """Read a changed recording.

    Returns:
        Whether it could be read; else it was refused in one line, or there is no such message of ML
        Metadata.
    """
    answer = _answer(mutation.name)
    try:
        if mutation.file == "run.json":
            run = check_run(mutate(answer, mutation.place, mutation.change))
            executions = _executions(mutation.name)
        else:
            run = check_run(answer)
            metadata = _metadata(mutate(_content(mutation.name), mutation.place, mutation.change))
            executions = metadata.read_executions(run["run_id"])
        shown_run, _ = read_run(run, WHERE, executions=executions)
        read_pods(run, executions)
    except BackendError as error:
        _check_message(error.message)
        return False
    except _NoMessage:
        return False
    json.loads(json_text(shown_run.to_dict()))
    if shown_run.state.final:
        assert [task.path for task in shown_run.tasks if not task.state.final] == []
    assert shown_run.state is read_progress(run).state
    return True


def _check_message(message: str) -> None:
    assert message
    assert "\n" not in message
    assert len(message) < 500


class _NoMessage(Exception):
    """A mutation of the JSON is not a message of ML Metadata, so no server can send it."""


class _Http:
    """Answers with a recording instead of a socket."""

    def __init__(self, recorded: RecordedMetadata) -> None:
        self._recorded = recorded

    def exchange(self, method: str, path: str, *, data: bytes, **options: Any) -> Any:
        try:
            body = self._recorded.answer(path.rpartition("/")[2], data)
        except (json_format.ParseError, *WRONG_JSON) as error:
            raise _NoMessage from error
        return SimpleNamespace(status=200, body=body, headers={})


def _metadata(recording: Any) -> Metadata:
    try:
        http: Any = _Http(RecordedMetadata([recording]))
    except WRONG_JSON as error:
        raise _NoMessage from error
    return Metadata(http)


@pytest.mark.trial("recorded runs of Kubeflow with one wrong field")
@pytest.mark.parametrize("name", recorded_runs.names())
def test_a_recorded_run_with_one_wrong_field(trial: Trial, name: str) -> None:
    everything = mutations(name)
    tried = everything if trial.is_proof else trial.random().sample(everything, SAMPLE)
    outcomes = []
    for mutation in tried:
        try:
            outcomes.append(read(mutation))
        except Exception as error:
            raise AssertionError(str(mutation)) from error
        trial.count("wrong fields")
    assert any(outcomes)


def test_the_changes_are_what_they_are_called() -> None:
    content = {"a": [{"b": "text", "n": 1}]}
    mutation = Mutation("hello", "run.json", ("a", 0, "b"), "removed")

    assert str(mutation) == "hello/run.json: a.0.b is removed"
    assert mutate(content, mutation.place, "removed") == {"a": [{"n": 1}]}
    assert mutate(content, mutation.place, "null") == {"a": [{"b": None, "n": 1}]}
    assert mutate(content, mutation.place, "of another type") == {"a": [{"b": 7, "n": 1}]}
    assert mutate(content, mutation.place, "huge") == {"a": [{"b": HUGE_TEXT, "n": 1}]}
    assert content == {"a": [{"b": "text", "n": 1}]}
    assert list(_places(content)) == [("a",), ("a", 0), ("a", 0, "b"), ("a", 0, "n")]
    assert read(Mutation("hello", "run.json", ("run_id",), "removed")) is False
    assert read(replace(mutation, place=("description",))) is True
