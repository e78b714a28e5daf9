"""Turn a `RunFilter` into SQL on the table `runs`."""

from __future__ import annotations

import time
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.query import PREFIX_LABELS, RunFilter
from kfgcp.store.conditions import EXISTS, condition, order, version_condition
from kfgcp.store.rows import json_text, sql_values

NEWEST_FIRST: Final = "created_at desc"

CHOICES: Final = ("pipeline", "experiment", "env", "backend", "version", "state")
"""Columns of `runs` with few different values. `choices_query` also takes `tags`, `labels.NAME`."""

# A text matches a run when one of these columns contains it. char(10) is a newline, so that a match
# cannot begin in one column and end in the next.
_TEXT_CONDITION: Final = (
    "(contains(run_id || char(10) || name || char(10) || pipeline || char(10) || experiment, ?)"
    " OR run_id IN (SELECT run_id FROM notes WHERE contains(note, ?))"
    " OR run_id IN (SELECT run_id FROM tags WHERE contains(tag, ?)))"
)


def where_clause(run_filter: RunFilter) -> tuple[str, list[Any]]:
    """Return the condition of a filter, and the values for its placeholders.

    Raises:
        UsageError: the expression of the filter cannot be read.
    """
    clauses = ["1"]
    values: list[Any] = []
    comparisons = {
        "pipeline = ?": run_filter.pipeline,
        "experiment = ?": run_filter.experiment,
        "env = ?": run_filter.env,
        "created_at >= ?": run_filter.since,
        "created_at < ?": run_filter.until,
    }
    for clause, value in comparisons.items():
        if value is not None:
            clauses.append(clause)
            values.append(value)
    if run_filter.ids:
        # One JSON text for all ids: a statement can have at most 32,766 placeholders (999 before
        # SQLite 3.32), and a filter can have any number of ids.
        clauses.append("run_id IN (SELECT value FROM json_each(?))")
        values.append(json_text(list(sql_values(*run_filter.ids))))
    if run_filter.states:
        placeholders = ", ".join("?" * len(run_filter.states))
        clauses.append(f"state IN ({placeholders})")
        values.extend(run_filter.states)
    for name, value in run_filter.labels.items():
        if name in PREFIX_LABELS:
            has_value = "substr(value, 1, length(?)) = ?"
            values.extend((name, value, value))
        else:
            has_value = "value = ?"
            values.extend((name, value))
        clauses.append(f"run_id IN (SELECT run_id FROM labels WHERE name = ? AND {has_value})")  # noqa: S608
    for tag in run_filter.tags:
        clauses.append("run_id IN (SELECT run_id FROM tags WHERE tag = ?)")
        values.append(tag)
    if run_filter.version:
        _append_condition(clauses, values, version_condition(run_filter.version))
    if run_filter.text:
        _append_condition(clauses, values, (_TEXT_CONDITION, [run_filter.text.casefold()] * 3))
    if run_filter.where and run_filter.where.strip():
        _append_condition(clauses, values, condition(run_filter.where, time.time()))
    return " AND ".join(clauses), list(sql_values(*values))


def _append_condition(
    clauses: list[str], values: list[Any], sql_condition: tuple[str, list[Any]]
) -> None:
    """Append an SQL condition and its values to the lists."""
    clause, clause_values = sql_condition
    clauses.append(clause)
    values.extend(clause_values)


def runs_table(where: str) -> str:
    """Return the table of runs for a FROM clause, with the index that suits the WHERE condition.

    A condition with `EXISTS` looks up params or metrics run by run. This is fast when the runs
    come in the order of their ids, because those tables have the same order. By itself, SQLite
    would choose another index, for example the index for ORDER BY.
    """
    return "runs INDEXED BY sqlite_autoindex_runs_1" if EXISTS in where else "runs"


def order_clause(text: str) -> tuple[str, list[Any]]:
    """Return the SQL after ORDER BY, and the values for its placeholders.

    Args:
        text: `NAME`, `NAME asc` or `NAME desc`. Of runs with the same value, the newest comes
            first.

    Raises:
        UsageError: the order cannot be read.
    """
    if text == NEWEST_FIRST:
        # The index runs_created read backwards has this order, so nothing is sorted.
        return "created_at DESC, rowid DESC", []
    if text in ("created_at", "created_at asc"):
        return "created_at, rowid", []
    sql, values = order(text)
    return f"{sql}, created_at DESC, rowid DESC", list(sql_values(*values))


def choices_query(column: str, where: str) -> tuple[str, list[Any]]:
    """Return a query for the different values that a column has in the matching runs.

    Args:
        column: one of `CHOICES`, `tags`, or `labels.NAME`.
        where: the condition of matching runs.

    Returns:
        The query, and the values for its placeholders before the condition. The caller adds the
        values of the condition.

    Raises:
        UsageError: the values of this column cannot be listed.
    """
    source = runs_table(where)
    run_ids = f"SELECT run_id FROM {source} WHERE {where}"  # noqa: S608
    if column in CHOICES:
        return f"SELECT DISTINCT {column} FROM {source} WHERE {where} ORDER BY 1", []  # noqa: S608
    if column == "tags":
        return f"SELECT DISTINCT tag FROM tags WHERE run_id IN ({run_ids}) ORDER BY 1", []  # noqa: S608
    group, _, name = column.partition(".")
    if group == "labels" and name:
        query = "SELECT DISTINCT value FROM labels WHERE name = ? AND run_id IN"
        return f"{query} ({run_ids}) ORDER BY 1", list(sql_values(name))
    raise UsageError(
        f"The values of '{column}' cannot be listed.",
        hint=f"Write one of: {', '.join(CHOICES)}, tags, labels.NAME.",
    )
