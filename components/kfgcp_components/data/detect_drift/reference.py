"""The table or profile that a newer table is compared with."""

from __future__ import annotations

from pathlib import Path

from kfgcp_components.data.profile_table.logic import (
    ColumnProfile,
    Floats,
    Profile,
    describe_numbers,
    profile_column,
    read_profile,
    sorted_numbers,
)
from kfgcp_components.table_file import TableFile, arrow_kind

# Each Parquet file begins with these bytes (Apache Parquet, "File format").
PARQUET_MAGIC = b"PAR1"


class ProfileReference:
    """A profile as the reference. Its values are not known."""

    def __init__(self, profile: Profile) -> None:
        self.rows = profile.rows
        self.names = list(profile.columns)
        self._columns = profile.columns

    def column(self, name: str) -> tuple[ColumnProfile, Floats | None]:
        """Return the profile of a column, and None for its values."""
        return self._columns[name], None

    def close(self) -> None:
        """Do nothing: a profile is not an open file."""


class TableReference:
    """A table as the reference."""

    def __init__(self, table: TableFile) -> None:
        self.rows = table.rows
        self.names = table.names
        self._table = table

    def column(self, name: str) -> tuple[ColumnProfile, Floats | None]:
        """Return the profile of a column, and its sorted values if they are numbers or times."""
        column = self._table.read(name)
        kind = arrow_kind(column.type)
        if kind not in ("numeric", "datetime"):
            return profile_column(column), None
        values = sorted_numbers(column)
        return describe_numbers(kind, self.rows, values), values

    def close(self) -> None:
        """Close the file."""
        self._table.close()


Reference = ProfileReference | TableReference


def open_reference(path: str | Path) -> Reference:
    """Open a reference: a table as Parquet, or a profile as `profile_table` writes it.

    Raises:
        ValueError: the file is neither.
    """
    with Path(path).open("rb") as stream:
        magic = stream.read(len(PARQUET_MAGIC))
    if magic == PARQUET_MAGIC:
        return TableReference(TableFile(path, "reference"))
    return ProfileReference(read_profile(path))
