"""Compare each column of a table with a reference, and decide whether the table has drifted."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kfgcp_components.data.detect_drift.measures import (
    TestResult,
    chi_squared,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    kolmogorov_smirnov_of_points,
    population_stability_index,
)
from kfgcp_components.data.detect_drift.reference import Reference, open_reference
from kfgcp_components.data.profile_table.logic import (
    ColumnProfile,
    Floats,
    Numbers,
    count_values,
    finite_part,
    sorted_numbers,
)
from kfgcp_components.messages import did_you_mean, format_names
from kfgcp_components.table_file import TableFile, arrow_kind

# Numbers are compared in bins that each have about a tenth of the reference.
BINS = 10

# More categories than this share one bin, because rare categories differ by chance.
MAX_CATEGORY_BINS = 50


@dataclass(frozen=True)
class Thresholds:
    """When a column has drifted: a measure is above its threshold, and a test is significant.

    Attributes:
        psi: of the population stability index.
        ks: of the statistic of Kolmogorov and Smirnov, for numbers and times.
        js: of the Jensen-Shannon distance.
        alpha: the probability that a table without drift gets the verdict "drifted". 1 means that
            only the measures count.
        max_columns: the number of columns that may drift before the table has drifted.
    """

    psi: float = 0.2
    ks: float = 0.1
    js: float = 0.1
    alpha: float = 0.05
    max_columns: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of range.
        """
        for name in ("psi", "ks", "js"):
            # `not x > 0` is also true for NaN.
            if not getattr(self, name) > 0:
                value = getattr(self, name)
                raise ValueError(f"{name}_threshold must be more than 0, such as 0.2, not {value}")
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha must be above 0 and at most 1, such as 0.05, not {self.alpha}")
        if self.max_columns < 0:
            raise ValueError(f"max_drifted_columns must be at least 0, not {self.max_columns}")


@dataclass(frozen=True)
class ColumnDrift:
    """The comparison of one column.

    Attributes:
        kind: the kind of the column in the reference.
        drifted: the verdict.
        reason: why it has drifted, or a note. May be empty.
        missing: the share of rows without a value, in the reference and in the table. Infinite
            numbers count as missing.
        psi, js: the measures. None if the columns cannot be compared.
        ks, ks_p_value: for numbers and times, else None.
        chi_squared, chi_squared_p_value: the test of the counts in the bins.
        reference_shares, shares: the share of each bin, for the picture.
    """

    kind: str
    drifted: bool = False
    reason: str = ""
    missing: tuple[float, float] | None = None
    psi: float | None = None
    js: float | None = None
    ks: float | None = None
    ks_p_value: float | None = None
    chi_squared: float | None = None
    chi_squared_p_value: float | None = None
    reference_shares: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class DriftReport:
    """The comparison of a table.

    Attributes:
        drifted: the verdict: more columns have drifted than allowed.
        rows: the number of rows of the table.
        reference_rows: the number of rows of the reference.
        drifted_columns: the names of the columns that have drifted.
        new_columns: the names of the columns that the reference does not have.
        columns: the comparison of each column.
    """

    drifted: bool
    rows: int
    reference_rows: int
    drifted_columns: list[str]
    new_columns: list[str]
    columns: dict[str, ColumnDrift]


@dataclass(frozen=True)
class _Bins:
    """The counts of both tables in the same bins."""

    reference: Floats
    current: Floats


def detect(
    table_path: str | Path,
    reference_path: str | Path,
    thresholds: Thresholds,
    columns: Collection[str] = (),
) -> DriftReport:
    """Compare a table with a reference.

    Args:
        table_path: the table, as Parquet.
        reference_path: a table as Parquet, or a profile.
        thresholds: when a column has drifted.
        columns: the columns to compare. None of them means all columns of the reference.

    Raises:
        ValueError: a file is unreadable or has no rows, or the reference has no such column.
    """
    with TableFile(table_path, "table") as table, closing(open_reference(reference_path)) as old:
        names = _choose_columns(columns, old)
        comparisons = {name: _compare(name, table, old) for name in names}
        new_columns = [name for name in table.names if name not in set(old.names)]
        rows, reference_rows = table.rows, old.rows
    judged = _judge(comparisons, thresholds)
    drifted_columns = [name for name, column in judged.items() if column.drifted]
    return DriftReport(
        drifted=len(drifted_columns) > thresholds.max_columns,
        rows=rows,
        reference_rows=reference_rows,
        drifted_columns=drifted_columns,
        new_columns=new_columns,
        columns=judged,
    )


def write_details(report: DriftReport, path: str | Path) -> None:
    """Write a report as JSON."""
    content = {"format": "kfgcp-drift-1", **asdict(report)}
    Path(path).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def _choose_columns(columns: Collection[str], reference: Reference) -> list[str]:
    for name in columns:
        if name not in reference.names:
            hint = did_you_mean(name, reference.names)
            raise ValueError(
                f"no column {name!r} in the reference.{hint} Columns:"
                f" {format_names(reference.names)}"
            )
    return list(dict.fromkeys(columns)) or reference.names


def _compare(name: str, table: TableFile, reference: Reference) -> ColumnDrift:
    """Measure how much a column differs. Only a column that cannot be measured gets a verdict."""
    old, old_values = reference.column(name)
    if name not in table.names:
        return ColumnDrift(old.kind, drifted=True, reason="the table does not have this column")
    column = table.read(name)
    kind = arrow_kind(column.type)
    if column.null_count == len(column):
        kind = "empty"
    kinds = {old.kind, kind} - {"empty"}
    if len(kinds) > 1:
        return ColumnDrift(
            old.kind, drifted=True, reason=f"the kind changed from {old.kind} to {kind}"
        )
    if kinds == {"other"}:
        return ColumnDrift(old.kind, reason="values of this type are not compared")
    if kinds & {"numeric", "datetime"}:
        values = np.empty(0)
        if kind != "empty":
            values = finite_part(sorted_numbers(column))
        bins = _bin_numbers(old, values, reference.rows, table.rows)
        test = _test_numbers(old.numbers, old_values, values)
    else:
        bins = _bin_categories(old, column, reference.rows)
        test = None
    return _measure(old.kind, bins, test)


def _measure(kind: str, bins: _Bins, test: TestResult | None) -> ColumnDrift:
    chi = chi_squared(bins.reference, bins.current)
    reference_shares = (bins.reference / bins.reference.sum()).tolist()
    shares = (bins.current / bins.current.sum()).tolist()
    # Some columns have no test of Kolmogorov and Smirnov.
    ks, ks_p_value = test or (None, None)
    return ColumnDrift(
        kind=kind,
        missing=(reference_shares[-1], shares[-1]),
        psi=population_stability_index(bins.reference, bins.current),
        js=jensen_shannon_distance(bins.reference, bins.current),
        ks=ks,
        ks_p_value=ks_p_value,
        chi_squared=chi.statistic,
        chi_squared_p_value=chi.p_value,
        reference_shares=tuple(reference_shares),
        shares=tuple(shares),
    )


def _test_numbers(
    numbers: Numbers | None, reference_values: Floats | None, values: Floats
) -> TestResult | None:
    """Test finite values. Without a value on one of the sides, no test is possible."""
    if numbers is None or not values.size:
        return None
    if reference_values is not None:
        return kolmogorov_smirnov(finite_part(reference_values), values)
    return kolmogorov_smirnov_of_points(
        np.array(numbers.points),
        np.array(numbers.counts_up_to, float),
        values,
        complete=numbers.complete,
    )


def _bin_numbers(old: ColumnProfile, values: Floats, reference_rows: int, rows: int) -> _Bins:
    """Count numbers in the same bins. The last bin has the rows without a finite number."""
    if old.numbers is None:
        # The reference has only missing values.
        counts = np.array([0.0])
        current = np.array([float(values.size)])
    elif old.numbers.complete and len(old.numbers.points) <= BINS:
        counts, current = _count_single_values(old.numbers, values)
    else:
        counts, current = _count_between_deciles(old.numbers, values)
    return _Bins(
        np.append(counts, reference_rows - counts.sum()), np.append(current, rows - values.size)
    )


def _count_single_values(numbers: Numbers, values: Floats) -> tuple[Floats, Floats]:
    """Count each value of the reference by itself, and all other values together."""
    points = np.array(numbers.points)
    begins = np.searchsorted(values, points, side="left")
    ends = np.searchsorted(values, points, side="right")
    current = (ends - begins).astype(float)
    counts = np.diff(np.array(numbers.counts_up_to, float), prepend=0.0)
    return np.append(counts, 0.0), np.append(current, values.size - current.sum())


def _count_between_deciles(numbers: Numbers, values: Floats) -> tuple[Floats, Floats]:
    points = np.array(numbers.points)
    counts_up_to = np.array(numbers.counts_up_to)
    total = counts_up_to[-1]
    # The number of values up to each tenth, rounded up.
    tenths = -(-np.arange(1, BINS) * total // BINS)
    positions = np.unique(np.searchsorted(counts_up_to, tenths, side="left"))
    # Above the largest value, the reference has nothing, so this value is not an edge.
    positions = positions[counts_up_to[positions] < total]
    reference_ends = np.concatenate(([0.0], counts_up_to[positions], [total]))
    current_ends = np.searchsorted(values, points[positions], side="right")
    current = np.diff(np.concatenate(([0.0], current_ends, [values.size])))
    return np.diff(reference_ends), current.astype(float)


def _bin_categories(old: ColumnProfile, column: pa.ChunkedArray, reference_rows: int) -> _Bins:
    """Count the frequent categories of the reference, all other values, and missing values."""
    names = list(old.categories)[:MAX_CATEGORY_BINS]
    counts = np.array([old.categories[name] for name in names], float)
    current = np.zeros(len(names))
    size = len(column) - column.null_count
    if size:
        value_counts = count_values(column)
        positions = pc.index_in(pa.array(names, pa.large_string()), value_counts["value"])
        is_present = positions.is_valid().to_numpy(zero_copy_only=False)
        current[is_present] = value_counts["count"].take(positions.drop_null()).to_numpy()
    other = old.count - counts.sum()
    return _Bins(
        np.concatenate((counts, [other, reference_rows - old.count])),
        np.concatenate((current, [size - current.sum(), column.null_count])),
    )


def _judge(columns: dict[str, ColumnDrift], thresholds: Thresholds) -> dict[str, ColumnDrift]:
    """Add the verdicts. The level of all tests together is alpha (Bonferroni's correction)."""
    test_count = sum(len(_p_values(column)) for column in columns.values())
    judged = {}
    for name, column in columns.items():
        smallest_p_value = min(_p_values(column), default=1.0)
        is_significant = thresholds.alpha == 1 or smallest_p_value * test_count < thresholds.alpha
        reasons = list(_large_measures(column, thresholds))
        if column.psi is None:
            judged[name] = column
        elif reasons and is_significant:
            judged[name] = replace(column, drifted=True, reason=", ".join(reasons))
        elif reasons:
            judged[name] = replace(column, reason=f"{', '.join(reasons)}, but this can be chance")
        else:
            judged[name] = column
    return judged


def _p_values(column: ColumnDrift) -> list[float]:
    values = (column.ks_p_value, column.chi_squared_p_value)
    return [value for value in values if value is not None]


def _large_measures(column: ColumnDrift, thresholds: Thresholds) -> Iterable[str]:
    """Return a text for each measure above its threshold."""
    measures = (
        ("PSI", column.psi, thresholds.psi),
        ("KS", column.ks, thresholds.ks),
        ("Jensen-Shannon", column.js, thresholds.js),
    )
    texts = []
    for name, value, threshold in measures:
        if value is not None and value > threshold:
            texts.append(f"{name} {value:.3g} is above {threshold:g}")
    return texts
