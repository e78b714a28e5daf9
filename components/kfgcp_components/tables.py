"""Tables as they travel between tasks: Parquet files, and what is recorded about them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kfgcp_components.messages import did_you_mean, listing, one_line


def read_parquet(path: str | Path, name: str | None = None) -> pd.DataFrame:
    """The table in a Parquet file; a stored index comes back as an ordinary column.

    Args:
        path: The file.
        name: What to call the file in an error; its path when None.

    Raises:
        ValueError: If the file is not readable Parquet, or two of its columns have the same name.
    """
    shown = name or str(path)
    try:
        with pq.ParquetFile(path) as file:
            reject_duplicates(file.schema_arrow.names, shown)
            table: pd.DataFrame = file.read().to_pandas(ignore_metadata=True)
            return table
    except pa.ArrowException as error:
        raise ValueError(f"{shown} is not readable as Parquet: {one_line(error)}") from error


def write_parquet(table: pd.DataFrame, path: str | Path) -> dict[str, Any]:
    """Writes the table and returns the metadata of its artifact: format, rows, columns, count per
    kind."""
    table.to_parquet(path, index=False)
    kinds = Counter(column_kind(table[name]) for name in table.columns)
    return {
        "format": "parquet",
        "rows": len(table),
        "columns": len(table.columns),
        "kinds": dict(sorted(kinds.items())),
    }


def column_kind(column: pd.Series[Any]) -> str:
    """One of numeric, boolean, datetime, text, or empty when every value is missing."""
    if column.isna().all():
        return "empty"
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    if inferred == "boolean":
        return "boolean"
    if inferred in ("integer", "floating", "decimal", "mixed-integer-float"):
        return "numeric"
    return "datetime" if inferred in ("datetime64", "datetime", "date") else "text"


def require_column(table: pd.DataFrame, name: str) -> None:
    """Returns when the table has the target column.

    Raises:
        ValueError: If it has not; the message suggests the closest name and lists columns.
    """
    if name not in table.columns:
        hint = did_you_mean(name, table.columns)
        raise ValueError(
            f"no target column {name!r} in the table.{hint} Columns: {listing(table.columns)}"
        )


def reject_duplicates(names: list[str], shown: str) -> None:
    """Returns when no two columns share a name; columns without a name do not count.

    Raises:
        ValueError: Naming the first columns that do.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        raise ValueError(
            f"{shown} has duplicated column names: {listing(repeated)}; give each column its own"
            " name"
        )
