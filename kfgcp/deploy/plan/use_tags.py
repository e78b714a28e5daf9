"""The tags `use-SCHEDULE`, which say that a schedule uses a version. Pure.

`apply` sets them, so that a clean-up of the registry keeps these versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.versions import RegisteredVersion, short_version
from kfgcp.deploy.versions.names import MAX_TAG_CHARACTERS

PREFIX: Final = "use-"
_DIGEST_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class TagMove:
    """What to do with the tag of a schedule.

    Attributes:
        tag: the tag.
        target: the version that gets the tag, None when no version gets it.
        holders: the versions that lose the tag.
    """

    tag: str
    target: RegisteredVersion | None
    holders: tuple[RegisteredVersion, ...]

    @property
    def line(self) -> str:
        """The move in words."""
        if self.target is None:
            return f"tag {self.tag}: removed from {_names(self.holders)}"
        target = f"{self.target.pipeline}@{short_version(self.target)}"
        if not self.holders:
            return f"tag {self.tag}: {target}"
        return f"tag {self.tag}: {_names(self.holders)} -> {target}"


def use_tag(schedule: str) -> str:
    """Return the tag of a schedule.

    The name of a schedule can be longer than a tag. Then the tag has its beginning and a digest.

    Example:
        >>> use_tag("churn-daily")
        'use-churn-daily'
        >>> len(use_tag("a" * 63))
        53
    """
    tag = PREFIX + schedule
    if len(tag) <= MAX_TAG_CHARACTERS:
        return tag
    digest = hashlib.sha256(schedule.encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{tag[: MAX_TAG_CHARACTERS - _DIGEST_DIGITS - 1]}-{digest}"


def move_of(
    schedule: str,
    target: RegisteredVersion | None,
    entries: Mapping[str, Sequence[RegisteredVersion]],
) -> TagMove | None:
    """Return what to do with the tag of a schedule, None when it is where it must be.

    Args:
        schedule: the name of the schedule.
        target: the version that the schedule uses, None when the schedule is deleted.
        entries: name of a pipeline in the registry -> its versions.
    """
    tag = use_tag(schedule)
    holders: list[RegisteredVersion] = []
    has_tag = False
    for versions in entries.values():
        for entry in versions:
            if tag not in entry.tags:
                continue
            if target is not None and (entry.pipeline, entry.ref) == (target.pipeline, target.ref):
                has_tag = True
            else:
                holders.append(entry)
    if not holders and (has_tag or target is None):
        return None
    return TagMove(tag, target, tuple(holders))


def _names(entries: Sequence[RegisteredVersion]) -> str:
    return ", ".join(f"{entry.pipeline}@{short_version(entry)}" for entry in entries)
