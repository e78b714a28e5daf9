"""The groups of a pipeline: loops, conditions and exit handlers, numbered as KFP numbers them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from kfgcp.spec.source_lines import Location

_GROUP_KEY: Final = re.compile(r"(for-loop|condition|condition-branches|exit-handler)-(\d+)")

# The classes of kfp.dsl that are groups, with the names that KFP gives to the groups. `If` and
# `Condition` are the same.
GROUP_KINDS: Final = {
    "ParallelFor": "for-loop",
    "If": "condition",
    "Condition": "condition",
    "Elif": "condition",
    "Else": "condition",
    "ExitHandler": "exit-handler",
}


@dataclass(slots=True)
class Group:
    """A `with` statement that makes a group.

    Attributes:
        kind: what KFP calls it: `for-loop`, `condition`, `condition-branches` or `exit-handler`.
        keyword: the class of kfp.dsl.
        location: the line of the `with`.
        number: in the order of KFP. Numbers that KFP uses for the items of loops are left out, so
            only the order of groups counts.
    """

    kind: str
    keyword: str
    location: Location
    number: int


def parse_group(key: str) -> tuple[str, int] | None:
    """Return the kind and the number of a group by its name, None for the name of a task.

    Example:
        >>> parse_group("condition-branches-3"), parse_group("train-3")
        (('condition-branches', 3), None)
    """
    match = _GROUP_KEY.fullmatch(key)
    return (match[1], int(match[2])) if match else None


@dataclass(slots=True)
class _Level:
    """The groups directly in a group.

    Attributes:
        last: the group that was entered last, None when none was entered.
    """

    last: Group | None = None


@dataclass(slots=True)
class Groups:
    """The groups that a function has entered, and the ones that it is in.

    This follows `TasksGroup.__enter__`, `Elif` and `Else` of kfp/dsl/tasks_group.py.
    """

    entered: list[Group] = field(default_factory=list)
    _levels: list[_Level] = field(default_factory=lambda: [_Level()])
    _counter: int = 0

    def by_kind(self) -> dict[str, list[Group]]:
        """Return the groups by their kinds, in the order of their numbers."""
        groups: dict[str, list[Group]] = {}
        for group in sorted(self.entered, key=lambda group: group.number):
            groups.setdefault(group.kind, []).append(group)
        return groups

    def enter(self, keyword: str, location: Location) -> None:
        """Enter a group, by the name of its class."""
        last = self._levels[-1].last
        if keyword in ("Elif", "Else") and last is not None and last.keyword != "Elif":
            self._wrap(last)
        self._push(Group(GROUP_KINDS[keyword], keyword, location, self._next_number()))

    def leave(self, keyword: str) -> None:
        """Leave the group that was entered last."""
        self._pop()
        if keyword == "Else":
            # `Else` also leaves the group around all branches.
            self._pop()

    def _wrap(self, first_branch: Group) -> None:
        """Put the group `condition-branches` around the first branch; the two swap numbers."""
        number = self._next_number()
        branches = Group(
            "condition-branches", "", first_branch.location, number=first_branch.number
        )
        first_branch.number = number
        self._push(branches)
        self._levels[-1].last = first_branch

    def _push(self, group: Group) -> None:
        self.entered.append(group)
        self._levels[-1].last = group
        self._levels.append(_Level())

    def _pop(self) -> None:
        # A program that KFP would refuse must not end here with an error.
        if len(self._levels) > 1:
            self._levels.pop()

    def _next_number(self) -> int:
        self._counter += 1
        return self._counter
