"""A `RunFilter` as SQL on the table `runs`."""

from __future__ import annotations

import time
from typing import Any, Final

from kfgcp.errors import UsageError
from kfgcp.query import PREFIX_LABELS, RunFilter
from kfgcp.store.conditions import IN_ORDER, condition, order, version_condition
from kfgcp.store.rows import bound, json_text

NEWEST_FIRST: Final = "created_at desc"

CHOICES: Final = ("pipeline", "experiment", "env", "backend", "version", "state")
"""Columns whose values a reader chooses from; beside them `tags` and `labels.NAME`."""

_TEXT: Final = (
    "(contains(run_id || char(10) || name || char(10) || pipeline || char(10) || experiment, ?)"
    " OR run_id IN (SELECT run_id FROM notes WHERE contains(note, ?))"
    " OR run_id IN (SELECT run_id FROM tags WHERE contains(tag, ?)))"
)


def where_clause(wanted: RunFilter) -> tuple[str, list[Any]]:
    """The condition, and the values for its marks.

    Raises:
        UsageError: the expression of the filter cannot be read.
    """
    clauses: list[str] = ["1"]
    values: list[Any] = []
    for same, value in (
        ("pipeline = ?", wanted.pipeline),
        ("experiment = ?", wanted.experiment),
        ("env = ?", wanted.env),
        ("created_at >= ?", wanted.since),
        ("created_at < ?", wanted.until),
    ):
        if value is not None:
            clauses.append(same)
            values.append(value)
    if wanted.ids:
        clauses.append("run_id IN (SELECT value FROM json_each(?))")
        values.append(json_text([*bound(*wanted.ids)]))
    if wanted.states:
        clauses.append(f"state IN ({', '.join('?' * len(wanted.states))})")
        values.extend(wanted.states)
    for name, value in wanted.labels.items():
        same = "substr(value, 1, length(?)) = ?" if name in PREFIX_LABELS else "value = ?"
        clauses.append(f"run_id IN (SELECT run_id FROM labels WHERE name = ? AND {same})")  # noqa: S608
        values.extend((name, value, value) if name in PREFIX_LABELS else (name, value))
    for tag in wanted.tags:
        clauses.append("run_id IN (SELECT run_id FROM tags WHERE tag = ?)")
        values.append(tag)
    further = [version_condition(wanted.version)] if wanted.version else []
    further += [(_TEXT, [wanted.text.casefold()] * 3)] if wanted.text else []
    further += (
        [condition(wanted.where, time.time())] if wanted.where and wanted.where.strip() else []
    )
    for clause, more in further:
        clauses.append(clause)
        values.extend(more)
    return " AND ".join(clauses), [*bound(*values)]


def table(where: str) -> str:
    """The table of runs, in the order in which a condition is quickest."""
    return "runs INDEXED BY sqlite_autoindex_runs_1" if IN_ORDER in where else "runs"


def order_clause(wanted: str) -> tuple[str, list[Any]]:
    """What follows ORDER BY for `NAME [asc|desc]`, ties newest first, and the values for its marks.

    Raises:
        UsageError: it cannot be read.
    """
    if wanted == NEWEST_FIRST:
        return "created_at DESC, rowid DESC", []
    if wanted in ("created_at", "created_at asc"):
        return "created_at, rowid", []
    sql, values = order(wanted)
    return f"{sql}, created_at DESC, rowid DESC", [*bound(*values)]


def choices_query(column: str, where: str) -> tuple[str, list[Any]]:
    """The different values that a column has in the runs of a condition.

    Raises:
        UsageError: there is no such column to choose by.
    """
    runs = f"SELECT run_id FROM {table(where)} WHERE {where}"  # noqa: S608
    if column in CHOICES:
        return f"SELECT DISTINCT {column} FROM {table(where)} WHERE {where} ORDER BY 1", []  # noqa: S608
    if column == "tags":
        return f"SELECT DISTINCT tag FROM tags WHERE run_id IN ({runs}) ORDER BY 1", []  # noqa: S608
    group, _, name = column.partition(".")
    if group != "labels" or not name:
        raise UsageError(
            f"There are no choices of '{column}'.",
            hint=f"One of: {', '.join(CHOICES)}, tags, labels.NAME.",
        )
    return f"SELECT DISTINCT value FROM labels WHERE name = ? AND run_id IN ({runs}) ORDER BY 1", [  # noqa: S608
        name
    ]
