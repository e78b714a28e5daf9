"""Runs as a table with a row for each run, for files and frames."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from kfgcp.atomic import write_file
from kfgcp.errors import MissingExtra, StateError, UsageError
from kfgcp.model import Run, json_number, json_text
from kfgcp.store.bulk import FACTS as FACTS
from kfgcp.store.bulk import Flat
from kfgcp.store.rows import metric_names
from kfgcp.tracking.csv_text import csv_text

if TYPE_CHECKING:
    import pyarrow

FORMATS: Final = ("csv", "json", "parquet")
TIMES: Final = ("created_at", "started_at", "ended_at")

Columns = dict[str, list[Any]]
"""Name -> a value for each row, None where there is none. All columns have the same length."""

Kind = Literal["time", "boolean", "integer", "number", "text", "mixed"]
"""The type of all values of a column."""

EMPTY: Final = Flat({name: [] for name in FACTS}, {}, {}, {})


def columns(runs: Flat) -> Columns:
    """Return the columns of a table of runs.

    They are the facts, then `labels.*`, `params.*` and `metrics.<task>.<name>`. Where a task
    reports a metric in several artifacts, the columns are `metrics.<task>.<artifact>.<name>`.
    """
    table: Columns = {name: runs.facts[name] for name in FACTS}
    for name, values in runs.labels.items():
        table[f"labels.{name}"] = values
    for name, values in runs.params.items():
        table[f"params.{name}"] = values
    names = metric_names(runs.metrics)
    for key, values in runs.metrics.items():
        table[f"metrics.{names[key]}"] = values
    return table


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a dict for each run. All have the same keys in the same order, see `columns`."""
    return _split_into_rows(columns(flatten_runs(runs)))


def flatten_runs(runs: Sequence[Run]) -> Flat:
    """Return runs as columns, in the form in which the store returns them."""
    facts: Columns = {}
    for name in FACTS:
        facts[name] = [getattr(run, name) for run in runs]
    facts["state"] = [run.state.value for run in runs]
    facts["error"] = [run.error.message if run.error else None for run in runs]
    facts["tags"] = [" ".join(run.tags) or None for run in runs]
    facts["note"] = [run.note or None for run in runs]
    labels: Columns = {}
    params: Columns = {}
    metrics: dict[tuple[str, str, str], list[Any]] = {}
    for place, run in enumerate(runs):
        for name, label in run.labels.items():
            labels.setdefault(name, [None] * len(runs))[place] = label
        for name, param in run.params.items():
            params.setdefault(name, [None] * len(runs))[place] = param
        for metric in run.metrics:
            key = (metric.task, metric.artifact, metric.name)
            metrics.setdefault(key, [None] * len(runs))[place] = metric.value
    return Flat(facts, labels, params, metrics)


def _split_into_rows(table: Columns) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def find_kind(name: str, values: Sequence[Any]) -> Kind:
    """Return the kind of a column.

    Args:
        name: the name of the column. Times, durations and metrics have a fixed kind.
        values: the values of the column. None does not count. A column with only None is text.
    """
    if name in TIMES:
        return "time"
    if name in ("seconds", "value"):
        return "number"
    present = [value for value in values if value is not None]
    types = set(map(type, present))
    if types <= {str}:
        return "text"
    if types == {bool}:
        return "boolean"
    # Integers of pandas and Parquet have 64 bits.
    if types == {int} and min(present) >= -(2**63) and max(present) < 2**63:
        return "integer"
    if types <= {int, float} and all(map(_fits_float, present)):
        return "number"
    return "mixed"


def _fits_float(value: float) -> bool:
    """Return whether a float can hold the size of a number."""
    return isinstance(value, float) or abs(value) <= int(sys.float_info.max)


def export(runs: Sequence[Run], form: str, file: Path | None, *, raw: bool = False) -> str:
    """Write runs to a file, or return them as text when there is no file.

    Args:
        runs: the runs. For JSON they need their tasks: each becomes its run JSON. Other forms have
            the table of `columns`.
        form: csv, json or parquet.
        file: the file. Parquet needs one.
        raw: write all texts in CSV as they are, also those that a spreadsheet takes for formulas.

    Returns:
        The text, "" when a file was written.

    Raises:
        UsageError: Parquet without a file, or an unknown form.
        StateError: the file cannot be written.
    """
    if form == "json":
        return _write(_encode_json([run.to_dict() for run in runs]), file)
    return export_table(columns(flatten_runs(runs)), form, file, raw=raw)


def export_table(table: Columns, form: str, file: Path | None, *, raw: bool = False) -> str:
    """Write a table to a file, or return it as text when there is no file.

    JSON has an object for each row. The arguments and errors are those of `export`.
    """
    if form == "parquet":
        if file is None:
            raise UsageError(
                "Parquet is not text, so it needs a file.",
                hint="Choose a file: kfgcp export --format parquet -o runs.parquet",
            )
        return _write(_encode_parquet(table), file)
    if form == "csv":
        text = csv_text(list(table), zip(*table.values(), strict=True), raw=raw)
        return _write(text.encode("utf-8", "backslashreplace"), file)
    if form == "json":
        json_table = {name: list(map(json_number, values)) for name, values in table.items()}
        return _write(_encode_json(_split_into_rows(json_table)), file)
    raise UsageError(f"Unknown format '{form}'.", hint=f"One of: {', '.join(FORMATS)}.")


def _write(data: bytes, file: Path | None) -> str:
    if file is None:
        return data.decode()
    try:
        write_file(file, data)
    except OSError as error:
        raise StateError(
            f"{file} cannot be written: {error.strerror}.", hint="Choose another file with -o."
        ) from error
    return ""


def _encode_json(value: object) -> bytes:
    return (json_text(value, indent=2) + "\n").encode()


def _encode_parquet(table: Columns) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("Parquet", "frames") from None
    arrays = {name: _build_array(name, values) for name, values in table.items()}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays), sink)
    return sink.getvalue()


def _build_array(name: str, values: list[Any]) -> pyarrow.Array:
    import pyarrow

    match find_kind(name, values):
        case "time":
            times = list(map(_parse_time, values))
            return pyarrow.array(times, pyarrow.timestamp("ms", tz="UTC"))
        case "number":
            numbers = list(map(_to_float, values))
            return pyarrow.array(numbers, pyarrow.float64())
        case "boolean":
            return pyarrow.array(values, pyarrow.bool_())
        case "integer":
            return pyarrow.array(values, pyarrow.int64())
        case _:
            texts = list(map(writable_text, values))
            return pyarrow.array(texts, pyarrow.string())


def _parse_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _to_float(value: float | None) -> float | None:
    return None if value is None else float(value)


def writable_text(value: object) -> str | None:
    """Return a value as text that can be encoded, None for None.

    A value that is not text becomes JSON. Halves of surrogate pairs become escapes.
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "backslashreplace").decode()
