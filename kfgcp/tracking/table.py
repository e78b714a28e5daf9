"""Runs as a flat table: a row a run, for files and frames."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kfgcp.errors import MissingExtra, StateError, UsageError
from kfgcp.model import Run

FORMATS = ("csv", "json", "parquet")
_TIMES = ("created_at", "started_at", "ended_at")
FACTS = (
    *("run_id", "name", "pipeline", "version", "experiment", "env", "backend", "state"),
    *(*_TIMES, "seconds", "error"),
)
_GROUPS = ("", "labels", "params", "metrics")


def rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A dict a run with the same keys in the same order: facts, `labels.*`, `params.*`, `metrics.<task>.<name>`.

    Where a task reports one metric name in two artifacts, their columns are `metrics.<task>.<artifact>.<name>`. What
    a run does not have is None.
    """
    columns: dict[str, None] = dict.fromkeys(FACTS)
    ambiguous = _ambiguous(runs)
    found = []
    for run in runs:
        row = {
            **{name: getattr(run, name) for name in FACTS if name not in ("state", "error")},
            "state": run.state.value,
            "error": run.error.message if run.error else None,
            **{f"labels.{name}": value for name, value in run.labels.items()},
            **{f"params.{name}": value for name, value in run.params.items()},
        }
        for metric in run.metrics:
            inner = f"{metric.artifact}." if (metric.task, metric.name) in ambiguous else ""
            row[f"metrics.{metric.task}.{inner}{metric.name}"] = metric.value
        columns.update(dict.fromkeys(row))
        found.append(row)
    order = sorted(columns, key=lambda name: _GROUPS.index(name.partition(".")[0] if name not in FACTS else ""))
    return [{name: row.get(name) for name in order} for row in found]


def _ambiguous(runs: Sequence[Run]) -> set[tuple[str, str]]:
    found = set()
    for run in runs:
        counts = Counter((metric.task, metric.name) for metric in run.metrics)
        found |= {key for key, count in counts.items() if count > 1}
    return found


def export(runs: Sequence[Run], form: str, file: Path | None) -> str:
    """The runs written to a file, or as text when there is none.

    Args:
        runs: for JSON with their tasks: each is written as its run JSON; the other forms hold `rows`.
        form: csv, json or parquet.
        file: where to; Parquet needs one.

    Raises:
        UsageError: Parquet without a file, or an unknown form.
        StateError: the file cannot be written.
    """
    if form == "parquet":
        if file is None:
            raise UsageError("Parquet is not text.", hint="Name a file: kfgcp export --format parquet -o runs.parquet")
        data = _parquet(rows(runs))
    elif form == "csv":
        data = _csv(rows(runs)).encode("utf-8", "backslashreplace")
    elif form == "json":
        data = (json.dumps([run.to_dict() for run in runs], indent=2) + "\n").encode()
    else:
        raise UsageError(f"Unknown format '{form}'.", hint=f"One of: {', '.join(FORMATS)}.")
    if file is None:
        return data.decode()
    try:
        file.write_bytes(data)
    except OSError as error:
        raise StateError(f"{file} cannot be written: {error.strerror}.", hint="Choose another with -o.") from error
    return ""


def _csv(table: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table[0] if table else FACTS)
    for row in table:
        writer.writerow(["" if value is None else _text(value) for value in row.values()])
    return text.getvalue()


def _text(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) and not isinstance(value, bool) else json.dumps(value)


def _parquet(table: list[dict[str, Any]]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("Parquet", "frames") from None
    columns = {name: _column(pyarrow, name, [row[name] for row in table]) for name in (table[0] if table else FACTS)}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def _column(pyarrow: Any, name: str, values: list[Any]) -> Any:
    """One type a column: times, numbers or booleans where all are, text otherwise."""
    if name in _TIMES:
        import datetime

        times = [None if value is None else datetime.datetime.fromisoformat(value) for value in values]
        return pyarrow.array(times, pyarrow.timestamp("ms", tz="UTC"))
    if name == "seconds":
        return pyarrow.array(values, pyarrow.float64())
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pyarrow.array(values, pyarrow.bool_())
    if known and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        if all(isinstance(value, int) and abs(value) < 2**63 for value in known):
            return pyarrow.array(values, pyarrow.int64())
        with suppress(OverflowError):  # a whole number beyond all floats
            return pyarrow.array([None if value is None else float(value) for value in values], pyarrow.float64())
    texts = [None if value is None else _unicode(value) for value in values]
    return pyarrow.array(texts, pyarrow.string())


def _unicode(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "backslashreplace").decode()
