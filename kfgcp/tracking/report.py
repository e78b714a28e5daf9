"""Render a comparison as text, Markdown or HTML.

Pure. Names and values come from whoever started a run, so they are escaped in every format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Final, Protocol

from kfgcp.model import Run
from kfgcp.tracking.changes import format_line
from kfgcp.tracking.difference import MISSING, Difference, Value, VersionChange
from kfgcp.tracking.format import number, plain, seconds, value_text

# The most columns of a Markdown table, because pages of GitHub have a fixed width. A table of more
# runs has a row for each run, and a column for each difference.
MAX_MARKDOWN_COLUMNS: Final = 6

NOTHING: Final = "Nothing differs."

# Numbers and durations, which contain nothing that GitHub renders in another way.
_PLAIN_NUMBER: Final = re.compile(r"[-+]?[\d.]+(?:e[-+]\d+)?(?: s| min| h)?")

_STYLE: Final = """
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .75rem; text-align: left; vertical-align: top; }
th, td { white-space: pre-wrap; max-width: 28rem; }
th:first-child, td:first-child { min-width: 14rem; }
td { border-top: 1px solid #8884; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; }
tr.group th { padding-top: 1.25rem; }
small { opacity: .75; unicode-bidi: isolate; }
.better { color: #1a7f37; } .worse { color: #cf222e; } .best { font-weight: 650; }
pre { overflow-x: auto; }
@media (prefers-color-scheme: dark) { .better { color: #3fb950; } .worse { color: #f85149; } }
"""


class ComparedRuns(Protocol):
    """The part of a `kfgcp.tracking.compare.Comparison` that a report uses."""

    @property
    def runs(self) -> Sequence[Run]: ...

    @property
    def differences(self) -> Sequence[Difference]: ...

    @property
    def versions(self) -> Sequence[VersionChange]: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """The value of one run, as text.

    Attributes:
        text: the value.
        delta: its distance from the baseline, "" when there is none.
        verdict: "better" or "worse" than the baseline, or "".
        best: whether it is the best value of all runs.
    """

    text: str
    delta: str = ""
    verdict: str = ""
    best: bool = False

    def notes(self, best_word: str = "best") -> str:
        """Return what stands in parentheses after the value: `+0.25, better, best`."""
        notes = [self.delta, self.verdict]
        if self.best:
            notes.append(best_word)
        return ", ".join(note for note in notes if note)

    def __str__(self) -> str:
        notes = self.notes()
        return f"{self.text}  ({notes})" if notes else self.text


def cells(difference: Difference) -> list[Cell]:
    """Return the cells of a difference, one for each run."""
    row = []
    columns = zip(difference.values, difference.deltas, difference.better, strict=True)
    for place, (value, delta, is_better) in enumerate(columns):
        text = _format_value(difference, value)
        if place == 0:
            row.append(Cell(text, best=difference.best == 0))
            continue
        delta_text = ""
        # `delta == delta` excludes NaN.
        if delta and delta == delta:
            delta_text = _format_delta(difference, delta)
        verdict = ""
        if is_better is not None:
            verdict = "better" if is_better else "worse"
        row.append(Cell(text, delta_text, verdict, best=difference.best == place))
    return row


def version_lines(version: VersionChange) -> Iterator[str]:
    """Yield a line for each change of a pipeline. Lines begin with `+`, `-` or `~`."""
    if version.changes is None:
        yield "  the pipelines cannot be compared, because the store does not have both pipelines"
        return
    for change in version.changes:
        yield plain(format_line(change))


def version_title(compared: ComparedRuns, version: VersionChange) -> str:
    """Return the title of `version_lines`: both versions, and the runs that have the second one."""
    runs = plain(", ".join(version.runs))
    before = _shorten_digest(compared.runs[0].version)
    return f"pipeline {before} → {_shorten_digest(version.version)} of {runs}"


def render_text(compared: ComparedRuns) -> str:
    """Return a comparison as plain text with a column for each run."""
    if not compared.differences:
        return f"{NOTHING}\n"
    header = [""]
    header += [plain(run.run_id) for run in compared.runs]
    rows = [header]
    for group, differences in _by_group(compared.differences):
        if len(rows) > 1:
            rows.append([])
        rows.append([group])
        for difference in differences:
            row = [f"  {plain(difference.name)}"]
            row += [str(cell) for cell in cells(difference)]
            rows.append(row)
    lines = _align(rows)
    for version in compared.versions:
        lines.append("")
        lines.append(version_title(compared, version))
        lines += [f"  {line}" for line in version_lines(version)]
    return "\n".join(lines) + "\n"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose columns are aligned. Headings and empty rows have no columns."""
    widths = [0] * len(rows[0])
    for row in rows:
        if len(row) > 1:
            for column, cell in enumerate(row):
                widths[column] = max(widths[column], len(cell))
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join(padded).rstrip())
    return lines


def _by_group(
    differences: Iterable[Difference],
) -> Iterator[tuple[str, Iterator[Difference]]]:
    return groupby(differences, key=lambda difference: difference.group)


def render_markdown(compared: ComparedRuns) -> str:
    """Return a comparison as Markdown for GitHub: tables, and changes of pipelines as a diff."""
    if not compared.differences:
        return f"{NOTHING}\n"
    ids = [_escape_markdown(run.run_id) for run in compared.runs]
    ids[0] += " (baseline)"
    blocks = []
    for group, differences in _by_group(compared.differences):
        rows = []
        for difference in differences:
            row = [_escape_markdown(difference.name)]
            row += [_markdown_cell(cell) for cell in cells(difference)]
            rows.append(row)
        table = [[group, *ids], *rows]
        if len(ids) > MAX_MARKDOWN_COLUMNS:
            table = [list(column) for column in zip(*table, strict=True)]
        blocks.append(_markdown_table(table))
    blocks += [_markdown_version(compared, version) for version in compared.versions]
    return "\n\n".join(blocks) + "\n"


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table. The first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_cell(cell: Cell) -> str:
    text = cell.text
    if not _PLAIN_NUMBER.fullmatch(text):
        text = _escape_markdown(text)
    notes = cell.notes(best_word="**best**")
    return f"{text} ({notes})" if notes else text


def _markdown_version(compared: ComparedRuns, version: VersionChange) -> str:
    changes = list(version_lines(version))
    # A block of code ends at a line with as many backticks as its first line. The fence is longer
    # than all backticks inside, so that no text of a run can end the block.
    backticks = re.findall("`+", "\n".join(changes))
    longest = max(map(len, backticks), default=0)
    fence = "`" * max(3, longest + 1)
    title = _escape_markdown(version_title(compared, version))
    lines = [
        f"<details><summary>{title}</summary>",
        "",
        f"{fence}diff",
        *changes,
        fence,
        "",
        "</details>",
    ]
    return "\n".join(lines)


def _escape_markdown(text: str) -> str:
    """Return text that GitHub shows as it is.

    Every character that has a meaning in Markdown, or that starts a mention or a link, becomes a
    character reference. Inside `<code>` GitHub looks for no mentions. But even there it makes links
    of `www.`, and of mail addresses after the character references are resolved. An HTML comment
    breaks the mail address into two words.
    """
    if not text:
        return ""
    special = r"[^\w .,+=()/—→-]|_|(?<=www)\."
    escaped = re.sub(special, lambda match: f"&#{ord(match[0])};", plain(text))
    escaped = escaped.replace("&#64;", "<!-- -->&#64;")
    return f"<code>{escaped}</code>"


def render_html(compared: ComparedRuns) -> str:
    """Return a comparison as a complete HTML page. It has no scripts and loads nothing."""
    title = plain(f"kfgcp compare {' '.join(run.run_id for run in compared.runs)}")
    body = f"<p>{NOTHING}</p>"
    if compared.differences:
        sections = [_html_table(compared)]
        for version in compared.versions:
            heading = escape(version_title(compared, version))
            changes = escape("\n".join(version_lines(version)))
            sections.append(f"<h2>{heading}</h2><pre>{changes}</pre>")
        body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_table(compared: ComparedRuns) -> str:
    head = "".join(f"<th>{escape(plain(run.run_id))}</th>" for run in compared.runs)
    rows = [f"<tr><th></th>{head}</tr>"]
    width = len(compared.runs) + 1
    for group, differences in _by_group(compared.differences):
        rows.append(f'<tr class="group"><th colspan="{width}">{escape(group)}</th></tr>')
        for difference in differences:
            row = "".join(_html_cell(cell) for cell in cells(difference))
            rows.append(f"<tr><td>{escape(plain(difference.name))}</td>{row}</tr>")
    table = "\n".join(rows)
    return f'<div class="wide"><table>\n{table}\n</table></div>'


def _html_cell(cell: Cell) -> str:
    classes = [cell.verdict] if cell.verdict else []
    if cell.best:
        classes.append("best")
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    notes = cell.notes()
    small = f" <small>({escape(notes)})</small>" if notes else ""
    return f"<td{attribute}>{escape(cell.text)}{small}</td>"


def _format_value(difference: Difference, value: Value) -> str:
    if value is MISSING:
        return str(MISSING)
    if difference.group == "durations" and isinstance(value, (int, float)):
        return seconds(value)
    if difference.name == "version":
        return _shorten_digest(str(value))
    if difference.name == "git commit":
        return value_text(re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", str(value)))
    return value_text(value)


def _format_delta(difference: Difference, delta: float) -> str:
    if difference.group == "durations":
        sign = "-" if delta < 0 else "+"
        return f"{sign}{seconds(abs(delta))}"
    sign = "+" if delta > 0 else ""
    return f"{sign}{number(delta)}"


def _shorten_digest(version: str) -> str:
    """Return the first 12 digits of a version, which are enough to recognise it."""
    return plain(version[: len("sha256:") + 12]) or str(MISSING)
