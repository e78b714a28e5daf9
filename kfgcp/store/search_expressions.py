"""Expressions that choose runs: `params.lr < 0.1 and metrics.evaluate.accuracy > 0.9`. Pure: text
in, a tree out.

    expression   comparisons joined by `and`, `or`, `not` and parentheses
    comparison   NAME OPERATOR VALUE, NAME [not] in (VALUE, ...), TEXT in tags
    operator     =  ==  !=  <  <=  >  >=  ~ (contains, whatever the case)  !~
    value        a number, a text in quotes or of one word, true, false, null, nan, inf,
                 90s 5m 12h 7d 2w
    name         one of `COLUMNS`, params.NAME, labels.NAME, metrics.NAME, metrics.TASK.NAME,
                 metrics.TASK.ARTIFACT.NAME; a part with other characters than letters, digits
                 and _ - / [0] in quotes

`kfgcp.store.conditions` gives a tree its meaning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from kfgcp.store.search_tokens import PLAIN, Token, failure, tokens

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
"""Name -> what its values are."""

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

_WRITTEN: Final = {"text", "version", "state", "note", "tags"}
"""Kinds that are compared with what is written: of `labels.git = 0123` and `tags = 1.10` each digit
counts."""

GROUPS: Final[Mapping[str, tuple[int, str]]] = {
    "params": (1, "NAME"),
    "labels": (1, "NAME"),
    "metrics": (3, "TASK.NAME"),
}
"""Group -> how many parts may follow, and what they are."""

DEEPEST: Final = 50
MOST: Final = 200
"""Comparisons in an expression; SQLite takes a thousand levels and 32,766 values."""

_WORDS: Final[Mapping[str, Any]] = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "nan": math.nan,
    "inf": math.inf,
    "infinity": math.inf,
}
_ORDERING: Final = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Column:
    """What is compared. group: `run`, or one of `GROUPS`. parts: a column of a run, or the parts
    behind the group."""

    group: str
    parts: tuple[str, ...]
    at: int = 0

    @property
    def kind(self) -> str:
        """What its values are, as in `COLUMNS`; `any` for parameters and metrics."""
        if self.group == "run":
            return COLUMNS[self.parts[0]]
        return "text" if self.group == "labels" else "any"


@dataclass(frozen=True, slots=True)
class Comparison:
    """operator: = != < <= > >= ~ !~ or `in`, whose value is a tuple. at: place of the value in the
    text."""

    column: Column
    operator: str
    value: Any
    at: int = 0


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression


@dataclass(frozen=True, slots=True)
class All:
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    operands: tuple[Expression, ...]


Expression = Comparison | Not | All | Either


def parse(text: str) -> Expression:
    """The tree of an expression.

    Raises:
        UsageError: it cannot be read; the hint points at the place.
    """
    return _Parser(text).whole()


def parse_order(text: str) -> tuple[Column, bool]:
    """The column of an order such as `metrics.evaluate.accuracy desc`, and whether the greatest
    comes first.

    Raises:
        UsageError: it cannot be read.
    """
    parser = _Parser(text)
    column = parser.column()
    direction = parser.peek()
    descending = direction.kind == "name" and direction.word == "desc"
    if descending or (direction.kind == "name" and direction.word == "asc"):
        parser.take()
    if parser.peek().kind != "end":
        parser.fail(
            "the order goes on after its end",
            parser.peek().at,
            "Write NAME, NAME asc or NAME desc.",
        )
    if column.kind == "tags":
        parser.fail(
            "tags have no order",
            column.at,
            "Order by created_at, duration, params.NAME, metrics.TASK.NAME.",
        )
    return column, descending


def quote_name(part: str) -> str:
    """A part of a name as it stands in an expression: in quotes where it must."""
    return part if re.fullmatch(PLAIN, part) else quote_text(part)


def quote_text(text: str) -> str:
    """A text as it stands in an expression as a value."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Parser:
    """Reads by recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = 0
        self._depth = self._count = 0

    def whole(self) -> Expression:
        if self.peek().kind == "end":
            self.fail("there is nothing", 0, "Write a comparison: params.lr < 0.1")
        found = self._either()
        token = self.peek()
        if token.kind != "end":
            hint = (
                "Put texts of several words into quotes."
                if token.kind in ("name", "number", "text")
                else ""
            )
            self.fail(
                f"'{token.text}' is not expected here",
                token.at,
                hint or "Join comparisons by `and` or `or`.",
            )
        return found

    def peek(self) -> Token:
        return self._tokens[self._next]

    def take(self) -> Token:
        token = self._tokens[self._next]
        self._next += token.kind != "end"
        return token

    def fail(self, problem: str, at: int, hint: str) -> NoReturn:
        raise failure(self._text, problem, at, hint)

    # -- and, or, not

    def _either(self) -> Expression:
        operands = [self._both()]
        while self.peek().word == "or":
            self.take()
            operands.append(self._both())
        return operands[0] if len(operands) == 1 else Either(tuple(operands))

    def _both(self) -> Expression:
        operands = [self._negated()]
        while self.peek().word == "and":
            self.take()
            operands.append(self._negated())
        return operands[0] if len(operands) == 1 else All(tuple(operands))

    def _negated(self) -> Expression:
        token = self.peek()
        if token.word != "not" and token.text != "(":
            return self._comparison()
        self.take()
        self._depth += 1
        if self._depth > DEEPEST:
            self.fail("it is nested too deep", token.at, f"At most {DEEPEST} levels.")
        if token.word == "not":
            found: Expression = Not(self._negated())
        else:
            found = self._either()
            if self.peek().text != ")":
                self.fail("a closing parenthesis is missing", self.peek().at, "Each ( needs its ).")
            self.take()
        self._depth -= 1
        return found

    # -- comparisons

    def _comparison(self) -> Expression:
        self._count += 1
        token = self.peek()
        if self._count > MOST:
            self.fail("it is too long", token.at, f"At most {MOST} comparisons.")
        if token.kind in ("text", "number"):
            return self._contained()
        column = self.column()
        operator = self.take()
        if operator.word == "not" and self.peek().word == "in":
            self.take()
            return Not(Comparison(column, "in", self._values(column), operator.at))
        if operator.word == "in":
            return Comparison(column, "in", self._values(column), operator.at)
        sign = {"==": "=", "contains": "~"}.get(operator.word or operator.text, operator.text)
        if sign not in ("=", "!=", "~", "!~", *_ORDERING):
            hint = (
                f"Compare it: {token.text} = true"
                if operator.kind == "end" or operator.word
                else "See the operators."
            )
            if operator.word == "like":
                hint = "Write `~`: contains."
            self.fail(f"an operator is expected after {token.text}", operator.at, hint)
        at = self.peek().at
        value = self._value(column)
        if isinstance(value, float) and math.isnan(value) and sign in (*_ORDERING, "~", "!~"):
            self.fail(f"nothing is {sign} nan", at, "Write = nan or != nan.")
        if (value is None or isinstance(value, bool)) and sign not in ("=", "!="):
            self.fail(f"{sign} needs a number or a text", at, "Write = or !=.")
        if sign in ("~", "!~") and not isinstance(value, str):
            value = self._tokens[self._next - 1].text
        return Comparison(column, sign, value, at)

    def _contained(self) -> Expression:
        """`"good" in tags`, `"bad" not in tags`; otherwise the name comes first."""
        token = self.take()
        operator = self.take()
        sign = "="
        if operator.word == "not":
            operator, sign = self.take(), "!="
        if operator.word != "in" or token.kind != "text":
            self.fail("a name is expected", token.at, "Write the name first: params.lr > 0.1")
        column = self.column()
        if column.kind != "tags":
            self.fail(
                "only tags are looked into like this",
                column.at,
                f"Write {self._text[column.at :].split()[0]} ~ ...",
            )
        return Comparison(column, sign, token.value, token.at)

    def _values(self, column: Column) -> tuple[Any, ...]:
        opening = self.take()
        closing = {"(": ")", "[": "]"}.get(opening.text)
        if closing is None:
            self.fail("a list is expected after `in`", opening.at, "Write in (1, 2, 3).")
        found = [self._value(column)]
        while self.peek().text == ",":
            self.take()
            found.append(self._value(column))
        if self.peek().text != closing:
            self.fail(
                "the list has no end",
                self.peek().at,
                f"Values are separated by commas and end with {closing}",
            )
        self.take()
        self._count += len(found)
        if self._count > MOST:
            self.fail("it is too long", opening.at, f"At most {MOST} values.")
        return tuple(found)

    def _value(self, column: Column) -> Any:
        token = self.take()
        written = column.kind in _WRITTEN
        if token.kind == "number":
            return token.text if written else token.value
        if token.kind == "text":
            return token.value
        if token.word in ("and", "or", "not", "in") or token.kind != "name":
            self.fail(
                "a value is expected",
                token.at,
                "A value is a number, 'a text', true, false, null, or 7d.",
            )
        if token.word in _WORDS:
            return token.text if written and _WORDS[token.word] is not None else _WORDS[token.word]
        if len(token.parts) > 1:
            self.fail(
                f"{token.text} is no value",
                token.at,
                "Two columns cannot be compared; put texts into quotes.",
            )
        return token.parts[0]

    def column(self) -> Column:
        token = self.take()
        if token.kind != "name" or token.word in ("and", "or", "not", "in"):
            self.fail("a name is expected", token.at, f"Names: {_known()}.")
        first, *rest = token.parts
        if first in GROUPS:
            most, what = GROUPS[first]
            if not 1 <= len(rest) <= most:
                hint = f'Write {first}.{what}; a part with dots stands in quotes: {first}."a.b"'
                self.fail(
                    f"{first} needs a name" if not rest else f"{first} has too many parts",
                    token.at,
                    hint,
                )
            return Column(first, tuple(rest), token.at)
        name = ALIASES.get(first, first)
        if rest or name not in COLUMNS:
            self.fail(f"there is no {token.text}", token.at, f"{_guess(first)}Names: {_known()}.")
        return Column("run", (name,), token.at)


def _known() -> str:
    return ", ".join((*COLUMNS, *(f"{group}.{what}" for group, (_, what) in GROUPS.items())))


def _guess(word: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, [*COLUMNS, *ALIASES, *GROUPS], n=1)
    return f"Did you mean {close[0]}? " if close else ""
