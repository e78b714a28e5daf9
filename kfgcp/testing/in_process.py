"""Run the function of a component in this process, with KFP's own executor.

The function sees what it would see in a container: the names that KFP imports for it, and no other
names of the module that defines it.
"""

from __future__ import annotations

import json
import os
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kfgcp.semantics import executor_input as semantics
from kfgcp.semantics.values import ArtifactValue, Values
from kfgcp.spec.graph import Component
from kfgcp.spec.json_values import JsonObject

Function = Callable[..., object]
"""The Python function of a component."""

# The name of a component's module, and the imports before its source, as in the commands that KFP
# compiles.
_MODULE: Final = "ephemeral_component"
_IMPORTS: Final = "import kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n"


def function_from_source(source: str, name: str, file: Path) -> Function:
    """Return the function of a compiled component.

    Args:
        source: the source that KFP embedded in the component. It has its imports.
        name: the name of the function.
        file: where the source is written, so that tracebacks show its lines.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")
    module = types.ModuleType(_MODULE)
    module.__file__ = str(file)
    # `dont_inherit`: the annotations of this module are texts, those of a component must not be.
    code = compile(source, str(file), "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102 - the test's component
    function: Function = getattr(module, name)
    return function


def isolated_function(function: types.FunctionType) -> types.FunctionType:
    """Return a copy of a component's function that does not see the names of its module.

    The copy has the code of the function itself. So debuggers stop in it, and coverage counts it.
    """
    names: dict[str, Any] = {"__name__": _MODULE}
    exec(_IMPORTS, names)  # noqa: S102 - the imports that KFP writes before each component
    copy = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = dict(function.__annotations__)
    copy.__doc__ = function.__doc__
    names[function.__name__] = copy
    return copy


def run_function(
    function: Function,
    component: Component,
    inputs: Values,
    folder: Path,
    variables: Mapping[str, str],
) -> Values:
    """Run the function of a component, and return its outputs.

    An exception of the function is raised unchanged. Afterwards, the environment variables and the
    current folder are as before, also when the function changed them.

    Args:
        function: the function.
        component: the component, which declares the inputs and outputs.
        inputs: the inputs, with their defaults.
        folder: where output artifacts are written.
        variables: environment variables that the function sees.

    Raises:
        ValueProblem: an output is missing or of the wrong type.
    """
    from kfp.dsl.executor import Executor
    from kfp.dsl.types import artifact_types

    output_file = folder / "executor_output.json"
    executor_input = semantics.build_executor_input(
        component,
        inputs,
        artifact_uri=lambda name: str(folder / name),
        parameter_file=lambda name: str(folder / "parameters" / name),
        output_file=str(output_file),
    )
    folder.mkdir(parents=True, exist_ok=True)
    # KFP's executor sets this for its own process, and here other code may run afterwards.
    task_root = artifact_types.CONTAINER_TASK_ROOT
    try:
        with _surroundings(variables):
            Executor(executor_input=executor_input, function_to_execute=function).execute()
    finally:
        artifact_types.CONTAINER_TASK_ROOT = task_root
    return _read_outputs(component, executor_input, output_file)


@contextmanager
def _surroundings(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables. At the end, restore all variables and the current folder."""
    variables_before = dict(os.environ)
    folder_before = os.getcwd()
    os.environ.update(variables)
    try:
        yield
    finally:
        # Two steps instead of `clear`, so that other threads never see an empty environment.
        for name in os.environ.keys() - variables_before.keys():
            del os.environ[name]
        os.environ.update(variables_before)
        os.chdir(folder_before)


def _read_outputs(component: Component, executor_input: JsonObject, output_file: Path) -> Values:
    executor_output: dict[str, Any] = {}
    if output_file.exists():
        executor_output = json.loads(output_file.read_text(encoding="utf-8"))
    outputs = executor_input["outputs"]

    def read_parameter(name: str) -> str | None:
        file = Path(outputs["parameters"][name]["outputFile"])
        return file.read_text(encoding="utf-8") if file.is_file() else None

    params = semantics.read_output_params(component, executor_output, read_parameter)
    artifacts: dict[str, tuple[ArtifactValue, ...]] = {}
    for name in component.output_artifacts:
        declared = outputs["artifacts"][name]["artifacts"]
        reported = semantics.read_output_artifacts(name, declared, executor_output)
        artifacts[name] = tuple(item.value for item in reported)
    return Values(params, artifacts)
