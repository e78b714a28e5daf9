"""A report as a matrix for a terminal: findings as rows, environments as columns.

`matrix` collects the cells. `layout` arranges them in lines of a width, and leaves colors to the
caller. A narrow terminal gets fewer columns. When there are too many environments even for that,
each finding becomes a paragraph.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.plain_text import plain
from kfgcp.rules.findings import Severity
from kfgcp.rules.formats.sentences import collect_hints, format_environments
from kfgcp.rules.report import Report, Row

_HEADERS: Final = ("severity", "rule", "where", "finding")
_RULE: Final = 1
_WHERE: Final = 2
_FINDING: Final = 3

# The index of the message in the table for narrow terminals.
_COMPACT_FINDING: Final = 1

# In characters. A column of messages that is narrower is harder to read than paragraphs.
_NARROWEST_FINDING: Final = 24
_WIDEST_ENV: Final = 16
_WIDEST_COMPACT_ENV: Final = 9
_GAP: Final = 2
_INDENT: Final = 2

# File names take at most this part of the width: a quarter.
_SHARE_OF_WHERE: Final = 4

_ELLIPSIS: Final = "…"
_NOT_FOUND: Final = "-"
_SHORT_NOT_JUDGED: Final = "?"


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of the matrix. It has no control characters.

    Attributes:
        text: the text.
        severity: the severity that the text names, which chooses its color; None for other texts.
    """

    text: str
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A finding in the matrix.

    Attributes:
        cells: severity, rule, file with line, message; then the severity in each environment.
        environments: the environments in one text, for a terminal without space for columns.
    """

    cells: tuple[Cell, ...]
    environments: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """A report as rows of cells.

    Attributes:
        headers: the headers of the columns.
        rows: the findings.
        hints: what to do: `K101: Loop over their URIs.` Each hint is there once.
    """

    headers: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    hints: tuple[str, ...]


Line = tuple[Cell, ...]
"""A line of a layout: texts that follow each other, padding included."""


def matrix(report: Report) -> Matrix:
    """Return the matrix of the findings that are not suppressed."""
    envs = [target.env for target in report.targets]
    rows = [_build_row(row, envs) for row in report.rows]
    hints = [f"{rules}: {hint}" for rules, hint in collect_hints(list(report.rows))]
    return Matrix(_HEADERS + tuple(_one_line(env) for env in envs), tuple(rows), tuple(hints))


def layout(shown: Matrix, width: int | None) -> list[Line]:
    """Return the lines of a matrix without its hints; none when it has no rows.

    Args:
        shown: the matrix.
        width: of the terminal, in characters. No line is wider, except for a word that is wider
            than the terminal. None: each finding is one line, for a pipe or a file.
    """
    if not shown.rows:
        return []
    for columns in (_wide_columns, _compact_columns):
        table = columns(shown, width)
        if table is not None:
            return _layout_table(table)
    return _layout_paragraphs(shown, width or 0)


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of a text, cut between words. A word that is wider than a line stays whole.

    Args:
        text: one line without control characters.
        width: in characters of a terminal.

    Example:
        >>> wrap("task train needs a GPU", 11)
        ['task train', 'needs a GPU']
    """
    lines: list[str] = []
    for word in text.split():
        if lines and display_width(lines[-1]) + 1 + display_width(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    Example:
        >>> display_width("task"), display_width("訓練")
        (4, 4)
    """
    if text.isascii():
        return len(text)
    width = 0
    for character in text:
        if unicodedata.combining(character):
            continue
        # Wide and full-width characters of East Asian scripts (Unicode, UAX 11).
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width


def _build_row(row: Row, envs: Sequence[str]) -> MatrixRow:
    where = _one_line(str(row.location)) if row.location is not None else ""
    cells = [
        Cell(str(row.worst), row.worst),
        Cell(plain(row.finding.rule)),
        Cell(where),
        Cell(_one_line(row.finding.message)),
    ]
    for env in envs:
        severity = row.severities.get(env)
        cells.append(Cell(_NOT_FOUND) if severity is None else Cell(str(severity), severity))
    return MatrixRow(tuple(cells), format_environments(row))


def _one_line(text: str) -> str:
    """Return a text without control characters. A tab would move the columns after it."""
    return plain(text).replace("\t", "\\t")


# -- tables


@dataclass(frozen=True, slots=True)
class _Table:
    """A matrix whose texts fit into columns.

    Attributes:
        widths: of the columns, in characters.
        rows: for each row, the lines of each of its cells. The first row has the headers.
    """

    widths: Sequence[int]
    rows: Sequence[Sequence[Sequence[Cell]]]


def _wide_columns(shown: Matrix, width: int | None) -> _Table | None:
    """Return a table with all columns, None when the message gets too little space."""
    widths = _column_widths([shown.headers] + [_texts(row.cells) for row in shown.rows])
    if width is not None:
        for index in range(_FINDING + 1, len(widths)):
            widths[index] = min(widths[index], _WIDEST_ENV)
        widths[_WHERE] = min(widths[_WHERE], max(width // _SHARE_OF_WHERE, len("where")))
        if not _fit(widths, _FINDING, width):
            return None
    rows = [[[Cell(header)] for header in shown.headers]]
    for row in shown.rows:
        lines = [[cell] for cell in row.cells]
        message = _break_words(row.cells[_FINDING].text, widths[_FINDING])
        lines[_FINDING] = [Cell(text) for text in message]
        where = row.cells[_WHERE].text
        lines[_WHERE] = [Cell(_cut_beginning(where, widths[_WHERE]))]
        rows.append(lines)
    return _Table(widths, rows)


def _compact_columns(shown: Matrix, width: int | None) -> _Table | None:
    """Return a table for a narrow terminal, None when the message gets too little space.

    The column of severities is left out, because those of the environments say the same. The file
    and line are below the message.
    """
    if width is None:
        return None
    headers = (shown.headers[_RULE], shown.headers[_FINDING]) + shown.headers[_FINDING + 1 :]
    cells_by_row = [_compact_cells(row) for row in shown.rows]
    widths = _column_widths([headers] + [_texts(cells) for cells in cells_by_row])
    for index in range(_COMPACT_FINDING + 1, len(widths)):
        widths[index] = min(widths[index], _WIDEST_COMPACT_ENV)
    if not _fit(widths, _COMPACT_FINDING, width):
        return None
    space = widths[_COMPACT_FINDING]
    rows = [[[Cell(header)] for header in headers]]
    for row, cells in zip(shown.rows, cells_by_row, strict=True):
        lines = [[cell] for cell in cells]
        texts = _break_words(cells[_COMPACT_FINDING].text, space)
        if row.cells[_WHERE].text:
            texts.append(_cut_beginning(row.cells[_WHERE].text, space))
        lines[_COMPACT_FINDING] = [Cell(text) for text in texts]
        rows.append(lines)
    return _Table(widths, rows)


def _compact_cells(row: MatrixRow) -> list[Cell]:
    """Return rule and message of a finding, then its environments with a short "not judged"."""
    cells = [row.cells[_RULE], row.cells[_FINDING]]
    for cell in row.cells[_FINDING + 1 :]:
        is_open = cell.severity is Severity.NOT_JUDGED
        cells.append(Cell(_SHORT_NOT_JUDGED, cell.severity) if is_open else cell)
    return cells


def _texts(cells: Sequence[Cell]) -> list[str]:
    return [cell.text for cell in cells]


def _column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of the widest text of each column."""
    widths = [0] * len(rows[0])
    for row in rows:
        for index, text in enumerate(row):
            widths[index] = max(widths[index], display_width(text))
    return widths


def _fit(widths: list[int], message: int, total: int) -> bool:
    """Make the column of messages so narrow that a table fits into a terminal.

    Args:
        widths: of the columns.
        message: the index of the column of messages.
        total: the width of the terminal.

    Returns:
        Whether the column is still wide enough to be read.
    """
    other_columns = sum(widths) - widths[message] + _GAP * (len(widths) - 1)
    space = total - other_columns
    is_readable = space >= min(_NARROWEST_FINDING, widths[message])
    widths[message] = min(widths[message], space)
    return is_readable


def _layout_table(table: _Table) -> list[Line]:
    lines: list[Line] = []
    for cells in table.rows:
        height = max(len(cell_lines) for cell_lines in cells)
        lines += [_layout_line(cells, number, table.widths) for number in range(height)]
    return lines


def _layout_line(cells: Sequence[Sequence[Cell]], number: int, widths: Sequence[int]) -> Line:
    """Return one line of a row, padded to the columns. The last text gets no blanks."""
    line: list[Cell] = []
    column_start = 0
    position = 0
    for cell_lines, width in zip(cells, widths, strict=True):
        if number < len(cell_lines) and cell_lines[number].text:
            cell = cell_lines[number]
            text = _cut_end(cell.text, width)
            if position < column_start:
                line.append(Cell(" " * (column_start - position)))
            line.append(Cell(text, cell.severity))
            position = column_start + display_width(text)
        column_start += width + _GAP
    return tuple(line)


def _break_words(text: str, width: int) -> list[str]:
    """Wrap a text, and break words that are wider than the column."""
    lines = []
    for line in wrap(text, width):
        rest = line
        while display_width(rest) > width:
            head = _head(rest, width)
            lines.append(head)
            rest = rest[len(head) :]
        lines.append(rest)
    return lines


def _head(text: str, width: int) -> str:
    """Return the longest beginning of a text that fits into a width, at least one character."""
    end = len(text)
    while end > 1 and display_width(text[:end]) > width:
        end -= 1
    return text[:end]


def _cut_end(text: str, width: int) -> str:
    """Return a text with at most a width; "…" stands for its end."""
    if display_width(text) <= width:
        return text
    return f"{_head(text, width - 1)}{_ELLIPSIS}"


def _cut_beginning(text: str, width: int) -> str:
    """Return a place with at most a width; its end is the name of the file and the line."""
    if display_width(text) <= width:
        return text
    reversed_end = _head(text[::-1], width - 1)
    return f"{_ELLIPSIS}{reversed_end[::-1]}"


# -- paragraphs


def _layout_paragraphs(shown: Matrix, width: int) -> list[Line]:
    """Return each finding as a paragraph, with an empty line between paragraphs."""
    lines: list[Line] = []
    for row in shown.rows:
        severity, rule, where, message = row.cells[: _FINDING + 1]
        if lines:
            lines.append(())
        # In a terminal of a few characters, even the severity is wider than a line.
        space = max(width - len(severity.text) - 1, 2)
        heading = _cut_end(f"{rule.text}  {where.text}".rstrip(), space)
        lines.append((severity, Cell(" "), Cell(heading)))
        text_lines = wrap(message.text, width - _INDENT)
        text_lines += wrap(row.environments, width - _INDENT)
        lines += [(Cell(" " * _INDENT), Cell(text)) for text in text_lines]
    return lines
