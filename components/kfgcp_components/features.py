"""What of a table a classifier sees: usable columns, their preparation, and class labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kfgcp_components.messages import listing, one_line
from kfgcp_components.tables import column_kind

IDENTIFIER_SHARE = (
    0.9  # text columns with a larger share of distinct values are taken for identifiers
)
IDENTIFIER_MIN_ROWS = 20  # in shorter tables every text column is kept


@dataclass(frozen=True)
class Features:
    """Column names by how they are prepared; `dropped` maps a column to the reason it is not
    used."""

    numeric: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)


def choose_features(table: pd.DataFrame) -> Features:
    """The columns worth learning from; empty columns and text that looks like an identifier are
    dropped."""
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
    """The named columns as a model takes them: numbers and booleans as floats, others as str,
    missing as NaN.

    Values that are not numbers, and infinite ones, count as missing in numeric columns.
    """
    columns = {name: _as_floats(table[name]) for name in numeric}
    columns |= {name: _as_text(table[name]) for name in text}
    return pd.DataFrame(columns, index=table.index)


def class_labels(column: pd.Series[Any]) -> npt.NDArray[Any]:
    """The labels of a target column without missing values, as bool, int or str.

    Whole floats become ints, because a column of integers with gaps is read as floats.

    Raises:
        ValueError: If the column holds fractions.
    """
    kind = column_kind(column)
    if kind == "boolean":
        return column.astype(bool).to_numpy()
    if kind != "numeric":
        return column.astype(object).map(str).to_numpy(dtype=object)
    numbers = column.astype("float64")
    if not np.isfinite(numbers).all() or (numbers % 1 != 0).any():
        examples = listing(str(value) for value in numbers[numbers % 1 != 0].unique()[:3])
        raise ValueError(
            f"target column {one_line(column.name, 60)!r} holds fractions ({examples}); a"
            " classifier needs classes, so choose another target or turn the numbers into classes"
            " first"
        )
    return column.astype("int64").to_numpy()


def _looks_like_identifier(column: pd.Series[Any]) -> bool:
    values = column.dropna().astype(str)
    return len(values) >= IDENTIFIER_MIN_ROWS and values.nunique() > IDENTIFIER_SHARE * len(values)


def _as_floats(column: pd.Series[Any]) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    return numbers.replace([np.inf, -np.inf], np.nan)


def _as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    values = [
        np.nan if missing else str(value)
        for value, missing in zip(column, column.isna(), strict=True)
    ]
    return pd.Series(values, index=column.index, dtype=object)
