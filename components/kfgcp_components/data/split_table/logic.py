"""Split a table into a training set and a test set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from kfgcp_components.messages import did_you_mean, format_names, one_line
from kfgcp_components.tables import Column, column_kind, require_column

# The type is in quotes, because some supported versions of pandas fail at `pd.Index[Any]`.
RowLabels: TypeAlias = "pd.Index[Any]"


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
    stratify: bool | None = None,
    seed: int = 0,
    time_column: str = "",
    group_column: str = "",
) -> Split:
    """Split a table into a training set and a test set. Each row is in one of them.

    First, rows without a target are dropped. The test set has `test_fraction` of the other rows,
    rounded up. Both sets keep the order of the rows.

    Args:
        table: the table.
        target: the column to predict.
        test_fraction: the share of the rows in the test set, between 0 and 1, both excluded.
        stratify: whether both sets keep the shares of the classes. A class with a single row goes
            to the training set. If a set is too small to contain every other class, the split is
            random, and the fact `stratified` is False. None means True for a random split, and
            False for the others.
        seed: the seed of the random choice.
        time_column: the newest rows are the test set. Rows of the same time stay together.
        group_column: all rows with the same value in this column are in the same set.

    Raises:
        ValueError: the fraction is out of range, a column does not exist, two options contradict
            each other, or the rows cannot be divided into two sets.

    Example:
        >>> sets = split(pd.DataFrame({"label": ["a", "b", "a", "b"]}), "label", test_fraction=0.5)
        >>> sorted(sets.train["label"]), sorted(sets.test["label"])
        (['a', 'b'], ['a', 'b'])
    """
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction must be between 0 and 1, such as 0.25, not {test_fraction}"
        )
    _reject_contradictions(target, stratify, time_column, group_column)
    require_column(table, target)
    rows = table.dropna(subset=[target]).reset_index(drop=True)
    if len(rows) < 2:
        raise ValueError(
            f"cannot split: {len(rows)} of {len(table)} rows have a value in {target!r}, 2 are"
            " needed"
        )
    facts: dict[str, object] = {
        "target": target,
        "test_fraction": test_fraction,
        "seed": seed,
        "rows_without_target": len(table) - len(rows),
    }
    # The training set needs at least one row.
    test_rows = min(math.ceil(test_fraction * len(rows)), len(rows) - 1)
    if time_column:
        test_index, start = _choose_newest(_require_values(rows, "time", time_column), test_rows)
        facts |= {"split_by": "time", "time_column": time_column, "test_begins_at": start}
    elif group_column:
        groups = _require_values(rows, "group", group_column)
        test_index = _choose_groups(groups, test_rows, seed)
        facts |= {"split_by": "group", "group_column": group_column}
    else:
        test_index, stratified = _choose_at_random(rows[target], test_rows, stratify, seed)
        facts |= {"split_by": "random", "stratified": stratified}
    is_test_row = rows.index.isin(test_index)
    train = rows[~is_test_row].reset_index(drop=True)
    test = rows[is_test_row].reset_index(drop=True)
    return Split(train, test, facts)


def _reject_contradictions(
    target: str, stratify: bool | None, time_column: str, group_column: str
) -> None:
    if time_column and group_column:
        raise ValueError(
            f"time_column {time_column!r} and group_column {group_column!r} exclude each other;"
            " give one of them"
        )
    for option, column in (("time_column", time_column), ("group_column", group_column)):
        if not column:
            continue
        if stratify:
            raise ValueError(
                f"stratify works only for a random split; leave it out, or leave out {option}"
            )
        if column == target:
            raise ValueError(
                f"{option} and target are the same column {target!r}; give another {option}"
            )


def _require_values(rows: pd.DataFrame, role: str, name: str) -> Column:
    """Return the time column or the group column. Every row must have a value in it."""
    if name not in rows.columns:
        hint = did_you_mean(name, rows.columns)
        raise ValueError(
            f"no {role} column {name!r} in the table.{hint} Columns: {format_names(rows.columns)}"
        )
    missing_rows = int(rows[name].isna().sum())
    if missing_rows:
        raise ValueError(
            f"{missing_rows} of {len(rows)} rows have no value in the {role} column {name!r}; fill"
            " it or remove these rows first"
        )
    return rows[name]


def _choose_newest(times: Column, test_rows: int) -> tuple[RowLabels, str]:
    """Return the rows of the test set, and the earliest time in it.

    When the test set would contain only a part of the rows of one time, it gets all of them. If
    then no row is left for the training set, these rows go there instead.
    """
    instants = _as_instants(times)
    newest_first = instants.sort_values(ascending=False, kind="stable")
    start = newest_first.iloc[test_rows - 1]
    is_test_row = instants >= start
    if is_test_row.all():
        is_test_row = instants > start
    if not is_test_row.any():
        raise ValueError(
            f"cannot split by time: all {len(times)} rows have the same value in {times.name!r}"
        )
    return times.index[is_test_row], str(instants[is_test_row].min())


def _as_instants(times: Column) -> Column:
    """Return times in a form that can be sorted: numbers as they are, all others as UTC."""
    kind = column_kind(times)
    if kind == "numeric":
        return times
    if kind == "boolean":
        raise ValueError(
            f"time column {times.name!r} has only true and false; choose a column with dates,"
            " times or numbers"
        )
    try:
        # CSV has times as text. A time without a zone counts as UTC.
        return pd.to_datetime(times, format="ISO8601", utc=True)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"time column {times.name!r} has a value that is not a time: {one_line(error, 120)};"
            " write times as in 2026-03-01T12:30:00Z"
        ) from error


def _choose_groups(groups: Column, test_rows: int, seed: int) -> RowLabels:
    """Return the rows of the test set, which consists of whole groups.

    The groups come in a random order. A group that would make the test set too large goes to the
    training set. If all groups are too large, the smallest group is the test set.
    """
    keys = groups.astype(str)
    # A sorted order, so that the choice depends on the names of the groups and not on the rows.
    sizes = keys.value_counts().sort_index()
    if len(sizes) < 2:
        raise ValueError(
            f"cannot split by group: all {len(groups)} rows have the same value in {groups.name!r}"
        )
    test_groups = []
    free_rows = test_rows
    for position in np.random.default_rng(seed).permutation(len(sizes)):
        size = int(sizes.iloc[position])
        if size <= free_rows:
            test_groups.append(sizes.index[position])
            free_rows -= size
    if not test_groups:
        test_groups.append(sizes.idxmin())
    return groups.index[keys.isin(test_groups)]


def _choose_at_random(
    target: Column, test_rows: int, stratify: bool | None, seed: int
) -> tuple[RowLabels, bool]:
    """Return the rows of the test set, and whether the choice was stratified."""
    if stratify is not False:
        stratified_index = _choose_stratified(target, test_rows, seed)
        if stratified_index is not None:
            return stratified_index, True
    test_index = train_test_split(target.index, test_size=test_rows, random_state=seed)[1]
    return test_index, False


def _choose_stratified(target: Column, test_rows: int, seed: int) -> RowLabels | None:
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
    test_index: RowLabels = train_test_split(
        repeated_labels.index, test_size=test_rows, random_state=seed, stratify=repeated_labels
    )[1]
    return test_index
