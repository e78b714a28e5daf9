"""`{{$...}}` placeholders: in the constants of a task's inputs and in the command of a container.

Only texts of the spec are templates. What is put in is data and is not looked at again, so a value that looks like a
placeholder reaches the component as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kfgcp.engine.values import ValueProblem, json_text

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
_NO_PLACEHOLDER = object()
_ESCAPE = re.compile(r"\.json_escape\[(\d+)\]\Z")


def is_template(constant: Any) -> bool:
    """Whether a constant may hold placeholders."""
    return isinstance(constant, str) and "{{$" in constant


def fill_constant(template: str, params: Mapping[str, Any], job: Mapping[str, str]) -> Any:
    """A constant with the placeholders of the job and of the task's other inputs filled in.

    A text that is nothing but one input's placeholder gives that input's value, of whatever type; inside a longer
    text values appear as text. What names nothing that is known is text like any other.

    Args:
        template: the constant.
        params: the task's input parameters that are no templates themselves.
        job: values of `pipeline_job_name` and its like.
    """

    def value(expression: str) -> Any:
        if expression.removeprefix(".") in _JOB_NAMES:
            return job.get(expression.removeprefix("."), "")
        match = _PARAMETER.match(expression)
        return params.get(match[2], _NO_PLACEHOLDER) if match else _NO_PLACEHOLDER

    whole = _ANY.fullmatch(template)
    if whole is not None:
        found = value(whole[1])
        return template if found is _NO_PLACEHOLDER else found
    return _ANY.sub(lambda m: m[0] if (v := value(m[1])) is _NO_PLACEHOLDER else as_text(v), template)


def fill_argument(template: str, executor_input: Mapping[str, Any], job: Mapping[str, str]) -> str:
    """An element of a container's command with its placeholders filled in.

    Raises:
        ValueProblem: it names an input or output that the task does not have.
    """
    return _ANY.sub(lambda match: _in_command(match[0], match[1], executor_input, job), template)


def as_text(value: Any) -> str:
    """A value inside a text: strings as they are, others as JSON; numbers without trailing zeros."""
    return value if isinstance(value, str) else "" if value is None else json_text(value)


def local_path(uri: str) -> str:
    """Where a URI is found inside a task: remote stores below their mount points (semantics.md, Artifacts)."""
    scheme, _, rest = uri.partition("://")
    return f"/{MOUNTS[scheme]}/{rest}" if rest and scheme in MOUNTS else uri.removeprefix("file://")


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
        return str(_named(outputs.get("parameters") or {}, match[2], "output parameter")["outputFile"])
    if match := _ARTIFACT.match(expression):
        side = inputs if match[1] == "inputs" else outputs
        artifacts = _named(side.get("artifacts") or {}, match[3], f"{match[1][:-1]} artifact")["artifacts"]
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
    return as_text(metadata.get(match[6])) if match[6] is not None else json_text(metadata)


def _named(values: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in values:
        raise ValueProblem(f"{what} '{name}' has no value, but the command names it")
    return values[name]
