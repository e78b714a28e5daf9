"""Expressions as conditions of SQL on the table `runs`; every value is bound.

A comparison with something that a run does not have is false, and `not` of it is true: `params.lr
!= 0.1` holds for runs that have an lr, and it is another one. `= null` holds for what is missing or
null. A metric without its task, or without its artifact, means any. Numbers compare as numbers with
numbers only; nan equals nan, and nothing else compares with it. Texts compare by their characters;
a number is no text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from kfgcp.model import RunState, timestamp
from kfgcp.query import PREFIX_LABELS
from kfgcp.store.rows import json_text
from kfgcp.store.search_expressions import (
    All,
    Column,
    Comparison,
    Either,
    Expression,
    Not,
    parse,
    parse_order,
)
from kfgcp.store.search_tokens import Span, failure

KEPT: Final = 64
"""Characters of a value that is no number in the column `typed`; what is shorter is there as a
whole."""

IN_ORDER: Final = "EXISTS (SELECT 1 FROM"
"""How a condition begins that is quick in the order of ids."""

_DURATION: Final = "ROUND((julianday(ended_at) - julianday(started_at)) * 86400, 3)"
_LARGEST: Final = 2**63
_MOMENT_HINT: Final = "Write {} > -7d, or a time such as '2026-01-31' or '2026-01-31T08:00:00Z'."


def condition(text: str, now: float) -> tuple[str, list[Any]]:
    """The condition that an expression is, and the values for its marks.

    Parameters and metrics are looked up run by run: in the order of ids, which is that of their
    tables, this takes less than a microsecond each, however many match; sets of ids take four times
    as long where many do.

    Args:
        text: the expression.
        now: Unix time in seconds, which ages count from.

    Raises:
        UsageError: it cannot be read, or compares what cannot be compared; the hint points at the
            place.
    """
    made = _Conditions(text, now)
    return made.of(parse(text)), made.values


def order(text: str) -> tuple[str, list[Any]]:
    """What ORDER BY says for `NAME [asc|desc]`, and the values for its marks; what has no value
    comes last.

    Raises:
        UsageError: it cannot be read.
    """
    column, descending = parse_order(text)
    values: list[Any] = []
    if column.group == "run":
        found = _column(column.parts[0])
    elif column.group == "labels":
        found, values = (
            "(SELECT value FROM labels WHERE labels.run_id = runs.run_id AND name = ?)",
            [column.parts[0]],
        )
    else:
        where, values = _place(column)
        numbers = (
            "typed < ''" if column.group == "metrics" else "typed != 'null'"
        )  # nan has no place among them
        found = f"{where.replace(IN_ORDER, '(SELECT typed FROM')} AND {numbers} LIMIT 1)"
    direction = "DESC" if descending else "ASC"
    return f"{found} {direction} NULLS LAST", values


def version_condition(version: str) -> tuple[str, list[Any]]:
    """By the beginning of a digest, with or without `sha256:`."""
    same = "(substr(version, 1, length(?)) = ? OR substr(version, 8, length(?)) = ?)"
    return same, [version] * 4


class _Conditions:
    """Makes the conditions of one expression; `values` follow the marks in the order of the
    text."""

    def __init__(self, text: str, now: float) -> None:
        self._text = text
        self._now = now
        self.values: list[Any] = []

    def of(self, node: Expression) -> str:
        if isinstance(node, Not):
            return f"NOT ({self.of(node.operand)})"
        if isinstance(node, All):
            return "(" + " AND ".join(map(self.of, node.operands)) + ")"
        if isinstance(node, Either):
            return "(" + " OR ".join(map(self.of, node.operands)) + ")"
        if node.operator == "in":
            return self._one_of(node)
        return self._comparison(node)

    def _one_of(self, node: Comparison) -> str:
        same = [Comparison(node.column, "=", value, node.at) for value in node.value]
        if node.column.group not in ("params", "metrics") or None in node.value:
            return "(" + " OR ".join(map(self._comparison, same)) + ")"
        where, values = _place(node.column)  # looked up once for all values
        self.values += values
        cut = [
            each
            for each in same
            if isinstance(each.value, str) and len(json_text(each.value)) >= KEPT
        ]
        either = [self._of_value(each) for each in cut]
        whole = ", ".join(self._mark(_typed(each.value)) for each in same if each not in cut)
        return f"{where} AND ({' OR '.join([*either, f'typed IN ({whole})'])}))"

    def _comparison(self, node: Comparison) -> str:
        if node.operator == "!~":
            there = self._comparison(Comparison(node.column, "!=", None, node.at))
            return (
                f"({there} AND NOT"
                f" {self._comparison(Comparison(node.column, '~', node.value, node.at))})"
            )
        if node.column.group in ("params", "metrics"):
            return self._typed(node)
        if node.value is None:
            return self._missing(node)
        if node.column.group == "labels":
            return self._label(node)
        by_kind: Mapping[str, Callable[[Comparison], str]] = {
            "tags": self._tag,
            "note": self._note,
            "time": self._time,
            "seconds": self._seconds,
            "state": self._state,
            "version": self._version,
        }
        return by_kind.get(node.column.kind, self._words)(node)

    # -- params and metrics

    def _typed(self, node: Comparison) -> str:
        where, values = _place(node.column)
        self.values += values
        if node.value is None:
            found = f"{where} AND typed != 'null')"
            return found if node.operator == "!=" else f"NOT {found}"
        return f"{where} AND {self._of_value(node)})"

    def _of_value(self, node: Comparison) -> str:
        operator, value = node.operator, node.value
        if operator == "~":
            return f"contains(text_of(value), {self._mark(str(value).casefold())})"
        if not isinstance(value, str):
            numbers = " AND typed < ''" if operator in (">", ">=") else ""
            return f"typed {operator} {self._mark(_typed(value))}{numbers}"
        if operator in ("=", "!="):
            return self._of_text(operator, json_text(value))
        return f"typed >= '\"' AND typed < '#' AND text_of(value) {operator} {self._mark(value)}"

    def _of_text(self, operator: str, whole: str) -> str:
        if len(whole) < KEPT:
            return f"typed {operator} {self._mark(whole)}"
        if operator == "=":
            return f"typed = {self._mark(whole[:KEPT])} AND value = {self._mark(whole)}"
        return f"value != {self._mark(whole)}"

    # -- columns of a run

    def _words(self, node: Comparison) -> str:
        column = _column(node.column.parts[0])
        if node.operator == "~":
            return f"contains({column}, {self._mark(node.value.casefold())})"
        return f"({column} IS NOT NULL AND {column} {node.operator} {self._mark(node.value)})"

    def _version(self, node: Comparison) -> str:
        """By its beginning: nobody types a whole digest."""
        if node.operator not in ("=", "!="):
            return self._words(node)
        same, values = version_condition(node.value)
        self.values += values
        return same if node.operator == "=" else f"NOT {same}"

    def _state(self, node: Comparison) -> str:
        if node.operator not in ("=", "!="):
            self._refuse(node, "states have no order", "Write = or !=.")
        state = node.value.upper()
        if state not in RunState.__members__:
            self._refuse(node, f"there is no state {node.value}", f"States: {', '.join(RunState)}.")
        return f"state {node.operator} {self._mark(state)}"

    def _seconds(self, node: Comparison) -> str:
        value = node.value.seconds if isinstance(node.value, Span) else node.value
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
        if not number or node.operator == "~":
            self._refuse(
                node, "a duration is a number of seconds", "Write duration > 90, or 90s, 5m, 12h."
            )
        known = "started_at IS NOT NULL AND ended_at IS NOT NULL"
        return f"({known} AND {_DURATION} {node.operator} {self._mark(_number(value))})"

    def _time(self, node: Comparison) -> str:
        if node.operator == "~":
            return self._words(node)
        column = node.column.parts[0]
        return (
            f"({column} IS NOT NULL AND {column} {node.operator} {self._mark(self._moment(node))})"
        )

    def _moment(self, node: Comparison) -> str:
        hint = _MOMENT_HINT.format(node.column.parts[0])
        if isinstance(node.value, Span):
            if node.value.seconds > 0:
                self._refuse(node, "a time is expected, and this is a length of time", hint)
            return timestamp(max(self._now + node.value.seconds, 0))
        try:
            given = datetime.fromisoformat(str(node.value))
            return timestamp((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError, OSError):
            self._refuse(node, f"{node.value} is no time", hint)

    def _label(self, node: Comparison) -> str:
        name, value = node.column.parts[0], node.value
        place = f"name = {self._mark(name)}"
        if node.operator == "~":
            return self._having(
                "labels", f"{place} AND contains(value, {self._mark(value.casefold())})"
            )
        begins = name in PREFIX_LABELS and node.operator in ("=", "!=")
        what = f"substr(value, 1, length({self._mark(value)}))" if begins else "value"
        return self._having("labels", f"{place} AND {what} {node.operator} {self._mark(value)}")

    def _tag(self, node: Comparison) -> str:
        """`=` has the tag, `!=` has not, `~` has one with this in it."""
        if node.operator not in ("=", "!=", "~"):
            self._refuse(
                node, "tags have no order", "Write tags = good, tags != good or tags ~ goo."
            )
        text = node.value
        same = (
            f"contains(tag, {self._mark(text.casefold())})"
            if node.operator == "~"
            else f"tag = {self._mark(text)}"
        )
        found = self._having("tags", same)
        return f"NOT {found}" if node.operator == "!=" else found

    def _note(self, node: Comparison) -> str:
        text = node.value
        if node.operator == "~":
            return self._having("notes", f"contains(note, {self._mark(text.casefold())})")
        return self._having("notes", f"note {node.operator} {self._mark(text)}")

    def _missing(self, node: Comparison) -> str:
        """`= null` and `!= null`."""
        if node.operator not in ("=", "!="):
            self._refuse(node, f"{node.operator} needs a number or a text", "Write = or !=.")
        name = node.column.parts[0]
        if node.column.group == "labels":
            found = self._having("labels", f"name = {self._mark(name)}")
        elif name in ("tags", "note"):
            found = self._having("notes" if name == "note" else name, "1")
        else:
            found = f"({_column(name)} IS NOT NULL AND {_column(name)} != '')"
        return found if node.operator == "!=" else f"NOT {found}"

    def _having(self, table: str, condition: str) -> str:
        """Of runs with such a row in a table."""
        return f"run_id IN (SELECT run_id FROM {table} WHERE {condition})"  # noqa: S608

    # -- values

    def _mark(self, value: Any) -> str:
        self.values.append(value)
        return "?"

    def _refuse(self, node: Comparison, problem: str, hint: str) -> NoReturn:
        raise failure(self._text, problem, node.at, hint)


def _place(column: Column) -> tuple[str, list[Any]]:
    """The beginning of `EXISTS (...` for the rows of a run that a name means."""
    given = dict(zip(("name", "artifact", "task"), reversed(column.parts), strict=False))
    if len(column.parts) == 2:
        given = {"name": column.parts[1], "task": column.parts[0]}
    same = " AND ".join(f"{name} = ?" for name in given)
    return f"{IN_ORDER} {column.group} AS t WHERE t.run_id = runs.run_id AND {same}", [
        *given.values()
    ]


def _column(name: str) -> str:
    if name == "duration":
        return _DURATION
    if name == "note":
        return "(SELECT note FROM notes WHERE notes.run_id = runs.run_id)"
    return "json_extract(error, '$.message')" if name == "error" else name


def _typed(value: Any) -> Any:
    """A value as the column `typed` has it."""
    if isinstance(value, Span):
        value = value.seconds
    if isinstance(value, (bool, str)) or value != value:
        return json_text(value)
    return _number(value)


def _number(value: float) -> float:
    """As SQLite takes it: whole numbers beyond its own become floats."""
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        return math.inf if value > 10**308 else -math.inf if value < -(10**308) else float(value)
    return value
