"""Format values as short texts for people. Pure."""

from __future__ import annotations

import json

# Its users find it here, beside the other texts.
from kfgcp.plain_text import plain as plain


def number(value: float) -> str:
    """Return a number with at most six significant digits. Integers have all their digits.

    Example:
        >>> number(0.123456789)
        '0.123457'
    """
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def value_text(value: object, limit: int = 60) -> str:
    """Return a parameter or an output in one line.

    Args:
        value: a JSON value. Texts have no quotes, other values are JSON.
        limit: characters. A longer text is cut.
    """
    if isinstance(value, float):
        return number(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    line = plain(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def seconds(value: float | None) -> str:
    """Return a duration: `0.41 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.

    Whole seconds have no fraction, `5 s`: times of Kubeflow Pipelines 3.0 are whole seconds, and
    `5.00 s` would promise a precision that they do not have.

    Args:
        value: seconds. None gives an empty text.

    Example:
        >>> seconds(7384.2)
        '2 h 03 min'
    """
    if value is None:
        return ""
    if value < 60 and value == int(value):
        return f"{int(value)} s"
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, full_seconds = divmod(int(value), 60)
    if value < 3600:
        return f"{minutes} min {full_seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
