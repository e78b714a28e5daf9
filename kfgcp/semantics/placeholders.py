"""`{{$...}}` placeholders: in the constants of a task's inputs and in the command of a container.

Only texts of the spec are templates. What is put in is data and is not looked at again, so a value
that looks like a placeholder reaches the component as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kfgcp import file_uris
from kfgcp.semantics.values import ValueProblem, format_json, format_value
from kfgcp.spec.whole_artifacts import WHOLE_ARTIFACT
from kfgcp.spec.wire import CHANNEL

_JOB_NAMES = (
    "pipeline_job_name",
    "pipeline_job_resource_name",
    "pipeline_job_uuid",
    "pipeline_task_name",
    "pipeline_task_uuid",
    "pipeline_job_create_time_utc",
    "pipeline_job_schedule_time_utc",
    "pipeline_root",
    "workspace_path",
)
# a placeholder holds no opening brace, so that a text is read in linear time whatever it holds
MOUNTS = {"gs": "gcs", "s3": "s3", "minio": "minio"}
"""Scheme -> the folder below / where its buckets are found inside a task."""
_ANY = re.compile(r"\{\{\$((?:[^{}'\"]|'[^'{]*'|\"[^\"{]*\"|\}(?!\}))*+)\}\}")
_PARAMETER = re.compile(r"\.inputs\.parameters\[(['\"])(.*?)\1\]\Z", re.DOTALL)
_OUTPUT_PARAMETER = re.compile(r"\.outputs\.parameters\[(['\"])(.*?)\1\]\.output_file\Z", re.DOTALL)
_ARTIFACT = re.compile(
    r"\.(inputs|outputs)\.artifacts\[(['\"])(.*?)\2\](?:\.(uri|path)|\.metadata(?:\[(['\"])(.*?)\5\])?)\Z",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\.json_escape\[(\d+)\]\Z")
# What the KFP compiler leaves of an output in the key of a dict, the items of a loop or a variable
# of the environment: it makes placeholders of outputs only in the values of arguments.
_NOT_COMPILED = re.compile(r"\{\{channel:task=([^;{}]*);name=([^;{}]+);type=[^;{}]*;\}\}")


def is_template(constant: Any) -> bool:
    """Return whether a constant may hold placeholders, at any depth of its lists and dicts."""
    if isinstance(constant, str):
        return "{{$" in constant or "{{channel:" in constant
    if isinstance(constant, Mapping):
        return any(is_template(key) or is_template(item) for key, item in constant.items())
    return isinstance(constant, list) and any(map(is_template, constant))


def fill_constant(
    constant: Any, params: Mapping[str, Any], job: Mapping[str, str], what: str
) -> Any:
    """Return a constant with the placeholders of the job and of the task's other inputs filled in.

    A text that is nothing but the placeholder of one input becomes the value of that input, of
    whatever type. Inside a longer text, and anywhere inside a list or dict, values become text
    (semantics.md, Values). They are data: their quotes and braces do not change the structure, and
    they are not searched for placeholders. An expression that is not one of semantics.md is text
    like any other.

    Args:
        constant: the constant, a text or a list or dict that holds texts at any depth.
        params: the task's input parameters that are not templates themselves.
        job: values of `pipeline_job_name` and its like.
        what: names the constant in messages: "input 'xs'".

    Raises:
        ValueProblem: a placeholder has no value, or two keys of a dict become the same.
    """
    if not isinstance(constant, str):
        return _fill_inside(constant, params, job, what)
    whole = _ANY.fullmatch(constant)
    if whole is not None:
        return _value_in_constant(whole, params, job, what)
    return _fill_text(constant, params, job, what)


def _fill_inside(value: Any, params: Mapping[str, Any], job: Mapping[str, str], what: str) -> Any:
    if isinstance(value, str):
        return _fill_text(value, params, job, what)
    if isinstance(value, list):
        return [_fill_inside(item, params, job, what) for item in value]
    if not isinstance(value, Mapping):
        return value
    filled: dict[str, Any] = {}
    for key, item in value.items():
        filled_key = _fill_text(key, params, job, what)
        if filled_key in filled:
            raise ValueProblem(
                f"{what} has the key {format_value(filled_key)} twice when its placeholders are"
                " filled in"
            )
        filled[filled_key] = _fill_inside(item, params, job, what)
    return filled


def _fill_text(text: str, params: Mapping[str, Any], job: Mapping[str, str], what: str) -> str:
    not_compiled = _NOT_COMPILED.search(text)
    if not_compiled is not None:
        source = f"{not_compiled[1]}.{not_compiled[2]}".removeprefix(".")
        raise ValueProblem(
            f"{what} holds the output {source} at a place where KFP cannot compile it"
        )
    return _ANY.sub(lambda match: as_text(_value_in_constant(match, params, job, what)), text)


def _value_in_constant(
    match: re.Match[str], params: Mapping[str, Any], job: Mapping[str, str], what: str
) -> Any:
    expression = match[1]
    job_name = expression.removeprefix(".")
    if job_name in _JOB_NAMES:
        return job.get(job_name, "")
    parameter = _PARAMETER.match(expression)
    if parameter is not None and parameter[2] in params:
        value = params[parameter[2]]
        if value is None:
            raise ValueProblem(
                f"{what} contains the value of {parameter[2].removeprefix(CHANNEL)}, which is null"
            )
        return value
    if parameter is not None or _names_input_or_output(expression):
        raise ValueProblem(f"{what} holds the placeholder {match[0]}, which has no value")
    return match[0]


def _names_input_or_output(expression: str) -> bool:
    """Return whether an expression names an artifact or an output, which have a meaning in commands
    only."""
    if expression == ".outputs.output_file" or WHOLE_ARTIFACT.fullmatch("{{$" + expression + "}}"):
        return True
    return any(pattern.match(expression) for pattern in (_OUTPUT_PARAMETER, _ARTIFACT))


def fill_argument(template: str, executor_input: Mapping[str, Any], job: Mapping[str, str]) -> str:
    """An element of a container's command with its placeholders filled in.

    Raises:
        ValueProblem: it names an input or output that the task does not have.
    """
    return _ANY.sub(lambda match: _in_command(match[0], match[1], executor_input, job), template)


def as_text(value: Any) -> str:
    """A value inside a text: strings as they are, others as JSON; numbers without trailing
    zeros."""
    return value if isinstance(value, str) else "" if value is None else format_json(value)


def local_path(uri: str) -> str:
    """Where a URI is found inside a task: remote stores below their mount points (semantics.md,
    Artifacts)."""
    scheme, _, rest = uri.partition("://")
    return f"/{MOUNTS[scheme]}/{rest}" if rest and scheme in MOUNTS else file_uris.to_path(uri)


def _in_command(text: str, expression: str, wire: Mapping[str, Any], job: Mapping[str, str]) -> str:
    inputs, outputs = wire.get("inputs") or {}, wire.get("outputs") or {}
    if expression == "":
        return json.dumps(wire, ensure_ascii=False)
    if match := _ESCAPE.match(expression):
        escaped = json.dumps(wire, ensure_ascii=False)
        for _ in range(min(int(match[1]), 4)):
            escaped = json.dumps(escaped, ensure_ascii=False)[1:-1]
        return escaped
    if expression == ".outputs.output_file":
        return str(outputs.get("outputFile", ""))
    if expression.removeprefix(".") in _JOB_NAMES:
        return job.get(expression.removeprefix("."), "")
    if match := _PARAMETER.match(expression):
        return as_text(_named(inputs.get("parameterValues") or {}, match[2], "input parameter"))
    if match := _OUTPUT_PARAMETER.match(expression):
        return str(
            _named(outputs.get("parameters") or {}, match[2], "output parameter")["outputFile"]
        )
    if whole := WHOLE_ARTIFACT.fullmatch(text):
        raise ValueProblem(
            f"the command takes the whole artifact '{whole[3]}', which is not defined"
        )
    if match := _ARTIFACT.match(expression):
        side = inputs if match[1] == "inputs" else outputs
        artifacts = _named(side.get("artifacts") or {}, match[3], f"{match[1][:-1]} artifact")[
            "artifacts"
        ]
        if not artifacts:
            raise ValueProblem(f"{match[1][:-1]} artifact '{match[3]}' is an empty list")
        return _of_artifact(artifacts[0], match)
    return text


def _of_artifact(artifact: Mapping[str, Any], match: re.Match[str]) -> str:
    if match[4] == "uri":
        return str(artifact["uri"])
    if match[4] == "path":
        return str(artifact.get("customPath") or local_path(artifact["uri"]))
    metadata = artifact.get("metadata") or {}
    return as_text(metadata.get(match[6])) if match[6] is not None else format_json(metadata)


def _named(values: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in values:
        raise ValueProblem(f"{what} '{name}' has no value, but the command names it")
    return values[name]
