"""Check whether a plain value is a PipelineSpec that can run.

`kfgcp.spec.shapes` checks the types of the fields. This module then checks every name that refers
to another part of the spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject, Place
from kfgcp.spec.shapes import PIPELINE, PLATFORM, InvalidError

# The plural name of each kind of input and output -> its singular, which ends field names such as
# `taskOutputParameter`.
_KINDS: Final = {"parameters": "Parameter", "artifacts": "Artifact"}


def validate(pipeline_spec: Any) -> None:
    """Check that a plain value is a PipelineSpec whose parts fit together.

    Raises:
        InvalidError: it is not. The error has the first problem and its place.

    Example:
        >>> try:
        ...     validate({"schemaVersion": "2.1.0"})
        ... except InvalidError as error:
        ...     print(error.place, error)
        ('pipelineInfo',) is missing
    """
    PIPELINE(pipeline_spec, ())
    components = pipeline_spec["components"]
    executors = pipeline_spec["deploymentSpec"].get("executors", {})
    # The second loop looks up components by their names, so the first loop checks the names before.
    for place, component in _all_components(pipeline_spec):
        _check_implementation(component, place, executors)
        for key, task in component.get("dag", {}).get("tasks", {}).items():
            task_place = place + ("dag", "tasks", key, "componentRef", "name")
            _check_name(task["componentRef"]["name"], components, task_place, "components")
    for place, component in _all_components(pipeline_spec):
        if "dag" in component:
            _check_dag(component, place, components)
    _check_recursion(components)


def is_valid(pipeline_spec: Any) -> bool:
    """Return whether `validate` accepts a plain value.

    Example:
        >>> is_valid({"schemaVersion": "2.1.0"})
        False
    """
    try:
        validate(pipeline_spec)
    except InvalidError:
        return False
    return True


def validate_platform(platform_spec: Any) -> None:
    """Check that a plain value is a PlatformSpec, the second document of a compiled file.

    Raises:
        InvalidError: it is not. The error has the first problem and its place.
    """
    PLATFORM(platform_spec, ())


def _all_components(spec: JsonObject) -> Iterator[tuple[Place, JsonObject]]:
    """Yield the root and the components, each with its place."""
    yield ("root",), spec["root"]
    for name, component in spec["components"].items():
        yield ("components", name), component


def _check_implementation(component: JsonObject, place: Place, executors: JsonObject) -> None:
    """Check that a component has either a DAG or an executor that exists."""
    if "dag" in component and "executorLabel" in component:
        raise InvalidError(place, "has both a dag and an executorLabel")
    if place == ("root",) and "dag" not in component:
        raise InvalidError(("root", "dag"), "is missing")
    if "executorLabel" in component:
        label_place = place + ("executorLabel",)
        label = component["executorLabel"]
        _check_name(label, executors, label_place, "deploymentSpec.executors")
    elif "dag" not in component:
        raise InvalidError(place, "has neither a dag nor an executorLabel")


def _check_dag(component: JsonObject, place: Place, components: JsonObject) -> None:
    """Check all names in the DAG of a component, and that its tasks do not wait for each other."""
    tasks = component["dag"]["tasks"]
    upstream: dict[str, set[str]] = {}
    for key, task in tasks.items():
        task_place = place + ("dag", "tasks", key)
        for index, other in enumerate(task.get("dependentTasks", ())):
            other_place = task_place + ("dependentTasks", index)
            _check_name(other, tasks, other_place, "the tasks of the same dag")
        producers = _check_inputs(task, task_place, component, components)
        upstream[key] = producers | set(task.get("dependentTasks", ()))
    _check_cycle(upstream, place + ("dag", "tasks"), "the tasks wait for each other")
    for selector in _output_selectors(component["dag"].get("outputs", {})):
        selector_place = place + ("dag", "outputs") + selector.place
        producer = selector.body["producerSubtask"]
        producer_place = selector_place + ("producerSubtask",)
        _check_name(producer, tasks, producer_place, "the tasks of the dag")
        _check_output(tasks[producer], selector.body, selector.kind, selector_place, components)


def _check_inputs(
    task: JsonObject, place: Place, dag_component: JsonObject, components: JsonObject
) -> set[str]:
    """Check the sources of a task's inputs.

    Args:
        task: the task.
        place: where it is.
        dag_component: the component whose DAG it is in.
        components: all components.

    Returns:
        The keys of the tasks that the inputs come from.
    """
    tasks = dag_component["dag"]["tasks"]
    producers = set()
    for kind, singular in _KINDS.items():
        dag_inputs = dag_component.get("inputDefinitions", {}).get(kind, {})
        for name, source in task.get("inputs", {}).get(kind, {}).items():
            input_place = place + ("inputs", kind, name)
            for field in (f"taskOutput{singular}", "taskFinalStatus"):
                if field not in source:
                    continue
                field_place = input_place + (field,)
                producer = source[field]["producerTask"]
                producer_place = field_place + ("producerTask",)
                _check_name(producer, tasks, producer_place, "the tasks of the same dag")
                producers.add(producer)
                if field != "taskFinalStatus":
                    _check_output(tasks[producer], source[field], kind, field_place, components)
            field = f"componentInput{singular}"
            if field in source:
                among = f"the input {kind} of the component that contains the task"
                _check_name(source[field], dag_inputs, input_place + (field,), among)
    return producers


def _check_output(
    task: JsonObject, selector: JsonObject, kind: str, place: Place, components: JsonObject
) -> None:
    """Check that the component of a task has the output that a selector names.

    Args:
        task: the task that has the output.
        selector: names the output.
        kind: `parameters` or `artifacts`.
        place: where the selector is.
        components: all components.
    """
    field = "outputParameterKey" if kind == "parameters" else "outputArtifactKey"
    component = task["componentRef"]["name"]
    outputs = components[component].get("outputDefinitions", {}).get(kind, {})
    among = f"the output {kind} of {component}"
    _check_name(selector[field], outputs, place + (field,), among)


@dataclass(frozen=True, slots=True)
class _Selector:
    """The JSON that names a task and one of its outputs as a source of a DAG's output.

    Attributes:
        kind: `parameters` or `artifacts`.
        place: where it is below the outputs of the DAG.
        body: the JSON itself.
    """

    kind: str
    place: Place
    body: JsonObject


def _output_selectors(outputs: JsonObject) -> Iterator[_Selector]:
    """Yield the selectors of all outputs of a DAG."""
    for name, output in outputs.get("artifacts", {}).items():
        for index, body in enumerate(output.get("artifactSelectors", ())):
            yield _Selector("artifacts", ("artifacts", name, "artifactSelectors", index), body)
    for name, output in outputs.get("parameters", {}).items():
        if "valueFromParameter" in output:
            place: Place = ("parameters", name, "valueFromParameter")
            yield _Selector("parameters", place, output["valueFromParameter"])
        selectors = output.get("valueFromOneof", {}).get("parameterSelectors", ())
        for index, body in enumerate(selectors):
            place = ("parameters", name, "valueFromOneof", "parameterSelectors", index)
            yield _Selector("parameters", place, body)


def _check_recursion(components: JsonObject) -> None:
    """Check that no component contains itself: its tasks would never end."""
    contained: dict[str, set[str]] = {}
    for name, component in components.items():
        tasks = component.get("dag", {}).get("tasks", {})
        contained[name] = {task["componentRef"]["name"] for task in tasks.values()}
    _check_cycle(contained, ("components",), "the components contain each other")


def _check_cycle(graph: Mapping[str, set[str]], place: Place, problem: str) -> None:
    """Check that a graph has no cycle.

    Args:
        graph: name -> the names that it depends on.
        place: where the graph is.
        problem: describes a cycle in the message.
    """
    import graphlib

    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        # graphlib repeats the first name at the end.
        cycle = list(error.args[1])[:-1]
        # The name that graphlib starts with depends on the order of sets. Start with the first name
        # of the alphabet, so that the message is the same each time.
        start = cycle.index(min(cycle))
        names = cycle[start:] + cycle[:start] + [cycle[start]]
        raise InvalidError(place, f"has a cycle, {problem}: {' -> '.join(names)}") from None


def _check_name(name: str, names: Iterable[str], place: Place, among: str) -> None:
    """Check that a name is one of several.

    Args:
        name: the name.
        names: the names that exist.
        place: where the name is.
        among: describes `names` in the message.
    """
    if name in names:
        return
    import difflib

    close_names = difflib.get_close_matches(name, list(names), n=1)
    hint = f"Did you mean {close_names[0]!r}?" if close_names else ""
    raise InvalidError(place, f"is {name!r}, which is not in {among}", hint)
