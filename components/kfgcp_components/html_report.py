"""Write small HTML pages for people: tables and bars, without scripts and without other files.

Names and values come from data that anybody may have written. So each text is escaped, and the page
forbids the browser to run scripts and to load anything.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from kfgcp_components.messages import one_line

# The longest text of a cell, in characters.
CELL_LIMIT = 120

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 24px; color: #1f2328; }
table { border-collapse: collapse; margin: 12px 0 24px; }
th, td { border-bottom: 1px solid #d1d9e0; padding: 4px 10px; }
th, td { text-align: left; vertical-align: top; }
th { background: #f6f8fa; }
.bad { color: #b42318; font-weight: 600; }
.good { color: #1a7f37; font-weight: 600; }
svg { vertical-align: middle; fill: #4c78a8; }
"""


class Html(str):
    """Text that is HTML already, so it is not escaped again."""

    __slots__ = ()


def write_page(path: str | Path, title: str, body: Iterable[Html]) -> None:
    """Write a page with a title.

    Args:
        path: the file.
        title: the text of the heading. It is escaped.
        body: the parts below the heading, as the other functions of this module return them.
    """
    heading = escape(title)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{heading}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{heading}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    )
    Path(path).write_text(page, encoding="utf-8", errors="backslashreplace")


def escape(value: object) -> Html:
    """Return a value as HTML text in one line. HTML stays as it is.

    Example:
        >>> escape("<b>")
        '&lt;b&gt;'
    """
    if isinstance(value, Html):
        return value
    if isinstance(value, float):
        return Html(f"{value:.6g}")
    text = str(value)
    return Html(html.escape(one_line(text, CELL_LIMIT)) if text.strip() else "")


def paragraph(text: object, css_class: str = "") -> Html:
    """Return a paragraph, with one of the classes `good` and `bad` if its color matters."""
    return Html(f'<p class="{css_class}">{escape(text)}</p>')


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table. Each cell is a text, a number or HTML."""
    lines = [_table_row("th", head)]
    lines.extend(_table_row("td", row) for row in rows)
    return Html("<table>\n" + "\n".join(lines) + "\n</table>")


def bars(counts: Sequence[float], width: int = 160, height: int = 32) -> Html:
    """Return a picture with a bar for each count. The highest bar fills the height.

    Args:
        counts: numbers of at least 0.
        width: pixels of the picture.
        height: pixels of the picture.
    """
    largest = max(counts, default=0)
    if largest <= 0:
        return Html("")
    step = width / len(counts)
    rectangles = []
    for position, count in enumerate(counts):
        bar = height * count / largest
        rectangles.append(
            f'<rect x="{position * step:.2f}" y="{height - bar:.2f}" width="{step * 0.9:.2f}"'
            f' height="{bar:.2f}"/>'
        )
    return Html(f'<svg width="{width}" height="{height}">{"".join(rectangles)}</svg>')


def _table_row(tag: str, cells: Sequence[object]) -> str:
    texts = [f"<{tag}>{escape(cell)}</{tag}>" for cell in cells]
    return f"<tr>{''.join(texts)}</tr>"
