"""The store as pandas frames: `runs` a row a run; `metrics`, `tasks` and `artifacts` tidy, a row
each.

Numbers are `Float64` or `Int64`, times `datetime64[ns, UTC]`, truth `boolean`, texts `string`; what
is missing is NA, and a metric that is nan stays nan. A column whose values are of several kinds
holds them as they are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from kfgcp.errors import MissingExtra
from kfgcp.model import seconds_between
from kfgcp.query import RunFilter
from kfgcp.store.bulk import TIDY
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.store.store import Store
from kfgcp.tracking.table import EMPTY, Columns, Kind, columns, kind_of, unicode_of

if TYPE_CHECKING:
    import pandas

Table = Literal["runs", "metrics", "tasks", "artifacts"]


def runs(
    store: Store, wanted: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """A row a run, newest first, with the columns of `kfgcp.tracking.table.columns`; durations are
    seconds.

    Raises:
        MissingExtra: pandas is not installed.
        UsageError: the filter's expression cannot be read.
    """
    return frame(table(store, "runs", wanted, limit=limit))


def metrics(
    store: Store, wanted: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """A row a metric: run_id, task, artifact, name, value. limit: of runs. Errors as of `runs`."""
    return frame(table(store, "metrics", wanted, limit=limit))


def tasks(
    store: Store, wanted: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """A row a task, in the order they started: run_id, path, kind, state, attempts, whether cached
    and why or why not, times, seconds, inputs and outputs as JSON text, error (its message). limit:
    of runs. Errors as of `runs`."""
    return frame(table(store, "tasks", wanted, limit=limit))


def artifacts(
    store: Store, wanted: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """A row an artifact: run_id, task, name, type, uri, metadata as JSON text. limit: of runs.
    Errors as of `runs`."""
    return frame(table(store, "artifacts", wanted, limit=limit))


def table(
    store: Store | None,
    name: Table,
    wanted: RunFilter | None = None,
    *,
    order: str = NEWEST_FIRST,
    limit: int | None = None,
) -> Columns:
    """The columns of one of the four frames; empty ones when there is no store yet."""
    if name == "runs":
        return columns(EMPTY if store is None else store.flat(wanted, order=order, limit=limit))
    found = (
        {column: [] for column in TIDY[name]}
        if store is None
        else store.tidy(name, wanted, order=order, limit=limit)
    )
    return _of_tasks(found) if name == "tasks" else found


def _of_tasks(found: Columns) -> Columns:
    """With the facts that are JSON in the store in columns of their own."""
    cache = [json.loads(each) if each else {} for each in found["cache"]]
    started, ended = found["started_at"], found["ended_at"]
    return {
        **{name: found[name] for name in ("run_id", "path", "kind", "state", "attempts")},
        "cached": [each.get("hit") for each in cache],
        "cache_reason": [each.get("reason") for each in cache],
        "started_at": started,
        "ended_at": ended,
        "seconds": list(map(seconds_between, started, ended)),
        "inputs": found["inputs"],
        "outputs": found["outputs"],
        "error": [json.loads(each)["message"] if each else None for each in found["error"]],
    }


_EMPTY: dict[str, Kind] = {"attempts": "integer", "cached": "boolean"}
"""What columns are that have no value to tell it."""


def frame(table: Columns) -> pandas.DataFrame:
    """Columns as a frame, each of the type that all of its values have.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MissingExtra("A frame of runs", "frames") from None
    return pandas.DataFrame({name: _series(pandas, name, values) for name, values in table.items()})


def _series(pandas: Any, name: str, values: list[Any]) -> Any:
    kind = kind_of(name, values)
    if kind == "text":
        kind = _EMPTY.get(name, kind)
    if kind == "time":
        times = pandas.to_datetime(
            pandas.Series(values, dtype="object"), utc=True, format="ISO8601"
        )
        return times.astype("datetime64[ns, UTC]")
    if kind == "number":
        import numpy

        missing = numpy.array([value is None for value in values], dtype=bool)
        numbers = numpy.array(
            [0.0 if value is None else value for value in values], dtype="float64"
        )
        return pandas.arrays.FloatingArray(
            numbers, missing
        )  # which keeps nan, and does not take it for missing
    if kind == "mixed":
        return pandas.Series(values, dtype="object")
    try:
        return pandas.array(
            values, dtype={"boolean": "boolean", "integer": "Int64", "text": "string"}[kind]
        )
    except UnicodeEncodeError:
        return pandas.array(
            [None if value is None else unicode_of(value) for value in values], dtype="string"
        )
