"""Measure a model on slices of a test set, such as the rows of each city."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from fairlearn.metrics import MetricFrame

from kfgcp_components.html_table import render_page
from kfgcp_components.messages import did_you_mean, format_names, one_line
from kfgcp_components.models import TableModel
from kfgcp_components.scoring import LOWER_IS_BETTER, Predictions, choose_metric, predict, score
from kfgcp_components.tables import Column, column_kind

# More slices of a column than that are too many to look at.
MAX_SLICES: Final = 100

MISSING: Final = "(missing)"

Positions: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """The rows with one value, or one range of values, in a column.

    Attributes:
        column: the name of the column.
        value: the value, or the range.
        rows: the number of rows.
        score: the metric of these rows. NaN if it is undefined.
        is_large: whether the slice has enough rows to be the worst one.
    """

    column: str
    value: str
    rows: int
    score: float
    is_large: bool

    @property
    def name(self) -> str:
        """The column and the value, such as "city = Oslo"."""
        return f"{self.column} = {self.value}"


@dataclass(frozen=True)
class SliceReport:
    """The result of a measurement.

    Attributes:
        metric: the name of the metric.
        overall: the metric of all rows.
        slices: all slices, in the order of the columns and values.
        worst: the slice with the worst metric, among those with enough rows.
        notes: one line for each property of the slices that users should know.
    """

    metric: str
    overall: float
    slices: list[Slice]
    worst: Slice
    notes: list[str] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """Return finite numbers by name for the metrics artifact."""
        numbers = {
            f"overall_{self.metric}": self.overall,
            f"worst_{self.metric}": self.worst.score,
            f"gap_{self.metric}": abs(self.overall - self.worst.score),
            "worst_rows": self.worst.rows,
            "slices": len(self.slices),
        }
        return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}

    def html(self) -> str:
        """Return a page with a table of all slices. The worst slice is marked."""
        rows: list[tuple[str | int | float, ...]] = []
        for part in self.slices:
            size_note = "" if part.is_large else "too few rows"
            rows.append((part.column, part.value, part.rows, part.score, size_note))
        summary = [
            f"{self.metric} of all rows: {self.overall:.5g}. Worst slice: {self.worst.name}."
        ]
        return render_page(
            f"{self.metric} by slice",
            summary + self.notes,
            ["column", "value", "rows", self.metric, ""],
            rows,
            marked_rows=[self.slices.index(self.worst)],
        )


def evaluate_slices(
    model: TableModel,
    test: pd.DataFrame,
    target: str,
    columns: Sequence[str],
    *,
    metric: str = "",
    bins: int = 4,
    min_rows: int = 30,
) -> SliceReport:
    """Measure a model on the slices of each column.

    Args:
        model: a classifier or a regressor.
        test: the rows to predict. Rows without a target are left out.
        target: the column with the true values.
        columns: the columns to slice by, one after the other.
        metric: a metric of the model's task. Empty means accuracy or rmse.
        bins: the number of slices of a numeric column with more distinct values. They have about
            equally many rows.
        min_rows: the number of rows that a slice needs to be the worst one.

    Raises:
        ValueError: a column, the target or the metric is unknown, a column has too many values, a
            number is out of range, or no slice has enough rows and a defined metric.
    """
    if not columns:
        raise ValueError("no columns to slice by; name at least one in columns")
    if bins < 2:
        raise ValueError(f"bins is {bins}; a numeric column needs at least 2 slices")
    if min_rows < 1:
        raise ValueError(f"min_rows is {min_rows}; it must be at least 1")
    metric = choose_metric(model, metric)
    _require_columns(test, columns)
    predictions = predict(model, test, target)
    slices: list[Slice] = []
    for column in columns:
        groups = group_rows(predictions.rows[column], bins)
        slices += _measure_groups(column, groups, predictions, metric, min_rows)
    notes = []
    small = [part.name for part in slices if not part.is_large]
    if small:
        notes.append(
            f"{len(small)} slices have fewer than {min_rows} rows and cannot be the worst:"
            f" {format_names(small, 5)}"
        )
    undefined = [part.name for part in slices if math.isnan(part.score)]
    if undefined:
        notes.append(
            f"{metric} is undefined on {len(undefined)} slices: {format_names(undefined, 5)}"
        )
    worst = _worst_slice(slices, metric, min_rows)
    return SliceReport(metric, score(predictions, metric), slices, worst, notes)


def group_rows(column: Column, bins: int) -> pd.Series[str]:
    """Return for each row the slice that it belongs to.

    Args:
        column: the values.
        bins: the number of slices of a numeric column with more distinct values.

    Raises:
        ValueError: a column that is not numeric has too many distinct values.

    Example:
        >>> group_rows(pd.Series([1, 2, 3, 4, None]), bins=2).tolist()
        ['1 to 2', '1 to 2', '3 to 4', '3 to 4', '(missing)']
    """
    distinct = column.nunique()
    if column_kind(column) == "numeric" and distinct > bins:
        return _bin_numbers(column.astype("float64"), bins)
    if distinct > MAX_SLICES:
        raise ValueError(
            f"the column {one_line(column.name, 60)!r} has {distinct} values, more than"
            f" {MAX_SLICES} slices; choose a column with fewer values, or group them first"
        )
    values = [one_line(_short_number(value), 60) for value in column]
    return pd.Series(values, index=column.index).where(column.notna(), MISSING)


def _require_columns(test: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in test.columns:
            hint = did_you_mean(column, test.columns)
            raise ValueError(
                f"no column {column!r} to slice by in the test set.{hint} Columns:"
                f" {format_names(test.columns)}"
            )


def _bin_numbers(numbers: Column, bins: int) -> pd.Series[str]:
    """Return for each number the range of its bin, from its smallest to its largest number."""
    # This method takes numbers of the column themselves, so infinity does no harm.
    shares = np.linspace(0, 1, bins + 1)[1:-1]
    edges = np.unique(np.quantile(numbers.dropna(), shares, method="inverted_cdf"))
    codes = np.searchsorted(edges, numbers.to_numpy(), side="left")
    names = pd.Series(MISSING, index=numbers.index)
    # The codes ascend with the numbers, so the slices are in the order of the numbers.
    for code in np.unique(codes[numbers.notna()]):
        is_member = (codes == code) & numbers.notna().to_numpy()
        members = numbers[is_member]
        names[is_member] = f"{members.min():.6g} to {members.max():.6g}"
    return names


def _short_number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _measure_groups(
    column: str, groups: pd.Series[str], predictions: Predictions, metric: str, min_rows: int
) -> list[Slice]:
    """Return the slices of one column."""
    positions = np.arange(len(groups))
    frame = MetricFrame(
        metrics={"rows": _count, "score": _score_function(predictions, metric)},
        # The metrics take the positions of rows, because a probability for each class does not fit
        # into one argument.
        y_true=positions,
        y_pred=positions,
        sensitive_features=groups.to_numpy(dtype=object),
    )
    slices = []
    # The order of the first row of each slice would depend on the order of the test set.
    ordered_names = sorted(frame.by_group.index, key=_sort_key)
    for name in ordered_names:
        row_count, group_score = frame.by_group.loc[name, ["rows", "score"]]
        slices.append(
            Slice(column, str(name), int(row_count), float(group_score), row_count >= min_rows)
        )
    return slices


def _count(positions: Positions, _: Positions) -> int:
    return len(positions)


def _score_function(
    predictions: Predictions, metric: str
) -> Callable[[Positions, Positions], float]:
    """Return a function that computes the metric of the rows at some positions."""

    def score_rows(positions: Positions, _: Positions) -> float:
        chosen = np.asarray(positions)
        value = score(predictions.take(chosen), metric)
        return value if math.isfinite(value) else math.nan

    return score_rows


def _sort_key(name: str) -> tuple[bool, float, str]:
    """Return a key that sorts ranges and numbers by their value, and missing values last."""
    try:
        number = float(name.split(" to ")[0])
    except ValueError:
        number = math.inf
    return (name == MISSING, number, name)


def _worst_slice(slices: Sequence[Slice], metric: str, min_rows: int) -> Slice:
    candidates = [part for part in slices if part.is_large and not math.isnan(part.score)]
    if not candidates:
        raise ValueError(
            f"no slice has at least {min_rows} rows and a defined {metric}; lower min_rows, or"
            " choose columns with larger slices"
        )
    if metric in LOWER_IS_BETTER:
        return max(candidates, key=lambda part: part.score)
    return min(candidates, key=lambda part: part.score)
