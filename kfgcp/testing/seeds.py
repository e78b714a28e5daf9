"""Make up runs that have ended, for tests that need many runs quickly.

The runs exist only in memory. By default, their pipeline has one task, `train`, which outputs
metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict, Unpack

from kfgcp.errors import SpecError, UsageError
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec, from_documents
from kfgcp.spec.params import declared_params, resolve
from kfgcp.testing.instant import Instant, InstantRun
from kfgcp.testing.rules import Submission

PerRun = Any | Callable[[int], Any]
"""A value, or a function from the number of a run to the value."""

# In Python, True is an integer. So bool comes before int.
_PARAMETER_TYPES: Final = (
    (bool, "BOOLEAN"),
    (int, "NUMBER_INTEGER"),
    (float, "NUMBER_DOUBLE"),
    (list, "LIST"),
    (dict, "STRUCT"),
)


@dataclass(frozen=True, slots=True)
class Seed:
    """A run to add to a stand-in.

    Attributes:
        number: from 0, the oldest.
        id: the id of the run.
        created: Unix time in seconds.
        params: the parameters from `SeedOptions.params`, without defaults.
        submission: the pipeline and all its parameters, with defaults.
        execution: the made-up execution.
    """

    number: int
    id: str
    created: float
    params: JsonObject
    submission: Submission
    execution: InstantRun


class SeedOptions(TypedDict, total=False):
    """Options of seeded runs.

    A value of `params` or `metrics` may be a function. It is called with the number of the run,
    from 0, and returns the value for this run.

    Attributes:
        spec: a PipelineSpec. By default, it has the parameters of `params`, and a task `train` that
            outputs metrics.
        params: parameter -> value.
        metrics: name -> number, in the metadata of every artifact of type system.Metrics.
        failing: task -> message. If it is not empty, all runs fail.
        age: the time since the creation of the newest run in seconds, 0 by default.
        step: the time between the creation of a run and of the next one in seconds, 60 by default.
    """

    spec: JsonObject | None
    params: Mapping[str, PerRun] | None
    metrics: Mapping[str, PerRun] | None
    failing: Mapping[str, str] | None
    age: float
    step: float


def seeds(
    count: int, *, make_id: Callable[[str, int], str], root: str, **options: Unpack[SeedOptions]
) -> Iterator[Seed]:
    """Return seeded runs, the oldest first.

    Args:
        count: the number of runs.
        make_id: returns the id of a run, from the name of its pipeline and the number of the run.
        root: the gs:// folder in the URIs of artifacts. No object is written.
        options: the fields of `SeedOptions`.

    Raises:
        UsageError: the spec is invalid.
    """
    params = options.get("params") or {}
    document = options.get("spec")
    if document is None:
        document = seed_spec(values_for_run(params, 0))
    try:
        spec = from_documents([dict(document)], "spec")
    except SpecError as error:
        raise UsageError(f"The spec of the seed is invalid: {error.message}") from None
    return _yield_seeds(count, spec, make_id, root, options)


def _yield_seeds(
    count: int, spec: Spec, make_id: Callable[[str, int], str], root: str, options: SeedOptions
) -> Iterator[Seed]:
    """Yield seeded runs, see `seeds`."""
    definitions = declared_params(spec.pipeline_spec)
    newest_created = time.time() - options.get("age", 0.0)
    step = options.get("step", 60.0)
    for number in range(count):
        created = newest_created - (count - 1 - number) * step
        params = values_for_run(options.get("params") or {}, number)
        outcome = Instant(
            metrics=values_for_run(options.get("metrics") or {}, number),
            failing=dict(options.get("failing") or {}),
        )
        run_id = make_id(spec.name, number)
        submission = Submission(spec, resolve(definitions, params))
        execution = InstantRun(submission, run_id, root, created, outcome)
        yield Seed(number, run_id, created, params, submission, execution)


def value_for_run(value: PerRun, number: int) -> Any:
    """Return the value for one run. number: the number of the run, from 0.

    Example:
        >>> value_for_run(0.5, 3)
        0.5
        >>> value_for_run(lambda number: number * 10, 3)
        30
    """
    return value(number) if callable(value) else value


def values_for_run(values: Mapping[str, PerRun], number: int) -> dict[str, Any]:
    """Return the values for one run, by name. number: the number of the run, from 0."""
    return {name: value_for_run(value, number) for name, value in values.items()}


def seed_spec(params: JsonObject) -> dict[str, Any]:
    """Return a PipelineSpec with a parameter for each value, and a task `train` that gets them."""
    inputs = {name: {"parameterType": _parameter_type(value)} for name, value in params.items()}
    task_inputs = {name: {"componentInputParameter": name} for name in params}
    metrics = {"artifactType": {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}}
    task = {
        "taskInfo": {"name": "train"},
        "componentRef": {"name": "comp-train"},
        "inputs": {"parameters": task_inputs},
    }
    component = {
        "executorLabel": "exec-train",
        "inputDefinitions": {"parameters": inputs},
        "outputDefinitions": {"artifacts": {"metrics": metrics}},
    }
    container = {"image": "python:3.11", "command": ["true"]}
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "seeded"},
        "root": {
            "inputDefinitions": {"parameters": inputs},
            "dag": {"tasks": {"train": task}},
        },
        "components": {"comp-train": component},
        "deploymentSpec": {"executors": {"exec-train": {"container": container}}},
    }


def _parameter_type(value: object) -> str:
    for python_type, parameter_type in _PARAMETER_TYPES:
        if isinstance(value, python_type):
            return parameter_type
    return "STRING"
