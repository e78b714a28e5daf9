"""Many runs at once, column by column: what frames and exports are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from kfgcp.model import seconds_between

FEW: Final = 20_000
"""Up to so many runs are looked up one by one; of more, whole tables are read in their order, which
is quicker."""
_CHUNK: Final = 500
"""Marks in a statement; older libraries of SQLite take 999."""
_PLAIN: Final = (
    *("run_id", "name", "pipeline", "version", "experiment", "env", "backend", "state"),
    *("created_at", "started_at", "ended_at"),
)
TIDY: Final[Mapping[str, Sequence[str]]] = {
    "metrics": ("run_id", "task", "artifact", "name", "value"),
    "tasks": (
        *("run_id", "path", "kind", "state", "attempts", "cache", "started_at", "ended_at"),
        *("inputs", "outputs", "error"),
    ),
    "artifacts": ("run_id", "task", "name", "type", "uri", "metadata"),
}
"""Table -> its columns as `tidy` gives them."""


@dataclass(frozen=True, slots=True)
class Flat:
    """Runs as columns: a list for each, with a place for each run, None where it has no value.

    facts: columns of the run, with `seconds`, `error` (its message), `tags` (joined by blanks) and
    `note`. metrics: by (task, artifact, name).
    """

    facts: Mapping[str, list[Any]]
    labels: Mapping[str, list[Any]]
    params: Mapping[str, list[Any]]
    metrics: Mapping[tuple[str, str, str], list[Any]]


def flat(db: Any, selection: str, values: Sequence[Any]) -> Flat:
    """The runs that a selection of their ids finds, in its order."""
    place = _places(db, selection, values)
    metrics = _spread(db, "metrics", "json_array(task, artifact, name) || ''", "value", place)
    return Flat(
        _facts(db, place),
        _spread(db, "labels", "name", "json_quote(value)", place),
        _spread(db, "params", "name", "value", place),
        {tuple(json.loads(key)): column for key, column in metrics.items()},
    )


def tidy(db: Any, table: str, selection: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    """The rows of `metrics`, `tasks` or `artifacts` of the runs that a selection of their ids
    finds, in its order.

    Columns are those of the table; what is JSON in it stays text.
    """
    place = _places(db, selection, values)
    names = TIDY[table][1:]
    rows = (row for row in _rows(db, table, f"seq, {', '.join(names)}", place) if row[0] in place)
    found = sorted(rows, key=lambda row: (place[row[0]], row[1]))
    columns: dict[str, list[Any]] = {"run_id": [row[0] for row in found]}
    columns |= {name: [row[at] for row in found] for at, name in enumerate(names, 2)}
    if table == "metrics":
        columns["value"] = json.loads(f"[{','.join(columns['value'])}]")
    return columns


def _places(db: Any, selection: str, values: Sequence[Any]) -> dict[str, int]:
    return {row[0]: number for number, row in enumerate(db.execute(selection, values))}


def _rows(
    db: Any, table: str, columns: str, place: Mapping[str, int], group: str = ""
) -> Iterator[Any]:
    """Rows of the runs that have a place, the run's id first; for many runs those of others too."""
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples: of a million rows this is half of the time
    query = f"SELECT run_id, {columns} FROM {table}"  # noqa: S608
    if len(place) > FEW:
        found: Iterator[Any] = cursor.execute(f"{query} {group}")
        return found
    ids = list(place)
    chunks = (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
    return chain.from_iterable(
        cursor.execute(f"{query} WHERE run_id IN ({', '.join('?' * len(some))}) {group}", some)
        for some in chunks
    )


def _spread(
    db: Any, table: str, key: str, value: str, place: Mapping[str, int]
) -> dict[str, list[Any]]:
    """A table as a column for each key, in the order that the keys have in the run where they are
    first.

    SQLite makes one JSON object a run, and all are read as one array: a row at a time in Python
    takes twice as long.
    """
    texts = ["{}"] * len(place)
    pairs = f"'{{' || group_concat(json_quote({key}) || ':' || {value}) || '}}'"
    for run_id, text in _rows(db, table, pairs, place, "GROUP BY run_id"):
        if run_id in place:
            texts[place[run_id]] = text
    found: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
    first: dict[str, int] = {}
    for at, each in enumerate(found):
        if each.keys() - first.keys():
            first |= {name: at for name in each if name not in first}
    names = sorted(first, key=first.__getitem__)
    if table != "labels":
        names = _in_order(db, table, key, list(place), first)
    return {name: [each.get(name) for each in found] for name in names}


def _in_order(
    db: Any, table: str, key: str, ids: Sequence[str], first: Mapping[str, int]
) -> list[str]:
    """Keys by the run where they are first, then in its order."""
    orders: dict[str, int] = {}
    for at in sorted(set(first.values())):
        query = f"SELECT {key} FROM {table} WHERE run_id = ? ORDER BY seq"  # noqa: S608
        for (name,) in db.execute(query, (ids[at],)):
            orders.setdefault(name, len(orders))
    return sorted(first, key=lambda name: orders.get(name, len(orders)))


def _facts(db: Any, place: Mapping[str, int]) -> dict[str, list[Any]]:
    facts: dict[str, list[Any]] = {
        name: [None] * len(place) for name in (*_PLAIN, "seconds", "error", "tags", "note")
    }
    columns = [facts[name] for name in _PLAIN[1:]]
    facts["run_id"] = list(place)
    failed = facts["error"]
    for run_id, *plain, error in _rows(db, "runs", ", ".join((*_PLAIN[1:], "error")), place):
        at = place.get(run_id)
        if at is None:
            continue
        for column, value in zip(columns, plain, strict=True):
            column[at] = value
        if error is not None:
            failed[at] = json.loads(error)["message"]
    facts["seconds"] = list(map(seconds_between, facts["started_at"], facts["ended_at"]))
    for run_id, note in _rows(db, "notes", "note", place):
        if run_id in place:
            facts["note"][place[run_id]] = note
    for run_id, tag in _rows(db, "tags", "tag", place):
        if run_id in place:
            at = place[run_id]
            facts["tags"][at] = f"{facts['tags'][at]} {tag}" if facts["tags"][at] else tag
    return facts
