"""The parts of a run that remote backends read in the same way from the answers of services.

Services tell less about a run than its specification says: they leave out defaults, the order of
values, and the outputs of groups of tasks. The functions here add these from the spec.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from kfgcp.errors import BackendError, SpecError
from kfgcp.model import (
    Artifact,
    ErrorInfo,
    JsonValue,
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
"""The kinds of tasks that do work themselves. Tasks of the other kinds are groups of tasks."""

# The sort key of tasks without a time. It is greater than every RFC 3339 text.
_AFTER_ALL_TIMES: Final = "~"


def read_spec(document: object) -> tuple[Spec | None, Graph | None]:
    """Return a spec and its graph, or (None, None) when kfgcp cannot read the spec.

    kfgcp cannot read the spec of an older SDK, and a spec with features that only the service has.

    Args:
        document: the PipelineSpec as the service returns it.
    """
    if not isinstance(document, Mapping) or "root" not in document:
        return None, None
    return _read_spec(json.dumps(document, sort_keys=True))


# Most runs of a list share their spec with other runs, so the results are kept.
@lru_cache(maxsize=64)
def _read_spec(text: str) -> tuple[Spec | None, Graph | None]:
    try:
        spec = from_documents([normalize_numbers(json.loads(text))], "pipelineSpec")
    except SpecError:
        return None, None
    return spec, build(spec.pipeline_spec)


def parse_time(text: object, service: str) -> str | None:
    """Return a time of a service in the form that kfgcp uses, None when there is no time.

    A time without a zone is in UTC.

    Args:
        text: RFC 3339 text.
        service: the name of the service, for messages.

    Raises:
        BackendError: the text is not a time.
    """
    if not isinstance(text, str) or not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return timestamp(moment.timestamp())
    except (ValueError, OverflowError):
        raise BackendError(
            f"{service} answered with a time that cannot be read: {text[:100]}.",
            hint="Check whether a proxy changes answers. If not, update kfgcp.",
        ) from None


def read_params(values: Mapping[str, JsonValue], spec: Spec | None) -> dict[str, JsonValue]:
    """Return the values of a pipeline's parameters.

    Declared parameters come first, in the order of their declaration. A parameter for which the
    service has no value gets its default.

    Args:
        values: the values that the service has.
        spec: the pipeline, None when it cannot be read.
    """
    if spec is None:
        return dict(values)
    params: dict[str, JsonValue] = {}
    for name, param in spec.params.items():
        default = param.default if param.has_default else None
        params[name] = convert_value(values.get(name, default), param.type)
    for name, value in values.items():
        params.setdefault(name, value)
    return params


def convert_value(value: JsonValue, parameter_type: str) -> JsonValue:
    """Return the value of a parameter in the type that the pipeline declares.

    A service may return 2**60 as a float, 1e300 with all its digits, and a list as JSON text
    (schema 2.0.0).

    Args:
        value: the value that the service returned.
        parameter_type: the declared type, such as NUMBER_INTEGER.
    """
    if isinstance(value, str) and parameter_type in ("BOOLEAN", "LIST", "STRUCT"):
        with suppress(ValueError):
            parsed: JsonValue = parse_json(value)
            return parsed
    converted: JsonValue = normalize_parameter(parameter_type, value)
    return converted


def order_values(
    values: Mapping[str, JsonValue], component: Component | None, *, are_inputs: bool
) -> dict[str, JsonValue]:
    """Return the inputs or outputs of a task in the order in which its component declares them.

    The JSON objects of services have no order. Undeclared values come last, sorted by name.

    Args:
        values: the inputs or the outputs, by name.
        component: the component that the task runs, None when it is not known.
        are_inputs: whether the values are inputs. Otherwise they are outputs.
    """
    if component is None:
        return dict(values)
    params = component.params if are_inputs else component.output_params
    artifacts = component.artifacts if are_inputs else component.output_artifacts
    ordered: dict[str, JsonValue] = {}
    for name in [*params, *artifacts, *sorted(values)]:
        if name not in values or name in ordered:
            continue
        ordered[name] = values[name]
        if name in params:
            ordered[name] = convert_value(values[name], params[name].type)
    return ordered


def uris_as_values(uris: Mapping[str, Sequence[str]]) -> dict[str, JsonValue]:
    """Return the URIs of artifacts as inputs or outputs of a task.

    The value of one artifact is its URI. The value of several artifacts is the list of their URIs.
    """
    values: dict[str, JsonValue] = {}
    for name, artifact_uris in uris.items():
        values[name] = artifact_uris[0] if len(artifact_uris) == 1 else list(artifact_uris)
    return values


def read_metrics(artifacts: Iterable[Artifact]) -> Iterator[Metric]:
    """Yield the numbers in the metadata of artifacts of the type system.Metrics."""
    for artifact in artifacts:
        if artifact.type != METRICS:
            continue
        for name, value in artifact.metadata.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield Metric(artifact.task, artifact.name, name, value)


def dag_outputs(
    component: Component | None, tasks: Mapping[str, Task], prefix: str = ""
) -> dict[str, JsonValue]:
    """Return the outputs of a DAG.

    An output with several producers has the value of the first producer that succeeded
    (semantics.md, OneOf).

    Args:
        component: the component of the DAG. The pipeline itself is a DAG, too.
        tasks: the tasks of the run, by their paths.
        prefix: the beginning of the paths of the tasks in this DAG: `group/`, or "" for the
            pipeline.
    """
    dag = component.dag if component is not None else None
    if dag is None:
        return {}
    outputs: dict[str, JsonValue] = {}
    for name, producers in [*dag.param_outputs.items(), *dag.artifact_outputs.items()]:
        for producer in producers:
            task = tasks.get(f"{prefix}{producer.task}")
            value = None
            if task is not None and task.state.ok:
                value = task.outputs.get(producer.output)
            if value is not None:
                outputs[name] = value
                break
    return outputs


def add_group_outputs(tasks: Sequence[Task], components: Mapping[str, Component]) -> list[Task]:
    """Return the tasks with the outputs of DAGs and loops, which services leave out.

    The outputs of a DAG are outputs of tasks in it. An output of a loop is the list of the outputs
    of its iterations, in the order of the iterations (semantics.md, Collected).

    Args:
        tasks: the tasks of a run.
        components: the components that DAGs, loops and iterations run, by their paths.
    """
    tasks_by_path = {task.path: task for task in tasks}
    inner_paths = group_by_parent(tasks_by_path)
    # The outputs of a group may come from a group inside it, so the deepest groups come first.
    for path in sorted(components, key=_depth, reverse=True):
        task = tasks_by_path[path]
        if task.outputs or not task.state.ok:
            continue
        if task.kind is TaskKind.LOOP:
            inner_tasks = [tasks_by_path[inner_path] for inner_path in inner_paths[path]]
            iterations = _sort_iterations(path, inner_tasks)
            outputs = _loop_outputs(components[path], iterations)
        else:
            outputs = dag_outputs(components[path], tasks_by_path, f"{path}/")
        tasks_by_path[path] = replace(task, outputs=outputs)
    return [tasks_by_path[task.path] for task in tasks]


def _depth(path: str) -> int:
    """Return how many groups a task is in."""
    return len(list(enclosing_paths(path)))


def _sort_iterations(loop_path: str, inner_tasks: Iterable[Task]) -> list[Task]:
    """Return the iterations of a loop, in the order of their numbers."""
    iteration_by_number: dict[int, Task] = {}
    for task in inner_tasks:
        # The path of an iteration is `LOOP[NUMBER]`.
        if task.path.endswith("]"):
            number = task.path[len(loop_path) + 1 : -1]
            iteration_by_number[int(number)] = task
    return [iteration_by_number[number] for number in sorted(iteration_by_number)]


def _loop_outputs(component: Component, iterations: Sequence[Task]) -> dict[str, JsonValue]:
    if component.dag is None:
        return {}
    outputs: dict[str, JsonValue] = {}
    for name in [*component.dag.param_outputs, *component.dag.artifact_outputs]:
        outputs[name] = [task.outputs[name] for task in iterations if name in task.outputs]
    return outputs


def group_by_parent(paths: Iterable[str]) -> defaultdict[str, list[str]]:
    """Return the paths of the tasks in each group, by the path of the group.

    The pipeline is the group with the path "". An iteration is in its loop.
    """
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        parent = next(enclosing_paths(path), "")
        groups[parent].append(path)
    return groups


def add_group_errors(tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks, with the causes of failed DAGs and loops.

    A failed group gets the error of the first task that failed inside it. The error that the
    service gives for a group says only that a task in the group failed.
    """
    failed_inside: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.state is TaskState.FAILED:
            for path in enclosing_paths(task.path):
                failed_inside[path].append(task)
    result = []
    for task in tasks:
        if task.state is TaskState.FAILED and task.kind not in LEAVES:
            error = find_first_failure(failed_inside[task.path]) or task.error
            result.append(replace(task, error=error))
        else:
            result.append(task)
    return result


def replace_error(run: Run, error: ErrorInfo) -> Run:
    """Return a run with another error. Tasks with the old error of the run get it, too."""
    tasks: list[Task] = []
    for task in run.tasks:
        has_error_of_run = task.error == run.error
        tasks.append(replace(task, error=error) if has_error_of_run else task)
    return replace(run, error=error, tasks=tuple(tasks))


def has_log_end(run: Run) -> bool:
    """Return whether the error of a run has the end of the failing task's log.

    True when no task has failed.
    """
    error = run.error
    return error is None or error.task is None or bool(error.log_tail)


def find_first_failure(tasks: Iterable[Task]) -> ErrorInfo | None:
    """Return the error of the task that failed first, None when no task has an error.

    The error of a group is returned only when no task that does work itself has an error.
    """
    failed = [task for task in tasks if task.state is TaskState.FAILED and task.error is not None]
    failed_leaves = [task for task in failed if task.kind in LEAVES]
    first = min(failed_leaves or failed, key=_end_time, default=None)
    return first.error if first is not None else None


def _end_time(task: Task) -> str:
    return task.ended_at or _AFTER_ALL_TIMES
