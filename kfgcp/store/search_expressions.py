"""Parse the expressions that choose runs: `params.lr < 0.1 and metrics.evaluate.accuracy > 0.9`.

    expression   comparisons joined by `and`, `or`, `not` and parentheses
    comparison   NAME OPERATOR VALUE, NAME [not] in (VALUE, ...), TEXT in tags
    operator     =  ==  !=  <  <=  >  >=  ~ (contains, case does not matter)  !~
    value        a number, a text in quotes or of one word, true, false, null, nan, inf,
                 90s 5m 12h 7d 2w
    name         one of `COLUMNS`, params.NAME, labels.NAME, metrics.NAME, metrics.TASK.NAME,
                 metrics.TASK.ARTIFACT.NAME; a part with other characters than letters, digits
                 and _ - / [0] is in quotes

Pure: text in, a tree out. `kfgcp.store.conditions` turns a tree into SQL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from kfgcp.store.search_tokens import PLAIN_PART, Span, Token, expression_error, tokenize

COLUMNS: Final[Mapping[str, str]] = {
    "run_id": "text",
    "name": "text",
    "pipeline": "text",
    "version": "version",
    "experiment": "text",
    "env": "text",
    "backend": "text",
    "state": "state",
    "created_at": "time",
    "started_at": "time",
    "ended_at": "time",
    "duration": "seconds",
    "error": "text",
    "note": "note",
    "tags": "tags",
}
"""Name -> the kind of its values."""

ALIASES: Final[Mapping[str, str]] = {
    "id": "run_id",
    "environment": "env",
    "created": "created_at",
    "started": "started_at",
    "ended": "ended_at",
    "seconds": "duration",
    "notes": "note",
    "tag": "tags",
}

# Kinds whose values are texts as they are written: in `labels.git = 0123` and `tags = 1.10` each
# digit counts.
_TEXT_KINDS: Final = {"text", "version", "state", "note", "tags"}

GROUPS: Final[Mapping[str, tuple[int, str]]] = {
    "params": (1, "NAME"),
    "labels": (1, "NAME"),
    "metrics": (3, "TASK.NAME"),
}
"""Group of names -> the largest number of parts after it, and an example of these parts."""

# SQLite accepts 1,000 levels (SQLITE_MAX_EXPR_DEPTH) and 32,766 values
# (SQLITE_MAX_VARIABLE_NUMBER, 999 before 3.32) in a statement. One level of an expression becomes
# several levels of SQL, and a comparison binds up to four values.
MAX_DEPTH: Final = 50
MAX_COMPARISONS: Final = 200

_CONSTANTS: Final[Mapping[str, bool | float | None]] = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "nan": math.nan,
    "inf": math.inf,
    "infinity": math.inf,
}
_KEYWORDS: Final = ("and", "or", "not", "in")
_ORDERING: Final = ("<", "<=", ">", ">=")
_CONTAINING: Final = ("~", "!~")
_EQUALITY: Final = ("=", "!=")
_OPERATORS: Final = _EQUALITY + _ORDERING + _CONTAINING

SearchValue = bool | int | float | str | Span | None


@dataclass(frozen=True, slots=True)
class Column:
    """The left side of a comparison.

    Attributes:
        group: `run`, or one of `GROUPS`.
        parts: in the group `run`, one key of `COLUMNS`. Otherwise the parts after the group.
        position: the index of its first character in the expression.
    """

    group: str
    parts: tuple[str, ...]
    position: int = 0

    @property
    def kind(self) -> str:
        """The kind of its values, as in `COLUMNS`, or `any` for parameters and metrics."""
        if self.group == "run":
            return COLUMNS[self.parts[0]]
        return "text" if self.group == "labels" else "any"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of a column with a value.

    Attributes:
        column: the left side.
        operator: = != < <= > >= ~ !~ or `in`.
        value: the right side: a `SearchValue`, or a tuple of them for `in`.
        position: the index of the first character of the value in the expression.
    """

    column: Column
    operator: str
    value: Any
    position: int = 0


@dataclass(frozen=True, slots=True)
class Not:
    """`not OPERAND`."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class All:
    """`OPERAND and OPERAND ...`."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """`OPERAND or OPERAND ...`."""

    operands: tuple[Expression, ...]


Expression = Comparison | Not | All | Either


def parse(text: str) -> Expression:
    """Return the tree of an expression.

    Raises:
        UsageError: the expression cannot be read. The hint points at the position.

    Example:
        >>> comparison = parse("params.lr < 0.1")
        >>> comparison.column.parts, comparison.operator, comparison.value
        (('lr',), '<', 0.1)
    """
    return _Parser(text).parse_expression()


def parse_order(text: str) -> tuple[Column, bool]:
    """Return the column of an order, and whether the greatest value comes first.

    Args:
        text: `NAME`, `NAME asc` or `NAME desc`.

    Raises:
        UsageError: the order cannot be read, or the column has no order.

    Example:
        >>> parse_order("duration desc")
        (Column(group='run', parts=('duration',), position=0), True)
    """
    parser = _Parser(text)
    column = parser.parse_column()
    direction = parser.peek()
    descending = direction.word == "desc"
    if direction.word in ("asc", "desc"):
        parser.take()
    if parser.peek().kind != "end":
        parser.fail(
            "only asc or desc may follow the name",
            parser.peek().position,
            "Write NAME, NAME asc or NAME desc.",
        )
    if column.kind == "tags":
        parser.fail(
            "runs cannot be sorted by tags",
            column.position,
            "Order by created_at, duration, params.NAME, metrics.TASK.NAME.",
        )
    return column, descending


def quote_name(part: str) -> str:
    """Return a part of a name as it is written in expressions, with quotes if it needs them.

    Example:
        >>> quote_name("lr"), quote_name("a.b")
        ('lr', '"a.b"')
    """
    return part if re.fullmatch(PLAIN_PART, part) else quote_text(part)


def quote_text(text: str) -> str:
    """Return a text as it is written in expressions, in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Parser:
    """Reads an expression by recursive descent, with one token of lookahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._next_index = 0
        self._depth = 0
        self._comparison_count = 0

    def parse_expression(self) -> Expression:
        """Return the tree of the whole text."""
        if self.peek().kind == "end":
            self.fail("it is empty", 0, "Write a comparison: params.lr < 0.1")
        expression = self._parse_or()
        token = self.peek()
        if token.kind != "end":
            hint = "Join comparisons with `and` or `or`."
            if token.kind in ("name", "number", "text"):
                hint = "Put a text of several words in quotes."
            self.fail(f"'{token.text}' is not expected here", token.position, hint)
        return expression

    def peek(self) -> Token:
        """Return the next token."""
        return self._tokens[self._next_index]

    def take(self) -> Token:
        """Return the next token, and move to the token after it. The end is never passed."""
        token = self._tokens[self._next_index]
        if token.kind != "end":
            self._next_index += 1
        return token

    def fail(self, problem: str, position: int, hint: str) -> NoReturn:
        """Raise the error for a position in the expression."""
        raise expression_error(self._text, problem, position, hint)

    # -- and, or, not

    def _parse_or(self) -> Expression:
        operands = [self._parse_and()]
        while self.peek().word == "or":
            self.take()
            operands.append(self._parse_and())
        return operands[0] if len(operands) == 1 else Either(tuple(operands))

    def _parse_and(self) -> Expression:
        operands = [self._parse_not()]
        while self.peek().word == "and":
            self.take()
            operands.append(self._parse_not())
        return operands[0] if len(operands) == 1 else All(tuple(operands))

    def _parse_not(self) -> Expression:
        token = self.peek()
        if token.word != "not" and token.text != "(":
            return self._parse_comparison()
        self.take()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self.fail("it is nested too deeply", token.position, f"At most {MAX_DEPTH} levels.")
        expression: Expression
        if token.word == "not":
            expression = Not(self._parse_not())
        else:
            expression = self._parse_or()
            if self.peek().text != ")":
                self.fail(
                    "a closing parenthesis is missing",
                    self.peek().position,
                    "Write a ) for each (.",
                )
            self.take()
        self._depth -= 1
        return expression

    # -- comparisons

    def _parse_comparison(self) -> Expression:
        self._comparison_count += 1
        token = self.peek()
        if self._comparison_count > MAX_COMPARISONS:
            self.fail("it is too long", token.position, f"At most {MAX_COMPARISONS} comparisons.")
        if token.kind in ("text", "number"):
            return self._parse_tag_test()
        column = self.parse_column()
        operator = self.take()
        if operator.word == "not" and self.peek().word == "in":
            self.take()
            return Not(Comparison(column, "in", self._parse_list(column), operator.position))
        if operator.word == "in":
            return Comparison(column, "in", self._parse_list(column), operator.position)
        sign = self._read_sign(token, operator)
        position = self.peek().position
        value = self._parse_value(column)
        is_nan = isinstance(value, float) and math.isnan(value)
        if is_nan and sign not in _EQUALITY:
            self.fail(f"{sign} cannot be used with nan", position, "Write = nan or != nan.")
        if (value is None or isinstance(value, bool)) and sign not in _EQUALITY:
            self.fail(f"{sign} needs a number or a text", position, "Write = or !=.")
        if sign in _CONTAINING and not isinstance(value, str):
            # A text is searched for, so `params.n ~ 1.10` means the characters "1.10".
            value = self._tokens[self._next_index - 1].text
        return Comparison(column, sign, value, position)

    def _read_sign(self, name: Token, operator: Token) -> str:
        """Return the operator after a name."""
        if operator.text == "==":
            return "="
        if operator.word == "contains":
            return "~"
        if operator.text in _OPERATORS:
            return operator.text
        hint = "The operators are = != < <= > >= ~ !~ and in."
        if operator.word == "like":
            hint = "To search for a part of a text, write `~`."
        elif operator.kind == "end" or operator.word:
            hint = f"Write a comparison: {name.text} = true"
        self.fail(f"an operator is expected after {name.text}", operator.position, hint)

    def _parse_tag_test(self) -> Expression:
        """Return the comparison of `"good" in tags` or `"bad" not in tags`.

        No other comparison begins with a text.
        """
        token = self.take()
        operator = self.take()
        sign = "="
        if operator.word == "not":
            sign = "!="
            operator = self.take()
        if operator.word != "in" or token.kind != "text":
            self.fail("a name is expected", token.position, "Write the name first: params.lr > 0.1")
        column = self.parse_column()
        if column.kind != "tags":
            name = self._text[column.position :].split()[0]
            self.fail("only tags may stand after `in` here", column.position, f"Write {name} ~ ...")
        return Comparison(column, sign, token.value, token.position)

    def _parse_list(self, column: Column) -> tuple[SearchValue, ...]:
        opening = self.take()
        closing = {"(": ")", "[": "]"}.get(opening.text)
        if closing is None:
            self.fail("a list is expected after `in`", opening.position, "Write in (1, 2, 3).")
        values = [self._parse_value(column)]
        while self.peek().text == ",":
            self.take()
            values.append(self._parse_value(column))
        if self.peek().text != closing:
            self.fail(
                "the end of the list is missing",
                self.peek().position,
                f"Separate the values with commas, and close the list with {closing}.",
            )
        self.take()
        self._comparison_count += len(values)
        if self._comparison_count > MAX_COMPARISONS:
            self.fail("it is too long", opening.position, f"At most {MAX_COMPARISONS} values.")
        return tuple(values)

    def _parse_value(self, column: Column) -> SearchValue:
        token = self.take()
        as_written = column.kind in _TEXT_KINDS
        if token.kind == "text":
            text: str = token.value
            return text
        if token.kind == "number":
            number: int | float | Span = token.value
            return token.text if as_written else number
        if token.kind != "name" or token.word in _KEYWORDS:
            self.fail(
                "a value is expected",
                token.position,
                "A value is a number, a text in quotes ('a text'), true, false, null, or a duration"
                " such as 7d.",
            )
        if token.word in _CONSTANTS:
            constant = _CONSTANTS[token.word]
            # null means a missing value for columns of texts too.
            return token.text if as_written and constant is not None else constant
        if len(token.parts) > 1:
            self.fail(
                f"{token.text} is not a value",
                token.position,
                "If it is a text, put it in quotes. Two columns cannot be compared.",
            )
        return token.parts[0]

    def parse_column(self) -> Column:
        """Return the column that the next token names."""
        token = self.take()
        if token.kind != "name" or token.word in _KEYWORDS:
            self.fail("a name is expected", token.position, f"Names: {_list_names()}.")
        head = token.parts[0]
        names = token.parts[1:]
        if head in GROUPS:
            max_parts, example = GROUPS[head]
            hint = f'Write {head}.{example}. Put a part with dots into quotes: {head}."a.b"'
            if not names:
                self.fail(f"{head} needs a name", token.position, hint)
            if len(names) > max_parts:
                self.fail(f"{head} has too many parts", token.position, hint)
            return Column(head, names, token.position)
        column = ALIASES.get(head, head)
        if names or column not in COLUMNS:
            hint = f"{_suggest(head)}Names: {_list_names()}."
            self.fail(f"there is no column {token.text}", token.position, hint)
        return Column("run", (column,), token.position)


def _list_names() -> str:
    names = list(COLUMNS)
    names += [f"{group}.{example}" for group, (_, example) in GROUPS.items()]
    return ", ".join(names)


def _suggest(word: str) -> str:
    """Return a question that names a similar name, "" when there is none."""
    # Only errors need difflib, and start-up time counts.
    from difflib import get_close_matches

    names = list(COLUMNS) + list(ALIASES) + list(GROUPS)
    close_names = get_close_matches(word, names, n=1)
    return f"Did you mean {close_names[0]}? " if close_names else ""
