"""Read, check and infer schemas of pandera, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandera.pandas as pandera
import pyarrow as pa

from kfgcp_components.data.profile_table.logic import ColumnProfile, profile_column
from kfgcp_components.messages import did_you_mean, one_line
from kfgcp_components.table_file import TableFile

# A text column with at most so many different values gets the list of them in an inferred schema.
MAX_LISTED_VALUES = 20

# pandera ignores keys that it does not know. A schema with a typing error would accept each table.
SCHEMA_KEYS = frozenset(
    [
        "schema_type",
        "version",
        "api",
        "columns",
        "checks",
        "index",
        "dtype",
        "coerce",
        "strict",
        "name",
        "ordered",
        "unique",
        "report_duplicates",
        "unique_column_names",
        "add_missing_columns",
        "title",
        "description",
        "metadata",
    ]
)
COLUMN_KEYS = frozenset(
    [
        "title",
        "description",
        "metadata",
        "dtype",
        "nullable",
        "checks",
        "unique",
        "coerce",
        "required",
        "regex",
        "default",
        "report_duplicates",
        "name",
    ]
)


def parse_schema(content: Mapping[str, object]) -> pandera.DataFrameSchema:
    """Return the schema that `DataFrameSchema.to_json` of pandera wrote.

    Raises:
        ValueError: it is not a schema, or has a key, check or type that pandera does not know.
    """
    columns = content.get("columns")
    if not isinstance(columns, Mapping) or not columns:
        raise ValueError(
            "the schema has no columns; give what DataFrameSchema.to_json of pandera writes"
        )
    _reject_unknown_keys("the schema", content, SCHEMA_KEYS)
    check_names = {name for name in dir(pandera.Check) if not name.startswith("_")}
    for name, column in columns.items():
        if not isinstance(column, Mapping):
            raise ValueError(f"column {name!r} of the schema is not an object with a dtype")
        _reject_unknown_keys(f"column {name!r} of the schema", column, COLUMN_KEYS | check_names)
    if content.get("index"):
        raise ValueError(
            "the schema has an index, but a table as Parquet has none; describe it as a column"
        )
    try:
        return pandera.DataFrameSchema.from_json(json.dumps(content))
    # pandera raises whatever its parts raise, such as TypeError for a type without a meaning.
    except Exception as error:
        raise ValueError(f"pandera cannot read the schema: {one_line(error, 200)}") from error


def infer_schema(table: TableFile) -> dict[str, object]:
    """Return a schema that fits a table, as `DataFrameSchema.to_json` would write it.

    It has the types of the columns, which columns have missing values, and the values of text
    columns with few different values. It allows no other columns.
    """
    columns = {}
    for name in table.names:
        column = table.read(name)
        columns[name] = _infer_column(column.type, profile_column(column))
    return {"schema_type": "dataframe", "api": "pandas", "columns": columns, "strict": True}


def _reject_unknown_keys(
    place: str, content: Mapping[str, object], known_keys: Iterable[str]
) -> None:
    for key in content:
        if key not in known_keys:
            raise ValueError(f"{place} has the unknown key {key!r}.{did_you_mean(key, known_keys)}")


def _infer_column(type_: pa.DataType, profile: ColumnProfile) -> dict[str, object]:
    column: dict[str, object] = {}
    dtype = _pandas_type(type_, profile.kind)
    if dtype:
        column["dtype"] = dtype
    if profile.missing:
        column["nullable"] = True
    has_few_values = 0 < len(profile.categories) <= MAX_LISTED_VALUES
    # Values that are all different, such as names, say nothing about the next table.
    has_repeated_values = profile.distinct is not None and profile.distinct < profile.count
    if profile.kind == "text" and has_few_values and has_repeated_values:
        column["isin"] = sorted(profile.categories)
    return column


def _pandas_type(type_: pa.DataType, kind: str) -> str:
    """Return the name of the type of pandas, or an empty text for any type."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if kind == "numeric":
        if pa.types.is_integer(type_) or pa.types.is_floating(type_):
            return str(np.dtype(type_.to_pandas_dtype()).name)
        return "float64"
    if kind == "datetime":
        zone = getattr(type_, "tz", None)
        return f"datetime64[us, {zone}]" if zone else "datetime64[us]"
    return {"boolean": "bool", "text": "string[pyarrow]"}.get(kind, "")


def choose_schema(
    table: TableFile, schema: Mapping[str, object], path: str | None, infer: bool
) -> Mapping[str, object]:
    """Return the schema from the only source that is given.

    Args:
        table: the table, to infer a schema from.
        schema: the content of the schema. Empty if there is another source.
        path: a file with the content.
        infer: whether to infer the schema.

    Raises:
        ValueError: the caller passes no source or more than one, or the file is not JSON.
    """
    sources = [bool(schema), path is not None, infer].count(True)
    if sources != 1:
        problem = "no schema" if not sources else "more than one source of the schema"
        raise ValueError(f"{problem}; give one of schema, schema_file and infer=True")
    if infer:
        return infer_schema(table)
    if path is None:
        return schema
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"schema_file is not JSON: {one_line(error, 120)}") from error
    if not isinstance(content, Mapping):
        raise ValueError("schema_file is not a JSON object, as DataFrameSchema.to_json writes it")
    return content


def write_schema(content: Mapping[str, object], path: str | Path) -> None:
    """Write a schema as JSON for people to read and edit."""
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
