"""Tables as CSV that a spreadsheet shows and does not execute.

A spreadsheet takes a cell of a CSV file for a formula when its text begins with one of a few
characters. A formula can read files and send requests, and names, tags and parameters come from
whoever made a run. So a text that looks like a formula gets an apostrophe in front, by which
spreadsheets recognise a text.

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

# Formulas begin with one of these. The last four are the full-width forms of = + - @, which
# Japanese input methods produce.
_SIGNS: Final = "[-=+@\uff1d\uff0b\uff0d\uff20]"

# The places where a text needs an apostrophe.
_FORMULA_START: Final = re.compile(
    rf"""
    # The beginning of the text. Spreadsheets drop a tab or carriage return there.
    \A (?= {_SIGNS} | [\t\r] )
    # The beginning of a cell for other separators, which may drop quotes.
    | (?<= [;\t\r\n] ) (?= "* {_SIGNS} )
    """,
    re.VERBOSE,
)

# Only texts that contain this are examined, because a table may have a million cells.
_SUSPECT: Final = re.compile(rf"\A{_SIGNS}|[;\t\r\n]")

# A text with one of these characters is put in quotes, so that programs that guess the separator do
# not split it.
_QUOTED: Final = ";\t\r\n"
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]], *, raw: bool = False) -> str:
    """Return a table as CSV.

    None is an empty cell. Other values that are neither texts nor numbers are JSON.

    Args:
        header: the names of the columns.
        rows: the values of each row.
        raw: write texts as they are, also those that a spreadsheet takes for formulas.

    Example:
        >>> csv_text(["name"], [["=1+1"], ["-1.5"]])
        "name\\n'=1+1\\n-1.5\\n"
    """
    lines: list[str] = []
    # csv.writer puts quotes around texts that contain a character of `lineterminator`. This line
    # end serves no other purpose, and is removed below. The writer calls `write` once for each row.
    writer = csv.writer(_Lines(lines.append), lineterminator=_QUOTED)
    writer.writerow(_cells(header, raw))
    for row in rows:
        writer.writerow(_cells(row, raw))
    return "".join([f"{line[: -len(_QUOTED)]}\n" for line in lines])


def without_formula(cell: object) -> object:
    """Return a text with an apostrophe before each part that a spreadsheet takes for a formula.

    Numbers, texts that are numbers, and all other values are unchanged.

    Example:
        >>> without_formula("x;=1+1")
        "x;'=1+1"
    """
    if not isinstance(cell, str) or _SUSPECT.search(cell) is None or _NUMBER.fullmatch(cell):
        return cell
    return _FORMULA_START.sub("'", cell)


@dataclass(frozen=True, slots=True)
class _Lines:
    """A file for a CSV writer, which only needs the method `write`."""

    write: Callable[[str], object]


def _cells(row: Iterable[Any], raw: bool) -> list[object]:
    cells: list[object] = []
    for value in row:
        kind = type(value)
        # Nearly all cells are numbers or harmless texts, and these tests are the fastest.
        if (
            kind is float
            or kind is int
            or (kind is str and (raw or _SUSPECT.search(value) is None))
        ):
            cells.append(value)
        else:
            cell = _format_cell(value)
            cells.append(cell if raw else without_formula(cell))
    return cells


def _format_cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value)
