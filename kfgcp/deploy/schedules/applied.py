"""Tell whether a schedule was changed by hand. Pure.

`apply` marks each schedule with the digest of what it wrote. A schedule that has other properties
now was changed by somebody else.
"""

from __future__ import annotations

from kfgcp.backends.applied import applied_digest
from kfgcp.backends.schedules import LiveSchedule

__all__ = ["applied_digest", "was_changed_by_hand"]


def was_changed_by_hand(live: LiveSchedule) -> bool:
    """Return whether the properties of a schedule differ from what `apply` wrote last.

    Neither service can pause a schedule and change its marker in one request, so the marker does
    not cover the pause. `enabled` is compared with kfgcp.toml.

    Somebody else or an earlier kfgcp made a schedule without the marker. It does not count as
    changed.
    """
    if not live.applied:
        return False
    return live.applied != applied_digest(live.fields, paused=False)
