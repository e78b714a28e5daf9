"""Check the pipeline and the parameters of a run, as v2_template.go, dag.go and visitor.go do.

- The error is 500 with code 13 for a pipeline that cannot be read and for a version that does not
  exist: the server wraps all errors while it fetches the manifest (run-create-unknown-field.json,
  run-create-unknown-version.json).
- If the server's compiler does not support a part of the pipeline, the server answers 500 with a Go
  trace of several KB (run-create-does-not-compile.json).
- The error for wrong parameters is 400 (run-create-extra-parameter.json,
  run-create-wrong-parameter.json, run-create-missing-parameter.json).
- Servers before 2.14 refuse a task that reads the final status of another task
  (run-create-exit-handler.json of 2.5.0). They accept a task that reads the collected outputs of a
  loop (run-get-shapes.json of 2.5.0), but their driver cannot start this task. The stand-in runs
  it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from kfgcp.errors import ParamError
from kfgcp.spec import graph
from kfgcp.spec.graph import Dag, FinalStatus, OtherExecutor
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from kfgcp.spec.params import declared_params, resolve
from kfgcp.spec.records import ParamSpec
from kfgcp.testing.kubeflow_server.errors import INTERNAL, UNKNOWN, KfpError, invalid_input
from kfgcp.testing.kubeflow_server.versions import ServerVersion
from kfgcp.testing.rules import Submission

GENERATE_ERROR: Final = "Failed to generate the ExecutionSpec"
_INPUTS_ERROR: Final = "invalid pipeline job inputs"

# The function and the file of each frame in a trace. Real traces have more frames.
_TRACE_FRAMES: Final = (
    ("common/util.Wrap", "src/common/util/error.go:1"),
    ("apiserver/template.(*V2Spec).RunWorkflow", "src/apiserver/template/v2_template.go:1"),
    (
        "apiserver/resource.(*ResourceManager).CreateRun",
        "src/apiserver/resource/resource_manager.go:1",
    ),
    ("apiserver/server.(*RunServer).CreateRun", "src/apiserver/server/run_server.go:1"),
)
# What a Go program prints after an error with its stack.
_TRACE: Final = "".join(
    f"\ngithub.com/kubeflow/pipelines/backend/src/{function}"
    f"\n\t/go/src/github.com/kubeflow/pipelines/backend/{file}"
    for function, file in _TRACE_FRAMES
)

_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}
# The middle of the message for a value of a wrong type (visitor.go).
_TYPE_ERRORS: Final = {
    "NUMBER_INTEGER": "double or integer, but the parameter value is not of number",
    "NUMBER_DOUBLE": "double or integer, but the parameter value is not of number",
    "STRING": "string, but the input parameter is not of string",
    "BOOLEAN": "bool, but the input parameter is not of bool",
    "LIST": "list, but the input parameter is not of list",
    "STRUCT": "struct, but the input parameter is not of struct",
}


class UnexpectedError(KfpError):
    """An error that the server does not expect. The answer has the cause first, then a Go trace.

    Args:
        problem: the cause.
        contexts: what the server was doing, if the answer names it.
    """

    def __init__(self, problem: str, *contexts: str) -> None:
        text = "\n".join([f"Internal error: {problem}", *contexts]) + _TRACE
        super().__init__(INTERNAL, text, detail=(UNKNOWN, text))

    def within(self, *contexts: str) -> KfpError:
        """Return the error unchanged: the trace already shows what the server was doing."""
        return self


def build_submission(
    spec: Spec,
    parameters: JsonObject,
    version: ServerVersion,
    generating_context: str = GENERATE_ERROR,
) -> Submission:
    """Return a pipeline with all its parameters, for the engine.

    Args:
        spec: the pipeline.
        parameters: the parameters of the request.
        version: the version of the server.
        generating_context: the step that fails with wrong parameters, for errors.

    Raises:
        KfpError: the server refuses the parameters or the pipeline.
    """
    # A request cannot contain artifacts. Not confirmed: what the server answers when the pipeline
    # requires an artifact.
    declared = declared_params(spec.pipeline_spec).items()
    definitions = {name: param for name, param in declared if not param.is_artifact}
    contexts = (generating_context, _INPUTS_ERROR)
    _check_parameters(definitions, parameters, contexts)
    problem = next(_find_problems(spec, version), None)
    if problem is not None:
        raise UnexpectedError(problem, "Failed to compile job")
    try:
        return Submission(spec, resolve(definitions, parameters))
    except ParamError as error:
        raise invalid_input(error.message, *contexts) from None


def drop_retries(submission: Submission) -> Submission:
    """Return a copy of a submission without the retries of its tasks."""
    pipeline_spec = dict(submission.spec.pipeline_spec)
    pipeline_spec["root"] = _drop_retry_policies(pipeline_spec["root"])
    components = pipeline_spec.get("components") or {}
    pipeline_spec["components"] = {
        name: _drop_retry_policies(component) for name, component in components.items()
    }
    return replace(submission, spec=replace(submission.spec, pipeline_spec=pipeline_spec))


def _drop_retry_policies(component: JsonObject) -> dict[str, Any]:
    dag = component.get("dag")
    if not dag:
        return dict(component)
    tasks = {}
    for name, task in (dag.get("tasks") or {}).items():
        tasks[name] = {key: value for key, value in task.items() if key != "retryPolicy"}
    return {**component, "dag": {**dag, "tasks": tasks}}


def _check_parameters(
    definitions: Mapping[str, ParamSpec],
    parameters: JsonObject,
    contexts: tuple[str, str],
) -> None:
    """Refuse missing parameters, wrong types and unknown parameters, in this order."""
    for name, param in definitions.items():
        if name in parameters:
            _check_type(name, param, parameters[name], contexts)
        elif not param.optional and not param.has_default:
            raise invalid_input(
                f"parameter {name} is not optional, yet has neither default value nor user"
                " provided value",
                *contexts,
            )
    extra_names = [name for name in parameters if name not in definitions]
    if extra_names:
        raise invalid_input(
            f"parameter(s) provided are not required by pipeline: {', '.join(extra_names)}",
            *contexts,
        )


def _check_type(name: str, param: ParamSpec, value: object, contexts: tuple[str, str]) -> None:
    python_types = _PYTHON_TYPES.get(param.type)
    if python_types is None:
        raise invalid_input(
            f"input parameter {name} requires type {param.type}, which is invalid for root",
            *contexts,
        )
    # In Python a bool is also an int.
    is_wrong_bool = isinstance(value, bool) and param.type != "BOOLEAN"
    if is_wrong_bool or not isinstance(value, python_types):
        raise invalid_input(
            f"input parameter {name} requires type {_TYPE_ERRORS[param.type]} value type",
            *contexts,
        )


def _find_problems(spec: Spec, version: ServerVersion) -> Iterator[str]:
    """Yield the errors of the server's compiler for a pipeline."""
    pipeline = graph.build(spec.pipeline_spec)
    for component in (pipeline.root, *pipeline.components.values()):
        if isinstance(component.executor, OtherExecutor):
            label = spec.pipeline_spec["components"][component.name]["executorLabel"]
            problem = (
                f'executor(label="{label}"): non-container and non-importer executor not'
                " implemented"
            )
            yield f'error processing component name="{component.name}": {problem}'
        if component.dag is not None:
            for problem in _find_dag_problems(component.dag, version):
                yield f'compiling DAG "{component.name}": {problem}'


def _find_dag_problems(dag: Dag, version: ServerVersion) -> Iterator[str]:
    for task in dag.tasks.values():
        if task.iterator is not None and task.iterator.artifacts:
            yield "artifact iterator not implemented yet"
        if version.is_modern:
            continue
        for binding in (*task.params.values(), *task.artifacts.values()):
            if isinstance(binding.source, FinalStatus):
                yield "failed to add implicit deps: task final status not supported yet"
