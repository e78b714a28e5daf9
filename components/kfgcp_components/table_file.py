"""Read a Parquet file column by column, as Arrow arrays.

A component that looks at each column by itself needs the memory of one column, not of the table.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from kfgcp_components.messages import one_line
from kfgcp_components.tables import reject_duplicates


class TableFile:
    """An open Parquet file with at least one row and one column.

    Attributes:
        display_name: the name of the file in error messages.
        rows: the number of rows.
        names: the names of the columns, in their order.
    """

    def __init__(self, path: str | Path, display_name: str = "") -> None:
        """Open the file.

        Raises:
            ValueError: the file is not readable as Parquet, has no rows or no columns, or two
                columns have the same name.
        """
        self.display_name = display_name or str(path)
        try:
            self._file = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise self._unreadable(error) from error
        try:
            self.schema = self._file.schema_arrow
            self.rows: int = self._file.metadata.num_rows
            self.names: list[str] = self.schema.names
            if not self.names:
                raise ValueError(f"{self.display_name} has no columns")
            if not self.rows:
                raise ValueError(f"{self.display_name} has {len(self.names)} columns but no rows")
            reject_duplicates(self.names, self.display_name)
        except ValueError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str) -> pa.ChunkedArray:
        """Return a column.

        Raises:
            ValueError: the column cannot be decoded.
        """
        try:
            # A name such as "a" also selects a column "a.b", because a dot separates the fields of
            # a struct.
            return self._file.read(columns=[name]).column(name)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ValueError:
        return ValueError(f"{self.display_name} is not readable as Parquet: {one_line(error)}")


def arrow_kind(type_: pa.DataType) -> str:
    """Return the kind of a column: numeric, boolean, datetime, text, empty or other.

    Example:
        >>> arrow_kind(pa.int64()), arrow_kind(pa.string())
        ('numeric', 'text')
    """
    types = pa.types
    if types.is_dictionary(type_):
        return arrow_kind(type_.value_type)
    if types.is_null(type_):
        return "empty"
    if types.is_boolean(type_):
        return "boolean"
    if types.is_integer(type_) or types.is_floating(type_) or types.is_decimal(type_):
        return "numeric"
    if types.is_timestamp(type_) or types.is_date(type_):
        return "datetime"
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "text"
    return "other"
