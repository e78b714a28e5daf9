"""Splitting a table into a training set and a test set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split

from kfgcp_components.tables import require_column


@dataclass(frozen=True)
class Split:
    """The two sets, and the facts recorded with both: how they were made and what was left out."""

    train: pd.DataFrame
    test: pd.DataFrame
    facts: dict[str, Any]


def split(
    table: pd.DataFrame,
    target: str,
    *,
    test_fraction: float = 0.25,
    stratify: bool = True,
    seed: int = 0,
) -> Split:
    """The table as two disjoint sets; the test set has `test_fraction` of the rows, rounded up.

    Rows without a target are dropped first. When stratifying, the only row of a class goes to the
    training set. If the sets are too small to hold every other class, the split is plainly random,
    and the fact `stratified` is False.

    Args:
        table: The table.
        target: Column to stratify by.
        test_fraction: Between 0 and 1, both excluded.
        stratify: Whether to keep the shares of the classes.
        seed: Seed of the random choice.

    Raises:
        ValueError: If the fraction is out of range, the column is unknown, or fewer than 2 rows
            have it.
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
    test_rows = min(math.ceil(test_fraction * len(rows)), len(rows) - 1)
    chosen = _stratified(rows[target], test_rows, seed) if stratify else None
    stratified = chosen is not None
    if chosen is None:
        chosen = train_test_split(rows.index, test_size=test_rows, random_state=seed)[1]
    facts = {
        "target": target,
        "test_fraction": test_fraction,
        "seed": seed,
        "stratified": stratified,
        "rows_without_target": len(table) - len(rows),
    }
    in_test = rows.index.isin(chosen)
    return Split(rows[~in_test].reset_index(drop=True), rows[in_test].reset_index(drop=True), facts)


def _stratified(target: pd.Series[Any], test_rows: int, seed: int) -> pd.Index[Any] | None:
    labels = target.astype(str)
    shared = labels[labels.map(labels.value_counts()) > 1]
    classes = shared.nunique()
    if not classes <= test_rows <= len(shared) - classes or not classes:
        return None
    chosen: pd.Index[Any] = train_test_split(
        shared.index, test_size=test_rows, random_state=seed, stratify=shared
    )[1]
    return chosen
