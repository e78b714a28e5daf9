"""The store as pandas frames.

`runs` has a row for each run. `metrics`, `tasks` and `artifacts` are tidy: they have a row for each
metric, task or artifact.

Numbers are `Float64` or `Int64`, times `datetime64[ns, UTC]`, truth values `boolean`, and texts
`string`. A missing value is NA, and a metric that is NaN stays NaN. A column with values of several
kinds has the type `object`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal

from kfgcp.errors import MissingExtra
from kfgcp.model import seconds_between
from kfgcp.query import RunFilter
from kfgcp.store.bulk import TIDY
from kfgcp.store.queries import NEWEST_FIRST
from kfgcp.store.store import Store
from kfgcp.tracking.table import EMPTY, Columns, Kind, columns, find_kind, writable_text

if TYPE_CHECKING:
    import pandas

    Column = pandas.Series | pandas.api.extensions.ExtensionArray

Table = Literal["runs", "metrics", "tasks", "artifacts"]

# The kinds of columns that are not text but may have only missing values.
_KIND_WHEN_EMPTY: Final[dict[str, Kind]] = {"attempts": "integer", "cached": "boolean"}


def runs(
    store: Store, run_filter: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """Return a row for each run, newest first, with the columns of `kfgcp.tracking.table.columns`.

    Durations are seconds.

    Args:
        store: the store.
        run_filter: which runs, None for all.
        limit: at most this many runs.

    Raises:
        MissingExtra: pandas is not installed.
        UsageError: the filter's expression cannot be read.
    """
    return frame(table(store, "runs", run_filter, limit=limit))


def metrics(
    store: Store, run_filter: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """Return a row for each metric: run_id, task, artifact, name, value.

    Arguments and errors are those of `runs`. The limit counts runs.
    """
    return frame(table(store, "metrics", run_filter, limit=limit))


def tasks(
    store: Store, run_filter: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """Return a row for each task, in the order in which they started.

    Columns: run_id, path, kind, state, attempts, cached, cache_reason, started_at, ended_at,
    seconds, inputs and outputs as JSON text, error (its message). Arguments and errors are those of
    `runs`. The limit counts runs.
    """
    return frame(table(store, "tasks", run_filter, limit=limit))


def artifacts(
    store: Store, run_filter: RunFilter | None = None, *, limit: int | None = None
) -> pandas.DataFrame:
    """Return a row for each artifact: run_id, task, name, type, uri, metadata as JSON text.

    Arguments and errors are those of `runs`. The limit counts runs.
    """
    return frame(table(store, "artifacts", run_filter, limit=limit))


def table(
    store: Store | None,
    name: Table,
    run_filter: RunFilter | None = None,
    *,
    order: str = NEWEST_FIRST,
    limit: int | None = None,
) -> Columns:
    """Return the columns of one of the four frames.

    Args:
        store: the store. None means that nothing was ever recorded, and all columns are empty.
        name: which frame.
        run_filter: which runs, None for all.
        order: the order of the runs.
        limit: at most this many runs.
    """
    if name == "runs":
        flat = EMPTY if store is None else store.flat(run_filter, order=order, limit=limit)
        return columns(flat)
    if store is None:
        tidy: Columns = {column: [] for column in TIDY[name]}
    else:
        tidy = store.tidy(name, run_filter, order=order, limit=limit)
    return _task_columns(tidy) if name == "tasks" else tidy


def _task_columns(tidy: Columns) -> Columns:
    """Return the columns of tasks. The fields of JSON in the store become columns."""
    caches = list(map(_parse_object, tidy["cache"]))
    errors = list(map(_parse_object, tidy["error"]))
    return {
        "run_id": tidy["run_id"],
        "path": tidy["path"],
        "kind": tidy["kind"],
        "state": tidy["state"],
        "attempts": tidy["attempts"],
        "cached": [cache.get("hit") for cache in caches],
        "cache_reason": [cache.get("reason") for cache in caches],
        "started_at": tidy["started_at"],
        "ended_at": tidy["ended_at"],
        "seconds": list(map(seconds_between, tidy["started_at"], tidy["ended_at"])),
        "inputs": tidy["inputs"],
        "outputs": tidy["outputs"],
        "error": [error.get("message") for error in errors],
    }


def _parse_object(text: str | None) -> dict[str, Any]:
    """Return a JSON object. None is an empty object."""
    if not text:
        return {}
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def frame(table: Columns) -> pandas.DataFrame:
    """Return columns as a frame. The type of each column fits all of its values.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MissingExtra("A pandas DataFrame of runs", "frames") from None
    return pandas.DataFrame({name: _build_column(name, values) for name, values in table.items()})


def _build_column(name: str, values: list[Any]) -> Column:
    import pandas

    kind = find_kind(name, values)
    if kind == "text":
        kind = _KIND_WHEN_EMPTY.get(name, kind)
    match kind:
        case "time":
            times = pandas.Series(values, dtype="object")
            zoned = pandas.to_datetime(times, utc=True, format="ISO8601")
            return zoned.astype("datetime64[ns, UTC]")
        case "number":
            return _build_numbers(values)
        case "boolean":
            return pandas.array(values, dtype="boolean")
        case "integer":
            return pandas.array(values, dtype="Int64")
        case "mixed":
            return pandas.Series(values, dtype="object")
    try:
        return pandas.array(values, dtype="string")
    except UnicodeEncodeError:
        # A text contains half of a surrogate pair, which cannot be encoded.
        return pandas.array(list(map(writable_text, values)), dtype="string")


def _build_numbers(values: list[Any]) -> pandas.api.extensions.ExtensionArray:
    import numpy
    import pandas

    is_missing = numpy.array([value is None for value in values], dtype=bool)
    # The mask hides the numbers in the place of missing values, so any number will do.
    numbers = [0.0 if value is None else value for value in values]
    # `pandas.array` would turn NaN into a missing value. With a mask, NaN stays a value.
    return pandas.arrays.FloatingArray(numpy.array(numbers, dtype="float64"), is_missing)
