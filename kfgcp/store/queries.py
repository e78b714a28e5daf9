"""Turn a `RunFilter` into SQL on the table `runs`."""

from __future__ import annotations

import time
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.query import PREFIX_LABELS, RunFilter
from kfgcp.store.conditions import IN_ORDER, condition, order, version_condition
from kfgcp.store.rows import json_text, sql_values

NEWEST_FIRST: Final = "created_at desc"

CHOICES: Final = ("pipeline", "experiment", "env", "backend", "version", "state")
"""Columns whose values a reader chooses from. There are also `tags` and `labels.NAME`."""

_TEXT: Final = (
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
            same = "substr(value, 1, length(?)) = ?"
            values.extend((name, value, value))
        else:
            same = "value = ?"
            values.extend((name, value))
        clauses.append(f"run_id IN (SELECT run_id FROM labels WHERE name = ? AND {same})")  # noqa: S608
    for tag in run_filter.tags:
        clauses.append("run_id IN (SELECT run_id FROM tags WHERE tag = ?)")
        values.append(tag)
    if run_filter.version:
        _add(clauses, values, version_condition(run_filter.version))
    if run_filter.text:
        _add(clauses, values, (_TEXT, [run_filter.text.casefold()] * 3))
    if run_filter.where and run_filter.where.strip():
        _add(clauses, values, condition(run_filter.where, time.time()))
    return " AND ".join(clauses), list(sql_values(*values))


def _add(clauses: list[str], values: list[Any], addition: tuple[str, list[Any]]) -> None:
    clause, more_values = addition
    clauses.append(clause)
    values.extend(more_values)


def table(where: str) -> str:
    """Return the table of runs for a FROM clause, with the index that suits a condition.

    A condition with `IN_ORDER` looks up params or metrics run by run. This is quick when the runs
    come in the order of their ids, which is the order of those tables. SQLite would choose another
    index, for example that of the requested order.
    """
    return "runs INDEXED BY sqlite_autoindex_runs_1" if IN_ORDER in where else "runs"


def order_clause(text: str) -> tuple[str, list[Any]]:
    """Return what follows ORDER BY, and the values for its placeholders.

    Args:
        text: `NAME`, `NAME asc` or `NAME desc`. Runs with the same value are in the order newest
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
    """Return a query for the different values of a column in the runs of a condition.

    Args:
        column: one of `CHOICES`, `tags`, or `labels.NAME`.
        where: the condition. Its values come after those of this query.

    Returns:
        The query, and the values for the placeholders before the condition.

    Raises:
        UsageError: there is no such column to choose by.
    """
    source = table(where)
    run_ids = f"SELECT run_id FROM {source} WHERE {where}"  # noqa: S608
    if column in CHOICES:
        return f"SELECT DISTINCT {column} FROM {source} WHERE {where} ORDER BY 1", []  # noqa: S608
    if column == "tags":
        return f"SELECT DISTINCT tag FROM tags WHERE run_id IN ({run_ids}) ORDER BY 1", []  # noqa: S608
    group, _, name = column.partition(".")
    if group == "labels" and name:
        query = "SELECT DISTINCT value FROM labels WHERE name = ? AND run_id IN"
        return f"{query} ({run_ids}) ORDER BY 1", [name]
    raise UsageError(
        f"There are no choices of '{column}'.",
        hint=f"One of: {', '.join(CHOICES)}, tags, labels.NAME.",
    )
