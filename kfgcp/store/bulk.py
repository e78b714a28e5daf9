"""Many runs at once, column by column: what frames and exports are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.model import seconds_between

FEW: Final = 20_000
"""Up to so many runs are looked up one by one; of more, whole tables are read in their order, which is quicker."""
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
_NUMBER: Final = "CASE WHEN typeof(typed) IN ('integer', 'real') AND length(value) < 19 THEN typed ELSE value END"
"""A number, or the JSON text of what is none or has more digits than SQLite keeps."""


@dataclass(frozen=True, slots=True)
class Flat:
    """Runs as columns: a list for each, with a place for each run, None where it has no value.

    facts: columns of the run, with `seconds`, `error` (its message), `tags` (joined by blanks) and `note`. metrics: by
    (task, artifact, name).
    """

    facts: Mapping[str, list[Any]]
    labels: Mapping[str, list[Any]]
    params: Mapping[str, list[Any]]
    metrics: Mapping[tuple[str, str, str], list[Any]]


def flat(db: Any, selection: str, values: Sequence[Any]) -> Flat:
    """The runs that a selection of their ids finds, in its order."""
    place = _places(db, selection, values)
    value = _Values()
    params: dict[Any, list[Any]] = {}
    metrics: dict[Any, list[Any]] = {}
    labels: dict[Any, list[Any]] = {}
    _spread(params, place, ((r, n, s, value[v]) for r, n, s, v in _rows(db, "params", f"name, seq, {_NUMBER}", place)))
    columns = f"task, artifact, name, seq, {_NUMBER}"
    found = _rows(db, "metrics", columns, place)
    _spread(metrics, place, ((r, (t, a, n), s, value[v]) for r, t, a, n, s, v in found))
    _spread(labels, place, _rows(db, "labels", "name, 0, value", place))
    return Flat(_facts(db, place), labels, params, metrics)


def tidy(db: Any, table: str, selection: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    """The rows of `metrics`, `tasks` or `artifacts` of the runs that a selection of their ids finds, in its order.

    Columns are those of the table; what is JSON in it stays text.
    """
    place = _places(db, selection, values)
    names = TIDY[table][1:]
    found = sorted(_rows(db, table, f"seq, {', '.join(names)}", place), key=lambda row: (place[row[0]], row[1]))
    columns: dict[str, list[Any]] = {"run_id": [row[0] for row in found]}
    columns |= {name: [row[at] for row in found] for at, name in enumerate(names, 2)}
    if table == "metrics":
        value = _Values()
        columns["value"] = [value[each] for each in columns["value"]]
    return columns


def _places(db: Any, selection: str, values: Sequence[Any]) -> dict[str, int]:
    return {row[0]: number for number, row in enumerate(db.execute(selection, values))}


def _rows(db: Any, table: str, columns: str, place: Mapping[str, int]) -> Iterator[Any]:
    """Rows of the runs that have a place, the run's id first."""
    cursor = db.cursor()
    cursor.row_factory = None  # plain tuples: of a million rows this is half of the time
    query = f"SELECT run_id, {columns} FROM {table}"  # noqa: S608
    if len(place) > FEW:
        yield from (row for row in cursor.execute(query) if row[0] in place)
        return
    ids = list(place)
    for start in range(0, len(ids), _CHUNK):
        some = ids[start : start + _CHUNK]
        yield from cursor.execute(f"{query} WHERE run_id IN ({', '.join('?' * len(some))})", some)


def _spread(columns: dict[Any, list[Any]], place: Mapping[str, int], rows: Iterator[Any]) -> None:
    """Puts (run, key, order, value) into the column of the key; columns come in their order in the runs."""
    orders: dict[Any, int] = {}
    for run_id, key, order, value in rows:
        column = columns.get(key)
        if column is None:
            column = columns[key] = [None] * len(place)
            orders[key] = order
        column[place[run_id]] = value
    ordered = sorted(columns, key=orders.__getitem__)
    for key in ordered:
        columns[key] = columns.pop(key)


def _facts(db: Any, place: Mapping[str, int]) -> dict[str, list[Any]]:
    facts: dict[str, list[Any]] = {name: [None] * len(place) for name in (*_PLAIN, "seconds", "error", "tags", "note")}
    columns = [facts[name] for name in _PLAIN[1:]]
    facts["run_id"] = list(place)
    failed = facts["error"]
    for run_id, *plain, error in _rows(db, "runs", ", ".join((*_PLAIN[1:], "error")), place):
        at = place[run_id]
        for column, value in zip(columns, plain, strict=True):
            column[at] = value
        if error is not None:
            failed[at] = json.loads(error)["message"]
    facts["seconds"] = list(map(seconds_between, facts["started_at"], facts["ended_at"]))
    for run_id, note in _rows(db, "notes", "note", place):
        facts["note"][place[run_id]] = note
    for run_id, tag in _rows(db, "tags", "tag", place):
        at = place[run_id]
        facts["tags"][at] = f"{facts['tags'][at]} {tag}" if facts["tags"][at] else tag
    return facts


class _Values(dict[Any, Any]):
    """JSON texts -> values, each read once: of a hundred thousand runs few are different. Numbers are themselves."""

    def __missing__(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        read = json.loads(value)
        if not isinstance(read, (dict, list)):  # which two runs must not share
            self[value] = read
        return read
