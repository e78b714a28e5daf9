"""Read the conditions that KFP's compiler writes, without the CEL library, which is slow to import.

KFP writes comparisons of inputs and literals, joined by `&&`, `||` and `!` (kfp/compiler,
`pipeline_spec_builder.py`). Any other CEL expression is left to `kfgcp.semantics.expressions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

# A condition that nests deeper is left to the CEL library.
_MAX_DEPTH: Final = 50

_TOKEN: Final = re.compile(
    r"""\s*(?:
      inputs\.parameter_values\[(?P<quote>['"])(?P<input>[^'"\\\]]*)(?P=quote)\]
    | (?P<text>'[^'\\]*'|"[^"\\]*")
    | (?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<boolean>true|false)\b
    | (?P<conversion>int|double|string|bool)\(
    | (?P<operator>==|!=|<=|>=|<|>)
    | (?P<join>&&|\|\|)
    | (?P<mark>[!()])
    )\s*""",
    re.VERBOSE,
)

# The most common condition, which needs no parser.
_COMPARISON: Final = re.compile(
    r"inputs\.parameter_values\['(?P<input>[^'\"\\\]]*)'\] (?P<operator>==|!=) (?P<text>'[^'\\]*')"
)
_CONVERSIONS: Final = {"int": "number", "double": "number", "string": "text", "bool": "boolean"}


@dataclass(frozen=True, slots=True)
class Operand:
    """A side of a comparison.

    Attributes:
        kind: `input`, or for a literal or conversion: `text`, `number` or `boolean`.
        text: the name of the input, or the literal as it is written; empty for a conversion.
    """

    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands and the operator between them: `==`, `<` or another one."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that `read_condition` understands.

    Attributes:
        comparisons: the comparisons in it.
        inputs: the names of all inputs that it reads.
    """

    comparisons: tuple[Comparison, ...]
    inputs: tuple[str, ...]


class _NotSimpleError(Exception):
    """The text is not a condition as KFP writes it. It may still be valid CEL."""


# Several rules read each condition, so the size is larger than the number of tasks of a pipeline.
@lru_cache(maxsize=2**15)
def read_condition(expression: str) -> Condition | None:
    """Return a condition that is written as KFP writes it, None for any other text.

    Example:
        >>> condition = read_condition("int(inputs.parameter_values['n']) > 3")
        >>> condition.inputs, condition.comparisons[0].right
        (('n',), Operand(kind='number', text='3'))
        >>> read_condition("inputs.parameter_values['n'") is None
        True
    """
    comparison = _COMPARISON.fullmatch(expression)
    if comparison is not None:
        left = Operand("input", comparison["input"])
        right = Operand("text", comparison["text"])
        return Condition((Comparison(left, comparison["operator"], right),), (left.text,))
    try:
        return _Parser(expression).parse()
    except _NotSimpleError:
        return None


class _Parser:
    """The parser of one condition. Each method reads a part of it and moves on."""

    def __init__(self, expression: str) -> None:
        self._tokens = _split(expression)
        self._position = 0
        self._comparisons: list[Comparison] = []
        self._inputs: dict[str, None] = {}

    def parse(self) -> Condition:
        self._read_joined(0)
        if self._position != len(self._tokens):
            raise _NotSimpleError
        return Condition(tuple(self._comparisons), tuple(self._inputs))

    def _read_joined(self, depth: int) -> None:
        self._read_term(depth)
        while self._take("join"):
            self._read_term(depth)

    def _read_term(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _NotSimpleError
        self._take("mark", "!")
        if self._take("mark", "("):
            self._read_joined(depth + 1)
            self._require("mark", ")")
            return
        left = self._read_operand()
        operator = self._require("operator")
        self._comparisons.append(Comparison(left, operator, self._read_operand()))

    def _read_operand(self) -> Operand:
        conversion = self._take("conversion")
        if conversion:
            self._read_operand()
            self._require("mark", ")")
            return Operand(_CONVERSIONS[conversion])
        for kind in ("input", "text", "number", "boolean"):
            # The name of an input and a text may be empty.
            text = self._take(kind)
            if text is not None:
                if kind == "input":
                    self._inputs[text] = None
                return Operand(kind, text)
        raise _NotSimpleError

    def _take(self, kind: str, text: str | None = None) -> str | None:
        """Return the text of the next token and move on, None when it is another token."""
        if self._position == len(self._tokens):
            return None
        next_kind, next_text = self._tokens[self._position]
        if next_kind != kind or text not in (None, next_text):
            return None
        self._position += 1
        return next_text

    def _require(self, kind: str, text: str | None = None) -> str:
        taken = self._take(kind, text)
        if taken is None:
            raise _NotSimpleError
        return taken


def _split(expression: str) -> list[tuple[str, str]]:
    """Return the tokens of a condition, each with its kind."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise _NotSimpleError
        kind = "input" if match["input"] is not None else match.lastgroup
        tokens.append((kind, match[kind]))
        position = match.end()
    return tokens
