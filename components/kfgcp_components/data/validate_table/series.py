"""Turn a column of Arrow into a Series whose type a schema of pandera can be compared with.

The same data can have several types in pandas: integers with missing values are `Int64` or
`float64`, text is `str`, `object` or `string`, and times have four units. A schema names only one
of them. So a column gets the type of the schema when this loses nothing.
"""

from __future__ import annotations

import re
from typing import Final

import pandas as pd
import pyarrow as pa

from kfgcp_components.table_file import arrow_kind
from kfgcp_components.tables import Column

# The types of pandas that can have missing values, by the name of the type of Arrow and numpy.
NULLABLE_TYPES: Final = {
    "bool": pd.BooleanDtype(),
    "int8": pd.Int8Dtype(),
    "int16": pd.Int16Dtype(),
    "int32": pd.Int32Dtype(),
    "int64": pd.Int64Dtype(),
    "uint8": pd.UInt8Dtype(),
    "uint16": pd.UInt16Dtype(),
    "uint32": pd.UInt32Dtype(),
    "uint64": pd.UInt64Dtype(),
}


def to_series(column: pa.ChunkedArray, dtype: str) -> tuple[Column, str]:
    """Return a column as a Series, and the type that the schema has to ask for.

    Args:
        column: the column.
        dtype: the type in the schema, such as int64. Empty for any type.

    Example:
        >>> to_series(pa.chunked_array([[1, None]]), "int64")[1]
        'Int64'
    """
    column = _cast(column, dtype)
    nullable_type = NULLABLE_TYPES.get(str(column.type))
    wants_nullable = dtype in {str(type_) for type_ in NULLABLE_TYPES.values()}
    if nullable_type is not None and (column.null_count or wants_nullable):
        series = column.to_pandas(types_mapper=lambda _: nullable_type)
        # A schema asks for int64 also when the column may have missing values.
        return series, str(NULLABLE_TYPES.get(dtype, dtype))
    series = column.to_pandas()
    # Text is `object` in pandas 2 and `str` in pandas 3, which is also string[pyarrow].
    if dtype in ("object", "string[python]") and arrow_kind(column.type) == "text":
        series = series.astype(dtype)
    return series, dtype


def _cast(column: pa.ChunkedArray, dtype: str) -> pa.ChunkedArray:
    """Return a column with another type of Arrow, or unchanged if values would be lost."""
    type_ = column.type
    if pa.types.is_dictionary(type_) and dtype != "category":
        column = column.cast(type_.value_type)
        type_ = column.type
    if pa.types.is_null(type_) and dtype.startswith("string"):
        return column.cast(pa.string())
    if pa.types.is_decimal(type_) and dtype == "float64":
        return column.cast(pa.float64())
    unit = re.match(r"datetime64\[(s|ms|us|ns)\b", dtype)
    if unit and (pa.types.is_timestamp(type_) or pa.types.is_date(type_)):
        zone = getattr(type_, "tz", None)
        try:
            return column.cast(pa.timestamp(unit.group(1), zone))
        except pa.ArrowInvalid:
            return column
    return column
