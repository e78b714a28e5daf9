"""Write a small HTML page with a table. Tasks give it to users as an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = (
    "body{font-family:sans-serif;margin:1.5em}table{border-collapse:collapse}"
    "th,td{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:left}"
    "td.number{text-align:right}tr.marked{background:#fde8e8}"
)


def render_page(
    title: str,
    notes: Sequence[str],
    headers: Sequence[str],
    rows: Sequence[Sequence[str | int | float]],
    marked_rows: Sequence[int] = (),
) -> str:
    """Return an HTML page with a title, notes, and a table. All texts are escaped.

    Args:
        title: the title of the page.
        notes: a paragraph for each note.
        headers: the names of the columns.
        rows: the cells of each row. Floats are shown with five digits.
        marked_rows: the positions of the rows that get a red background.
    """
    parts = [
        f"<!doctype html><html><head><meta charset='utf-8'><title>{escape(title)}</title>",
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
    ]
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    head_cells = "".join(f"<th>{escape(header)}</th>" for header in headers)
    parts.append(f"<table><thead><tr>{head_cells}</tr></thead><tbody>")
    for position, row in enumerate(rows):
        row_class = " class='marked'" if position in marked_rows else ""
        cells = "".join(_render_cell(value) for value in row)
        parts.append(f"<tr{row_class}>{cells}</tr>")
    parts.append("</tbody></table></body></html>")
    return "\n".join(parts) + "\n"


def _render_cell(value: str | int | float) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    text = str(value) if isinstance(value, int) else f"{value:.5g}"
    return f"<td class='number'>{text}</td>"
