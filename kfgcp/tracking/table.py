"""Runs as a flat table: a row a run, for files and frames."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from kfgcp.atomic import write_file
from kfgcp.errors import MissingExtra, StateError, UsageError
from kfgcp.model import Run, json_number, json_text
from kfgcp.store.bulk import Flat
from kfgcp.store.rows import metric_names
from kfgcp.tracking.csv_text import csv_text

FORMATS = ("csv", "json", "parquet")
TIMES = ("created_at", "started_at", "ended_at")
FACTS = (
    *("run_id", "name", "pipeline", "version", "experiment", "env", "backend", "state"),
    *(*TIMES, "seconds", "error", "tags", "note"),
)

Columns = dict[str, list[Any]]
"""Name -> a value a row, None where there is none; all are of the same length."""


EMPTY: Final = Flat({name: [] for name in FACTS}, {}, {}, {})


def columns(runs: Flat) -> Columns:
    """A place a run in each column: facts, `labels.*`, `params.*`, `metrics.<task>.<name>`.

    Where a task reports one metric name in several artifacts, their columns are
    `metrics.<task>.<artifact>.<name>`.
    """
    names = metric_names(runs.metrics)
    return {
        **{name: runs.facts[name] for name in FACTS},
        **{f"labels.{name}": values for name, values in runs.labels.items()},
        **{f"params.{name}": values for name, values in runs.params.items()},
        **{f"metrics.{names[key]}": values for key, values in runs.metrics.items()},
    }


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A dict a run with the same keys in the same order, see `columns`."""
    return _rows(columns(flattened(runs)))


def flattened(runs: Sequence[Run]) -> Flat:
    """Runs as columns, as the store has them too."""
    facts: Columns = {name: [getattr(run, name) for run in runs] for name in FACTS}
    facts["state"] = [run.state.value for run in runs]
    facts["error"] = [run.error.message if run.error else None for run in runs]
    facts["tags"] = [" ".join(run.tags) or None for run in runs]
    facts["note"] = [run.note or None for run in runs]
    labels: Columns = {}
    params: Columns = {}
    metrics: dict[tuple[str, str, str], list[Any]] = {}
    for at, run in enumerate(runs):
        for table, values in ((labels, run.labels), (params, run.params)):
            for name, value in values.items():
                table.setdefault(name, [None] * len(runs))[at] = value
        for each in run.metrics:
            metrics.setdefault((each.task, each.artifact, each.name), [None] * len(runs))[at] = (
                each.value
            )
    return Flat(facts, labels, params, metrics)


def _rows(table: Columns) -> list[dict[str, Any]]:
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


Kind = Literal["time", "boolean", "integer", "number", "text", "mixed"]


def kind_of(name: str, values: Sequence[Any]) -> Kind:
    """What all values of a column are, those apart that are None; a column without any is text."""
    if name in TIMES:
        return "time"
    if name in ("seconds", "value"):
        return "number"
    known = [value for value in values if value is not None]
    types = set(map(type, known))
    if types <= {str}:
        return "text"
    if types == {bool}:
        return "boolean"
    if types == {int} and min(known) >= -(2**63) and max(known) < 2**63:
        return "integer"
    if types == {float} or (types <= {int, float} and all(map(_fits, known))):
        return "number"
    return "mixed"


def _fits(value: float) -> bool:
    """Whether a number is not beyond all floats."""
    return isinstance(value, float) or abs(value) <= int(sys.float_info.max)


def export(runs: Sequence[Run], form: str, file: Path | None, *, raw: bool = False) -> str:
    """The runs written to a file, or as text when there is none.

    Args:
        runs: for JSON with their tasks: each is written as its run JSON; the other forms hold
            `columns`.
        form: csv, json or parquet.
        file: where to; Parquet needs one.
        raw: write all texts in CSV as they are, also those that a spreadsheet takes for formulas.

    Raises:
        UsageError: Parquet without a file, or an unknown form.
        StateError: the file cannot be written.
    """
    if form == "json":
        return _written(_json([run.to_dict() for run in runs]), file)
    return export_table(columns(flattened(runs)), form, file, raw=raw)


def export_table(table: Columns, form: str, file: Path | None, *, raw: bool = False) -> str:
    """A table written to a file, or as text when there is none: for JSON an object a row. Otherwise
    as `export`."""
    if form == "parquet":
        if file is None:
            raise UsageError(
                "Parquet is not text.",
                hint="Name a file: kfgcp export --format parquet -o runs.parquet",
            )
        return _written(_parquet(table), file)
    if form == "csv":
        text = csv_text(list(table), zip(*table.values(), strict=True), raw=raw)
        return _written(text.encode("utf-8", "backslashreplace"), file)
    if form == "json":
        return _written(
            _json(
                [{name: json_number(each) for name, each in row.items()} for row in _rows(table)]
            ),
            file,
        )
    raise UsageError(f"Unknown format '{form}'.", hint=f"One of: {', '.join(FORMATS)}.")


def _written(data: bytes, file: Path | None) -> str:
    if file is None:
        return data.decode()
    try:
        write_file(file, data)
    except OSError as error:
        raise StateError(
            f"{file} cannot be written: {error.strerror}.", hint="Choose another with -o."
        ) from error
    return ""


def _json(value: Any) -> bytes:
    return (json_text(value, indent=2) + "\n").encode()


def _parquet(table: Columns) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("Parquet", "frames") from None
    arrays = {
        name: _array(pyarrow, kind_of(name, values), values) for name, values in table.items()
    }
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays), sink)
    return sink.getvalue()


def _array(pyarrow: Any, kind: Kind, values: list[Any]) -> Any:
    if kind == "time":
        times = [None if value is None else datetime.fromisoformat(value) for value in values]
        return pyarrow.array(times, pyarrow.timestamp("ms", tz="UTC"))
    if kind == "number":
        return pyarrow.array(
            [None if value is None else float(value) for value in values], pyarrow.float64()
        )
    if kind in ("boolean", "integer"):
        return pyarrow.array(values, pyarrow.bool_() if kind == "boolean" else pyarrow.int64())
    return pyarrow.array(
        [None if value is None else unicode_of(value) for value in values], pyarrow.string()
    )


def unicode_of(value: Any) -> str:
    """A value as text that can be written: what is no text as JSON, halves of surrogate pairs as
    escapes."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "backslashreplace").decode()
