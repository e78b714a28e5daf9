"""What the server refuses in a run, as v2_template.go, dag.go and visitor.go of the compiler have
it.

- A pipeline that cannot be read, and a version that is not there, are 500 with code 13: the server
  wraps whatever goes wrong while it fetches the manifest (run-create-unknown-field.json,
  run-create-unknown-version.json).
- What its compiler does not know is an error that nobody expected: 500 with a Go trace of several
  KB (run-create-does-not-compile.json).
- Wrong parameters are 400 (run-create-extra-parameter.json, run-create-wrong-parameter.json,
  run-create-missing-parameter.json).
- Servers before 2.14 refuse final states of tasks (run-create-exit-handler.json of 2.5.0). They
  accept collected outputs of loops (run-get-shapes.json of 2.5.0), whose tasks their driver cannot
  start; here they run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from kfgcp.errors import ParamError
from kfgcp.spec import graph
from kfgcp.spec.graph import Dag, FinalStatus, OtherExecutor
from kfgcp.spec.load import Spec
from kfgcp.spec.params import declared_params, resolve
from kfgcp.spec.records import ParamSpec
from kfgcp.testing.kubeflow_server.errors import INTERNAL, UNKNOWN, KfpError, invalid
from kfgcp.testing.kubeflow_server.versions import ServerVersion
from kfgcp.testing.rules import Submission

GENERATE: Final = "Failed to generate the ExecutionSpec"
_INPUTS: Final = "invalid pipeline job inputs"
_TRACE: Final = "".join(
    f"\ngithub.com/kubeflow/pipelines/backend/src/{function}\n\t/go/src/github.com/kubeflow/pipelines/backend/{place}"
    for function, place in (
        ("common/util.Wrap", "src/common/util/error.go:1"),
        ("apiserver/template.(*V2Spec).RunWorkflow", "src/apiserver/template/v2_template.go:1"),
        (
            "apiserver/resource.(*ResourceManager).CreateRun",
            "src/apiserver/resource/resource_manager.go:1",
        ),
        ("apiserver/server.(*RunServer).CreateRun", "src/apiserver/server/run_server.go:1"),
    )
)
"""What follows the cause when a Go program shows an error with its stack. Real ones are longer."""
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "STRING": (str,),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}
_WORDS: Final = {
    "NUMBER_INTEGER": "double or integer, but the parameter value is not of number",
    "NUMBER_DOUBLE": "double or integer, but the parameter value is not of number",
    "STRING": "string, but the input parameter is not of string",
    "BOOLEAN": "bool, but the input parameter is not of bool",
    "LIST": "list, but the input parameter is not of list",
    "STRUCT": "struct, but the input parameter is not of struct",
}


class UnexpectedError(KfpError):
    """An error that is none of the server's own: the answer begins with the cause and has a trace.

    Args:
        problem: the cause.
        around: what was being done, where that is said.
    """

    def __init__(self, problem: str, *around: str) -> None:
        text = "\n".join([f"Internal error: {problem}", *around]) + _TRACE
        super().__init__(INTERNAL, text, detail=(UNKNOWN, text))

    def within(self, *around: str) -> KfpError:
        """Return the error as it is: what was being done stands in the trace."""
        return self


def submission(
    spec: Spec, parameters: Mapping[str, Any], version: ServerVersion, generating: str = GENERATE
) -> Submission:
    """Return the run that is asked for.

    Args:
        spec: the pipeline.
        parameters: as the client gave them.
        version: of the server.
        generating: what cannot be done with wrong parameters.

    Raises:
        KfpError: the server would refuse it.
    """
    # RuntimeConfig cannot hold artifacts. Not confirmed: what the server says of a pipeline that
    # needs one.
    declared = declared_params(spec.pipeline_spec).items()
    definitions = {name: param for name, param in declared if not param.is_artifact}
    _check_parameters(definitions, parameters, (generating, _INPUTS))
    for problem in _problems(spec, version):
        raise UnexpectedError(problem, "Failed to compile job")
    try:
        return Submission(spec, resolve(definitions, parameters))
    except ParamError as error:
        raise invalid(error.message, generating, _INPUTS) from None


def without_retries(submission: Submission) -> Submission:
    """Return a run whose tasks are tried once only."""
    pipeline_spec = dict(submission.spec.pipeline_spec)
    pipeline_spec["root"] = _tried_once(pipeline_spec["root"])
    components = pipeline_spec.get("components") or {}
    pipeline_spec["components"] = {
        name: _tried_once(component) for name, component in components.items()
    }
    return replace(submission, spec=replace(submission.spec, pipeline_spec=pipeline_spec))


def _tried_once(component: Mapping[str, Any]) -> dict[str, Any]:
    dag = component.get("dag")
    if not dag:
        return dict(component)
    tasks = {}
    for name, task in (dag.get("tasks") or {}).items():
        tasks[name] = {key: value for key, value in task.items() if key != "retryPolicy"}
    return {**component, "dag": {**dag, "tasks": tasks}}


def _check_parameters(
    definitions: Mapping[str, ParamSpec], given: Mapping[str, Any], around: tuple[str, str]
) -> None:
    for name, param in definitions.items():
        if name not in given:
            if not param.optional and not param.has_default:
                raise invalid(
                    f"parameter {name} is not optional, yet has neither default value nor user"
                    " provided value",
                    *around,
                )
            continue
        value, kinds = given[name], _KINDS.get(param.type)
        if kinds is None:
            raise invalid(
                f"input parameter {name} requires type {param.type}, which is invalid for root",
                *around,
            )
        if not isinstance(value, kinds) or (isinstance(value, bool) and param.type != "BOOLEAN"):
            raise invalid(
                f"input parameter {name} requires type {_WORDS[param.type]} value type", *around
            )
    if extra := [name for name in given if name not in definitions]:
        raise invalid(
            f"parameter(s) provided are not required by pipeline: {', '.join(extra)}", *around
        )


def _problems(spec: Spec, version: ServerVersion) -> Iterator[str]:
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
            for problem in _problems_of(component.dag, version):
                yield f'compiling DAG "{component.name}": {problem}'


def _problems_of(dag: Dag, version: ServerVersion) -> Iterator[str]:
    for task in dag.tasks.values():
        if task.iterator is not None and task.iterator.artifacts:
            yield "artifact iterator not implemented yet"
        if version.is_modern:
            continue
        for binding in (*task.params.values(), *task.artifacts.values()):
            if isinstance(binding.source, FinalStatus):
                yield "failed to add implicit deps: task final status not supported yet"
