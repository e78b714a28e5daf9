"""Run one component in a test, with real artifacts in a temporary folder."""

# Without `from __future__ import annotations`: the doctest below would inherit it, and KFP refuses
# components whose annotations are texts.

import os
import types
from collections.abc import Mapping
from pathlib import Path

from kfgcp.errors import UsageError
from kfgcp.semantics.inputs import add_defaults
from kfgcp.semantics.values import ArtifactValue, Values
from kfgcp.spec import params as spec_params
from kfgcp.spec.graph import Component, Container, build
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.load import Spec, load
from kfgcp.spec.records import ArtifactDef
from kfgcp.testing.in_process import Function, function_from_source, isolated_function, run_function
from kfgcp.testing.kept_folder import KeptFolder
from kfgcp.testing.replacements import build_artifacts
from kfgcp.testing.results import ComponentResult, read_artifacts
from kfgcp.tracking.pipelines import PipelineLike


def run_component(
    component: PipelineLike,
    inputs: Mapping[str, object] | None = None,
    /,
    *,
    folder: str | os.PathLike[str] | None = None,
    **more_inputs: object,
) -> ComponentResult:
    """Run the Python function of a component in this process.

    Breakpoints, coverage and monkeypatch work as in any function. As in a container, the function
    does not see the names of its module. The packages of the component must be installed here.

    Args:
        component: a function with the decorator @dsl.component, or a file with a component.
        inputs: its inputs by name, for names that cannot be keywords here.
        folder: where output artifacts are written. None makes a temporary folder, which is removed
            when neither the result nor one of its artifacts is used any more.
        more_inputs: its inputs as keywords. An input artifact is a path, a dict of metadata, an
            `artifact`, or an output artifact of another result.

    Raises:
        UsageError: an input is unknown, missing or of the wrong type, a file does not exist, or
            the component runs an image instead of a Python function.
        Exception: what the function raises, unchanged.

    Example:
        >>> from kfp import dsl
        >>> @dsl.component(base_image="python:3.12")
        ... def add(a: int, b: int) -> int:
        ...     return a + b
        >>> run_component(add, a=1, b=2).output
        3
    """
    spec = component if isinstance(component, Spec) else load(component)
    declared = _only_component(spec)
    values = _check_inputs(spec, declared, {**(inputs or {}), **more_inputs})
    test_folder = KeptFolder(folder)
    path = test_folder.path
    function = _find_function(component, declared, path)
    outputs = run_function(function, declared, add_defaults(values, declared), path, {})
    artifacts = read_artifacts(outputs, test_folder)
    return ComponentResult(dict(outputs.params), artifacts, path, test_folder)


def source_function(component: Component, folder: Path) -> Function:
    """Return the function in the source that KFP embedded in a component.

    Args:
        component: the component.
        folder: where the source is written.

    Raises:
        UsageError: the component runs an image instead of a Python function.
    """
    container = component.executor
    name = component.name.removeprefix("comp-")
    if not isinstance(container, Container):
        raise UsageError(f"{name} is not a component that runs a program.")
    program = recognise(container)
    if program is None:
        raise UsageError(
            f"{name} runs the image {container.image}, not a Python function.",
            hint="Replace it in tests of pipelines, or run it with kfgcp run.",
        )
    return function_from_source(program.source, program.function, folder / f"{name}.py")


def _only_component(spec: Spec) -> Component:
    """Return the component of a compiled component, which KFP puts into a pipeline with one task.

    Raises:
        UsageError: the spec is a pipeline.
    """
    graph = build(spec.pipeline_spec)
    assert graph.root.dag is not None
    tasks = list(graph.root.dag.tasks.values())
    component = graph.component(tasks[0]) if len(tasks) == 1 else graph.root
    if component.dag is not None:
        raise UsageError(
            f"{spec.name} is a pipeline, not a component.",
            hint="Run pipelines with kfgcp.testing.run.",
        )
    return component


def _find_function(component: PipelineLike, declared: Component, folder: Path) -> Function:
    # KFP's own objects keep the function. Its code object is the one that debuggers know.
    function = getattr(component, "python_func", None)
    if isinstance(function, types.FunctionType):
        return isolated_function(function)
    return source_function(declared, folder)


def _check_inputs(spec: Spec, component: Component, inputs: Mapping[str, object]) -> Values:
    """Return the inputs of a component, checked against its signature."""
    values: dict[str, object] = {}
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name, value in inputs.items():
        definition = component.artifacts.get(name)
        if definition is None:
            values[name] = value
            continue
        artifacts[name] = build_artifacts(name, definition, value, f"the input '{name}'")
        # The parameters of the spec contain the artifacts too, as addresses.
        values[name] = _addresses(definition, artifacts[name])
    checked = spec_params.resolve(spec.params, values, subject=f"Wrong inputs of {spec.name}")
    params = {
        name: value
        for name, value in checked.items()
        if name not in component.artifacts and value is not None
    }
    return Values(params, artifacts)


def _addresses(definition: ArtifactDef, artifacts: tuple[ArtifactValue, ...]) -> object:
    # An artifact that is only metadata has no address, and needs none here.
    uris = [item.uri or "no-file" for item in artifacts]
    return uris if definition.is_list else uris[0]
