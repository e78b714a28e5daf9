"""The tags `use-SCHEDULE-DIGEST`, which say that a schedule uses a version. Pure.

`apply` sets them, so that a clean-up of the registry keeps these versions. Several environments and
projects can share a registry, so the digest is that of the project and the place of the schedule.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.versions import RegisteredVersion, short_version
from kfgcp.deploy.versions.names import MAX_TAG_CHARACTERS

PREFIX: Final = "use-"
_DIGEST_DIGITS: Final = 6


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
            return f"tag {self.tag}: (none) -> {target}"
        return f"tag {self.tag}: {_names(self.holders)} -> {target}"


def use_tag(schedule: str, project: str, place: str) -> str:
    """Return the tag of a schedule.

    The name of a schedule can be longer than a tag. Then the tag has the beginning of the name.

    Args:
        schedule: the name of the schedule.
        project: the name of the project.
        place: where its environment has its runs, see `SupportsRefresh.place`.

    Example:
        >>> use_tag("churn-daily", "shop", "projects/acme/locations/europe-west4/pipelineJobs/")
        'use-churn-daily-820c32'
        >>> len(use_tag("a" * 63, "shop", ""))
        53
    """
    identity = json.dumps([project, place, schedule])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{(PREFIX + schedule)[: MAX_TAG_CHARACTERS - _DIGEST_DIGITS - 1]}-{digest}"


def move_of(
    tag: str,
    target: RegisteredVersion | None,
    entries: Mapping[str, Sequence[RegisteredVersion]],
) -> TagMove | None:
    """Return what to do with the tag of a schedule, None when it is where it must be.

    Args:
        tag: the tag, see `use_tag`.
        target: the version that the schedule uses, None when the schedule is deleted.
        entries: name of a pipeline in the registry -> its versions.
    """
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
