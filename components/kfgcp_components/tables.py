"""Read, write and describe tables. Tasks pass tables to each other as Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kfgcp_components.messages import did_you_mean, format_names, one_line

# The type is in quotes, because some supported versions of pandas fail at `pd.Series[Any]`.
Column: TypeAlias = "pd.Series[Any]"


def read_parquet(path: str | Path, name: str | None = None) -> pd.DataFrame:
    """Read a table from a Parquet file. A stored index becomes an ordinary column.

    Args:
        path: the file.
        name: the name of the file in error messages. None means its path.

    Raises:
        ValueError: the file is not readable as Parquet, or two columns have the same name.
    """
    display_name = name or str(path)
    try:
        with pq.ParquetFile(path) as file:
            reject_duplicates(file.schema_arrow.names, display_name)
            # With the metadata of pandas, a stored index would not become a column.
            table: pd.DataFrame = file.read().to_pandas(ignore_metadata=True)
            return table
    except pa.ArrowException as error:
        raise ValueError(f"{display_name} is not readable as Parquet: {one_line(error)}") from error


def write_parquet(table: pd.DataFrame, path: str | Path) -> dict[str, object]:
    """Write a table to a Parquet file, and return metadata for its artifact.

    Returns:
        The keys are `format`, `rows` and `columns` (numbers), and `kinds` (the number of columns of
        each kind).
    """
    table.to_parquet(path, index=False)
    kinds = Counter(column_kind(table[name]) for name in table.columns)
    return {
        "format": "parquet",
        "rows": len(table),
        "columns": len(table.columns),
        "kinds": dict(sorted(kinds.items())),
    }


def column_kind(column: Column) -> str:
    """Return the kind of a column: numeric, boolean, datetime or text.

    The kind of a column without any value is empty.

    Example:
        >>> column_kind(pd.Series([1.5, None]))
        'numeric'
    """
    if column.isna().all():
        return "empty"
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    if inferred == "boolean":
        return "boolean"
    if inferred in ("integer", "floating", "decimal", "mixed-integer-float"):
        return "numeric"
    if inferred in ("datetime64", "datetime", "date"):
        return "datetime"
    return "text"


def require_column(table: pd.DataFrame, name: str) -> None:
    """Check that a table has the target column.

    Raises:
        ValueError: the column is missing. The message suggests a similar name and lists columns.
    """
    if name not in table.columns:
        hint = did_you_mean(name, table.columns)
        raise ValueError(
            f"no target column {name!r} in the table.{hint} Columns: {format_names(table.columns)}"
        )


def reject_duplicates(names: Sequence[str], display_name: str) -> None:
    """Check that no two columns have the same name. Columns without a name do not count.

    Args:
        names: the names of the columns.
        display_name: the name of the table in error messages.

    Raises:
        ValueError: two columns have the same name. The message lists such names.
    """
    counts = Counter(names)
    repeated_names = [name for name, count in counts.items() if count > 1 and name]
    if repeated_names:
        raise ValueError(
            f"{display_name} has duplicated column names: {format_names(repeated_names)}; give each"
            " column its own name"
        )
