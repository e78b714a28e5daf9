"""Show a profile as an HTML page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from kfgcp_components.data.profile_table.logic import ColumnProfile, Profile
from kfgcp_components.html_report import bars, paragraph, table, write_page

# The page shows at most so many categories of a column.
SHOWN_CATEGORIES = 10


def write_report(profile: Profile, path: str | Path) -> None:
    """Write the page: a row for each column, with its distribution."""
    rows = []
    for name, column in profile.columns.items():
        missing_share = column.missing / profile.rows
        distinct = "" if column.distinct is None else column.distinct
        rows.append(
            [
                name,
                column.kind,
                column.count,
                f"{column.missing} ({missing_share:.1%})",
                distinct,
                _summary(column),
                bars(_bar_heights(column)),
            ]
        )
    head = ["Column", "Kind", "Values", "Missing", "Distinct", "Summary", "Distribution"]
    size = paragraph(f"{profile.rows} rows, {len(profile.columns)} columns")
    write_page(path, "Profile of a table", [size, table(head, rows)])


def _summary(column: ColumnProfile) -> str:
    if column.numbers:
        lowest, median, highest = (column.numbers.quantiles[share] for share in ("0", "0.5", "1"))
        if column.kind == "datetime":
            return f"{_format_time(lowest)} to {_format_time(highest)}"
        mean = "too large" if column.numbers.mean is None else f"{column.numbers.mean:.6g}"
        return f"{lowest:.6g} to {highest:.6g}, median {median:.6g}, mean {mean}"
    frequent = list(column.categories.items())[:SHOWN_CATEGORIES]
    texts = [f"{value!r}: {count}" for value, count in frequent]
    return ", ".join(texts)


def _format_time(seconds: float) -> str:
    try:
        return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)).isoformat(" ")
    except OverflowError:
        # A Parquet file can have years that Python cannot show.
        return f"{seconds:.6g} s"


def _bar_heights(column: ColumnProfile) -> list[int]:
    if column.numbers:
        return column.numbers.counts
    return list(column.categories.values())[: SHOWN_CATEGORIES * 2]
