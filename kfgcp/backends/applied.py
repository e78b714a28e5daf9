"""The marker `kfgcp-applied`: what `apply` wrote last into a schedule.

It shows later whether somebody changed the schedule by hand. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from kfgcp.backends.versions import SHORT_DIGITS
from kfgcp.model import JsonValue
from kfgcp.spec.digest import canonical_json

APPLIED_MARKER: Final = "kfgcp-applied"


def applied_digest(fields: Mapping[str, JsonValue], *, paused: bool) -> str:
    """Return the value of the marker for the properties of a schedule: 12 hexadecimal digits.

    Args:
        fields: the properties, see `SupportsSchedules.fields_of`.
        paused: whether the schedule starts no runs. It is False on services where a pause cannot
            change the marker at the same time, which are all of them now.

    Example:
        >>> applied_digest({"max_active": 1, "cron": "0 6 * * *"}, paused=False)
        'c216dab80a9f'
    """
    text = canonical_json({"fields": dict(fields), "paused": paused})
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:SHORT_DIGITS]
