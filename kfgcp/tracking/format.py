"""Values as short texts for people. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    """The text with control characters and direction marks shown as escapes, so that they do
    nothing."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text).replace("\n", "\\n")


def number(value: float) -> str:
    """A number with at most six significant digits."""
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def value_text(value: Any, limit: int = 60) -> str:
    """A parameter or output in one short line; texts without quotes, others as JSON."""
    if isinstance(value, float):
        return number(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = plain(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def seconds(value: float | None) -> str:
    """A duration for people: `0.41 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`.

    Whole seconds have no fraction, `5 s`: times of Kubeflow Pipelines 3.0 are whole seconds, and
    `5.00 s` would promise more than they tell.
    """
    if value is None:
        return ""
    if value < 60 and value == int(value):
        return f"{int(value)} s"
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    return f"{int(value // 3600)} h {int(value % 3600 // 60):02d} min"
