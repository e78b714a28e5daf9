"""Tables as CSV that a spreadsheet shows and does not execute.

A spreadsheet takes a cell for a formula when its text begins with one of a few characters, also in
a CSV file. Names, tags and parameters come from whoever made a run, and a formula can read files
and call addresses. Such a text gets an apostrophe in front, which spreadsheets understand as "this
is text".

Spreadsheets in German or French separate cells at `;`, others at a tab. They do not recognise
quotes that follow a comma. So each `;`, tab or line end inside a text starts a new cell there, and
formulas after it get an apostrophe too.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_SIGNS: Final = "[-=+@\uff1d\uff0b\uff0d\uff20]"
"""What formulas begin with. The last four are the full-width forms of = + - @, which Japanese input
gives."""
_FORMULA_START: Final = re.compile(
    rf"""
    \A (?= {_SIGNS} | [\t\r] )       # the beginning of the text; spreadsheets drop a tab or carriage return there
    | (?<= [;\t\r\n] ) (?= "* {_SIGNS} )  # the beginning of a cell for other separators, which may drop quotes
    """,
    re.VERBOSE,
)
"""The places where a text needs an apostrophe."""
_SUSPECT: Final = re.compile(rf"\A{_SIGNS}|[;\t\r\n]")
"""Only texts with this are looked at closely, because a table may have a million cells."""
_QUOTED: Final = ";\t\r\n"
"""A text with one of these is put in quotes, so that programs that guess the separator do not split
it."""
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_text(header: Sequence[str], rows: Iterable[Iterable[Any]], *, raw: bool = False) -> str:
    """Return a table as CSV. None is an empty cell. Other values that are neither texts nor numbers
    are JSON.

    Args:
        header: the names of the columns.
        rows: the values of each row.
        raw: write texts as they are, also those that a spreadsheet takes for formulas.

    Example:
        >>> csv_text(["name"], [["=1+1"], ["-1.5"]])
        "name\\n'=1+1\\n-1.5\\n"
    """
    lines: list[str] = []
    # The writer quotes texts that contain a character of its line end. So this line end, which is
    # removed again, only decides which texts get quotes. The writer gives each row to `write` as
    # one text.
    writer = csv.writer(_Lines(lines.append), lineterminator=_QUOTED)
    writer.writerow(_cells(header, raw))
    for row in rows:
        writer.writerow(_cells(row, raw))
    return "".join([f"{line[: -len(_QUOTED)]}\n" for line in lines])


def without_formula(cell: Any) -> Any:
    """Return a text with an apostrophe before each part that a spreadsheet takes for a formula.

    Numbers, also those that are texts, and other cells are unchanged.

    Example:
        >>> without_formula("x;=1+1")
        "x;'=1+1"
    """
    if not isinstance(cell, str) or _SUSPECT.search(cell) is None or _NUMBER.fullmatch(cell):
        return cell
    return _FORMULA_START.sub("'", cell)


@dataclass(frozen=True, slots=True)
class _Lines:
    """What a CSV writer needs of a file."""

    write: Callable[[str], object]


def _cells(row: Iterable[Any], raw: bool) -> list[Any]:
    cells: list[Any] = []
    for value in row:
        kind = type(value)
        if (
            kind is float
            or kind is int
            or (kind is str and (raw or _SUSPECT.search(value) is None))
        ):
            cells.append(value)  # nearly all are such
        else:
            cells.append(_cell(value) if raw else without_formula(_cell(value)))
    return cells


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value)
