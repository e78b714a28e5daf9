"""CEL: conditions of tasks and selectors of inputs, by Google's own implementation.

Whatever the expression holds, evaluating it ends in a value or in a `ValueProblem`: the library
bounds size and depth.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from kfgcp.semantics.values import ValueProblem, Values, format_json, format_value
from kfgcp.spec.json_values import normalize_numbers

_OTHER_VALUES = {
    "int_value": int,
    "double_value": float,
    "bool_value": bool,
    "list_value": list,
    "struct_value": dict,
}
_NO_VALUE: dict[str, Any] = dict.fromkeys(("string_value", *_OTHER_VALUES))


def evaluate_condition(expression: str, inputs: Values) -> bool:
    """Whether a triggerPolicy.condition holds: a CEL bool over `inputs.parameter_values` and
    `inputs.artifacts`.

    Raises:
        ValueProblem: it cannot be evaluated, or is no bool; names the expression and the values.
    """
    artifacts = {
        name: {"artifacts": [item.to_wire() for item in items]}
        for name, items in inputs.artifacts.items()
    }
    data = {"inputs": {"parameter_values": dict(inputs.params), "artifacts": artifacts}}
    try:
        value = _evaluate(expression, data)
    except Exception as error:
        raise ValueProblem(
            f"the condition {expression} cannot be evaluated: {_reason(error)}; {_with(inputs)}"
        ) from None
    if not isinstance(value, bool):
        raise ValueProblem(
            f"the condition {expression} is {format_value(value)}, neither true nor false;"
            f" {_with(inputs)}"
        )
    return value


def apply_selector(expression: str, value: Any) -> Any:
    """A parameterExpressionSelector applied to a value: `parseJson(string_value)["k"]` for example.

    Raises:
        ValueProblem: it cannot be evaluated; names the expression and the value.
    """
    data = {**_NO_VALUE, "string_value": value if isinstance(value, str) else format_json(value)}
    data |= {name: value for name, kind in _OTHER_VALUES.items() if type(value) is kind}
    try:
        return _in_order(normalize_numbers(_evaluate(expression, data)))
    except Exception as error:
        raise ValueProblem(
            f"the expression {expression} cannot be applied to {format_value(value)}:"
            f" {_reason(error)}"
        ) from None


def _evaluate(expression: str, data: dict[str, Any]) -> Any:
    from cel_expr_python import cel

    _refuse_nul(data)
    result = _program(expression).eval(data=data)
    if result.type() == cel.Type.ERROR:
        raise ValueError(str(result.value()))
    return result.plain_value()


@cache
def _environment() -> Any:
    from cel_expr_python import cel

    parse = cel.Overload(
        "parse_json_string",
        return_type=cel.Type.DYN,
        parameters=[cel.Type.STRING],
        is_member=False,
        impl=_parse_json,
    )
    variables = dict.fromkeys(("inputs", *_NO_VALUE), cel.Type.DYN)
    return cel.NewEnv(variables=variables, functions=[cel.FunctionDecl("parseJson", [parse])])


@cache
def _program(expression: str) -> Any:
    return _environment().compile(expression)


def _parse_json(text: str) -> Any:
    value = json.loads(text)
    _refuse_nul(value)
    return value


def _refuse_nul(value: Any) -> None:
    """The library ends texts at a NUL character: two that differ after it would be equal."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str) and "\0" in item:
            raise ValueError("a text holds a NUL character, which no expression can handle")
        if isinstance(item, dict):
            todo += [*item, *item.values()]
        elif isinstance(item, list):
            todo += item


def _in_order(value: Any) -> Any:
    """The value with the keys of its structs sorted: the library gives them in any order."""
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _reason(error: Exception) -> str:
    return " ".join(str(error).split("\n", 1)[0].split()) or type(error).__name__


def _with(inputs: Values) -> str:
    return "its inputs are " + format_value(dict(inputs.params), limit=400)
