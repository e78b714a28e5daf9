"""Evaluates CEL expressions, with Google's library: conditions of tasks and selectors of inputs.

An expression may contain anything. Its evaluation always ends, with a value or a `ValueProblem`,
because the library limits the size and the depth of expressions.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from kfgcp.semantics.values import ValueProblem, Values, format_json, format_value
from kfgcp.spec.json_values import normalize_numbers

# A selector reads the value of an input from the variable for its type (pipeline_spec.proto,
# parameter_expression_selector). `string_value` is a text, or the JSON text of any other value.
_TYPED_VARIABLES: Final[dict[str, type]] = {
    "int_value": int,
    "double_value": float,
    "bool_value": bool,
    "list_value": list,
    "struct_value": dict,
}
_ALL_VARIABLES: Final = ("string_value", *_TYPED_VARIABLES)


def evaluate_condition(expression: str, inputs: Values) -> bool:
    """Return whether a triggerPolicy.condition holds.

    Args:
        expression: a CEL bool over `inputs.parameter_values` and `inputs.artifacts`.
        inputs: the inputs of the task.

    Raises:
        ValueProblem: it cannot be evaluated, or is not a bool. The message has the expression and
            the values.

    Example:
        >>> expression = "inputs.parameter_values['rate'] > 0.5"
        >>> evaluate_condition(expression, Values({"rate": 0.9}))
        True
    """
    artifacts = {}
    for name, items in inputs.artifacts.items():
        artifacts[name] = {"artifacts": [item.to_wire() for item in items]}
    variables = {"inputs": {"parameter_values": dict(inputs.params), "artifacts": artifacts}}
    try:
        value = _evaluate(expression, variables)
    except Exception as error:
        raise ValueProblem(
            f"the condition {expression} cannot be evaluated: {_reason(error)};"
            f" {_describe_inputs(inputs)}"
        ) from None
    if not isinstance(value, bool):
        raise ValueProblem(
            f"the condition {expression} is {format_value(value)}, neither true nor false;"
            f" {_describe_inputs(inputs)}"
        )
    return value


def apply_selector(expression: str, value: Any) -> Any:
    """Return the result of a parameterExpressionSelector for a value.

    Integral floats in the result become integers, and the keys of structs are sorted.

    Args:
        expression: a CEL expression, `parseJson(string_value)["k"]` for example.
        value: the value of the input.

    Raises:
        ValueProblem: it cannot be evaluated. The message has the expression and the value.

    Example:
        >>> apply_selector('parseJson(string_value)["k"]', '{"k": 2.0}')
        2
    """
    variables: dict[str, Any] = dict.fromkeys(_ALL_VARIABLES)
    variables["string_value"] = value if isinstance(value, str) else format_json(value)
    for name, python_type in _TYPED_VARIABLES.items():
        # Not isinstance: True is also an int.
        if type(value) is python_type:
            variables[name] = value
    try:
        return _sort_keys(normalize_numbers(_evaluate(expression, variables)))
    except Exception as error:
        raise ValueProblem(
            f"the expression {expression} cannot be applied to {format_value(value)}:"
            f" {_reason(error)}"
        ) from None


def _evaluate(expression: str, variables: dict[str, Any]) -> Any:
    from cel_expr_python import cel

    _refuse_nul(variables)
    result = _compile(expression).eval(data=variables)
    if result.type() == cel.Type.ERROR:
        raise ValueError(str(result.value()))
    return result.plain_value()


@cache
def _compile(expression: str) -> Any:
    return _environment().compile(expression)


@cache
def _environment() -> Any:
    """Return the CEL environment: the variables, and `parseJson`, which KFP adds to CEL."""
    from cel_expr_python import cel

    overload = cel.Overload(
        "parse_json_string",
        return_type=cel.Type.DYN,
        parameters=[cel.Type.STRING],
        is_member=False,
        impl=_parse_json,
    )
    variables = dict.fromkeys(("inputs", *_ALL_VARIABLES), cel.Type.DYN)
    return cel.NewEnv(variables=variables, functions=[cel.FunctionDecl("parseJson", [overload])])


def _parse_json(text: str) -> Any:
    value = json.loads(text)
    _refuse_nul(value)
    return value


def _refuse_nul(value: Any) -> None:
    """Raise ValueError when a text in a value holds a NUL character.

    The library ends texts there, so two texts that differ after it would be equal.
    """
    to_check = [value]
    while to_check:
        item = to_check.pop()
        if isinstance(item, str) and "\0" in item:
            raise ValueError("a text holds a NUL character, which no expression can handle")
        if isinstance(item, dict):
            to_check += item.keys()
            to_check += item.values()
        elif isinstance(item, list):
            to_check += item


def _sort_keys(value: Any) -> Any:
    """Return the value with the keys of its structs sorted: the library gives them in any order."""
    if isinstance(value, dict):
        return {key: _sort_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sort_keys(item) for item in value]
    return value


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, or its type when there is none."""
    first_line = str(error).split("\n", 1)[0]
    return " ".join(first_line.split()) or type(error).__name__


def _describe_inputs(inputs: Values) -> str:
    return "its inputs are " + format_value(dict(inputs.params), limit=400)
