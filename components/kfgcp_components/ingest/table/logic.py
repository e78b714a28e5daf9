"""Reading a CSV or Parquet file into a table, with one clear error for all that can be wrong with
it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from kfgcp_components.ingest.table.fetch import displayed, fetch
from kfgcp_components.messages import one_line
from kfgcp_components.tables import read_parquet, reject_duplicates

MISSING = ["", "#N/A", "N/A", "NA", "NaN", "nan", "NULL", "null"]  # CSV cells that mean "no value"


def ingest(source: str, *, timeout: float = 60.0) -> tuple[pd.DataFrame, str]:
    """The table at a path or URL, and the source as it may be shown (without secrets a URL may
    carry).

    Args:
        source: Path, or file://, http(s)://, gs:// or s3:// URL.
        timeout: Seconds that a download over http(s) may take.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a table: empty, unreadable, with duplicated columns.
        OSError: If the file cannot be reached; TimeoutError if that took too long.
        ImportError: If the extra that reads such URLs is not installed.
    """
    shown = displayed(source)
    with tempfile.TemporaryDirectory(prefix="kfgcp-ingest-") as folder:
        return read_table(fetch(source, Path(folder), timeout=timeout), shown), shown


def read_table(file: Path, shown: str) -> pd.DataFrame:
    """The table in a file, whose content and not its name tells Parquet from CSV.

    Args:
        file: The file.
        shown: What to call it in an error.

    Raises:
        ValueError: If the file is empty or unreadable, or has no rows, no columns or duplicated
            columns.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise type(error)(f"cannot read {shown}: {error.strerror}") from error
    if not head.strip():
        raise ValueError(f"{shown} is empty: it has no columns and no rows")
    table = read_parquet(file, shown) if head.startswith(b"PAR1") else _read_csv(file, shown, head)
    if table.columns.empty:
        raise ValueError(f"{shown} has no columns")
    if table.empty:
        raise ValueError(f"{shown} has {len(table.columns)} columns but no rows")
    return table


def _read_csv(file: Path, shown: str, head: bytes) -> pd.DataFrame:
    if b"\0" in head:
        raise ValueError(f"{shown} is neither Parquet nor CSV text in UTF-8: it holds binary data")
    options: dict[str, Any] = {"encoding": "utf-8-sig", "keep_default_na": False}
    try:  # two rows, so that fields beyond the header are an error here and not an index below
        header = pd.read_csv(file, header=None, nrows=2, dtype=str, **options)
        names = [str(name) for name in header.iloc[0]]
        reject_duplicates(names, shown)
        table = pd.read_csv(file, na_values=MISSING, low_memory=False, **options)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{shown} is neither Parquet nor CSV text in UTF-8: {one_line(error)}"
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{shown} is not readable as CSV: {one_line(error)}") from error
    _reject_other_separator(names, shown)
    return _without_mixed_columns(table)


def _without_mixed_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The table with integers too large for 64 bits, and other mixtures Parquet cannot hold, as
    text."""
    for name in table.columns:
        column = table[name]
        if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) not in (
            "string",
            "boolean",
        ):
            table[name] = column.map(str, na_action="ignore")
    return table


def _reject_other_separator(names: list[str], shown: str) -> None:
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and separator in names[0]:
            raise ValueError(
                f"{shown} seems to be separated by {word}; save it with commas, or as Parquet"
            )
