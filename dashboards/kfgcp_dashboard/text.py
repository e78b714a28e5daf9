"""Format texts, numbers, durations and times for people.

Texts of runs are data. The functions here make sure that no page treats them as markup.
"""

from __future__ import annotations

import html
import math
import re
from datetime import UTC, datetime
from typing import Final

from kfgcp.tracking.format import plain as visible
from kfgcp.tracking.format import seconds as format_duration
from kfgcp.tracking.format import value_text

__all__ = [
    "escape_markdown",
    "format_age",
    "format_duration",
    "format_number",
    "format_time",
    "format_value",
    "html_element",
    "is_finite",
    "short_id",
    "strip_colors",
    "value_text",
    "visible",
    "visible_lines",
]

# An integer can have thousands of digits. Longer numbers are cut after this many characters.
MAX_NUMBER_WIDTH: Final = 60

# All punctuation that Markdown allows to escape (CommonMark 0.31, section 2.4).
_PUNCTUATION: Final = re.compile(r"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])")

# Streamlit replaces emoji codes (`:smile:`), colours (`:red[x]`), arrows (`->`) and mentions after
# Markdown has removed the backslashes. An invisible character of no width after the mark keeps
# the parts from being recognized.
_STREAMLIT_MARKS: Final = re.compile(r"(\\[:@<>~=-])")
_WORD_JOINER: Final = "\u2060"

# Bare addresses become links without any mark (GitHub Flavored Markdown, section 6.9).
_BARE_LINKS: Final = re.compile(r"(?i)(www|https?|ftp|mailto|xmpp)(?=[.:])")

_TERMINAL_COLORS: Final = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")

# Seconds of each unit, the longest first. A month has 30 days here, and a year 365.
_AGE_UNITS: Final = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (86400, "day"),
    (3600, "h"),
    (60, "min"),
    (1, "s"),
)
_UNITS_WITH_PLURAL: Final = ("day", "month", "year")

# Clocks of two machines differ a little, so a few seconds mean nothing.
_JUST_NOW_SECONDS: Final = 5


def escape_markdown(text: str) -> str:
    """Return a text for an element that reads Markdown, so that it is shown unchanged.

    Example:
        >>> escape_markdown("a*b")
        'a\\\\*b'
    """
    unlinked = _BARE_LINKS.sub(rf"\1{_WORD_JOINER}", visible(text))
    escaped = _PUNCTUATION.sub(r"\\\1", unlinked)
    return _STREAMLIT_MARKS.sub(rf"\1{_WORD_JOINER}", escaped)


def html_element(name: str, text: str, **attributes: str) -> str:
    """Return an HTML element for `st.html`. The text and the attributes are escaped.

    Example:
        >>> html_element("b", "1 < 2", title="a fact")
        '<b title="a fact">1 &lt; 2</b>'
    """
    start = name
    for key, value in attributes.items():
        start += f' {key}="{html.escape(value)}"'
    return f"<{start}>{html.escape(visible(text))}</{name}>"


def format_number(value: float | None) -> str:
    """Return a number with at most six significant digits; integers keep all their digits.

    Example:
        >>> format_number(1234567)
        '1,234,567'
        >>> format_number(float("nan"))
        'NaN'
    """
    if value is None:
        return ""
    if isinstance(value, int):
        formatted = f"{value:,}"
    elif math.isnan(value):
        return "NaN"
    elif math.isinf(value):
        return "∞" if value > 0 else "−∞"  # noqa: RUF001
    else:
        formatted = f"{value:.6g}"
    return shorten(formatted, MAX_NUMBER_WIDTH)


def is_finite(value: float) -> bool:
    """Return whether a chart can show a number. JSON has no NaN and no infinities."""
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer beyond all floats, such as 10**400.
        return False


def format_value(value: object, max_length: int = 120) -> str:
    """Return a parameter, metric or output on one line."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return format_number(value)
    return value_text(value, max_length)


def format_time(timestamp: str | None) -> str:
    """Return a timestamp to the second, or "" for None.

    Example:
        >>> format_time("2026-01-02T03:04:05.678Z")
        '2026-01-02 03:04:05 UTC'
    """
    if timestamp is None:
        return ""
    return f"{timestamp[:19].replace('T', ' ')} UTC"


def format_age(timestamp: str | None, now: datetime) -> str:
    """Return how long ago a timestamp is: `just now`, `5 min ago`, `3 days ago`; "" for None."""
    if timestamp is None:
        return ""
    age = (now.astimezone(UTC) - datetime.fromisoformat(timestamp)).total_seconds()
    if age < _JUST_NOW_SECONDS:
        return "just now"
    for seconds, unit in _AGE_UNITS:
        if age >= seconds:
            count = int(age // seconds)
            plural = "s" if count > 1 and unit in _UNITS_WITH_PLURAL else ""
            return f"{count} {unit}{plural} ago"
    return "just now"


def short_id(run_id: str) -> str:
    """Return the end of a run's id, which is enough beside its name."""
    return run_id[-12:]


def visible_lines(text: str) -> str:
    """Return a text of several lines, with its control characters as escapes."""
    return "\n".join(map(visible, text.splitlines()))


def strip_colors(line: str) -> str:
    """Return a line of a log as a terminal shows it at the end, without its colours.

    A progress bar writes its line again and again after a carriage return. Only the last version
    counts.
    """
    last_version = line.rstrip("\r").rpartition("\r")[2]
    return _TERMINAL_COLORS.sub("", last_version)


def shorten(text: str, max_length: int) -> str:
    """Return a text with at most `max_length` characters. A longer one ends with an ellipsis.

    Example:
        >>> shorten("gradient boosting", 9)
        'gradient…'
    """
    if len(text) <= max_length:
        return text
    return f"{text[: max_length - 1]}…"
