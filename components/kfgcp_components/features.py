"""Choose the columns of a table that a model learns from, and prepare them and the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from kfgcp_components.messages import format_names, one_line
from kfgcp_components.tables import Column, column_kind

# A text column counts as an identifier if more than this share of its values are distinct.
IDENTIFIER_SHARE = 0.9
# A column with fewer values never counts as an identifier: few values are often all distinct.
IDENTIFIER_MIN_ROWS = 20

Labels: TypeAlias = npt.NDArray[np.bool_ | np.integer[Any] | np.object_]


@dataclass(frozen=True)
class Features:
    """The columns of a table, grouped by how they are prepared.

    Attributes:
        numeric: the names of columns with numbers or booleans.
        text: the names of all other columns that are used.
        dropped: for each column that is not used, its name and the reason.
    """

    numeric: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)


def choose_features(table: pd.DataFrame) -> Features:
    """Return the columns that a model can learn from.

    Empty columns and text that looks like an identifier are dropped.

    Example:
        >>> choose_features(pd.DataFrame({"age": [3, 4], "color": ["red", "blue"]}))
        Features(numeric=['age'], text=['color'], dropped={})
    """
    features = Features()
    for name in table.columns:
        kind = column_kind(table[name])
        if kind == "empty":
            features.dropped[name] = "no values"
        elif kind in ("numeric", "boolean"):
            features.numeric.append(name)
        elif _looks_like_identifier(table[name]):
            features.dropped[name] = "almost every value is different, like an identifier"
        else:
            features.text.append(name)
    return features


def prepare(table: pd.DataFrame, numeric: Sequence[str], text: Sequence[str]) -> pd.DataFrame:
    """Return the named columns in the form that a model takes.

    Args:
        table: rows of any kind.
        numeric: the columns that become floats. A value that is not a finite number becomes NaN.
        text: the columns that become str. A missing value becomes NaN.

    Returns:
        A table with the same index and only these columns.
    """
    columns = {}
    for name in numeric:
        columns[name] = _as_floats(table[name])
    for name in text:
        columns[name] = _as_text(table[name])
    return pd.DataFrame(columns, index=table.index)


def class_labels(column: Column) -> Labels:
    """Return the labels of a target column without missing values, as bool, int or str.

    Whole floats become ints, because pandas reads a column of integers with gaps as floats.

    Raises:
        ValueError: the column contains fractions.

    Example:
        >>> class_labels(pd.Series([1.0, 0.0])).tolist()
        [1, 0]
    """
    kind = column_kind(column)
    if kind == "boolean":
        return column.astype(bool).to_numpy()
    if kind != "numeric":
        return column.astype(object).map(str).to_numpy(dtype=object)
    numbers = column.astype("float64")
    is_fraction = numbers % 1 != 0
    if not np.isfinite(numbers).all() or is_fraction.any():
        examples = format_names(str(value) for value in numbers[is_fraction].unique()[:3])
        raise ValueError(
            f"target column {one_line(column.name, 60)!r} contains fractions ({examples}); a"
            " classifier needs classes; to predict a number, use train_regressor"
        )
    return column.astype("int64").to_numpy()


def target_numbers(column: Column) -> npt.NDArray[np.float64]:
    """Return the numbers of a target column without missing values.

    Raises:
        ValueError: the column is not numeric, or a number is not finite.

    Example:
        >>> target_numbers(pd.Series([3, 1.5])).tolist()
        [3.0, 1.5]
    """
    name = one_line(column.name, 60)
    kind = column_kind(column)
    if kind != "numeric":
        raise ValueError(
            f"target column {name!r} holds {kind} values, such as"
            f" {one_line(repr(column.iloc[0]), 40)}; a regressor needs numbers; to predict a class,"
            " use train_classifier"
        )
    numbers: npt.NDArray[np.float64] = column.to_numpy(dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"target column {name!r} contains infinity; leave these rows out, or replace the values"
        )
    return numbers


def _looks_like_identifier(column: Column) -> bool:
    values = column.dropna().astype(str)
    return len(values) >= IDENTIFIER_MIN_ROWS and values.nunique() > IDENTIFIER_SHARE * len(values)


def _as_floats(column: Column) -> Column:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    return numbers.replace([np.inf, -np.inf], np.nan)


def _as_text(column: Column) -> Column:
    values: list[str | float] = []
    for value, is_missing in zip(column, column.isna(), strict=True):
        values.append(np.nan if is_missing else str(value))
    return pd.Series(values, index=column.index, dtype=object)
