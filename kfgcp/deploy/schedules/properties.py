"""Show the properties of a schedule to people. Pure.

`SupportsSchedules.fields_of` has all properties of a service. Some of them only follow from others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from kfgcp.backends.versions import SHORT_DIGITS
from kfgcp.model import JsonValue
from kfgcp.spec.schedule_time import PLACEHOLDER

ADDRESSES: Final = ("template", "entry", "text")
"""Properties that change with the version. They are addresses and digests, which tell people less
than the version."""

_PREFIX: Final = "sha256:"

# Longer values of parameters are cut off.
_MAX_VALUE: Final = 80


def is_implied(name: str, fields: Mapping[str, JsonValue]) -> bool:
    """Return whether a property only repeats what other properties say.

    Args:
        name: the name of the property.
        fields: all properties of the schedule.

    Example:
        >>> is_implied("max_starting", {"max_active": 2, "max_starting": 2})
        True
    """
    if name in ADDRESSES:
        return True
    if name == "queueing":
        # With false, Vertex AI skips a due time while max_active runs are active.
        return fields.get("queueing") is True
    if name == "max_starting":
        return fields.get("max_starting") == fields.get("max_active")
    return name == "run_name" and fields.get("run_name") == fields.get("name")


def property_lines(
    name: str, fields: Mapping[str, JsonValue], *, catch_up: bool | None
) -> list[str]:
    """Return the properties of a schedule in words, a line for each, sorted by their names.

    Args:
        name: the name of the schedule.
        fields: its properties.
        catch_up: the key of kfgcp.toml, None when kfgcp.toml does not have the schedule. Vertex AI
            has no property for it: kfgcp sends the key when it resumes a schedule.

    Example:
        >>> property_lines("daily", {"cron": "0 6 * * *", "name": "daily"}, catch_up=True)
        ['catch_up: true', 'cron: 0 6 * * *']
    """
    shown = dict(fields)
    if catch_up is not None:
        shown.setdefault("catch_up", catch_up)
    lines: list[str] = []
    for property_name, value in sorted(shown.items()):
        is_own_name = property_name == "name" and value == name
        if not is_own_name and not is_implied(property_name, fields):
            lines.append(f"{property_name}: {property_text(property_name, value)}")
    return lines


def property_text(name: str, value: JsonValue) -> str:
    """Return the value of a property as one line.

    Example:
        >>> property_text("version", "4c23c8b6b95a97940338feddf4f3534d"), property_text("x", None)
        ('sha256:4c23c8b6b95a', '(none)')
    """
    if value is None:
        return "(none)"
    if value == PLACEHOLDER:
        return "the due time"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split()) or '""'
    if name in ("version", "text"):
        return with_prefix(text)[: len(_PREFIX) + SHORT_DIGITS]
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"


def with_prefix(digest: str) -> str:
    """Return a digest as kfgcp shows digests everywhere.

    Example:
        >>> with_prefix("4c23c8b6b95a"), with_prefix("")
        ('sha256:4c23c8b6b95a', '')
    """
    return f"{_PREFIX}{digest.removeprefix(_PREFIX)}" if digest else ""
