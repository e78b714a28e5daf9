"""Texts, numbers, durations and times as people read them. What comes from runs is data, and stays
it."""

from __future__ import annotations

import html
import math
import re
from datetime import UTC, datetime
from typing import Any, Final

from kfgcp.cli.output import plain as visible
from kfgcp.cli.output import seconds as duration
from kfgcp.cli.output import value_text

__all__ = [
    "ago",
    "duration",
    "exact",
    "markdown",
    "number",
    "short_id",
    "shown",
    "tag",
    "value_text",
    "visible",
]

LONGEST: Final = 60
"""Characters of a number."""
_PUNCTUATION: Final = re.compile(r"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])")
_MARKS: Final = re.compile(r"(\\[:@<>~=-])")
_JOINER: Final = "\u2060"
_COUNTED: Final = ("day", "month", "year")
_AGES: Final = (
    *((365 * 86400, "year"), (30 * 86400, "month"), (86400, "day")),
    *((3600, "h"), (60, "min"), (1, "s")),
)
_COLOURS: Final = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
_LINKS: Final = re.compile(r"(?i)(www|https?|ftp|mailto|xmpp)(?=[.:])")


def markdown(text: str) -> str:
    """A text for an element that reads Markdown, so that it shows as it is.

    Every mark is escaped. Emoji codes, arrows and bare addresses are looked for once more after the
    escapes are gone: an invisible joiner, which has no width, keeps them apart.
    """
    apart = _LINKS.sub(rf"\1{_JOINER}", visible(text))
    return _MARKS.sub(rf"\1{_JOINER}", _PUNCTUATION.sub(r"\\\1", apart))


def tag(name: str, text: str, **attributes: str) -> str:
    """An HTML element with a text in it, for `st.html`: the text and the attributes are escaped."""
    inner = "".join(
        f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{inner}>{html.escape(visible(text))}</{name}>"


def number(value: float | None) -> str:
    """Six significant digits at most, whole numbers with all of theirs; NaN and infinities by
    name."""
    if value is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"  # noqa: RUF001
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def finite(value: float) -> bool:
    """Whether a chart can hold a number: whole ones may be beyond all floats."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def shown(value: Any, limit: int = 120) -> str:
    """A parameter, metric or output in one line."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value)
    return value_text(value, limit)


def exact(at: str | None) -> str:
    """A timestamp to the second: `2026-01-02 03:04:05 UTC`."""
    return "" if at is None else f"{at[:19].replace('T', ' ')} UTC"


def ago(at: str | None, now: datetime) -> str:
    """How long ago a timestamp is: `just now`, `5 min ago`, `3 days ago`."""
    if at is None:
        return ""
    age = (now.astimezone(UTC) - datetime.fromisoformat(at)).total_seconds()
    if age < 5:
        return "just now"
    for size, name in _AGES:
        if age >= size:
            count = int(age // size)
            return f"{count} {name}{'s' if count > 1 and name in _COUNTED else ''} ago"
    return "just now"


def short_id(run_id: str) -> str:
    """A run's id as it is shown beside a name: its last 12 characters."""
    return run_id[-12:]


def visible_lines(text: str) -> str:
    """A text of several lines without control characters."""
    return "\n".join(visible(line) for line in text.splitlines())


def without_colours(text: str) -> str:
    """A line of a log without the colours that it sets in a terminal, and as it stands after its
    carriage returns."""
    return _COLOURS.sub("", text.rstrip("\r").rpartition("\r")[2])
