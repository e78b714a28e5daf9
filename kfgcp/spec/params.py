"""Parameters: what a pipeline declares, what the user gives, and the values that a run starts
with."""

from __future__ import annotations

import json
import numbers
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kfgcp.errors import ParamError
from kfgcp.spec.digest import canonical_json
from kfgcp.spec.documents import parse_documents, parse_json, read_text
from kfgcp.spec.json_values import (
    EXACT_DOUBLES,
    MAX_DIGITS,
    NotJsonError,
    check_json,
    format_place,
    normalize_numbers,
    normalize_parameter,
)
from kfgcp.spec.records import ParamSpec
from kfgcp.spec.wire import read_root_params

# KFP's parameterType -> the annotation that the author wrote.
TYPES = {
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
# A protobuf Value nests at most this deep.
_MAX_DEPTH = 100
_DOUBLE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class _WrongError(Exception):
    """Why a value does not do; continues a sentence that starts with the parameter's name."""


def declared_params(pipeline_spec: Mapping[str, Any]) -> dict[str, ParamSpec]:
    """Return the parameters and input artifacts of the pipeline's root, by name, in the order of
    the spec."""
    return read_root_params(pipeline_spec)


def parse_assignments(
    params: Mapping[str, ParamSpec], assignments: Sequence[str]
) -> dict[str, Any]:
    """The values of `NAME=VALUE` texts, each read by the declared type of its parameter.

    The text after the first `=` is the value: itself for a STRING, JSON for a LIST or STRUCT.
    `null` stands for no value where the parameter is optional, has no default and is not a STRING.

    Raises:
        ParamError: an assignment has no `=`, a parameter is unknown or given twice, a value is not
            of its type; all of them are named.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise ParamError(
                f"-p {assignment}: a parameter is given as NAME=VALUE.",
                hint="For example: -p learning_rate=0.1",
            )
        name = name.strip()
        if name in values:
            problems.append(f"{name} is given twice")
            continue
        values[name] = None
        if name not in params:
            problems.append(_unknown(name, params))
            continue
        try:
            values[name] = _parsed(params[name], text)
        except _WrongError as wrong:
            problems.append(f"{name} {wrong}")
    _raise(problems, params)
    return values


def read_file(path: str | Path) -> dict[str, Any]:
    """The values in a file of parameters: a mapping in YAML, or in JSON when its name ends in
    `.json`.

    Raises:
        ParamError: the file cannot be read, or holds something else than one mapping.
    """
    path = Path(path)
    text = read_text(path, ParamError)
    as_json = path.suffix.lower() == ".json"
    documents = parse_documents(text, str(path), as_json=as_json, error=ParamError, by_hand=True)
    if len(documents) > 1:
        raise ParamError(f"{path} holds {len(documents)} YAML documents, one is expected.")
    if not documents:
        return {}
    if not isinstance(documents[0], dict):
        raise ParamError(
            f"{path}:1: a mapping of parameters is expected, this is {_kind(documents[0])}.",
            hint="Write one parameter a line, `learning_rate: 0.1`.",
        )
    return documents[0]


def resolve(params: Mapping[str, ParamSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a run starts with: a value for every declared parameter, in the order of the
    declaration.

    The user's values come first, then the defaults; None stands for an optional parameter without
    either. A STRING given another kind of value receives its JSON text; every other type must
    match.

    Raises:
        ParamError: a parameter is unknown, missing or of the wrong type; all of them are named.
    """
    problems = [_unknown(name, params) for name in values if name not in params]
    missing: list[str] = []
    resolved: dict[str, Any] = {}
    for name, param in params.items():
        if name not in values and not param.has_default:
            resolved[name] = None
            missing += [name] if param.required else []
            continue
        try:
            resolved[name] = _checked(param, values[name]) if name in values else _default(param)
        except _WrongError as wrong:
            problems.append(
                f"{name} {wrong}" if name in values else f"the default of {name} {wrong}"
            )
    if missing:
        problems.append(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} required")
    _raise(problems, params)
    return resolved


def table(params: Mapping[str, ParamSpec]) -> str:
    """The parameters as lines of text: name, type, default or `required`, description."""
    rows = [
        (
            param.name,
            TYPES.get(param.type, param.type),
            _state(param),
            (param.description.strip().splitlines() or [""])[0],
        )
        for param in params.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    lines = ("  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows)
    return "\n".join(f"  {line}" for line in lines)


def _state(param: ParamSpec) -> str:
    if param.is_from_backend:
        return "set by the backend"
    if param.has_default:
        return _short(canonical_json(param.default))
    return "required" if param.required else "optional"


def _raise(problems: Sequence[str], params: Mapping[str, ParamSpec]) -> None:
    if not problems:
        return
    hint = (
        f"The pipeline's parameters:\n{table(params)}"
        if params
        else "The pipeline has no parameters."
    )
    raise ParamError(f"Wrong parameters: {'; '.join(problems)}.", hint=hint)


def _unknown(name: Any, params: Mapping[str, ParamSpec]) -> str:
    import difflib

    close = difflib.get_close_matches(str(name), list(params), n=1)
    return f"{name} is unknown" + (f" (did you mean {close[0]}?)" if close else "")


def _parsed(param: ParamSpec, text: str) -> Any:
    """The value that the text of an assignment stands for."""
    if param.type in ("STRING", "ARTIFACT"):
        return _checked(param, text)
    if param.type == "ARTIFACT_LIST" and not text.lstrip().startswith("["):
        return _checked(param, text)
    if text.strip() == "null" and param.optional and not param.has_default:
        return None
    return _checked(param, _READERS.get(param.type, _as_is)(text.strip()))


def _read_integer(text: str) -> int:
    try:
        if re.fullmatch(r"[+-]?[0-9]+", text):
            return int(text)
    except ValueError:
        raise _WrongError(
            f"has more than {MAX_DIGITS:,} digits, the most that Python reads in a task"
        ) from None
    raise _WrongError(f"must be int, not {_short(repr(text))}")


def _read_double(text: str) -> int | float:
    if re.fullmatch(r"[+-]?[0-9]{1,15}", text):
        return int(text)
    if _DOUBLE.fullmatch(text) or text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(text)
    raise _WrongError(f"must be float, not {_short(repr(text))}")


def _read_boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise _WrongError(f"must be true or false, not {_short(repr(text))}")


def _read_json(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as problem:
        what = (
            f"{problem.msg} at column {problem.colno}"
            if isinstance(problem, json.JSONDecodeError)
            else problem
        )
        raise _WrongError(f"must be JSON, not {_short(repr(text))}: {what}") from None


def _as_is(text: str) -> str:
    return text


_READERS: dict[str, Callable[[str], Any]] = {
    "NUMBER_INTEGER": _read_integer,
    "NUMBER_DOUBLE": _read_double,
    "BOOLEAN": _read_boolean,
    "LIST": _read_json,
    "STRUCT": _read_json,
    "ARTIFACT_LIST": _read_json,
}


def with_absolute_paths(
    params: Mapping[str, ParamSpec], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values, with relative paths of input artifacts made absolute from the current
    folder.

    A rerun needs this, because its other paths start from the folder that the first run was
    submitted from.

    Args:
        params: the declared parameters by name.
        values: the given values by name. They are not changed.
    """
    absolute = dict(values)
    for name, value in values.items():
        if name not in params or not params[name].is_artifact:
            continue
        if isinstance(value, (list, tuple)):
            absolute[name] = [_absolute(path) for path in value]
        else:
            absolute[name] = _absolute(value)
    return absolute


def _absolute(path: Any) -> Any:
    """Return a relative path as an absolute one, and a URI or another value unchanged."""
    is_path = isinstance(path, (str, Path)) and str(path).strip() and "://" not in str(path)
    return os.path.abspath(path) if is_path else path


def _default(param: ParamSpec) -> Any:
    return None if param.default is None else _checked(param, param.default)


def _checked(param: ParamSpec, value: Any) -> Any:
    """The value, if the parameter accepts it, in plain JSON types."""
    if param.is_from_backend:
        raise _WrongError("is set by the backend and cannot be given")
    if value is None:
        if param.optional and not param.has_default:
            return None
        raise _WrongError(f"must be {TYPES[param.type]}, not null")
    if param.is_artifact:
        return _uris(param, value)
    value = _plain(value)
    if param.type == "NUMBER_DOUBLE":
        value = normalize_parameter(param.type, value)
        if isinstance(value, int) and abs(value) >= EXACT_DOUBLES:
            raise _WrongError("is too large for a float")
    if param.type == "STRING":
        value = value if isinstance(value, str) else canonical_json(value)
    elif not _fits(param.type, value):
        raise _WrongError(f"must be {TYPES[param.type]}, not {_kind(value)} {_short(_text(value))}")
    if param.literals and canonical_json(value) not in map(canonical_json, param.literals):
        allowed = ", ".join(map(_text, param.literals))
        raise _WrongError(f"must be one of {allowed}, not {_short(_text(value))}")
    return value


def _uris(param: ParamSpec, value: Any) -> Any:
    """Return the URI, or list of URIs, of an input artifact."""
    if isinstance(value, Path):
        value = str(value)
    uris = value if param.type == "ARTIFACT_LIST" and isinstance(value, (list, tuple)) else [value]
    for uri in uris:
        if not isinstance(uri, str) or not uri.strip() or not uri.isprintable():
            raise _WrongError(f"must be the URI of an artifact, not {_short(repr(uri))}")
    return list(uris) if param.type == "ARTIFACT_LIST" else value


def _fits(kind: str, value: Any) -> bool:
    if kind in ("NUMBER_INTEGER", "NUMBER_DOUBLE"):
        accepted: Any = int if kind == "NUMBER_INTEGER" else (int, float)
        return isinstance(value, accepted) and not isinstance(value, bool)
    return isinstance(value, {"BOOLEAN": bool, "LIST": list, "STRUCT": dict}[kind])


def _plain(value: Any, depth: int = 0) -> Any:
    """The value in the types of JSON: tuples become lists, the numbers of other libraries
    Python's."""
    value = _unboxed(value, depth)
    try:
        check_json(value, max_depth=_MAX_DEPTH)
    except NotJsonError as unfit:
        place = f"at {format_place(unfit.place)} " if unfit.place else ""
        raise _WrongError(f"{place}{unfit.problem}") from None
    return normalize_numbers(value)


def _unboxed(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise _WrongError(f"nests deeper than {_MAX_DEPTH} levels")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _unboxed(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unboxed(item, depth + 1) for item in value]
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {
        bool: "bool",
        int: "int",
        float: "float",
        str: "the text",
        list: "the list",
        dict: "the dict",
    }
    return names.get(type(value), type(value).__name__)


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, str) else canonical_json(value)


def _short(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
