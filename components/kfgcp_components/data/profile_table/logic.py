"""Describe each column of a table: its values, their distribution and its missing values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kfgcp_components.messages import one_line
from kfgcp_components.table_file import TableFile, arrow_kind

# The value of `format` in the JSON file. A change of its structure needs another value.
FORMAT = "kfgcp-profile-1"

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

HISTOGRAM_BINS = 20

# How many points of a distribution a profile keeps at most, besides the smallest value, and how
# many categories. These are enough to compare another table with the profile, and a profile of 100
# columns stays below 5 MB.
MAX_POINTS = 1000
MAX_CATEGORIES = 1000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Numbers:
    """The distribution of a column of numbers. Times count as seconds since 1970 in UTC.

    Attributes:
        mean: the mean. None if the sum of the values is too large for a float.
        std: the standard deviation of the sample, with n - 1. None for a single value, or if a
            square is too large for a float.
        quantiles: the quantiles, with linear interpolation, by their probability as text.
        edges: the limits of the bins of the histogram, one more than `counts`.
        counts: the number of values in each bin. The last bin includes its upper limit.
        points: values of the column, ascending.
        counts_up_to: for each point, the number of values that are not larger.
        complete: whether `points` has each value that occurs.
    """

    mean: float | None
    std: float | None
    quantiles: dict[str, float]
    edges: list[float]
    counts: list[int]
    points: list[float]
    counts_up_to: list[int]
    complete: bool


@dataclass(frozen=True)
class ColumnProfile:
    """The description of a column.

    Attributes:
        kind: numeric, boolean, datetime, text, empty (without any value) or other (such as lists).
        count: the number of values.
        missing: the number of rows without a value. NaN is not a value.
        infinite: the number of infinite values. They are in `count`, but not in `numbers`.
        distinct: the number of different values. None for the kind other.
        numbers: the distribution of numbers and times, else None.
        categories: the most frequent values of text and booleans with their counts.
        other: the number of values of text that are not in `categories`.
    """

    kind: str
    count: int
    missing: int
    infinite: int = 0
    distinct: int | None = 0
    numbers: Numbers | None = None
    categories: dict[str, int] = field(default_factory=dict)
    other: int = 0


@dataclass(frozen=True)
class Profile:
    """The description of a table: its number of rows, and its columns by name."""

    rows: int
    columns: dict[str, ColumnProfile]


def profile_file(table: TableFile) -> Profile:
    """Describe each column of a table."""
    columns = {name: profile_column(table.read(name)) for name in table.names}
    return Profile(table.rows, columns)


def profile_column(column: pa.ChunkedArray) -> ColumnProfile:
    """Describe a column.

    Example:
        >>> profile_column(pa.chunked_array([["a", "b", "a", None]])).categories
        {'a': 2, 'b': 1}
    """
    kind = arrow_kind(column.type)
    if kind in ("numeric", "datetime"):
        values = sorted_numbers(column)
        return describe_numbers(kind, len(column), values)
    if column.null_count == len(column):
        return ColumnProfile("empty", 0, len(column))
    if kind == "other":
        return ColumnProfile(
            kind, len(column) - column.null_count, column.null_count, distinct=None
        )
    return _describe_categories(kind, column)


def sorted_numbers(column: pa.ChunkedArray) -> Floats:
    """Return the values of a column of numbers or times, ascending, with infinite values.

    Missing values and NaN are left out. Times become seconds since 1970 in UTC.
    """
    if column.null_count:
        column = column.drop_null()
    type_ = column.type
    if pa.types.is_dictionary(type_):
        column = column.cast(type_.value_type)
        type_ = column.type
    if pa.types.is_date(type_):
        column = column.cast(pa.timestamp("ms"))
        type_ = column.type
    if pa.types.is_timestamp(type_):
        ticks_per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[type_.unit]
        numbers = column.cast(pa.int64()).to_numpy() / ticks_per_second
    else:
        # Decimals and large integers lose digits that a distribution does not show.
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
    # numpy sorts NaN to the end.
    numbers = np.sort(numbers)
    if numbers.size and math.isnan(numbers[-1]):
        numbers = numbers[: np.searchsorted(numbers, np.nan)]
    return numbers


def describe_numbers(kind: str, rows: int, values: Floats) -> ColumnProfile:
    """Describe a column of numbers.

    Args:
        kind: numeric or datetime.
        rows: the number of rows of the table.
        values: what `sorted_numbers` returns.
    """
    if not values.size:
        return ColumnProfile("empty", 0, rows)
    finite = finite_part(values)
    distinct = 1 + int(np.count_nonzero(values[1:] != values[:-1]))
    numbers = None
    if finite.size:
        numbers = _describe_distribution(finite)
    return ColumnProfile(
        kind=kind,
        count=values.size,
        missing=rows - values.size,
        infinite=values.size - finite.size,
        distinct=distinct,
        numbers=numbers,
    )


def finite_part(values: Floats) -> Floats:
    """Return sorted numbers without infinite values."""
    begin = np.searchsorted(values, -np.inf, side="right")
    return values[begin : np.searchsorted(values, np.inf, side="left")]


def count_values(column: pa.ChunkedArray) -> pa.Table:
    """Return the different values of a column of text or booleans, and how often each occurs.

    Returns:
        A table with the columns `value` (text; `true` and `false` for booleans) and `count`.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    counts = pc.value_counts(column.drop_null())
    values = counts.field("values").cast(pa.large_string())
    return pa.table({"value": values, "count": counts.field("counts")})


def write_profile(profile: Profile, path: str | Path) -> None:
    """Write a profile as JSON."""
    content = {"format": FORMAT, **asdict(profile)}
    Path(path).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")


def read_profile(path: str | Path) -> Profile:
    """Read a profile that `write_profile` wrote.

    Raises:
        ValueError: the file is not a profile.
    """
    hint = "give the output `profile` of profile_table, or a table as Parquet"
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not a profile: {one_line(error, 120)}; {hint}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a profile of the format {FORMAT}; {hint}")
    try:
        columns = {name: _read_column(fields) for name, fields in content["columns"].items()}
        return Profile(int(content["rows"]), columns)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is a damaged profile: {one_line(error, 120)}; {hint}") from error


def _read_column(fields: Mapping[str, object]) -> ColumnProfile:
    numbers = fields["numbers"]
    if isinstance(numbers, Mapping):
        numbers = Numbers(**numbers)
        if len(numbers.points) != len(numbers.counts_up_to) or not numbers.points:
            raise ValueError("points and counts_up_to differ in length, or are empty")
    return ColumnProfile(**{**fields, "numbers": numbers})  # type: ignore[arg-type]


def _describe_distribution(values: Floats) -> Numbers:
    edges = _histogram_edges(float(values[0]), float(values[-1]))
    # Each bin includes its lower limit. The last bin includes its upper limit too.
    ends = np.searchsorted(values, edges[1:-1], side="left")
    counts = np.diff(np.concatenate(([0], ends, [values.size])))
    points = _choose_points(values)
    std = None
    with np.errstate(over="ignore", invalid="ignore"):
        mean = _finite_or_none(values.mean())
        if values.size > 1:
            std = _finite_or_none(values.std(ddof=1))
    return Numbers(
        mean=mean,
        std=std,
        quantiles={f"{share:g}": _quantile(values, share) for share in QUANTILES},
        edges=edges.tolist(),
        counts=counts.tolist(),
        points=points.tolist(),
        counts_up_to=np.searchsorted(values, points, side="right").tolist(),
        complete=_has_all(values, points),
    )


def _histogram_edges(smallest: float, largest: float) -> Floats:
    # The width of the bins has to be a number too.
    if smallest == largest or not math.isfinite(largest - smallest):
        return np.array([smallest, largest])
    return np.linspace(smallest, largest, HISTOGRAM_BINS + 1)


def _choose_points(values: Floats) -> Floats:
    is_first = np.concatenate(([True], values[1:] != values[:-1]))
    if np.count_nonzero(is_first) <= MAX_POINTS:
        return values[is_first]
    # The smallest value that has k thousandths of all values below it or at it, for each k.
    ranks = -(-np.arange(1, MAX_POINTS + 1) * values.size // MAX_POINTS) - 1
    return np.unique(values[np.append(ranks, 0)])


def _has_all(values: Floats, points: Floats) -> bool:
    return 1 + int(np.count_nonzero(values[1:] != values[:-1])) == points.size


def _quantile(values: Floats, share: float) -> float:
    """Return a quantile of sorted values, interpolated linearly (type 7 of Hyndman and Fan)."""
    rank = share * (values.size - 1)
    lower = math.floor(rank)
    upper = min(lower + 1, values.size - 1)
    weight = rank - lower
    # The difference of two values could be too large for a float.
    return float((1 - weight) * values[lower] + weight * values[upper])


def _describe_categories(kind: str, column: pa.ChunkedArray) -> ColumnProfile:
    counts = count_values(column)
    # Values of the same frequency are sorted by name, so that the profile is always the same.
    order = [("count", "descending"), ("value", "ascending")]
    size = min(MAX_CATEGORIES, counts.num_rows)
    frequent = counts.take(pc.select_k_unstable(counts, k=size, sort_keys=order))
    names = frequent["value"].to_pylist()
    categories = dict(zip(names, frequent["count"].to_pylist(), strict=True))
    count = len(column) - column.null_count
    return ColumnProfile(
        kind=kind,
        count=count,
        missing=column.null_count,
        distinct=counts.num_rows,
        categories=categories,
        other=count - sum(categories.values()),
    )


def _finite_or_none(value: float) -> float | None:
    """Return a number, or None if it is too large for a float of 64 bits."""
    return float(value) if math.isfinite(value) else None
