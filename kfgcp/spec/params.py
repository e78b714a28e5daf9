"""Read the parameters that the user gives, and compute the values that a run starts with.

The rules are in semantics.md, Values: only a STRING accepts values of other types, and gets their
JSON text. Kubeflow answers 400 to such values, so kfgcp converts them before it submits.
"""

from __future__ import annotations

import json
import numbers
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kfgcp.errors import ParamError
from kfgcp.model import JsonValue
from kfgcp.spec.digest import canonical_json
from kfgcp.spec.documents import parse_documents, parse_json, read_text
from kfgcp.spec.json_values import (
    EXACT_DOUBLES,
    MAX_DIGITS,
    JsonObject,
    NotJsonError,
    check_json,
    format_place,
    normalize_numbers,
    normalize_parameter,
)
from kfgcp.spec.records import ParamSpec
from kfgcp.spec.wire import read_root_params

# parameterType of KFP -> the type annotation that the author of a pipeline wrote.
ANNOTATION_BY_TYPE: Final = {
    "STRING": "str",
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
    "TASK_FINAL_STATUS": "PipelineTaskFinalStatus",
    "TASK_CONFIG": "TaskConfig",
    "ARTIFACT": "artifact",
    "ARTIFACT_LIST": "list of artifacts",
}
_PYTHON_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
_VALUE_NAMES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "the text",
    list: "the list",
    dict: "the dict",
}

# Parsers of Protocol Buffers refuse messages that nest deeper than 100 levels, and the services
# read parameters as a protobuf Value.
_MAX_DEPTH: Final = 100

# A number as JSON has it, and also `.5`, `5.` and `+5`, which people write.
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

# Integers of up to 15 digits are below 2**53, so a double holds them exactly.
_EXACT_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,15}")


# The beginning of the message of wrong parameters, when no table is named.
_SUBJECT: Final = "Wrong parameters"


class _WrongValueError(Exception):
    """A value that a parameter does not accept.

    The message is the end of a sentence that starts with the parameter's name.
    """


def declared_params(pipeline_spec: JsonObject) -> dict[str, ParamSpec]:
    """Return the parameters and input artifacts of a pipeline, by name, in the order of the spec.

    Example:
        >>> declared = declared_params({"root": {"inputDefinitions": {"parameters": {
        ...     "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.1}}}}})
        >>> declared["rate"].type, declared["rate"].default
        ('NUMBER_DOUBLE', 0.1)
    """
    return read_root_params(pipeline_spec)


def parse_assignments(
    params: Mapping[str, ParamSpec], assignments: Sequence[str]
) -> dict[str, JsonValue]:
    """Return the values of `NAME=VALUE` texts, which are read by the types of the parameters.

    The text after the first `=` is the value. For a STRING it is the value itself, for a LIST or
    STRUCT it is JSON. `null` stands for no value if the parameter is optional, has no default and
    is not a STRING.

    Args:
        params: the declared parameters by name.
        assignments: the texts.

    Raises:
        ParamError: an assignment has no `=`, a parameter is unknown or given twice, or a value is
            not of the declared type. The message names all of these problems.

    Example:
        >>> params = {"epochs": ParamSpec("epochs", "NUMBER_INTEGER")}
        >>> parse_assignments(params, ["epochs=3"])
        {'epochs': 3}
    """
    values: dict[str, JsonValue] = {}
    problems: list[str] = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ParamError(
                f"-p {assignment}: write a parameter as NAME=VALUE.",
                hint="For example: -p learning_rate=0.1",
            )
        if name in values:
            problems.append(f"{name} has two values")
            continue
        values[name] = None
        if name not in params:
            problems.append(_describe_unknown(name, params))
            continue
        try:
            values[name] = _parse_value(params[name], text)
        except _WrongValueError as wrong:
            problems.append(f"{name} {wrong}")
    _raise_problems(problems, params)
    return values


def read_file(path: str | Path) -> dict[str, JsonValue]:
    """Return the values in a file of parameters.

    Args:
        path: a file with one mapping, in JSON when its name ends in `.json`, else in YAML.

    Raises:
        ParamError: the file cannot be read, or does not hold one mapping.
    """
    file = Path(path)
    text = read_text(file, ParamError)
    as_json = file.suffix.lower() == ".json"
    documents = parse_documents(text, str(file), as_json=as_json, error=ParamError, by_hand=True)
    if not documents:
        return {}
    if len(documents) > 1:
        raise ParamError(
            f"{file} has {len(documents)} YAML documents. A file of parameters has only one."
        )
    values = documents[0]
    if not isinstance(values, dict):
        raise ParamError(
            f"{file}:1: a file of parameters must be a mapping, not {type(values).__name__}.",
            hint="Write one parameter on each line: `learning_rate: 0.1`.",
        )
    return values


def resolve(
    params: Mapping[str, ParamSpec], values: Mapping[str, Any], *, subject: str = _SUBJECT
) -> dict[str, JsonValue]:
    """Return the values that a run starts with, one for each parameter, in their declared order.

    A parameter has the user's value, else its default. An optional parameter without a value and
    without a default is None. A STRING accepts a value of any type and gets its JSON text. All
    other parameters accept only values of their declared type.

    Args:
        params: the declared parameters by name.
        values: the user's values by name. Numbers of other libraries, such as NumPy, are accepted.
        subject: the beginning of the message of an error, such as the table with the values.

    Raises:
        ParamError: a parameter is unknown, missing or of the wrong type. The message names all
            wrong parameters.

    Example:
        >>> params = {
        ...     "epochs": ParamSpec("epochs", "NUMBER_INTEGER"),
        ...     "rate": ParamSpec("rate", "NUMBER_DOUBLE", default=0.1, has_default=True),
        ... }
        >>> resolve(params, {"epochs": 3})
        {'epochs': 3, 'rate': 0.1}
    """
    problems = [_describe_unknown(name, params) for name in values if name not in params]
    missing: list[str] = []
    resolved: dict[str, JsonValue] = {}
    for name, param in params.items():
        try:
            if name in values:
                resolved[name] = _check_value(param, values[name])
            else:
                resolved[name] = _check_default(param)
        except _WrongValueError as wrong:
            wrong_value = name if name in values else f"the default of {name}"
            problems.append(f"{wrong_value} {wrong}")
        if param.required and name not in values:
            missing.append(name)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        problems.append(f"{', '.join(missing)} {verb} required")
    _raise_problems(problems, params, subject)
    return resolved


def resolve_known(
    params: Mapping[str, ParamSpec], values: Mapping[str, Any], *, subject: str = _SUBJECT
) -> dict[str, JsonValue]:
    """Return the values that are known before a run: as `resolve`, without what is missing.

    Args:
        params: the declared parameters by name.
        values: the user's values by name.
        subject: as in `resolve`.

    Raises:
        ParamError: a parameter is unknown or of the wrong type.

    Example:
        >>> params = {
        ...     "epochs": ParamSpec("epochs", "NUMBER_INTEGER"),
        ...     "rate": ParamSpec("rate", "NUMBER_DOUBLE", default=0.1, has_default=True),
        ... }
        >>> resolve_known(params, {})
        {'rate': 0.1}
    """
    known = {name: param for name, param in params.items() if name in values or not param.required}
    resolved = resolve(known, values, subject=subject)
    return {name: value for name, value in resolved.items() if value is not None}


def with_absolute_paths(
    params: Mapping[str, ParamSpec], values: Mapping[str, Any], folder: Path | None = None
) -> dict[str, Any]:
    """Return the values with absolute paths instead of relative paths of input artifacts.

    A rerun needs absolute paths, because its other paths start from the folder that the first run
    was submitted from.

    Args:
        params: the declared parameters by name.
        values: the user's values by name. This mapping does not change.
        folder: the folder that relative paths start from, the current one when None.

    Example:
        >>> params = {"data": ParamSpec("data", "ARTIFACT")}
        >>> with_absolute_paths(params, {"data": "gs://bucket/rows.csv"})
        {'data': 'gs://bucket/rows.csv'}
    """
    absolute = dict(values)
    for name, value in values.items():
        if name not in params or not params[name].is_artifact:
            continue
        if isinstance(value, (list, tuple)):
            absolute[name] = [_absolute_path(path, folder) for path in value]
        else:
            absolute[name] = _absolute_path(value, folder)
    return absolute


# -- messages


def _raise_problems(
    problems: Sequence[str], params: Mapping[str, ParamSpec], subject: str = _SUBJECT
) -> None:
    if not problems:
        return
    hint = "The pipeline has no parameters."
    if params:
        hint = f"The pipeline's parameters:\n{_format_table(params)}"
    raise ParamError(f"{subject}: {'; '.join(problems)}.", hint=hint)


def _format_table(params: Mapping[str, ParamSpec]) -> str:
    """Return a line for each parameter: name, type, default, first line of the description."""
    rows = []
    for param in params.values():
        description_lines = param.description.strip().splitlines()
        description = description_lines[0] if description_lines else ""
        type_name = ANNOTATION_BY_TYPE.get(param.type, param.type)
        rows.append((param.name, type_name, _describe_default(param), description))
    name_width = max(len(row[0]) for row in rows)
    type_width = max(len(row[1]) for row in rows)
    default_width = max(len(row[2]) for row in rows)
    lines = []
    for name, type_name, default, description in rows:
        columns = f"{name:{name_width}}  {type_name:{type_width}}  {default:{default_width}}"
        lines.append(f"  {columns}  {description}".rstrip())
    return "\n".join(lines)


def _describe_default(param: ParamSpec) -> str:
    if param.is_from_backend:
        return "set by the backend"
    if param.has_default:
        return _shorten(canonical_json(param.default))
    return "required" if param.required else "optional"


def _describe_unknown(name: object, params: Mapping[str, ParamSpec]) -> str:
    import difflib

    close_names = difflib.get_close_matches(str(name), list(params), n=1)
    suggestion = f" (did you mean {close_names[0]}?)" if close_names else ""
    return f"{name} is unknown{suggestion}"


def _value_type(value: object) -> str:
    return _VALUE_NAMES.get(type(value), type(value).__name__)


def _format_value(value: JsonValue) -> str:
    return repr(value) if isinstance(value, str) else canonical_json(value)


def _shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


# -- texts of the command line


def _parse_value(param: ParamSpec, text: str) -> JsonValue:
    """Return the value that the text of an assignment stands for."""
    # A single URI is written as plain text, also for a parameter that is a list of URIs.
    is_uri = param.type == "ARTIFACT_LIST" and not text.lstrip().startswith("[")
    if param.type in ("STRING", "ARTIFACT") or is_uri:
        return _check_value(param, text)
    if text.strip() == "null" and param.optional and not param.has_default:
        return None
    parse = _PARSERS.get(param.type)
    value = text.strip()
    return _check_value(param, value if parse is None else parse(value))


def _parse_integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise _WrongValueError(f"must be int, not {_shorten(repr(text))}")
    try:
        return int(text)
    except ValueError:
        raise _WrongValueError(
            f"has more than {MAX_DIGITS:,} digits, which Python cannot read in a task"
        ) from None


def _parse_double(text: str) -> int | float:
    # `2` stays an integer, because a component also gets an integer for a compiled constant 2.
    if _EXACT_INTEGER.fullmatch(text):
        return int(text)
    # The check of the value refuses NaN and infinities with a better message.
    if _DOUBLE.fullmatch(text) or text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(text)
    raise _WrongValueError(f"must be float, not {_shorten(repr(text))}")


def _parse_boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise _WrongValueError(f"must be true or false, not {_shorten(repr(text))}")


def _parse_json_value(text: str) -> JsonValue:
    try:
        value: JsonValue = parse_json(text)
    except ValueError as error:
        reason = str(error)
        if isinstance(error, json.JSONDecodeError):
            reason = f"{error.msg} at column {error.colno}"
        raise _WrongValueError(f"must be JSON, not {_shorten(repr(text))}: {reason}") from None
    return value


_PARSERS: Final[Mapping[str, Callable[[str], JsonValue]]] = {
    "NUMBER_INTEGER": _parse_integer,
    "NUMBER_DOUBLE": _parse_double,
    "BOOLEAN": _parse_boolean,
    "LIST": _parse_json_value,
    "STRUCT": _parse_json_value,
    "ARTIFACT_LIST": _parse_json_value,
}


# -- values


def _check_default(param: ParamSpec) -> JsonValue:
    return None if param.default is None else _check_value(param, param.default)


def _check_value(param: ParamSpec, value: Any) -> JsonValue:
    """Return the value in plain JSON types, if the parameter accepts it."""
    if param.is_from_backend:
        raise _WrongValueError("cannot be set, because the backend sets it")
    if value is None:
        if param.optional and not param.has_default:
            return None
        raise _WrongValueError(f"must be {ANNOTATION_BY_TYPE[param.type]}, not null")
    if param.is_artifact:
        return _check_uris(param, value)
    plain = _to_json(value)
    if param.type == "NUMBER_DOUBLE":
        plain = normalize_parameter(param.type, plain)
        # `normalize_parameter` converts integers from 2**53 on to floats. An integer of this size
        # is left only when it is too large for every float.
        if isinstance(plain, int) and abs(plain) >= EXACT_DOUBLES:
            raise _WrongValueError("is too large for a float")
    if param.type == "STRING":
        plain = plain if isinstance(plain, str) else canonical_json(plain)
    elif not _has_type(plain, param.type):
        text = _shorten(_format_value(plain))
        raise _WrongValueError(
            f"must be {ANNOTATION_BY_TYPE[param.type]}, not {_value_type(plain)} {text}"
        )
    _check_literals(param, plain)
    return plain


def _check_literals(param: ParamSpec, value: JsonValue) -> None:
    allowed = [canonical_json(literal) for literal in param.literals]
    if allowed and canonical_json(value) not in allowed:
        choices = ", ".join(map(_format_value, param.literals))
        raise _WrongValueError(f"must be one of {choices}, not {_shorten(_format_value(value))}")


def _check_uris(param: ParamSpec, value: Any) -> JsonValue:
    """Return the URI, or list of URIs, of an input artifact."""
    if isinstance(value, Path):
        value = str(value)
    is_list = param.type == "ARTIFACT_LIST"
    uris = list(value) if is_list and isinstance(value, (list, tuple)) else [value]
    for uri in uris:
        is_uri = isinstance(uri, str) and uri.strip() != "" and uri.isprintable()
        if not is_uri:
            raise _WrongValueError(f"must be the URI of an artifact, not {_shorten(repr(uri))}")
    return uris if is_list else uris[0]


def _has_type(value: JsonValue, parameter_type: str) -> bool:
    # In Python, True is also an int.
    if isinstance(value, bool) and parameter_type != "BOOLEAN":
        return False
    return isinstance(value, _PYTHON_TYPES[parameter_type])


def _to_json(value: Any) -> JsonValue:
    """Return the value in the types of JSON, with integers instead of integral floats."""
    plain = _to_python(value, 0)
    try:
        check_json(plain, max_depth=_MAX_DEPTH)
    except NotJsonError as problem:
        place = f"at {format_place(problem.place)} " if problem.place else ""
        raise _WrongValueError(f"{place}{problem.problem}") from None
    normal: JsonValue = normalize_numbers(plain)
    return normal


def _to_python(value: Any, depth: int) -> Any:
    """Return the value with lists instead of tuples, and Python's numbers instead of NumPy's."""
    if depth > _MAX_DEPTH:
        raise _WrongValueError(f"nests deeper than {_MAX_DEPTH} levels")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    # NumPy registers its numbers with these abstract classes, so NumPy need not be imported.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _to_python(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_python(item, depth + 1) for item in value]
    return value


def _absolute_path(path: Any, folder: Path | None) -> Any:
    """Return a relative path as an absolute one, and a URI or another value unchanged."""
    if not isinstance(path, (str, Path)):
        return path
    is_empty = str(path).strip() == ""
    is_uri = "://" in str(path)
    return path if is_empty or is_uri else os.path.abspath(Path(folder or "", path))
