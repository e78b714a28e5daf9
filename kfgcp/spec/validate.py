"""Is a plain value a PipelineSpec that can run: its shape first, then every name that refers to
another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kfgcp.spec.json_values import Place
from kfgcp.spec.shapes import PIPELINE, PLATFORM, InvalidError


def validate(pipeline_spec: Any) -> None:
    """Checks that a plain value is a PipelineSpec whose parts fit together.

    Raises:
        InvalidError: the first thing that is wrong, and where.
    """
    PIPELINE(pipeline_spec, ())
    components, executors = (
        pipeline_spec["components"],
        pipeline_spec["deploymentSpec"].get("executors", {}),
    )
    for place, component in _components(pipeline_spec):
        _check_implementation(component, place, executors)
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            _known(
                task["componentRef"]["name"],
                components,
                (*place, "dag", "tasks", name, "componentRef", "name"),
            )
    for place, component in _components(pipeline_spec):
        if "dag" in component:
            _check_dag(component, place, components)
    _check_recursion(components)


def is_valid(pipeline_spec: Any) -> bool:
    """Whether `validate` accepts it."""
    try:
        validate(pipeline_spec)
    except InvalidError:
        return False
    return True


def validate_platform(platform_spec: Any) -> None:
    """Checks that a plain value is a PlatformSpec, the second document of a compiled file.

    Raises:
        InvalidError: the first thing that is wrong, and where.
    """
    PLATFORM(platform_spec, ())


def _components(spec: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    yield ("root",), spec["root"]
    for name, component in spec["components"].items():
        yield ("components", name), component


def _check_implementation(
    component: Mapping[str, Any], place: Place, executors: Mapping[str, Any]
) -> None:
    if "dag" in component and "executorLabel" in component:
        raise InvalidError(place, "has both a dag and an executorLabel")
    if place == ("root",) and "dag" not in component:
        raise InvalidError(("root", "dag"), "is missing")
    if "executorLabel" in component:
        label = component["executorLabel"]
        _known(label, executors, (*place, "executorLabel"), "deploymentSpec.executors")
    elif "dag" not in component:
        raise InvalidError(place, "has neither a dag nor an executorLabel")


def _check_dag(component: Mapping[str, Any], place: Place, components: Mapping[str, Any]) -> None:
    tasks = component["dag"]["tasks"]
    upstream: dict[str, set[str]] = {}
    for name, task in tasks.items():
        here = (*place, "dag", "tasks", name)
        upstream[name] = set()
        for index, other in enumerate(task.get("dependentTasks", ())):
            _known(other, tasks, (*here, "dependentTasks", index), "the tasks beside it")
            upstream[name].add(other)
        upstream[name] |= _check_inputs(task, here, component, components, tasks)
    _check_cycle(upstream, (*place, "dag", "tasks"), "the tasks wait for each other")
    for kind, output, at, selector in _selectors(component["dag"].get("outputs", {})):
        here = (*place, "dag", "outputs", kind, output, *at)
        producer = selector["producerSubtask"]
        _known(producer, tasks, (*here, "producerSubtask"), "the tasks of the dag")
        _check_output(tasks[producer], selector, kind, here, components)


def _check_inputs(
    task: Mapping[str, Any],
    place: Place,
    parent: Mapping[str, Any],
    components: Mapping[str, Any],
    tasks: Mapping[str, Any],
) -> set[str]:
    """Checks the sources of a task's inputs; the names of the tasks that they come from."""
    producers = set()
    for kind, singular in (("parameters", "Parameter"), ("artifacts", "Artifact")):
        given = parent.get("inputDefinitions", {}).get(kind, {})
        for name, source in task.get("inputs", {}).get(kind, {}).items():
            here = (*place, "inputs", kind, name)
            for field in (f"taskOutput{singular}", "taskFinalStatus"):
                if field in source:
                    producer = source[field]["producerTask"]
                    _known(producer, tasks, (*here, field, "producerTask"), "the tasks beside it")
                    producers.add(producer)
                    if field != "taskFinalStatus":
                        _check_output(
                            tasks[producer], source[field], kind, (*here, field), components
                        )
            field = f"componentInput{singular}"
            if field in source:
                _known(
                    source[field],
                    given,
                    (*here, field),
                    f"the input {kind} of the component around it",
                )
    return producers


def _check_output(
    task: Mapping[str, Any],
    selector: Mapping[str, Any],
    kind: str,
    place: Place,
    components: Mapping[str, Any],
) -> None:
    field = "outputParameterKey" if kind == "parameters" else "outputArtifactKey"
    component = task["componentRef"]["name"]
    outputs = components[component].get("outputDefinitions", {}).get(kind, {})
    _known(selector[field], outputs, (*place, field), f"the output {kind} of {component}")


def _selectors(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Place, Mapping[str, Any]]]:
    """Kind, name, place below the output, and the selector, for every producer of a DAG's
    outputs."""
    for name, output in outputs.get("artifacts", {}).items():
        for index, selector in enumerate(output.get("artifactSelectors", ())):
            yield "artifacts", name, ("artifactSelectors", index), selector
    for name, output in outputs.get("parameters", {}).items():
        if "valueFromParameter" in output:
            yield "parameters", name, ("valueFromParameter",), output["valueFromParameter"]
        for index, selector in enumerate(
            output.get("valueFromOneof", {}).get("parameterSelectors", ())
        ):
            yield "parameters", name, ("valueFromOneof", "parameterSelectors", index), selector


def _check_recursion(components: Mapping[str, Any]) -> None:
    uses = {
        name: {
            task["componentRef"]["name"]
            for task in component.get("dag", {}).get("tasks", {}).values()
        }
        for name, component in components.items()
    }
    _check_cycle(uses, ("components",), "the components contain each other")


def _check_cycle(graph: Mapping[str, set[str]], place: Place, what: str) -> None:
    import graphlib

    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        names = list(error.args[1])
        start = names.index(min(names))
        names = [*names[start:-1], *names[:start], names[start]]
        raise InvalidError(place, f"has a cycle, {what}: {' -> '.join(names)}") from None


def _known(name: str, names: Iterable[str], place: Place, among: str = "components") -> None:
    if name not in names:
        import difflib

        close = difflib.get_close_matches(name, list(names), n=1)
        raise InvalidError(
            place,
            f"is {name!r}, which is not in {among}",
            f"Did you mean {close[0]!r}?" if close else "",
        )
