"""What services say of runs, as values of ours: what the remote backends have in common."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from kfgcp.errors import BackendError, SpecError
from kfgcp.model import (
    Artifact,
    ErrorInfo,
    ErrorKind,
    Metric,
    Run,
    Task,
    TaskKind,
    TaskState,
    enclosing_paths,
    timestamp,
)
from kfgcp.spec.documents import parse_json
from kfgcp.spec.graph import Component, Graph, build
from kfgcp.spec.json_values import normalize_numbers, normalize_parameter
from kfgcp.spec.load import Spec, from_documents

METRICS: Final = "system.Metrics"
LEAVES: Final = (TaskKind.CONTAINER, TaskKind.IMPORTER)


def read_spec(document: Any) -> tuple[Spec | None, Graph | None]:
    """A spec and its graph; nothing for one of an older SDK, or with what only the service
    knows."""
    if not isinstance(document, Mapping) or "root" not in document:
        return None, None
    return _read_spec(json.dumps(document, sort_keys=True))


@lru_cache(maxsize=64)
def _read_spec(text: str) -> tuple[Spec | None, Graph | None]:
    """Most runs share their spec with others."""
    try:
        spec = from_documents([normalize_numbers(json.loads(text))], "pipelineSpec")
    except SpecError:
        return None, None
    return spec, build(spec.pipeline_spec)


def time_of(text: Any, service: str) -> str | None:
    """A time of a service as ours, None when there is none; one without a zone is in UTC.

    Raises:
        BackendError: it is no time.
    """
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return timestamp((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise BackendError(
            f"{service} answered with a time that is none: {text[:100]}.",
            hint="Does a proxy change answers? If not, update kfgcp.",
        ) from None


def params_of(given: Mapping[str, Any], spec: Spec | None) -> dict[str, Any]:
    """The values of the pipeline's parameters, in the order of its declaration; defaults where
    nothing was given."""
    if spec is None:
        return dict(given)
    declared = {
        name: typed(given.get(name, param.default if param.has_default else None), param.type)
        for name, param in spec.params.items()
    }
    return declared | {name: value for name, value in given.items() if name not in declared}


def typed(value: Any, kind: str) -> Any:
    """A value of a service as its parameter has it: 2**60 may come as a float, 1e300 with all
    digits, and in schema 2.0.0 a list as its JSON."""
    if isinstance(value, str) and kind in ("BOOLEAN", "LIST", "STRUCT"):
        with suppress(ValueError):
            return parse_json(value)
    return normalize_parameter(kind, value)


def in_order(
    values: Mapping[str, Any], component: Component | None, *, inside: bool
) -> dict[str, Any]:
    """Inputs (`inside`) or outputs as the component declares them; a JSON object of a service has
    no order."""
    if component is None:
        return dict(values)
    params = component.params if inside else component.output_params
    artifacts = component.artifacts if inside else component.output_artifacts
    order = {name: number for number, name in enumerate([*params, *artifacts])}
    found = {
        name: typed(value, params[name].type) if name in params else value
        for name, value in values.items()
    }
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))


def one_or_all(uris: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Artifacts as values of a task: an URI, or all of a list of artifacts."""
    return {name: found[0] if len(found) == 1 else list(found) for name, found in uris.items()}


def metrics_of(artifacts: Iterable[Artifact]) -> Iterator[Metric]:
    """The scalars in the metadata of artifacts that hold metrics."""
    for artifact in artifacts:
        if artifact.type == METRICS:
            for name, value in artifact.metadata.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    yield Metric(artifact.task, artifact.name, name, value)


def outputs_of(
    component: Component | None, tasks: Mapping[str, Task], prefix: str = ""
) -> dict[str, Any]:
    """The outputs of a DAG: those of the first producer of each that did its work (semantics.md,
    OneOf).

    Args:
        component: the pipeline's, or that of a DAG in it.
        tasks: by their paths.
        prefix: what the paths of the DAG's own tasks begin with.
    """
    dag = component.dag if component is not None else None
    if dag is None:
        return {}
    found = {}
    for name, producers in (*dag.param_outputs.items(), *dag.artifact_outputs.items()):
        made = [tasks[path] for each in producers if (path := f"{prefix}{each.task}") in tasks]
        keys = {f"{prefix}{each.task}": each.output for each in producers}
        values = (task.outputs.get(keys[task.path]) for task in made if task.state.ok)
        if (first := next((value for value in values if value is not None), None)) is not None:
            found[name] = first
    return found


def with_group_outputs(tasks: Sequence[Task], components: Mapping[str, Component]) -> list[Task]:
    """The tasks with the outputs of DAGs and loops that the service leaves out: of a DAG those of
    its tasks, of a loop the lists of those of its iterations, in their order (semantics.md,
    Collected).

    Args:
        tasks: of a run.
        components: what DAGs, loops and iterations run, by their paths.
    """
    found = {task.path: task for task in tasks}
    inside = by_parent(found)
    for path in sorted(components, key=lambda each: -len([*enclosing_paths(each)])):
        task = found[path]
        if task.outputs or not task.state.ok:
            continue
        if task.kind is TaskKind.LOOP:
            numbered = {
                int(each[len(path) + 1 : -1]): found[each]
                for each in inside[path]
                if each.endswith("]")
            }
            iterations = [numbered[number] for number in sorted(numbered)]
            dag = components[path].dag
            names = [*dag.param_outputs, *dag.artifact_outputs] if dag is not None else []
            outputs: dict[str, Any] = {
                name: [each.outputs[name] for each in iterations if name in each.outputs]
                for name in names
            }
        else:
            outputs = outputs_of(components[path], found, f"{path}/")
        found[path] = replace(task, outputs=outputs)
    return [found[task.path] for task in tasks]


def by_parent(paths: Iterable[str]) -> defaultdict[str, list[str]]:
    """The paths of tasks by the path that they stand in, "" for the pipeline; iterations stand in
    their loop."""
    found = defaultdict(list)
    for path in paths:
        found[next(enclosing_paths(path), "")].append(path)
    return found


def with_group_errors(tasks: Sequence[Task]) -> list[Task]:
    """The tasks; DAGs and loops that failed with the first failure inside of them, which says more
    than theirs."""
    failed: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.state is TaskState.FAILED:
            for path in enclosing_paths(task.path):
                failed[path].append(task)
    return [
        replace(task, error=first_failure(failed[task.path]) or task.error)
        if task.state is TaskState.FAILED and task.kind not in LEAVES
        else task
        for task in tasks
    ]


def with_failure(run: Run, failure: ErrorInfo) -> Run:
    """The run whose error, and that of each task that has the same one, is told in more words."""
    tasks = (
        replace(task, error=failure) if task.error == run.error else task for task in run.tasks
    )
    return replace(run, error=failure, tasks=tuple(tasks))


def has_log_end(run: Run) -> bool:
    """Return whether the error of a run has the end of the failing task's log. True when no task
    has failed."""
    error = run.error
    return error is None or error.task is None or bool(error.log_tail)


def first_failure(tasks: Iterable[Task]) -> ErrorInfo | None:
    """Why a run failed: the first failure of a task that does work itself, else that of a DAG."""
    failed = [task for task in tasks if task.state is TaskState.FAILED and task.error is not None]
    leaves = [task for task in failed if task.kind in LEAVES] or failed
    first = min(leaves, key=lambda task: task.ended_at or "~", default=None)
    return first.error if first is not None else None


def reason(
    error: Any, missing: str, task: str | None = None, *, kind: ErrorKind | None = None
) -> ErrorInfo:
    """Return the error that a service gives, as one line.

    Args:
        error: the field of the answer.
        missing: the message when the service gives none.
        task: the path of the task.
        kind: of the error that the service did not explain.
    """
    message = error.get("message") if isinstance(error, Mapping) else None
    if not message:
        return ErrorInfo(missing, task, kind=kind)
    return ErrorInfo(" ".join(str(message).split()), task)
