"""What a plan changes, as frozen values for people and programs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kfgcp.model import JsonValue


class ResourceKind(StrEnum):
    """What a change is about."""

    PIPELINE = "pipeline"
    SCHEDULE = "schedule"


class PlanAction(StrEnum):
    """How a pipeline or a schedule changes. DRIFT sets back what somebody changed by hand."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    DRIFT = "drift"

    @property
    def sign(self) -> str:
        """The sign in the output of `kfgcp plan`: `+`, `~`, `-` or `!`."""
        return _SIGNS[self]


_SIGNS: Final[Mapping[PlanAction, str]] = {
    PlanAction.CREATE: "+",
    PlanAction.UPDATE: "~",
    PlanAction.DELETE: "-",
    PlanAction.DRIFT: "!",
}


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A pipeline or a schedule that `apply` changes.

    Attributes:
        kind: whether it is a pipeline or a schedule.
        name: its name in kfgcp.toml. For a schedule that is not in kfgcp.toml any more, the name in
            its marker.
        env: the name of the environment.
        action: how it is changed.
        lines: what changes, in words.

    Example:
        >>> change = PlannedChange(ResourceKind.SCHEDULE, "daily", "dev", PlanAction.UPDATE)
        >>> change.title
        '~ schedule daily'
    """

    kind: ResourceKind
    name: str
    env: str
    action: PlanAction
    lines: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The first line of the change: its sign, its kind and its name."""
        return f"{self.action.sign} {self.kind.value} {self.name}"

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the change as JSON, in the form that `kfgcp plan --json` prints."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "env": self.env,
            "action": self.action.value,
            "lines": list(self.lines),
        }


def count_changes(changes: Sequence[PlannedChange]) -> dict[PlanAction, int]:
    """Return how many changes each action has, with 0 for an action without changes.

    Example:
        >>> count_changes([])[PlanAction.CREATE]
        0
    """
    counts = dict.fromkeys(PlanAction, 0)
    for change in changes:
        counts[change.action] += 1
    return counts
