"""Evaluate CEL expressions, which are conditions of tasks or selectors of inputs.

Google's library evaluates them. It limits the size and the depth of expressions. So the evaluation
of any expression ends, with a value or a `ValueProblem`.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from kfgcp.semantics.values import ValueProblem, Values, format_json, format_value
from kfgcp.spec.json_values import normalize_numbers

# A selector reads the value of its input from the variable for the type of the value
# (pipeline_spec.proto, parameter_expression_selector). The variable `string_value` always has a
# value: a text itself, or the JSON text of another value.
_TYPED_VARIABLES: Final[dict[str, type]] = {
    "int_value": int,
    "double_value": float,
    "bool_value": bool,
    "list_value": list,
    "struct_value": dict,
}
_SELECTOR_VARIABLES: Final = ("string_value",) + tuple(_TYPED_VARIABLES)


def evaluate_condition(expression: str, inputs: Values) -> bool:
    """Return whether a triggerPolicy.condition is true.

    Args:
        expression: a CEL expression with `inputs.parameter_values` and `inputs.artifacts`.
        inputs: the inputs of the task.

    Raises:
        ValueProblem: the expression cannot be evaluated, or its value is not a bool. The message
            has the expression and the inputs.

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
            f"the condition {expression} has the value {format_value(value)}, not true or false;"
            f" {_describe_inputs(inputs)}"
        )
    return value


def find_syntax_error(expression: str) -> str | None:
    """Return why a condition or selector cannot be evaluated for any inputs, None when it can.

    Example:
        >>> find_syntax_error("inputs.parameter_values['rate'] > 0.5") is None
        True
    """
    try:
        _compile(expression)
    except Exception as error:
        return _reason(error)
    return None


def apply_selector(expression: str, value: Any) -> Any:
    """Return the result of a parameterExpressionSelector for the value of an input.

    Integral floats in the result become integers, and the keys of structs are sorted.

    Args:
        expression: a CEL expression, for example `parseJson(string_value)["k"]`.
        value: the value of the input.

    Raises:
        ValueProblem: the expression cannot be evaluated. The message has the expression and the
            value.

    Example:
        >>> apply_selector('parseJson(string_value)["k"]', '{"k": 2.0}')
        2
    """
    variables: dict[str, Any] = dict.fromkeys(_SELECTOR_VARIABLES)
    variables["string_value"] = value if isinstance(value, str) else format_json(value)
    for name, python_type in _TYPED_VARIABLES.items():
        # `isinstance` does not work here, because True is also an int.
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
    """Return the CEL environment with the variables and with `parseJson`, a function of KFP."""
    from cel_expr_python import cel

    overload = cel.Overload(
        "parse_json_string",
        return_type=cel.Type.DYN,
        parameters=[cel.Type.STRING],
        is_member=False,
        impl=_parse_json,
    )
    variables = dict.fromkeys(_SELECTOR_VARIABLES, cel.Type.DYN)
    # Conditions read this variable.
    variables["inputs"] = cel.Type.DYN
    return cel.NewEnv(variables=variables, functions=[cel.FunctionDecl("parseJson", [overload])])


def _parse_json(text: str) -> Any:
    value = json.loads(text)
    _refuse_nul(value)
    return value


def _refuse_nul(value: Any) -> None:
    """Raise ValueError when a text in a value contains a NUL character.

    The library ignores the rest of a text after a NUL character. So two different texts could be
    equal for it.
    """
    to_check = [value]
    while to_check:
        item = to_check.pop()
        if isinstance(item, str) and "\0" in item:
            raise ValueError("a text contains a NUL character, which no expression can handle")
        if isinstance(item, dict):
            to_check += item.keys()
            to_check += item.values()
        elif isinstance(item, list):
            to_check += item


def _sort_keys(value: Any) -> Any:
    """Return the value with sorted keys in all structs."""
    # The library returns the keys in any order, and the same spec must give the same outputs.
    if isinstance(value, dict):
        return {key: _sort_keys(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sort_keys(item) for item in value]
    return value


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, or the error's type when the line is empty."""
    first_line = str(error).split("\n", 1)[0]
    return " ".join(first_line.split()) or type(error).__name__


def _describe_inputs(inputs: Values) -> str:
    return "its inputs are " + format_value(dict(inputs.params), limit=400)
