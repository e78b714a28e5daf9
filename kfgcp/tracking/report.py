"""A comparison as text, Markdown and HTML. Pure: what runs say of themselves stays text in all of
them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Final

from kfgcp.tracking.changes import line
from kfgcp.tracking.compare import MISSING, Comparison, Difference, VersionChange
from kfgcp.tracking.format import number, plain, seconds, value_text

WIDE: Final = 6
"""With more runs than this Markdown has a row a run: tables there cannot be wider than the page."""
NOTHING: Final = "Nothing differs."
_STYLE: Final = """
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .75rem; text-align: left; vertical-align: top; white-space: pre-wrap; max-width: 28rem; }
th:first-child, td:first-child { min-width: 14rem; }
td { border-top: 1px solid #8884; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; }
tr.group th { padding-top: 1.25rem; }
small { opacity: .75; unicode-bidi: isolate; }
.better { color: #1a7f37; } .worse { color: #cf222e; } .best { font-weight: 650; }
pre { overflow-x: auto; }
@media (prefers-color-scheme: dark) { .better { color: #3fb950; } .worse { color: #f85149; } }
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value; beside it how far from the baseline it is. verdict: better, worse or "". best: of
    all runs."""

    text: str
    delta: str = ""
    verdict: str = ""
    best: bool = False

    def __str__(self) -> str:
        notes = ", ".join(note for note in (self.delta, self.verdict, "best" * self.best) if note)
        return f"{self.text}  ({notes})" if notes else self.text


def cells(difference: Difference) -> list[Cell]:
    """A cell for each run."""
    found = []
    for at, (value, delta, better) in enumerate(
        zip(difference.values, difference.deltas, difference.better, strict=True)
    ):
        far = _signed(difference, delta) if at and delta and delta == delta else ""
        verdict = "" if better is None or not at else "better" if better else "worse"
        found.append(Cell(_value(difference, value), far, verdict, best=at == difference.best))
    return found


def version_lines(version: VersionChange) -> Iterator[str]:
    """What differs in a pipeline, a line each, with `+`, `-` or `~` before it."""
    if version.changes is None:
        yield "  the pipelines are not known here"
    for change in version.changes or ():
        yield plain(line(change))


def version_title(comparison: Comparison, version: VersionChange) -> str:
    """Which versions, and which runs had the second one."""
    runs = plain(", ".join(version.runs))
    return f"pipeline {_short(comparison.runs[0].version)} → {_short(version.version)} of {runs}"


def text(comparison: Comparison) -> str:
    """Plain text, a column a run."""
    if not comparison.differences:
        return NOTHING + "\n"
    lines = [["", *(plain(run.run_id) for run in comparison.runs)]]
    for group, differences in groupby(comparison.differences, key=lambda each: each.group):
        lines += [[], [group]] if len(lines) > 1 else [[group]]
        lines += [[f"  {plain(each.name)}", *map(str, cells(each))] for each in differences]
    widths = [max(len(line[at]) for line in lines if len(line) > 1) for at in range(len(lines[0]))]
    made = [
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=False)).rstrip()
        for line in lines
    ]
    for version in comparison.versions:
        made += [
            "",
            version_title(comparison, version),
            *(f"  {line}" for line in version_lines(version)),
        ]
    return "\n".join(made) + "\n"


def markdown(comparison: Comparison) -> str:
    """Markdown as GitHub has it: tables, and the changes of pipelines as a diff."""
    if not comparison.differences:
        return NOTHING + "\n"
    ids = [_code(run.run_id) for run in comparison.runs]
    ids[0] += " (baseline)"
    parts = []
    for group, found in groupby(comparison.differences, key=lambda each: each.group):
        differences = [*found]
        names = [_code(each.name) for each in differences]
        rows = [[_mark(cell) for cell in cells(each)] for each in differences]
        if len(ids) > WIDE:
            parts.append(
                _table([group, *names], [[run, *row] for run, *row in zip(ids, *rows, strict=True)])
            )
        else:
            parts.append(
                _table([group, *ids], [[name, *row] for name, row in zip(names, rows, strict=True)])
            )
    for version in comparison.versions:
        lines = [*version_lines(version)]
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", "\n".join(lines))), 3)
        title = _code(version_title(comparison, version))
        parts.append(
            "\n".join(
                [
                    f"<details><summary>{title}</summary>",
                    "",
                    f"{fence}diff",
                    *lines,
                    fence,
                    "",
                    "</details>",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def html(comparison: Comparison) -> str:
    """A page by itself: no scripts, nothing loaded."""
    head = "".join(f"<th>{escape(plain(run.run_id))}</th>" for run in comparison.runs)
    rows = []
    for group, differences in groupby(comparison.differences, key=lambda each: each.group):
        rows.append(
            f'<tr class="group"><th colspan="{len(comparison.runs) + 1}">{escape(group)}</th></tr>'
        )
        rows += [_html_row(each) for each in differences]
    versions = [
        f"<h2>{escape(version_title(comparison, version))}</h2>"
        f"<pre>{escape(chr(10).join(version_lines(version)))}</pre>"
        for version in comparison.versions
    ]
    table = (
        f'<div class="wide"><table>\n<tr><th></th>{head}</tr>\n'
        + "\n".join(rows)
        + "\n</table></div>"
    )
    body = "\n".join([table, *versions]) if comparison.differences else f"<p>{NOTHING}</p>"
    title = plain(f"kfgcp compare {' '.join(run.run_id for run in comparison.runs)}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta'
        f' charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html_row(difference: Difference) -> str:
    return f"<tr><td>{escape(plain(difference.name))}</td>{''.join(map(_html_cell, cells(difference)))}</tr>"


def _html_cell(cell: Cell) -> str:
    kinds = " ".join(kind for kind in (cell.verdict, "best" * cell.best) if kind)
    notes = ", ".join(note for note in (cell.delta, cell.verdict, "best" * cell.best) if note)
    small = f" <small>({escape(notes)})</small>" if notes else ""
    return (
        f"<td{f' class={chr(34)}{kinds}{chr(34)}' if kinds else ''}>{escape(cell.text)}{small}</td>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mark(cell: Cell) -> str:
    value = (
        cell.text
        if re.fullmatch(r"[-+]?[\d.]+(?:e[-+]\d+)?(?: s| min| h)?", cell.text)
        else _code(cell.text)
    )
    notes = ", ".join(note for note in (cell.delta, cell.verdict, "**best**" * cell.best) if note)
    return f"{value} ({notes})" if notes else value


def _code(value: str) -> str:
    """Text that Markdown takes for nothing else: every sign that means something there, or starts a
    mention or a link, is a character reference; inside of `code` GitHub looks for no mentions. It
    makes links of `www.` and of what looks like an address of mail even there, of the latter after
    character references: a comment breaks the word."""
    if not value:
        return ""
    inside = re.sub(
        r"[^\w .,+=()/—→-]|_|(?<=www)\.", lambda sign: f"&#{ord(sign[0])};", plain(value)
    )
    return f"<code>{inside.replace('&#64;', '<!-- -->&#64;')}</code>"


def _value(difference: Difference, value: Any) -> str:
    if value is MISSING:
        return str(MISSING)
    if difference.group == "durations":
        return seconds(value)
    if difference.name == "version":
        return _short(str(value))
    if difference.name == "git commit":
        return value_text(re.sub(r"^([0-9a-f]{12})[0-9a-f]+", r"\1", str(value)))
    return value_text(value)


def _short(version: str) -> str:
    return plain(version[: len("sha256:") + 12]) or str(MISSING)


def _signed(difference: Difference, delta: float) -> str:
    if difference.group == "durations":
        return f"{'-' if delta < 0 else '+'}{seconds(abs(delta))}"
    return f"{'+' * (delta > 0)}{number(delta)}"
