"""Seeded runs: made up, in memory, and ended. Their pipeline, when they bring none, has one task,
`train`, which puts out metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from kfgcp.errors import SpecError, UsageError
from kfgcp.spec.load import from_documents
from kfgcp.spec.params import declared_params, resolve
from kfgcp.testing.instant import Instant, InstantRun
from kfgcp.testing.rules import Submission

PerRun = Any | Callable[[int], Any]
"""A value, or a function from the number of a run to the value."""

_KINDS = (
    (bool, "BOOLEAN"),
    (int, "NUMBER_INTEGER"),
    (float, "NUMBER_DOUBLE"),
    (list, "LIST"),
    (dict, "STRUCT"),
)


@dataclass(frozen=True, slots=True)
class Seed:
    """A run to add. number: from 0, the oldest. id: as asked for. created: Unix time in seconds.
    params: those that were set."""

    number: int
    id: str
    created: float
    params: Mapping[str, Any]
    submission: Submission
    execution: InstantRun


class SeedOptions(TypedDict, total=False):
    """What seeded runs are like. What may be a function is called with the number of the run, from
    0.

    spec: a PipelineSpec; by default one with the parameters of `params` and a task `train` with
    metrics. params: parameter -> value, for each run. metrics: name -> number, in every artifact of
    system.Metrics. failing: task -> message, for runs that FAILED. age: seconds since the newest
    one was created, 0 by default. step: seconds between one and the next, 60 by default.
    """

    spec: Mapping[str, Any] | None
    params: Mapping[str, PerRun] | None
    metrics: Mapping[str, PerRun] | None
    failing: Mapping[str, str] | None
    age: float
    step: float


def seeds(
    count: int, *, id_of: Callable[[str, int], str], root: str, **how: Unpack[SeedOptions]
) -> Iterator[Seed]:
    """Seeded runs, the oldest first.

    Args:
        count: how many.
        id_of: gives the id of a run, from the name of its pipeline and its number.
        root: gs:// folder that artifacts pretend to be in.
        how: fields of `SeedOptions`.

    Raises:
        UsageError: the spec is invalid.
    """
    spec, params, metrics = how.get("spec"), how.get("params"), how.get("metrics")
    age, step = how.get("age", 0.0), how.get("step", 60.0)
    given = {name: value_for_run(value, 0) for name, value in (params or {}).items()}
    try:
        found = from_documents([dict(spec) if spec is not None else seed_spec(given)], "spec")
    except SpecError as error:
        raise UsageError(f"The spec of the seed is invalid: {error.message}") from None
    definitions, now = declared_params(found.pipeline_spec), time.time()
    for number in range(count):
        created = now - age - (count - 1 - number) * step
        values = {name: value_for_run(value, number) for name, value in (params or {}).items()}
        turns_out = Instant(
            metrics={name: value_for_run(value, number) for name, value in (metrics or {}).items()},
            failing=dict(how.get("failing") or {}),
        )
        run_id = id_of(found.name, number)
        submission = Submission(found, resolve(definitions, values))
        yield Seed(
            number,
            run_id,
            created,
            values,
            submission,
            InstantRun(submission, run_id, root, created, turns_out),
        )


def value_for_run(value: PerRun, number: int) -> Any:
    """The value for the run of that number."""
    return value(number) if callable(value) else value


def seed_spec(params: Mapping[str, Any]) -> dict[str, Any]:
    """A PipelineSpec with parameters of the types of these values, which all go to the task."""
    inputs = {
        "parameters": {name: {"parameterType": _kind(value)} for name, value in params.items()}
    }
    metrics = {"artifactType": {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}}
    task = {
        "taskInfo": {"name": "train"},
        "componentRef": {"name": "comp-train"},
        "inputs": {"parameters": {name: {"componentInputParameter": name} for name in params}},
    }
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "seeded"},
        "root": {"inputDefinitions": inputs, "dag": {"tasks": {"train": task}}},
        "components": {
            "comp-train": {
                "executorLabel": "exec-train",
                "inputDefinitions": inputs,
                "outputDefinitions": {"artifacts": {"metrics": metrics}},
            }
        },
        "deploymentSpec": {
            "executors": {
                "exec-train": {"container": {"image": "python:3.11", "command": ["true"]}}
            }
        },
    }


def _kind(value: Any) -> str:
    return next((kind for type_, kind in _KINDS if isinstance(value, type_)), "STRING")
