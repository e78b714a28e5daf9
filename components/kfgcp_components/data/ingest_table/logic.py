"""Read a CSV or Parquet file as a table. Each kind of wrong file has its own error message."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kfgcp_components.data.ingest_table.fetch import fetch, hide_secrets
from kfgcp_components.messages import one_line
from kfgcp_components.tables import read_parquet, reject_duplicates

# The cells of a CSV file that mean "no value". The list of pandas also contains "None" and "n/a",
# which may be categories.
MISSING = ["", "#N/A", "N/A", "NA", "NaN", "nan", "NULL", "null"]

# Each Parquet file begins with these bytes (Apache Parquet, "File format").
PARQUET_MAGIC = b"PAR1"


def ingest(source: str, *, timeout: float = 60.0) -> tuple[pd.DataFrame, str]:
    """Read the table at a path or URL.

    Args:
        source: a path, or a file://, http(s)://, gs:// or s3:// URL.
        timeout: seconds that a download over http(s) may take.

    Returns:
        The table, and the source without the secrets that a URL may contain.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a table: empty, unreadable, or with duplicated columns.
        OSError: the file cannot be reached. The error is a TimeoutError if the timeout is over.
        ImportError: the extra that reads such URLs is not installed.
    """
    display_name = hide_secrets(source)
    with tempfile.TemporaryDirectory(prefix="kfgcp-ingest-") as folder:
        file = fetch(source, Path(folder), timeout=timeout)
        return read_table(file, display_name), display_name


def read_table(file: Path, display_name: str) -> pd.DataFrame:
    """Read a table from a Parquet or CSV file. The format comes from the content of the file.

    Args:
        file: the file.
        display_name: the name of the file in error messages.

    Raises:
        ValueError: the file is empty or unreadable, or has no rows, no columns or duplicated
            columns.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise type(error)(f"cannot read {display_name}: {error.strerror}") from error
    if not head.strip():
        raise ValueError(f"{display_name} is empty: it has no columns and no rows")
    if head.startswith(PARQUET_MAGIC):
        table = read_parquet(file, display_name)
    else:
        table = _read_csv(file, display_name, head)
    if table.columns.empty:
        raise ValueError(f"{display_name} has no columns")
    if table.empty:
        raise ValueError(f"{display_name} has {len(table.columns)} columns but no rows")
    return table


def _read_csv(file: Path, display_name: str, head: bytes) -> pd.DataFrame:
    # pandas would read binary data as text up to the first zero byte.
    if b"\0" in head:
        raise ValueError(
            f"{display_name} is neither Parquet nor CSV text in UTF-8: it contains binary data"
        )
    try:
        # pandas renames duplicated columns, so first read the header as an ordinary row. Read two
        # rows, because then pandas raises an error if the second row is longer than the header.
        # The call below would take the first fields of such a row as an index.
        header = pd.read_csv(
            file, header=None, nrows=2, dtype=str, encoding="utf-8-sig", keep_default_na=False
        )
        names = [str(name) for name in header.iloc[0]]
        reject_duplicates(names, display_name)
        table = pd.read_csv(
            file, na_values=MISSING, low_memory=False, encoding="utf-8-sig", keep_default_na=False
        )
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{display_name} is neither Parquet nor CSV text in UTF-8: {one_line(error)}"
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{display_name} is not readable as CSV: {one_line(error)}") from error
    _reject_other_separators(names, display_name)
    return _mixed_columns_as_text(table)


def _reject_other_separators(names: Sequence[str], display_name: str) -> None:
    """Raise an error if the only column name contains another separator than a comma."""
    if len(names) != 1:
        return
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if separator in names[0]:
            raise ValueError(
                f"{display_name} seems to be separated by {word}; save it with commas, or as"
                " Parquet"
            )


def _mixed_columns_as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Convert columns that Parquet cannot store to text, such as integers above 64 bits."""
    for name in table.columns:
        column = table[name]
        if column.dtype != object:
            continue
        if pd.api.types.infer_dtype(column, skipna=True) not in ("string", "boolean"):
            table[name] = column.map(str, na_action="ignore")
    return table
