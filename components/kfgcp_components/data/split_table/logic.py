"""Split a table into a training set and a test set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from kfgcp_components.tables import Column, require_column


@dataclass(frozen=True)
class Split:
    """The two sets, and the facts for the metadata of both sets.

    Attributes:
        train: the training set.
        test: the test set.
        facts: the arguments of the split, and the number of rows without a target.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    facts: dict[str, object]


def split(
    table: pd.DataFrame,
    target: str,
    *,
    test_fraction: float = 0.25,
    stratify: bool = True,
    seed: int = 0,
) -> Split:
    """Split a table into a training set and a test set. Each row is in one of them.

    First, rows without a target are dropped. The test set has `test_fraction` of the other rows,
    rounded up. With `stratify`, both sets keep the shares of the classes, and a class with a single
    row goes to the training set. If a set is too small to contain every other class, the split is
    random, and the fact `stratified` is False.

    Args:
        table: the table.
        target: the column with the classes.
        test_fraction: the share of the rows in the test set, between 0 and 1, both excluded.
        stratify: whether both sets keep the shares of the classes.
        seed: the seed of the random choice.

    Raises:
        ValueError: the fraction is out of range, the target column does not exist, or fewer than 2
            rows have a value in this column.

    Example:
        >>> sets = split(pd.DataFrame({"label": ["a", "b", "a", "b"]}), "label", test_fraction=0.5)
        >>> sorted(sets.train["label"]), sorted(sets.test["label"])
        (['a', 'b'], ['a', 'b'])
    """
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction must be between 0 and 1, such as 0.25, not {test_fraction}"
        )
    require_column(table, target)
    rows = table.dropna(subset=[target]).reset_index(drop=True)
    if len(rows) < 2:
        raise ValueError(
            f"cannot split: {len(rows)} of {len(table)} rows have a value in {target!r}, 2 are"
            " needed"
        )
    # The training set needs at least one row.
    test_rows = min(math.ceil(test_fraction * len(rows)), len(rows) - 1)
    test_index = None
    if stratify:
        test_index = _choose_stratified(rows[target], test_rows, seed)
    facts: dict[str, object] = {
        "target": target,
        "test_fraction": test_fraction,
        "seed": seed,
        "stratified": test_index is not None,
        "rows_without_target": len(table) - len(rows),
    }
    if test_index is None:
        test_index = train_test_split(rows.index, test_size=test_rows, random_state=seed)[1]
    is_test_row = rows.index.isin(test_index)
    train = rows[~is_test_row].reset_index(drop=True)
    test = rows[is_test_row].reset_index(drop=True)
    return Split(train, test, facts)


def _choose_stratified(target: Column, test_rows: int, seed: int) -> pd.Index[Any] | None:
    """Return the rows of the test set, or None when the sets are too small for every class."""
    labels = target.astype(str)
    # scikit-learn refuses to stratify a class that has only one row.
    repeated_labels = labels[labels.map(labels.value_counts()) > 1]
    class_count = repeated_labels.nunique()
    if class_count == 0:
        return None
    # Each of the two sets needs a row of every class.
    if not class_count <= test_rows <= len(repeated_labels) - class_count:
        return None
    test_index: pd.Index[Any] = train_test_split(
        repeated_labels.index, test_size=test_rows, random_state=seed, stratify=repeated_labels
    )[1]
    return test_index
