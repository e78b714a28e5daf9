"""Turn search expressions into SQL conditions on the table `runs`. Pure; every value is bound.

What an expression means:

- A comparison with a value that a run does not have is false. So `not` of the comparison is true.
  `params.lr != 0.1` matches runs that have an lr, and whose lr is not 0.1.
- `= null` matches values that are missing or null.
- A metric without its task, or without its artifact, means any task or artifact.
- Numbers compare only with numbers. NaN equals NaN. Every other comparison with NaN is false.
- Texts compare by their characters. A number is not a text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from kfgcp.store.search_tokens import Span, expression_error

# The column `typed` of params and metrics holds a number as a number. For any other value it holds
# the first 64 characters of its JSON, see migrations/0008_queries.sql. So a shorter text is the
# complete JSON.
TYPED_LENGTH: Final = 64

# SQLite sorts numbers before texts, so all numbers in `typed` are less than the empty text. The
# number NaN is not among them: `typed` holds it as the text "NaN".
_IS_NUMBER: Final = "typed < ''"

# The JSON of a text begins with a double quote. "#" is the next character after it.
_IS_TEXT: Final = "typed >= '\"' AND typed < '#'"

EXISTS: Final = "EXISTS (SELECT 1 FROM"
"""The beginning of a condition that looks up rows run by run.

The condition is fast when the runs come in the order of their ids, see `queries.runs_table`.
"""

_DURATION: Final = "ROUND((julianday(ended_at) - julianday(started_at)) * 86400, 3)"

# Integers of SQLite have 64 bits.
_INTEGER_LIMIT: Final = 2**63

# Integers beyond about 1.8e308 do not fit into a float.
_FLOAT_LIMIT: Final = 10**308

_MOMENT_HINT: Final = "Write {} > -7d, or a time such as '2026-01-31' or '2026-01-31T08:00:00Z'."


def condition(text: str, now: float) -> tuple[str, list[Any]]:
    """Return an expression as an SQL condition, and the values for its placeholders.

    Parameters and metrics are looked up run by run. When the runs come in the order of their ids,
    which is also the order of the two tables, this takes less than a microsecond for each run,
    however many runs match. A condition with a set of ids takes four times as long when many runs
    match (docs/performance.md).

    Args:
        text: the expression.
        now: Unix time in seconds, from which ages such as `-7d` count.

    Raises:
        UsageError: the expression cannot be read, or a column cannot be compared with its value.
            The hint points at the position.
    """
    builder = _ConditionBuilder(text, now)
    return builder.build(parse(text)), builder.values


def order(text: str) -> tuple[str, list[Any]]:
    """Return the SQL after ORDER BY, and the values for its placeholders.

    Args:
        text: `NAME`, `NAME asc` or `NAME desc`. Runs without a value come last.

    Raises:
        UsageError: the order cannot be read.
    """
    column, descending = parse_order(text)
    direction = "DESC" if descending else "ASC"
    sql, values = _order_value(column)
    return f"{sql} {direction} NULLS LAST", values


def _order_value(column: Column) -> tuple[str, list[Any]]:
    """Return the SQL of the value to order runs by, and the values for its placeholders."""
    if column.group == "run":
        return _column_sql(column.parts[0]), []
    if column.group == "labels":
        label = "SELECT value FROM labels WHERE labels.run_id = runs.run_id AND name = ?"
        return f"({label})", [column.parts[0]]
    rows, values = _from_clause(column)
    # Metrics are numbers, and NaN has no position in their order.
    has_value = _IS_NUMBER if column.group == "metrics" else "typed != 'null'"
    return f"(SELECT typed FROM {rows} AND {has_value} LIMIT 1)", values  # noqa: S608


def version_condition(version: str) -> tuple[str, list[Any]]:
    """Return the condition that a version begins with a digest, with or without `sha256:`."""
    # The digest begins at character 8, after `sha256:`.
    begins_with = "(substr(version, 1, length(?)) = ? OR substr(version, 8, length(?)) = ?)"
    return begins_with, [version] * 4


class _ConditionBuilder:
    """Builds the condition of one expression.

    The values in `values` must have the same order as their placeholders in the SQL. So each
    method adds values in the order in which it writes placeholders.
    """

    def __init__(self, text: str, now: float) -> None:
        self._text = text
        self._now = now
        self.values: list[Any] = []

    def build(self, node: Expression) -> str:
        """Return the condition of a tree."""
        if isinstance(node, Not):
            return f"NOT ({self.build(node.operand)})"
        if isinstance(node, All):
            return _join("AND", [self.build(operand) for operand in node.operands])
        if isinstance(node, Either):
            return _join("OR", [self.build(operand) for operand in node.operands])
        if node.operator == "in":
            return self._list_condition(node)
        return self._comparison(node)

    def _list_condition(self, node: Comparison) -> str:
        """Return the condition of `NAME in (VALUE, ...)`."""
        is_typed = node.column.group in ("params", "metrics")
        if not is_typed or None in node.value:
            comparisons = [
                self._comparison(Comparison(node.column, "=", value, node.position))
                for value in node.value
            ]
            return _join("OR", comparisons)
        # The rows are looked up only once for all values.
        rows, values = _from_clause(node.column)
        self.values += values
        alternatives = []
        complete_values = []
        for value in node.value:
            if isinstance(value, str) and len(json_text(value)) >= TYPED_LENGTH:
                alternatives.append(self._text_comparison("=", json_text(value)))
            else:
                complete_values.append(value)
        placeholders = ", ".join([self._bind(_encode_typed(value)) for value in complete_values])
        alternatives.append(f"typed IN ({placeholders})")
        return f"{EXISTS} {rows} AND ({' OR '.join(alternatives)}))"

    def _comparison(self, node: Comparison) -> str:
        """Return the condition of a comparison with one value."""
        if node.operator == "!~":
            exists = self._comparison(Comparison(node.column, "!=", None, node.position))
            contains = self._comparison(Comparison(node.column, "~", node.value, node.position))
            return f"({exists} AND NOT {contains})"
        if node.column.group in ("params", "metrics"):
            return self._typed_comparison(node)
        if node.value is None:
            return self._null_comparison(node)
        if node.column.group == "labels":
            return self._label_comparison(node)
        match node.column.kind:
            case "tags":
                return self._tag_comparison(node)
            case "note":
                return self._note_comparison(node)
            case "time":
                return self._time_comparison(node)
            case "seconds":
                return self._duration_comparison(node)
            case "state":
                return self._state_comparison(node)
            case "version":
                return self._version_comparison(node)
            case _:
                return self._column_comparison(node)

    # -- params and metrics

    def _typed_comparison(self, node: Comparison) -> str:
        """Return the condition that a row of params or metrics exists and has the value."""
        rows, values = _from_clause(node.column)
        self.values += values
        if node.value is None:
            exists = f"{EXISTS} {rows} AND typed != 'null')"
            return exists if node.operator == "!=" else f"NOT {exists}"
        return f"{EXISTS} {rows} AND {self._value_comparison(node)})"

    def _value_comparison(self, node: Comparison) -> str:
        """Return the condition for the value of one row of params or metrics."""
        operator = node.operator
        value = node.value
        if operator == "~":
            return f"contains(unquote_json(value), {self._bind(str(value).casefold())})"
        if not isinstance(value, str):
            # This condition is needed because all texts are greater than a number in SQLite.
            only_numbers = f" AND {_IS_NUMBER}" if operator in (">", ">=") else ""
            return f"typed {operator} {self._bind(_encode_typed(value))}{only_numbers}"
        if operator in ("=", "!="):
            return self._text_comparison(operator, json_text(value))
        return f"{_IS_TEXT} AND unquote_json(value) {operator} {self._bind(value)}"

    def _text_comparison(self, operator: str, json_value: str) -> str:
        """Return the condition that a row has a text (`=`), or another value (`!=`).

        Args:
            operator: = or !=.
            json_value: the text as JSON.
        """
        if len(json_value) < TYPED_LENGTH:
            return f"typed {operator} {self._bind(json_value)}"
        if operator == "=":
            prefix = self._bind(json_value[:TYPED_LENGTH])
            return f"typed = {prefix} AND value = {self._bind(json_value)}"
        return f"value != {self._bind(json_value)}"

    # -- columns of a run

    def _column_comparison(self, node: Comparison) -> str:
        """Return the condition of a comparison with a column that holds texts."""
        column = _column_sql(node.column.parts[0])
        if node.operator == "~":
            return f"contains({column}, {self._bind(node.value.casefold())})"
        return f"({column} IS NOT NULL AND {column} {node.operator} {self._bind(node.value)})"

    def _version_comparison(self, node: Comparison) -> str:
        """Compare the beginning of the version, because nobody types a complete digest."""
        if node.operator not in ("=", "!="):
            return self._column_comparison(node)
        begins_with, values = version_condition(node.value)
        self.values += values
        return begins_with if node.operator == "=" else f"NOT {begins_with}"

    def _state_comparison(self, node: Comparison) -> str:
        if node.operator not in ("=", "!="):
            self._refuse(node, "a state cannot be compared with this operator", "Write = or !=.")
        state = node.value.upper()
        if state not in RunState.__members__:
            self._refuse(node, f"there is no state {node.value}", f"States: {', '.join(RunState)}.")
        return f"state {node.operator} {self._bind(state)}"

    def _duration_comparison(self, node: Comparison) -> str:
        seconds = node.value.seconds if isinstance(node.value, Span) else node.value
        is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        if not is_number or _is_nan(seconds) or node.operator == "~":
            self._refuse(
                node, "a duration is a number of seconds", "Write duration > 90, or 90s, 5m, 12h."
            )
        has_ended = "started_at IS NOT NULL AND ended_at IS NOT NULL"
        number = self._bind(_sql_number(seconds))
        return f"({has_ended} AND {_DURATION} {node.operator} {number})"

    def _time_comparison(self, node: Comparison) -> str:
        if node.operator == "~":
            return self._column_comparison(node)
        column = node.column.parts[0]
        moment = self._bind(self._read_moment(node))
        return f"({column} IS NOT NULL AND {column} {node.operator} {moment})"

    def _read_moment(self, node: Comparison) -> str:
        """Return the time in a comparison as the store writes times."""
        hint = _MOMENT_HINT.format(node.column.parts[0])
        if isinstance(node.value, Span):
            if node.value.seconds > 0:
                self._refuse(node, "a time is expected, not a duration", hint)
            return timestamp(max(self._now + node.value.seconds, 0))
        try:
            moment = datetime.fromisoformat(str(node.value))
            if moment.tzinfo is None:
                # A time without a zone is in UTC, like all times in the store.
                moment = moment.replace(tzinfo=UTC)
            return timestamp(moment.timestamp())
        except (ValueError, OverflowError, OSError):
            self._refuse(node, f"{node.value} is not a time", hint)

    def _label_comparison(self, node: Comparison) -> str:
        name = node.column.parts[0]
        value = node.value
        same_name = f"name = {self._bind(name)}"
        if node.operator == "~":
            contains = f"contains(value, {self._bind(value.casefold())})"
            return _has_row("labels", f"{same_name} AND {contains}")
        left_side = "value"
        if name in PREFIX_LABELS and node.operator in ("=", "!="):
            left_side = f"substr(value, 1, length({self._bind(value)}))"
        comparison = f"{left_side} {node.operator} {self._bind(value)}"
        return _has_row("labels", f"{same_name} AND {comparison}")

    def _tag_comparison(self, node: Comparison) -> str:
        """Return the condition of a comparison with tags.

        `=`: the run has the tag. `!=`: it does not have it. `~`: one of its tags contains the text.
        """
        if node.operator not in ("=", "!=", "~"):
            self._refuse(
                node,
                "tags cannot be compared with this operator",
                "Write tags = 'good', tags != 'good' or tags ~ 'go' (contains).",
            )
        if node.operator == "~":
            return _has_row("tags", f"contains(tag, {self._bind(node.value.casefold())})")
        has_tag = _has_row("tags", f"tag = {self._bind(node.value)}")
        return has_tag if node.operator == "=" else f"NOT {has_tag}"

    def _note_comparison(self, node: Comparison) -> str:
        if node.operator == "~":
            return _has_row("notes", f"contains(note, {self._bind(node.value.casefold())})")
        return _has_row("notes", f"note {node.operator} {self._bind(node.value)}")

    def _null_comparison(self, node: Comparison) -> str:
        """Return the condition of `= null` or `!= null`."""
        if node.operator not in ("=", "!="):
            self._refuse(node, f"{node.operator} needs a number or a text", "Write = or !=.")
        name = node.column.parts[0]
        if node.column.group == "labels":
            exists = _has_row("labels", f"name = {self._bind(name)}")
        elif name == "note":
            exists = _has_row("notes", "1")
        elif name == "tags":
            exists = _has_row("tags", "1")
        else:
            exists = f"({_column_sql(name)} IS NOT NULL AND {_column_sql(name)} != '')"
        return exists if node.operator == "!=" else f"NOT {exists}"

    # -- values

    def _bind(self, value: object) -> str:
        """Add a value, and return its placeholder."""
        self.values.append(value)
        return "?"

    def _refuse(self, node: Comparison, problem: str, hint: str) -> NoReturn:
        raise expression_error(self._text, problem, node.position, hint)


def _join(operator: str, conditions: Sequence[str]) -> str:
    return "(" + f" {operator} ".join(conditions) + ")"


def _has_row(table: str, condition: str) -> str:
    """Return the condition that a run has a row in a table."""
    return f"run_id IN (SELECT run_id FROM {table} WHERE {condition})"  # noqa: S608


def _from_clause(column: Column) -> tuple[str, list[Any]]:
    """Return SQL after FROM for the rows of a run that a name means, and the values to bind."""
    match column.parts:
        case (task, artifact, name):
            conditions = {"name": name, "artifact": artifact, "task": task}
        case (task, name):
            conditions = {"name": name, "task": task}
        case _:
            conditions = {"name": column.parts[0]}
    same = " AND ".join(f"{key} = ?" for key in conditions)
    return f"{column.group} AS t WHERE t.run_id = runs.run_id AND {same}", list(conditions.values())


def _column_sql(name: str) -> str:
    """Return the SQL for the value of one of the `COLUMNS` of expressions."""
    match name:
        case "duration":
            return _DURATION
        case "note":
            return "(SELECT note FROM notes WHERE notes.run_id = runs.run_id)"
        case "error":
            return "json_extract(error, '$.message')"
    return name


def _encode_typed(value: Any) -> str | float:
    """Return a value as the column `typed` holds it."""
    if isinstance(value, Span):
        value = value.seconds
    if isinstance(value, (bool, str)) or _is_nan(value):
        return json_text(value)
    return _sql_number(value)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _sql_number(value: float) -> float:
    """Return a number that SQLite accepts: an integer of more than 64 bits becomes a float."""
    if not isinstance(value, int) or -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        return value
    if value > _FLOAT_LIMIT:
        return math.inf
    if value < -_FLOAT_LIMIT:
        return -math.inf
    return float(value)
