"""Fill in `{{$...}}` placeholders in the constants of inputs and in the commands of containers.

semantics.md, Placeholders, lists all placeholders. Only texts of the spec may contain them. The
values that replace them are data and are not searched for placeholders. So a value that looks like
a placeholder reaches the component unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from kfgcp import file_uris
from kfgcp.model import JsonValue
from kfgcp.semantics.values import ValueProblem, format_json, format_value
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.whole_artifacts import WHOLE_ARTIFACT
from kfgcp.spec.wire import CHANNEL

# Scheme of a URI -> the folder below / in which a task finds the buckets of this scheme.
MOUNTS: Final = {"gs": "gcs", "s3": "s3", "minio": "minio"}

_JOB_NAMES: Final = (
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

# `{{$`, an expression, `}}`. The expression contains no opening brace, and the possessive `*+`
# never backtracks. So a search takes linear time for any text.
_PLACEHOLDER: Final = re.compile(r"\{\{\$((?:[^{}'\"]|'[^'{]*'|\"[^\"{]*\"|\}(?!\}))*+)\}\}")

# The expressions of placeholders. Names are in single or double quotes.
_PARAMETER: Final = re.compile(r"\.inputs\.parameters\[(['\"])(?P<name>.*?)\1\]\Z", re.DOTALL)
_OUTPUT_PARAMETER: Final = re.compile(
    r"\.outputs\.parameters\[(['\"])(?P<name>.*?)\1\]\.output_file\Z", re.DOTALL
)
_ARTIFACT: Final = re.compile(
    r"\.(?P<side>inputs|outputs)\.artifacts\[(?P<quote>['\"])(?P<name>.*?)(?P=quote)\]"
    r"(?:\.(?P<field>uri|path)"
    r"|\.metadata(?:\[(?P<key_quote>['\"])(?P<key>.*?)(?P=key_quote)\])?)\Z",
    re.DOTALL,
)
_JSON_ESCAPE: Final = re.compile(r"\.json_escape\[(?P<times>\d+)\]\Z")
_OUTPUT_FILE: Final = ".outputs.output_file"

# Each escape doubles the backslashes, so the length of the text grows exponentially.
_MAX_JSON_ESCAPES: Final = 4

# The text of an output that KFP's compiler did not replace by a placeholder. The compiler replaces
# outputs only in the values of arguments. It leaves this text in the keys of dicts, in the items of
# loops and in environment variables.
_NOT_COMPILED: Final = re.compile(
    r"\{\{channel:task=(?P<task>[^;{}]*);name=(?P<name>[^;{}]+);type=[^;{}]*;\}\}"
)


def is_template(constant: object) -> bool:
    """Return whether a constant may contain placeholders, at any depth of its lists and dicts.

    Example:
        >>> is_template({"run": ["{{$.pipeline_job_name}}"]})
        True
    """
    if isinstance(constant, str):
        return "{{$" in constant or "{{channel:" in constant
    if isinstance(constant, Mapping):
        return any(is_template(key) or is_template(item) for key, item in constant.items())
    if isinstance(constant, list):
        return any(map(is_template, constant))
    return False


def fill_constant(constant: Any, params: JsonObject, job: Mapping[str, str], label: str) -> Any:
    """Return a constant with its placeholders filled in.

    If the whole constant is the placeholder of one input, the result is the value of this input,
    with its type. Inside a longer text, and everywhere inside a list or dict, values become text
    (semantics.md, Values). Quotes and braces in a value do not change the structure of the
    constant. A placeholder with an unknown expression stays as it is.

    Args:
        constant: a text, or a list or dict with texts at any depth.
        params: the input parameters of the task that are not templates themselves.
        job: values of `pipeline_job_name` and the other placeholders of the job and the task.
        label: the name of the constant in messages, for example "input 'xs'".

    Raises:
        ValueProblem: a placeholder has no value, or two keys of a dict become equal.

    Example:
        >>> placeholder = "{{$.inputs.parameters['pipelinechannel--n']}}"
        >>> fill_constant(placeholder, {"pipelinechannel--n": 3}, {}, "input 'x'")
        3
        >>> fill_constant([placeholder, 4], {"pipelinechannel--n": 3}, {}, "input 'x'")
        ['3', 4]
    """
    if not isinstance(constant, str):
        return _fill_inside(constant, params, job, label)
    placeholder = _PLACEHOLDER.fullmatch(constant)
    if placeholder is not None:
        return _constant_value(placeholder, params, job, label)
    return _fill_text(constant, params, job, label)


def fill_argument(template: str, executor_input: JsonObject, job: Mapping[str, str]) -> str:
    """Return an element of a container's command with its placeholders filled in.

    Args:
        template: the element of the command.
        executor_input: the ExecutorInput of the attempt.
        job: values of `pipeline_job_name` and the other placeholders of the job and the task.

    Raises:
        ValueProblem: a placeholder names an input or output that the task does not have.

    Example:
        >>> executor_input = {"inputs": {"parameterValues": {"rate": 0.10}}}
        >>> fill_argument("--rate={{$.inputs.parameters['rate']}}", executor_input, {})
        '--rate=0.1'
    """
    return _PLACEHOLDER.sub(lambda match: _argument_value(match, executor_input, job), template)


def as_text(value: JsonValue) -> str:
    """Return a value as a part of a text: a string as it is, "" for null, otherwise JSON.

    Example:
        >>> as_text("a"), as_text([1, 2.0]), as_text(None)
        ('a', '[1,2]', '')
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else format_json(value)


def local_path(uri: str) -> str:
    """Return the path at which a task finds the file of a URI.

    Buckets are below their mount points (semantics.md, Artifacts and outputs).

    Example:
        >>> local_path("gs://bucket/data")
        '/gcs/bucket/data'
    """
    scheme, _, bucket_and_key = uri.partition("://")
    if bucket_and_key and scheme in MOUNTS:
        return f"/{MOUNTS[scheme]}/{bucket_and_key}"
    return file_uris.to_path(uri)


# -- constants


def _fill_inside(value: Any, params: JsonObject, job: Mapping[str, str], label: str) -> Any:
    """Return a constant with its placeholders filled in, where all values become text."""
    if isinstance(value, str):
        return _fill_text(value, params, job, label)
    if isinstance(value, list):
        return [_fill_inside(item, params, job, label) for item in value]
    if not isinstance(value, Mapping):
        return value
    filled: dict[str, Any] = {}
    for key, item in value.items():
        filled_key = _fill_text(key, params, job, label)
        if filled_key in filled:
            raise ValueProblem(
                f"after kfgcp fills in the placeholders, {label} has the key"
                f" {format_value(filled_key)} twice"
            )
        filled[filled_key] = _fill_inside(item, params, job, label)
    return filled


def _fill_text(text: str, params: JsonObject, job: Mapping[str, str], label: str) -> str:
    """Return a text with its placeholders filled in.

    Raises:
        ValueProblem: a placeholder has no value, or KFP did not compile an output in the text.
    """
    not_compiled = _NOT_COMPILED.search(text)
    if not_compiled is not None:
        source = f"{not_compiled['task']}.{not_compiled['name']}".removeprefix(".")
        raise ValueProblem(
            f"{label} contains the output {source} inside another value, where KFP cannot fill it"
            " in: pass the output as an argument of its own"
        )
    return _PLACEHOLDER.sub(lambda match: as_text(_constant_value(match, params, job, label)), text)


def _constant_value(
    placeholder: re.Match[str], params: JsonObject, job: Mapping[str, str], label: str
) -> Any:
    """Return the value of a placeholder in a constant.

    A placeholder with an unknown expression is text: its value is the placeholder itself.
    """
    expression = placeholder[1]
    job_name = expression.removeprefix(".")
    if job_name in _JOB_NAMES:
        return job.get(job_name, "")
    parameter = _PARAMETER.match(expression)
    if parameter is not None and parameter["name"] in params:
        name = parameter["name"]
        if params[name] is None:
            raise ValueProblem(
                f"{label} contains the value of {name.removeprefix(CHANNEL)}, which is null"
            )
        return params[name]
    if parameter is not None or _names_input_or_output(placeholder):
        raise ValueProblem(f"{label} contains the placeholder {placeholder[0]}, which has no value")
    return placeholder[0]


def _names_input_or_output(placeholder: re.Match[str]) -> bool:
    """Return whether a placeholder names an artifact or an output.

    These placeholders have a value in commands, but not in constants.
    """
    expression = placeholder[1]
    if expression == _OUTPUT_FILE or WHOLE_ARTIFACT.fullmatch(placeholder[0]):
        return True
    return bool(_OUTPUT_PARAMETER.match(expression) or _ARTIFACT.match(expression))


# -- commands


def _argument_value(
    placeholder: re.Match[str], executor_input: JsonObject, job: Mapping[str, str]
) -> str:
    """Return the text that replaces a placeholder in a command.

    A placeholder with an unknown expression is text: it is replaced by itself.
    """
    expression = placeholder[1]
    inputs = executor_input.get("inputs") or {}
    outputs = executor_input.get("outputs") or {}
    if expression == "":
        return json.dumps(executor_input, ensure_ascii=False)
    escape = _JSON_ESCAPE.match(expression)
    if escape is not None:
        return _escape_json(executor_input, int(escape["times"]))
    if expression == _OUTPUT_FILE:
        return str(outputs.get("outputFile", ""))
    job_name = expression.removeprefix(".")
    if job_name in _JOB_NAMES:
        return job.get(job_name, "")
    parameter = _PARAMETER.match(expression)
    if parameter is not None:
        values = inputs.get("parameterValues") or {}
        return as_text(_look_up(values, parameter["name"], "input parameter"))
    output_parameter = _OUTPUT_PARAMETER.match(expression)
    if output_parameter is not None:
        params = outputs.get("parameters") or {}
        output = _look_up(params, output_parameter["name"], "output parameter")
        return str(output["outputFile"])
    whole_artifact = WHOLE_ARTIFACT.fullmatch(placeholder[0])
    if whole_artifact is not None:
        raise ValueProblem(
            f"the command takes the whole artifact '{whole_artifact[3]}', but KFP does not define"
            " the text of a whole artifact: pass its uri, path or metadata"
        )
    artifact = _ARTIFACT.match(expression)
    if artifact is not None:
        side = inputs if artifact["side"] == "inputs" else outputs
        return _artifact_value(artifact, side)
    return placeholder[0]


def _escape_json(executor_input: JsonObject, times: int) -> str:
    """Return the ExecutorInput as JSON text, escaped several times for use inside JSON strings."""
    escaped = json.dumps(executor_input, ensure_ascii=False)
    for _ in range(min(times, _MAX_JSON_ESCAPES)):
        quoted = json.dumps(escaped, ensure_ascii=False)
        escaped = quoted[1:-1]
    return escaped


def _artifact_value(expression: re.Match[str], values: JsonObject) -> str:
    """Return the URI, the path or the metadata of the first artifact of an input or output.

    Args:
        expression: the match of `_ARTIFACT`.
        values: the inputs or the outputs in the ExecutorInput.
    """
    kind = f"{expression['side'].removesuffix('s')} artifact"
    artifact_list = _look_up(values.get("artifacts") or {}, expression["name"], kind)
    artifacts = artifact_list["artifacts"]
    if not artifacts:
        raise ValueProblem(f"{kind} '{expression['name']}' is an empty list")
    artifact = artifacts[0]
    if expression["field"] == "uri":
        return str(artifact["uri"])
    if expression["field"] == "path":
        return str(artifact.get("customPath") or local_path(artifact["uri"]))
    metadata = artifact.get("metadata") or {}
    if expression["key"] is None:
        return format_json(metadata)
    return as_text(metadata.get(expression["key"]))


def _look_up(values: JsonObject, name: str, kind: str) -> Any:
    """Return the value of an input or output, or raise ValueProblem when it has none."""
    if name not in values:
        raise ValueProblem(f"{kind} '{name}' has no value, but the command uses it")
    return values[name]
