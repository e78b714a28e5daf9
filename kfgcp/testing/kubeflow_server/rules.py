"""What the server refuses in a run, as v2_template.go, dag.go of the compiler and resource_manager.go have it.

A pipeline that cannot be read, and a version that is not there, are 500 with code 13: the server wraps whatever goes
wrong while it fetches the manifest. So is what its compiler does not know: custom jobs, loops over artifacts. Wrong
parameters are 400. Not confirmed: how servers before 2.14 refuse what they do not know yet; here they say so at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kfgcp.errors import ParamError
from kfgcp.spec import graph
from kfgcp.spec.graph import Dag, FinalStatus, FromTask, Graph, OtherExecutor
from kfgcp.spec.load import Spec
from kfgcp.spec.params import ParamSpec, declared, resolve
from kfgcp.testing.kubeflow_server.errors import INTERNAL, KfpError, invalid
from kfgcp.testing.rules import Submission

MAX_PARAMETER_BYTES: Final = 10_000
_GENERATE: Final = "Failed to generate the ExecutionSpec"
_NEW: Final = (2, 14)
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


def number_of(version: str) -> tuple[int, int]:
    """`2.14.3` as (2, 14).

    Raises:
        ValueError: it is no version.
    """
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def submission(spec: Spec, parameters: Mapping[str, Any], version: tuple[int, int], limit: int) -> Submission:
    """The run that is asked for.

    Args:
        spec: the pipeline.
        parameters: as the client gave them.
        version: of the server.
        limit: bytes of the parameters as JSON.

    Raises:
        KfpError: the server would refuse it.
    """
    size = len(json.dumps(parameters, separators=(",", ":"), ensure_ascii=False).encode())
    if size > limit:
        raise invalid(f"The input parameter length exceed maximum size of {limit}")
    # RuntimeConfig cannot hold artifacts. Not confirmed: what the server says of a pipeline that needs one.
    definitions = {name: param for name, param in declared(spec.pipeline_spec).items() if not param.is_artifact}
    _check_parameters(definitions, parameters)
    _check_compiles(graph.build(spec.pipeline_spec), version)
    try:
        return Submission(spec, resolve(definitions, parameters))
    except ParamError as error:
        raise invalid(error.message, _GENERATE, "invalid pipeline job inputs") from None


def _check_parameters(definitions: Mapping[str, ParamSpec], given: Mapping[str, Any]) -> None:
    around = (_GENERATE, "invalid pipeline job inputs")
    for name, param in definitions.items():
        if name not in given:
            if not param.optional and not param.has_default:
                raise invalid(
                    f"parameter {name} is not optional, yet has neither default value nor user provided value", *around
                )
            continue
        value, kinds = given[name], _KINDS.get(param.type)
        if kinds is None:
            raise invalid(f"input parameter {name} requires type {param.type}, which is invalid for root", *around)
        if not isinstance(value, kinds) or (isinstance(value, bool) and param.type != "BOOLEAN"):
            raise invalid(f"input parameter {name} requires type {_WORDS[param.type]} value type", *around)
    if extra := [name for name in given if name not in definitions]:
        raise invalid(f"parameter(s) provided are not required by pipeline: {', '.join(extra)}", *around)


def _check_compiles(pipeline: Graph, version: tuple[int, int]) -> None:
    for problem in _problems(pipeline, version):
        raise KfpError(INTERNAL, problem, _GENERATE, "Failed to compile job")


def _problems(pipeline: Graph, version: tuple[int, int]) -> Iterator[str]:
    for component in (pipeline.root, *pipeline.components.values()):
        if isinstance(component.executor, OtherExecutor):
            kind = component.executor.kind
            yield (
                "custom job executors is Google Cloud only, it's not supported"
                if kind == "customJob"
                else f"{kind} executors not implemented"
            )
        if component.dag is not None:
            yield from _problems_of(component.dag, version)


def _problems_of(dag: Dag, version: tuple[int, int]) -> Iterator[str]:
    for task in dag.tasks.values():
        if task.iterator is not None and task.iterator.artifacts:
            yield f'compiling task "{task.key}": artifact iterator not implemented yet'
        if version >= _NEW:
            continue
        for binding in (*task.params.values(), *task.artifacts.values()):
            if isinstance(binding.source, FinalStatus):
                yield f'compiling task "{task.key}": the final status of a task needs a server of version 2.14'
            if isinstance(binding.source, FromTask) and dag.tasks[binding.source.task].iterator is not None:
                yield f'compiling task "{task.key}": collecting the outputs of a loop needs a server of version 2.14'
