"""Tables as CSV that a spreadsheet shows and does not execute.

A spreadsheet takes a cell for a formula when its text begins with one of a few characters, also in a CSV file. Names,
tags and parameters come from whoever made a run, and a formula can read files and call addresses. Such a text gets an
apostrophe in front, which spreadsheets understand as "this is text".
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_LINE_END: Final = "\r\n"
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]], *, raw: bool = False) -> str:
    """Return a table as CSV. None is an empty cell, what is neither text nor a number is JSON.

    Args:
        header: the names of the columns.
        rows: the values of each row.
        raw: write texts as they are, also those that a spreadsheet takes for formulas.

    Example:
        >>> csv_text(["name"], [["=1+1"], ["-1.5"]])
        "name\\n'=1+1\\n-1.5\\n"
    """
    lines = [_line(header, raw)]
    lines += [_line(row, raw) for row in rows]
    return "".join(lines)


def without_formula(cell: Any) -> Any:
    """Return a text with an apostrophe in front when a spreadsheet takes it for a formula, other cells unchanged."""
    if not isinstance(cell, str) or not cell.startswith(_FORMULA_STARTS) or _NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def _line(row: Iterable[Any], raw: bool) -> str:
    cells = [_cell(value) for value in row]
    line = io.StringIO(newline="")
    # The writer puts quotes around a carriage return only when lines end with one; without them it ends the row.
    csv.writer(line, lineterminator=_LINE_END).writerow(cells if raw else map(without_formula, cells))
    return f"{line.getvalue().removesuffix(_LINE_END)}\n"


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value)
